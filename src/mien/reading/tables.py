"""Pictures in Parquet: a column ``image`` as Hugging Face writes it, as plain bytes, as paths or ``data:`` URLs.

pyarrow is imported here and nowhere on the way of a plain photo (it costs 120 ms). Rows stream by small record
batches, so that a table of any size is read in bounded memory.
"""

import os
from collections.abc import Iterator
from typing import Any

from mien.errors import MissingExtra
from mien.imaging.data_url import is_data_url, is_url
from mien.reading.items import Item, failed
from mien.showable import one_line
from mien.tables import not_pictures

COLUMN = "image"
ROWS_A_BATCH = 16  # all of a batch is in memory, and one cell may hold a photo of many megabytes


def refusal(path: str, file: Any = None) -> Item | None:
    """Why a table cannot be read at all, as an item that carries the failure; None where it can.

    file: the open ``pyarrow.NativeFile`` of a table that is no local file; path is then only its name.
    """
    problem = _problem(path, file)
    return None if problem is None else failed(path, *problem)


def _problem(path: str, file: Any) -> tuple[str, str] | None:
    """(type, message) of what is wrong with a table, seen from its footer alone."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        missing = MissingExtra("pyarrow", "parquet")
        return missing.type, str(missing)

    try:
        if (os.path.getsize(path) if file is None else file.size()) == 0:
            return "empty", "the file is empty (0 bytes)"
        schema = pq.read_schema(path if file is None else file)
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        return "unreadable", f"expected a Parquet file: {one_line(error)}"
    if schema.names.count(COLUMN) != 1:
        which = "one column" if COLUMN in schema.names else "a column"
        return "data", f"expected {which} 'image', got columns {', '.join(schema.names) or '(none)'}"
    got = not_pictures(schema.field(COLUMN).type)
    return (
        None if got is None else ("data", f"expected column 'image' to hold bytes, paths or {{bytes, path}}, got {got}")
    )


def items(path: str) -> Iterator[Item]:
    """One item a row. Its source is the row's own path where the row has one, else ``FILE.parquet#ROW``."""
    refused = refusal(path)
    if refused is not None:
        yield refused
        return
    import pyarrow as pa

    row = 0
    try:
        for item in rows(path):
            yield item
            row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        yield failed(path, "unreadable", f"the table breaks off after row {row}: {one_line(error)}")
        return
    if row == 0:
        yield no_rows(path)


def no_rows(path: str) -> Item:
    """The failure of a table without rows."""
    return failed(path, "empty", "the table has no rows")


def rows(path: str, *, start: int = 0, stop: int | None = None, file: Any = None) -> Iterator[Item]:
    """The items of the rows start to stop (exclusive; None: to the end) of a table that is not refused.

    Only the row groups that hold them are read, a few pages at a time. file: as in :func:`refusal`. Raises pyarrow's
    ArrowException and OSError where the table is damaged.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path if file is None else file, buffer_size=1 << 20, pre_buffer=False) as table:
        groups: list[int] = []
        first = row = 0
        for number in range(table.num_row_groups):
            end = row + table.metadata.row_group(number).num_rows
            if end > start and (stop is None or row < stop):
                first = row if not groups else first
                groups.append(number)
            row = end
        wanted = [COLUMN] + ["path"] * (table.schema_arrow.names.count("path") == 1)
        row = first
        for batch in table.iter_batches(batch_size=ROWS_A_BATCH, row_groups=groups, columns=wanted) if groups else ():
            skipped = min(max(start - row, 0), len(batch))
            taken = batch.slice(skipped, None if stop is None else max(0, stop - row - skipped))
            images = taken.column(COLUMN).to_pylist()
            paths = taken.column("path").to_pylist() if "path" in wanted else [None] * len(images)
            for number, (image, own) in enumerate(zip(images, paths, strict=True), row + skipped):
                yield _item(path, number, image, own if isinstance(own, str) else None)
            row += len(batch)


def _item(table: str, row: int, image: Any, own: str | None) -> Item:
    data = image
    if isinstance(image, dict):
        own = image.get("path") or own
        data = image.get("bytes") or image.get("path")
    elif isinstance(image, str):
        own = image
    if own and is_data_url(own):
        own = None  # the text is the picture, and no name
    source = own or f"{table}#{row}"
    if not data:
        return failed(source, "empty", f"row {row} of {table} holds no image")
    elsewhere = isinstance(data, str) and not is_data_url(data) and not is_url(data)
    if elsewhere and not os.path.isabs(data) and not os.path.exists(data):
        data = os.path.join(os.path.dirname(table), data)  # paths are often written relative to their table
    stem = os.path.splitext(os.path.basename(own or table))[0]
    return Item(source, data, relative=stem if own else f"{stem}-{row}")
