"""A small table of somebody else's: CSV, TSV or Parquet, headers forgiven for case and spaces.

Evaluation reads two kinds: predictions of another tool (``answers.py``) and groups (``groups.py``). Cells come as
text, as a CSV has them; empty ones, and Parquet's nulls, as None.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from mien.errors import DataError

_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Table:
    """columns: header in lower case without outer spaces → cells, top to bottom. first_row: its number in the file."""

    path: Path
    columns: dict[str, list[str | None]]
    first_row: int

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def where(self, row: int) -> str:
        return f"{self.path.name}, row {row + self.first_row}"


def key(name: str) -> str:
    """How headers are compared: ``" Happy "`` is ``"happy"``."""
    return name.strip().lower()


def read_table(path: str | Path) -> Table:
    """Raises DataError for a file that is missing, empty, no table, or has a header twice or rows of another length."""
    path = Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is not there"
        raise DataError(f"expected a CSV or Parquet file, got {path}, which {what}")
    table = _parquet(path) if _is_parquet(path) else _text(path)
    if not table.columns or not len(table):
        raise DataError(f"expected a header and at least one row in {path}, got none")
    return table


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"expected a Parquet file, cannot read {path}: {error}") from error
    flat = [name for name in table.schema.names if not pa.types.is_nested(table.schema.field(name).type)]
    columns = {name: [None if v is None else str(v) for v in table.column(name).to_pylist()] for name in flat}
    return Table(path, _checked(path, columns, flat), 0)


def _text(path: Path) -> Table:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"expected UTF-8 text or Parquet in {path}, got other bytes") from error
    first = text.partition("\n")[0]
    if not first.strip():
        return Table(path, {}, 2)
    # strict: a quote left open would swallow the rows after it without a word
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count), strict=True)
    try:
        header = next(rows)
        columns: list[list[str | None]] = [[] for _ in header]
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(f"expected {len(header)} cells in line {rows.line_num} of {path}, got {len(row)}")
            for cells, cell in zip(columns, row, strict=True):
                cells.append(cell.strip() or None)
    except csv.Error as error:
        raise DataError(
            f"expected a table, cannot read line {rows.line_num} of {path}: {error}", hint="is a quote left open?"
        ) from error
    checked = _checked(path, {str(i): c for i, c in enumerate(columns)}, [str(i) for i in range(len(header))], header)
    return Table(path, checked, 2)


def _checked(
    path: Path, columns: dict[str, list[str | None]], order: list[str], names: list[str] | None = None
) -> dict[str, list[str | None]]:
    result: dict[str, list[str | None]] = {}
    for at, name in zip(order, names or order, strict=True):
        if key(name) in result:
            raise DataError(f"expected each column of {path} once, got {key(name)!r} twice")
        result[key(name)] = columns[at]
    return result
