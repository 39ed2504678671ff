"""CSV as people pass it around: byte-order marks, stray blanks in the header, cut-off last lines.

Shared by every source that reads a CSV. Rows stream; a line that is wrong is told, not thrown.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.errors import DataError


def csv_columns(path: Path, *, delimiter: str = ",") -> list[str]:
    """The first line's cells, stripped and in lower case (icml_face_data.csv has `` Usage``). Raises DataError."""
    try:
        with _opened(path) as file:
            return [name.strip().lower() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except csv.Error as error:
        raise DataError(f"expected a CSV file, cannot read {path}: {error}") from error


def csv_delimiter(path: Path) -> str:
    """Comma, semicolon (what a European Excel writes) or tab: whichever the first line has most of."""
    with _opened(path) as file:
        head = file.readline(10_000)
    return max(",;\t", key=head.count)  # the comma where none occurs: max takes the first of equals


def require_columns(path: Path, wanted: tuple[str, ...]) -> None:
    """Raises DataError where a column is missing."""
    columns = csv_columns(path)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"expected the columns {', '.join(wanted)} in {path}, found {shown(columns)}; missing {', '.join(missing)}"
        )


def shown(columns: list[str]) -> str:
    """Column names for a message."""
    return ", ".join(name[:20] for name in columns[:12]) or "nothing"


def csv_rows(path: Path, *, header: bool = True, delimiter: str = ",") -> Iterator[tuple[int, list[str] | str]]:
    """(line number, fields, or what is wrong with the line) for every row; blank lines and the header left out."""
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        if header:
            next(reader, None)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, str(error)
                continue
            if row:
                yield reader.line_num, row


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise DataError(f"expected a CSV file, cannot read {path}: {error}") from error
