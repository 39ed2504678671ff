"""Readings → JSON Lines, CSV or Parquet, on stdout or in a file that is written atomically.

All three are made from ``to_dict`` and ``to_rows`` of the results, so that they cannot disagree. JSON Lines and CSV
stream, a line at a time. A file name that is no UTF-8 is written with escapes (``\\udcff``), which JSON readers turn
back into the same name.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from typing import IO, Any, Protocol

from mien.atomic import AtomicFile
from mien.errors import MissingExtra, OutputError, UsageError
from mien.imaging import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.results import ReadFailure, Reading, table_columns
from mien.showable import showable

FORMATS = ("jsonl", "csv", "parquet")
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_TABLES = ".jsonl, .csv or .parquet"
ROWS_A_GROUP = 8192

Result = Reading | ReadFailure


class Writer(Protocol):
    """Of one format; ``finish`` writes what is left."""

    def write(self, result: Result) -> None: ...

    def finish(self) -> None: ...


def choose_format(given: str | None, output: str | None) -> str:
    """The format asked for, else the one of the file's suffix; jsonl for stdout and a name without a suffix.

    Raises UsageError for another suffix (``.xlsx`` would hold no spreadsheet), and for a picture's or video's with any
    format: that is a slip, which would replace the picture.
    """
    if given is not None and given not in FORMATS:
        raise UsageError(f"expected a format of {', '.join(FORMATS)}, got {given!r}")
    suffix = os.path.splitext(output or "")[1].lower()
    if suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
        raise UsageError(f"expected a table {_TABLES} after -o, got {output!r}", hint="--annotate DIR writes pictures")
    if given is None and suffix and suffix not in _BY_SUFFIX:
        raise UsageError(f"expected a file {_TABLES}, got {output!r}", hint="or give --format")
    chosen = given or _BY_SUFFIX.get(suffix, "jsonl")
    if chosen == "parquet" and output is None:
        raise UsageError("Parquet cannot be written to stdout", hint="give a file with -o FILE.parquet")
    return chosen


@contextmanager
def open_writer(chosen: str, *, output: str | None, labels: tuple[str, ...], stdout: IO[bytes]) -> Iterator[Writer]:
    """A writer of a format. output: a file, or None for stdout. labels: of the model, in order.

    The file is in place when the block ends well, and untouched when it ends in an exception. Raises OutputError
    before the block starts where it cannot be written, or later where the disk is full; BrokenPipeError where nobody
    reads stdout any more.
    """
    if output is None:
        shown: Any = _Terminal(stdout) if stdout.isatty() else stdout
        writer = _Guarded(lambda: _make(chosen, shown, labels, flush=True), _stdout_failed)
        yield writer
        writer.finish()
        return
    target = AtomicFile(output)
    guarded = None
    try:
        guarded = _Guarded(lambda: _make(chosen, target.stream, labels, flush=False), target.failed)
        yield guarded
        guarded.finish()
        target.commit()
    except BaseException:
        if guarded is not None:
            guarded.abandon()
        target.discard()
        raise


class _Terminal:
    """stdout where somebody looks at it: file names may hold what a terminal obeys. Files and pipes get them as are."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(showable(data.decode("utf-8")).encode())

    def flush(self) -> None:
        self._stream.flush()


class _Guarded:
    """A writer whose own failures (a full disk) are OutputErrors; other OSErrors of the block pass it by."""

    def __init__(self, make: Callable[[], Writer], failed: Callable[[OSError], Exception]) -> None:
        self._failed = failed
        with self._told():
            self._writer = make()

    def write(self, result: Result) -> None:
        with self._told():
            self._writer.write(result)

    def finish(self) -> None:
        with self._told():
            self._writer.finish()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(error) from error

    def abandon(self) -> None:
        """Close what is still open after an error; anything it still writes is discarded with the file."""
        if isinstance(self._writer, ParquetRows):
            with suppress(Exception):
                self._writer.close()


def _stdout_failed(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    return OutputError(f"cannot write to stdout: {error.strerror or error}")


def _make(chosen: str, stream: IO[bytes], labels: tuple[str, ...], *, flush: bool) -> Writer:
    if chosen == "csv":
        return _Csv(stream, labels, flush=flush)
    if chosen == "parquet":
        return ParquetRows(stream, labels)
    return _JsonLines(stream, flush=flush)


class _JsonLines:
    def __init__(self, stream: IO[bytes], *, flush: bool) -> None:
        import json

        self._stream, self._flush = stream, flush
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def write(self, result: Result) -> None:
        self._stream.write(_utf8(self._encode(result.to_dict()) + "\n"))
        if self._flush:
            self._stream.flush()

    def finish(self) -> None:
        self._stream.flush()


class _Csv:
    def __init__(self, stream: IO[bytes], labels: tuple[str, ...], *, flush: bool) -> None:
        import csv

        self._stream, self._flush = stream, flush
        self._text = StringIO(newline="")
        columns = table_columns(labels)
        self._rows = csv.DictWriter(self._text, columns, restval="", lineterminator="\n")
        self._quoted = csv.DictWriter(self._text, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._rows.writeheader()
        self._drain()

    def write(self, result: Result) -> None:
        returns = "\r" in result.source  # which csv quotes from Python 3.13 on only
        (self._quoted if returns else self._rows).writerows(result.to_rows())
        self._drain()

    def finish(self) -> None:
        self._stream.flush()

    def _drain(self) -> None:
        self._stream.write(_utf8(self._text.getvalue()))
        self._text.seek(0)
        self._text.truncate()
        if self._flush:
            self._stream.flush()


class ParquetRows:
    """A fixed schema: a file whose first thousand inputs failed still has typed columns.

    checksums: of each page, so that damage is found on reading. ``note`` adds a key to the file's metadata.
    """

    def __init__(self, stream: IO[bytes], labels: tuple[str, ...], *, checksums: bool = False) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise MissingExtra("pyarrow", "parquet") from error

        kinds: dict[str, Any] = {
            "source": pa.string(),
            "face": pa.int32(),
            "expression": pa.string(),
            "track": pa.int64(),
            "error": pa.string(),
        }
        self.schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in table_columns(labels)])
        self._table = pa.Table
        self._writer = pq.ParquetWriter(stream, self.schema, compression="zstd", write_page_checksum=checksums)
        self._rows: list[dict[str, Any]] = []

    def write(self, result: Result) -> None:
        self._rows.extend(result.to_rows())
        if len(self._rows) >= ROWS_A_GROUP:
            self._drain()

    def note(self, key: str, value: str) -> None:
        self._writer.add_key_value_metadata({key: value})

    def finish(self) -> None:
        self._drain()
        self.close()

    def close(self) -> None:
        self._writer.close()

    def _drain(self) -> None:
        if not self._rows:
            return
        for row in self._rows:
            for name in ("source", "error"):
                if isinstance(row.get(name), str):
                    row[name] = _utf8(row[name]).decode()
        # from_pylist takes absent keys as null, and the schema decides each type
        self._writer.write_table(self._table.from_pylist(self._rows, schema=self.schema))
        self._rows.clear()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
