"""Reads users' tables: CSV, TSV or Parquet, in any usual encoding, tolerating stray blanks and quotes.

Sources of pictures stream rows (:func:`csv_rows`, :func:`parquet_file`): a line that is wrong is told, not thrown, and
becomes a counted drop. Evaluation reads small tables whole (:func:`read_table`): predictions of another tool, groups;
there the first line that is wrong is an error.
"""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mien.errors import DataError, MissingExtra

_DELIMITERS = ",;\t|"  # a European Excel writes semicolons

_OPEN = "a quote that is not closed"
#: What files that are no text begin with.
_MAGIC = {
    b"\x89PNG": "a PNG", b"\xff\xd8\xff": "a JPEG", b"GIF8": "a GIF", b"PAR1": "a Parquet file", b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP or Excel file", b"\x1f\x8b": "a gzip file",
}  # fmt: skip
_BLOCK = 1 << 20  # bytes that are looked through at a time
_FIELD = 1 << 24  # characters of a cell; Python's own limit, 2¹⁷, ends at pictures of 180 pixels a side written as text


def csv_columns(path: Path, *, delimiter: str = ",") -> list[str]:
    """The first line's cells, stripped and in lower case (icml_face_data.csv has `` Usage``). Raises DataError."""
    try:
        with _opened(path) as file:
            return [name.strip().lower() for name in next(csv.reader([file.readline()], delimiter=delimiter), [])]
    except csv.Error as error:
        raise DataError(f"expected a CSV file, cannot read {path}: {error}") from error


def csv_delimiter(path: Path) -> str:
    """Comma, semicolon, tab or bar: whichever the first line has most of; the comma where none occurs."""
    with _opened(path) as file:
        return max(_DELIMITERS, key=file.readline(10_000).count)  # the first of equals


def require_columns(path: Path, wanted: tuple[str, ...], *, hint: str | None = None) -> None:
    """Raises DataError, with the hint, where a column is missing."""
    columns = csv_columns(path)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"expected the columns {', '.join(wanted)} in {path}, found {shown(columns)}; missing {', '.join(missing)}",
            hint=hint,
        )


def shown(columns: list[str]) -> str:
    """Column names for a message."""
    return ", ".join(name[:20] for name in columns[:12]) or "nothing"


def csv_rows(
    path: Path, *, header: bool = True, delimiter: str = ",", strict: bool = False, longest: int = _FIELD
) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, fields, or what is wrong with the line) for every row; blank lines and the header left out.

    strict: text beside a quoted cell is wrong as well. longest: characters of a cell.

    A row ends with its line. One that goes on because of a quote is kept where the quote closes as it should, the row
    then has all columns, and none of the lines that it takes is a row of its own; otherwise its first line alone is
    wrong, and the others are read as if the quote were not there.
    """
    with _opened(path) as file:
        lines = _Lines(file)
        width = len(next(csv.reader([lines.take()], delimiter=delimiter), [])) if header else 0
        while True:
            lines.taken.clear()
            number = lines.number + 1
            reader = csv.reader(lines, delimiter=delimiter, strict=strict)
            row: list[str] | str
            limit = csv.field_size_limit(longest)  # of the whole process, so it is put back
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row = str(error)
            finally:
                csv.field_size_limit(limit)
            if len(lines.taken) > 1 or lines.ended:
                row = _first(row, lines, width=width, delimiter=delimiter)
            if row:
                yield number, row
                width = width or len(row) * isinstance(row, list)


class _Lines:
    """A file's lines, the last of which can be given back. taken: those that the current row has."""

    def __init__(self, file: Any) -> None:
        self._file, self._back = file, list[str]()
        self.taken: list[str] = []
        self.number, self.ended = 0, False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.take()
        self.ended = not line
        if not line:
            raise StopIteration
        self.taken.append(line)
        return line

    def take(self) -> str:
        """The next line, "" at the end."""
        line: str = self._back.pop() if self._back else self._file.readline()
        self.number += bool(line)
        return line

    def give_back(self) -> None:
        """All that the current row has but its first line."""
        self._back += reversed(self.taken[1:])
        self.number -= len(self.taken) - 1
        del self.taken[1:]


def _first(row: list[str] | str, lines: _Lines, *, width: int, delimiter: str) -> list[str] | str:
    """A row of several lines, or one that met the end of the file: itself where it is sound, else its first line."""
    try:
        (sound,) = csv.reader(lines.taken, delimiter=delimiter, strict=True)
        alone = [next(csv.reader([line], delimiter=delimiter), []) for line in lines.taken[1:]]
        if sound == row and len(row) == width and all(len(each) != width for each in alone):
            return row
    except (csv.Error, ValueError):
        pass
    lines.give_back()
    return row if isinstance(row, str) and not _is_open(lines.taken[0], delimiter) else _OPEN


