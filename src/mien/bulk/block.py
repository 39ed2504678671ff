"""One block of inputs → one shard of rows.

The shard is written beside its place and moved there when it is whole and on the disk: it is there or it is not.
Whoever reads a block twice (a worker that was thought dead, a run that was killed between) writes the same rows to the
same name, so that no input is lost or doubled.
"""

import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

from mien.bulk.entries import Entry, Kind
from mien.bulk.listing import read_block_entries
from mien.bulk.objects import StoreFailure, fetch, is_object, name_of, open_object
from mien.bulk.plan import KEY, Done, Plan
from mien.errors import DataError, ImageError, MienError, OutputError
from mien.reading import tables
from mien.reading.items import Item, failed
from mien.reading.outputs import ParquetRows
from mien.reading.overlap import in_order
from mien.reading.reader import Reader
from mien.results import ReadFailure, Reading
from mien.showable import one_line

_NO_SUM = "0" * 64
AHEAD = 8  # objects that are fetched while pictures are read
_UNREACHED = re.compile("AWS Error|curl|time[d ]*out|connection", re.IGNORECASE)  # not a fault of the table


def read_block(
    plan: Plan, block: int, reader: Reader, *, one_by_one: bool = False, fatal: Collection[int] = ()
) -> Done:
    """Read the inputs of a block and put its shard in place.

    one_by_one: note which input is read before it is, for whoever wants to know what ended the process (``at``).
    fatal: inputs of the block, counted from 0, that ended a process before: they become error rows unread.
    Raises OutputError where the shard cannot be written, DataError where the listing is damaged, StoreFailure where an
    object store fails.
    """
    started = time.process_time()
    entries = read_block_entries(plan.listing, block)
    expected = sum(entry.count for entry in entries)
    stream = BytesIO()
    writer = ParquetRows(stream, reader.labels, checksums=True)
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    items = _fetched(items_of(entries))
    if one_by_one or fatal:
        results: Iterable[Reading | ReadFailure] = _one_by_one(plan, block, reader, items, fatal)
    else:
        results = reader.read_many(items)
    for result in results:
        counts["inputs"] += 1
        counts["rows"] += len(result.to_rows()) if isinstance(result, Reading) else 1
        if isinstance(result, Reading):
            counts["faces"] += len(result.faces)
        else:
            kinds[result.type] += 1
        writer.write(result)
    if counts["inputs"] != expected:
        raise DataError(f"expected {expected:,} results of block {block}, got {counts['inputs']:,}")
    about: dict[str, Any] = {"plan": plan.id, "block": block, "failed": dict(kinds)}
    about |= {name: counts[name] for name in ("inputs", "rows", "faces")} | {"sha256": _NO_SUM}
    writer.note(KEY, json.dumps(about))
    writer.finish()
    data = _with_sum(stream.getvalue())
    _put(plan, block, data)
    cpu, peak = time.process_time() - started, peak_megabytes()
    return Done(block, counts["inputs"], counts["rows"], counts["faces"], dict(kinds), len(data), cpu, peak)


