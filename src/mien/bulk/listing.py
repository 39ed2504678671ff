"""The inputs of a run, listed once and cut into blocks.

A block is a row group of the listing: ``listing/part-00012.parquet`` holds blocks 1,200 to 1,299. So a worker finds its
block with one seek, whatever the number of inputs, and memory is bounded by a block.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, Any

from mien.atomic import make_folder
from mien.bulk.entries import Entry, Kind
from mien.bulk.objects import is_object, list_objects, refused, table_entries, video
from mien.errors import DataError, OutputError
from mien.reading.inputs import expand
from mien.reading.items import Item, Pause
from mien.showable import utf8

BLOCKS_A_PART = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """What was listed. inputs: pictures, rows and failures. digest: SHA-256 over all entries and their blocks."""

    inputs: int
    blocks: int
    digest: str


def entries(paths: Iterable[str], *, stdin: IO[bytes] | None = None, exclude: Iterable[str] = ()) -> Iterator[Entry]:
    """The inputs of the paths, in the order of ``mien read``; URLs of object stores as well. Nothing is decoded."""
    made: list[Entry] = []  # what _table and _url found for the item that expand hands on

    def table(path: str) -> Iterator[Item]:
        for entry in table_entries(path):
            made.append(entry)
            yield Item(path, None)

    def url(text: str) -> Iterator[Item]:
        for entry in list_objects(text) if is_object(text) else [refused(text)]:
            made.append(entry)
            yield Item(text, None)

    for item in expand(paths, stdin=stdin, exclude=exclude, table=table, url=url):
        if isinstance(item, Pause):
            continue
        if made:
            yield made.pop()
        elif item.failure is not None:
            yield Entry(Kind.FAILED, item.source, failure=(item.failure.type, item.failure.message))
        elif item.is_video:
            yield video(item.source)
        else:
            assert isinstance(item.data, str)
            yield Entry(Kind.PICTURE, item.source, data=None if item.data == item.source else item.data)


def blocks(inputs: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Entries of ``size`` inputs together, the last of fewer; a table is cut where a block is full."""
    block: list[Entry] = []
    room = size
    for entry in inputs:
        if entry.count == 1:
            block.append(entry)
            room -= 1
        else:
            first, end = entry.first, entry.first + entry.count
            while first < end:
                taken = min(room, end - first)
                block.append(Entry(entry.kind, entry.source, entry.data, first=first, count=taken, stamp=entry.stamp))
                first, room = first + taken, room - taken
                if room == 0:
                    yield block
                    block, room = [], size
        if room == 0:
            yield block
            block, room = [], size
    if block:
        yield block


def write_listing(inputs: Iterable[Entry], folder: str, size: int) -> Listing:
    """The listing of inputs in blocks of ``size`` as files in folder, which is made. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    make_folder(folder)
    digest = hashlib.sha256(str(size).encode())
    count = number = 0
    writer: Any = None
    try:
        for number, block in enumerate(blocks(inputs, size), 1):
            columns = _columns(block)
            for values in columns.values():
                digest.update(repr(values).encode())
            if writer is None:
                path = part_path(folder, number - 1)
                writer = pq.ParquetWriter(path, _schema(), compression="zstd", write_statistics=False)
            writer.write_table(pa.table(columns, schema=_schema()), row_group_size=len(block))
            count += sum(entry.count for entry in block)
            if number % BLOCKS_A_PART == 0:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()
    except OSError as error:
        raise OutputError(f"cannot write the listing in {folder!r}: {error.strerror or error}") from error
    return Listing(count, number, digest.hexdigest())


def read_block_entries(folder: str, number: int) -> list[Entry]:
    """The entries of a block. Raises DataError where the listing is damaged or not there."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = part_path(folder, number)
    try:
        with pq.ParquetFile(path) as file:
            return _entries(file.read_row_group(number % BLOCKS_A_PART))
    except (pa.ArrowException, OSError, IndexError) as error:
        raise DataError(
            f"expected block {number} in {path}, cannot read it: {error}",
            hint="the same command lists the inputs again",
        ) from error


def first_difference(kept: str, now: str) -> str | None:
    """A sentence on the first entry that two listings do not share; None where there is none or one is damaged."""
    try:
        for number, (old, new) in enumerate(zip_longest(_all(kept), _all(now)), 1):
            if old == new:
                continue
            if old is None:
                return f"{new.source} is new"
            if new is None:
                return f"{old.source} is gone"
            if (old.source, old.first) == (new.source, new.first):
                return f"{new.source} changed"
            return f"entry {number:,} was {old.source} and is now {new.source}"
    except DataError:
        pass
    return None


def part_path(folder: str, number: int) -> str:
    """The file that holds block ``number``."""
    return os.path.join(folder, f"part-{number // BLOCKS_A_PART:05d}.parquet")


def _all(folder: str) -> Iterator[Entry]:
    number = 0
    while os.path.isfile(part_path(folder, number)):
        import pyarrow.parquet as pq

        count = pq.read_metadata(part_path(folder, number)).num_row_groups
        for row_group in range(count):
            yield from read_block_entries(folder, number + row_group)
        number += BLOCKS_A_PART


def _schema() -> Any:
    import pyarrow as pa

    # names of files need not be UTF-8
    return pa.schema(
        {
            "kind": pa.int8(),
            "source": pa.binary(),
            "data": pa.binary(),
            "type": pa.string(),
            "message": pa.string(),
            "first": pa.int64(),
            "count": pa.int64(),
            "stamp": pa.string(),
        }
    )


def _columns(block: list[Entry]) -> dict[str, list[Any]]:
    return {
        "kind": [int(entry.kind) for entry in block],
        "source": [os.fsencode(entry.source) for entry in block],
        "data": [None if entry.data is None else os.fsencode(entry.data) for entry in block],
        "type": [None if entry.failure is None else entry.failure[0] for entry in block],
        "message": [None if entry.failure is None else utf8(entry.failure[1]) for entry in block],
        "first": [entry.first for entry in block],
        "count": [entry.count for entry in block],
        "stamp": [entry.stamp for entry in block],
    }


def _entries(table: Any) -> list[Entry]:
    found = []
    for row in table.to_pylist():
        failure = None if row["type"] is None else (row["type"], row["message"])
        data = None if row["data"] is None else os.fsdecode(row["data"])
        found.append(
            Entry(
                Kind(row["kind"]), os.fsdecode(row["source"]), data, failure, row["first"], row["count"], row["stamp"]
            )
        )
    return found