def _is_open(line: str, delimiter: str) -> bool:
    """Whether a line ends within quotes."""
    more = iter([line, "x"])
    try:
        next(csv.reader(more, delimiter=delimiter))
    except csv.Error:
        return False
    return next(more, None) is None


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding=csv_encoding(path), errors="replace", newline="")
    except OSError as error:
        raise DataError(f"expected a CSV file, cannot read {path}: {error}") from error


def csv_encoding(path: Path) -> str:
    """``utf-8-sig``; ``utf-16`` or ``utf-32`` where a mark says so; ``cp1252`` where it cannot be UTF-8.

    Raises DataError where the file is no text.
    """
    try:
        stat = path.stat()
        return _encoding(path, (stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        raise DataError(f"expected a CSV file, cannot read {path}: {error}") from error


@lru_cache(maxsize=64)
def _encoding(path: Path, _: tuple[int, int]) -> str:
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return "utf-32"
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        got = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        if got or b"\0" in head[:1024]:
            raise DataError(
                f"expected a text table, got {got or 'binary data'}: {path}", hint="save the table as CSV in UTF-8"
            )
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        good = bad = 0  # characters beyond ASCII
        while head:
            text = "" if head.isascii() and not decoder.getstate()[0] else decoder.decode(head)
            if not text.isascii():
                wrong = text.count("\ufffd")
                bad += wrong
                good += len(text) - len(text.encode("ascii", "ignore")) - wrong
            head = file.read(_BLOCK)
        bad += len(decoder.decode(b"", True))
    return "cp1252" if bad > good else "utf-8-sig"  # a damaged byte does not make a UTF-8 file another


# --- Parquet ----------------------------------------------------------------------------------------------------------


@contextmanager
def parquet_file(
    path: Path, *, expected: str = "a Parquet file", hint: str | None = "the copy may be incomplete"
) -> Iterator[Any]:
    """An open ``pyarrow.parquet.ParquetFile``. What pyarrow raises while it is open becomes a DataError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtra("pyarrow", "parquet") from error

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError, MemoryError) as error:
        raise DataError(f"expected {expected}, cannot read {path}: {error}", hint=hint) from error


def not_pictures(kind: Any) -> str | None:
    """What a column of this Arrow type holds instead of pictures; None where it can hold bytes, paths or a struct."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return None if {kind.field(i).name for i in range(kind.num_fields)} & {"bytes", "path"} else str(kind)
    # by name, because older releases of pyarrow lack the views
    plain = ("binary", "large_binary", "fixed_size_binary", "binary_view", "string", "large_string", "string_view")
    return None if str(kind).split("[")[0] in plain else str(kind)


# --- small tables, whole ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """columns: header in lower case without outer spaces → cells, top to bottom; an empty cell is None.

    first_row: the number of the first row in the file.
    """

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
        what = "is a directory" if path.is_dir() else "does not exist"
        raise DataError(f"expected a CSV or Parquet file, got {path}, which {what}")
    with path.open("rb") as stream:
        is_parquet = stream.read(4) == b"PAR1"
    names, columns = _parquet_columns(path) if is_parquet else _text_columns(path)
    if not names or not columns[0]:
        raise DataError(f"expected a header and at least one row in {path}, got none")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"expected each column of {path} once, got {twice[0]!r} twice")
    return Table(path, dict(zip(names, columns, strict=True)), 0 if is_parquet else 2)


def _parquet_columns(path: Path) -> tuple[list[str], list[list[str | None]]]:
    import pyarrow as pa

    with parquet_file(path, hint=None) as file:
        table = file.read()
        flat = [i for i, field in enumerate(table.schema) if not pa.types.is_nested(field.type)]
        columns = [[None if v is None else str(v) for v in table.column(i).to_pylist()] for i in flat]
    return [key(table.schema.names[i]) for i in flat], columns


def _text_columns(path: Path) -> tuple[list[str], list[list[str | None]]]:
    delimiter = csv_delimiter(path)
    names = csv_columns(path, delimiter=delimiter)
    columns: list[list[str | None]] = [[] for _ in names]
    if not any(names):
        return [], []
    for number, row in csv_rows(path, delimiter=delimiter, strict=True, longest=1 << 17):
        if isinstance(row, str):
            raise DataError(
                f"expected a table, cannot read line {number} of {path}: {row}", hint="is a quote left open?"
            )
        if len(row) != len(names):
            raise DataError(f"expected {len(names)} cells in line {number} of {path}, got {len(row)}")
        for cells, cell in zip(columns, row, strict=True):
            cells.append(cell.strip() or None)
    return names, columns