def check_shard(plan: Plan, block: int, inputs: int) -> Done | str:
    """What a shard holds, every byte of which is checked; or the reason why it cannot be this block's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = plan.shard(block)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            raw = (file.metadata.metadata or {}).get(KEY.encode())
            if raw is None:
                return "it is no shard of a bulk run"
            about = json.loads(raw)
            if (about["plan"], about["block"]) != (plan.id, block):
                return "it belongs to another run or block"
            if about["sha256"] != _sum(data, str(about["sha256"])):
                return "its bytes are not those that were written"
            rows = file.read().num_rows
        if rows != about["rows"] or about["inputs"] != inputs:
            return f"expected {about['rows']:,} rows of {inputs:,} inputs, got {rows:,} of {about['inputs']:,}"
        return Done(block, about["inputs"], rows, about["faces"], dict(about["failed"]), len(data))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        return one_line(error)


def _with_sum(data: bytes) -> bytes:
    """A shard whose footer holds the SHA-256 of the shard with zeros in its place.

    Parquet's own checksums are those of pages alone: names of columns, encodings and statistics stand outside of them.
    """
    before, after = _around(data, _NO_SUM)
    return before + _sum(data, _NO_SUM).encode() + after


def _sum(data: bytes, kept: str) -> str:
    """The SHA-256 of a shard with zeros where its own stands. Raises ValueError where ``kept`` does not."""
    before, after = _around(data, kept)
    return hashlib.sha256(before + _NO_SUM.encode() + after).hexdigest()


def _around(data: bytes, kept: str) -> tuple[bytes, bytes]:
    before, found, after = data.rpartition(kept.encode())  # the footer comes last
    if len(found) != len(_NO_SUM):
        raise ValueError("it holds no SHA-256")
    return before, after


def items_of(entries: Iterable[Entry]) -> Iterator[Item]:
    """The pictures of entries, one item an input. Of a table that breaks off, each row behind is a failure."""
    for entry in entries:
        if entry.failure is not None:
            yield failed(entry.source, *entry.failure)
        elif entry.kind != Kind.ROWS:
            yield Item(entry.source, entry.place)
        else:
            yield from _rows(entry)


def _rows(entry: Entry) -> Iterator[Item]:
    import pyarrow as pa

    row, end = entry.first, entry.first + entry.count
    problem = "it has fewer rows than when it was listed"
    file = None
    try:
        file = open_object(entry.place) if is_object(entry.place) else None
        options = entry.place[len(entry.source) :] if file is not None else ""
        for item in tables.rows(entry.source, start=entry.first, stop=end, file=file):
            if options and isinstance(item.data, str) and is_object(item.data) and name_of(item.data) == item.data:
                item = replace(item, data=item.data + options)  # the store that the table came from
            yield item
            row += 1
    except (pa.ArrowException, OSError) as error:
        problem = one_line(error)
        if file is not None and _UNREACHED.search(problem):
            raise StoreFailure(problem) from error
    except MienError as error:
        problem = str(error)
    finally:
        if file is not None:
            file.close()
    for missing in range(row, end):
        yield failed(f"{entry.source}#{missing}", "unreadable", f"the table cannot be read: {problem}")


def _fetched(items: Iterator[Item]) -> Iterator[Item]:
    """The items in order, those of object stores with their bytes, which threads fetch ahead."""
    for item in in_order(items, _fetch, threads=AHEAD, movable=_in_store, ahead=1):
        assert isinstance(item, Item)
        yield item


def _in_store(item: Item) -> bool:
    return isinstance(item.data, str) and is_object(item.data)


def _fetch(item: Item) -> Item:
    if not _in_store(item):
        return item
    assert isinstance(item.data, str)
    try:
        return Item(item.source, fetch(item.data))
    except ImageError as error:
        return failed(item.source, error.type, str(error))


def _one_by_one(
    plan: Plan, block: int, reader: Reader, items: Iterator[Item], fatal: Collection[int]
) -> Iterator[Reading | ReadFailure]:
    for number, item in enumerate(items):
        if number in fatal:
            yield ReadFailure(item.source, "internal", "the process ended while it read this input, three times")
            continue
        with open(at(plan, block), "w", encoding="ascii") as file:
            file.write(str(number))
        yield from reader.read_many([item])
    with suppress(OSError):
        os.unlink(at(plan, block))


def at(plan: Plan, block: int) -> str:
    """The file that holds the number of the input that is being read, of a block that is read one by one."""
    return os.path.join(plan.work, f"at-{block:08d}")


def _put(plan: Plan, block: int, data: bytes) -> None:
    half = os.path.join(plan.work, f"{block:08d}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(half, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(half, plan.shard(block))
        except BaseException:
            with suppress(OSError):
                os.unlink(half)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write {plan.shard(block)!r}: {error.strerror or error}",
            hint="the shards before it are whole; the same command goes on",
        ) from error


def peak_megabytes() -> float:
    """The most memory that this process had so far, in MB; 0.0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
