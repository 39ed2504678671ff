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
from mien.tables import not_pictures

COLUMN = "image"
ROWS_A_BATCH = 16  # all of a batch is in memory, and one cell may hold a photo of many megabytes


def refusal(path: str) -> Item | None:
    """Why a table cannot be read at all, as an item that carries the failure; None where it can."""
    problem = _problem(path)
    return None if problem is None else failed(path, *problem)


def _problem(path: str) -> tuple[str, str] | None:
    """(type, message) of what is wrong with a table, seen from its footer alone."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        missing = MissingExtra("pyarrow", "parquet")
        return missing.type, str(missing)

    try:
        if os.path.getsize(path) == 0:
            return "empty", "the file is empty (0 bytes)"
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        return "unreadable", f"expected a Parquet file: {_short(error)}"
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
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as table:
            wanted = [COLUMN] + ["path"] * (table.schema_arrow.names.count("path") == 1)
            for batch in table.iter_batches(batch_size=ROWS_A_BATCH, columns=wanted):
                images = batch.column(COLUMN).to_pylist()
                paths = batch.column("path").to_pylist() if "path" in wanted else [None] * len(images)
                for image, own in zip(images, paths, strict=True):
                    yield _item(path, row, image, own if isinstance(own, str) else None)
                    row += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        yield failed(path, "unreadable", f"the table breaks off after row {row}: {_short(error)}")
        return
    if row == 0:
        yield failed(path, "empty", "the table has no rows")


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


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
