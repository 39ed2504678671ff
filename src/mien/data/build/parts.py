"""Parts: a few hundred standardised pictures each, written by one worker, and the small index read back from them.

A part is made from a stretch of a source's stream. It holds everything that the store's shards need, what the plan
needs of a picture (block averages, a digest of the pixels), and the drops. The file's metadata holds its *fingerprint*:
a hash of every sample, with the pixels or the size and time of its file. A part is used again by a resumed build only
where the fingerprint still fits, so nothing stale is ever taken over.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.build.balance import can_vary
from mien.data.build.index import Index
from mien.data.near_duplicates import BLOCKS, block_averages
from mien.data.sources import Drop, Sample
from mien.labels import EIGHT
from mien.showable import utf8

#: A part ends after so many items, or so many bytes of pixels that came with them; what limits a build's memory.
ITEMS, BYTES = 512, 16 << 20
#: Version of the part files, for the key of a build.
FORMAT = 3
_ROWS_AT_A_TIME = 64
_AVERAGES = 4 * BLOCKS * BLOCKS  # bytes of float32
_SOURCE, _MARK = b"mien_source", b"mien_fingerprint"


@dataclass(frozen=True, slots=True)
class Row:
    """One picture of a part. png: its encoded pixels, a JPEG where the build says so.

    sample: all the rest of it, ``pixels`` None. generated_from: the path of the original, None for an original. number:
    its position within the part.
    """

    number: int
    source: str
    png: bytes
    sample: Sample
    generated_from: str | None = None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """What a finished part says of itself, without its pictures."""

    path: Path
    source: str
    rows: int
    drops: tuple[Drop, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What is known of N pictures in memory, under 1 kB each; ``index`` is what the plan gets.

    averages: float32 N×144. digest: uint64 N, of the pixels. usable: bool N, whether a variation of the picture can
    differ from it. has: optional columns that some picture has. first: the row at which each part begins.
    """

    index: Index
    averages: NDArray[np.float32]
    digest: NDArray[np.uint64]
    usable: NDArray[np.bool_]
    has: frozenset[str]
    first: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.averages)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 H×W or H×W×3 → PNG, lossless; the same pixels always give the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """uint8 H×W or H×W×3 → JPEG, with colour at full resolution; the same pixels always give the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an encoded picture: for a PNG, those that :func:`encode_png` was given."""
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
        return np.asarray(image)


def stretches(items: Iterator[Sample | Drop]) -> Iterator[list[Sample | Drop]]:
    """A source's stream cut into what becomes one part each; the same stream is always cut alike."""
    stretch: list[Sample | Drop] = []
    held = 0
    for item in items:
        stretch.append(item)
        held += item.pixels.nbytes if isinstance(item, Sample) and item.pixels is not None else 0
        if len(stretch) >= ITEMS or held >= BYTES:
            yield stretch
            stretch, held = [], 0
    if stretch:
        yield stretch


def fingerprint(source: str, items: Sequence[Sample | Drop]) -> str:
    """A hash of all that a part is made from: names, labels, pixels, and the size and time of files."""
    digest = hashlib.sha256(source.encode())
    for item in items:
        if isinstance(item, Drop):
            digest.update(repr(item).encode())
            continue
        digest.update(repr(replace(item, pixels=None)).encode())
        if item.pixels is not None:
            digest.update(f"{item.pixels.shape}".encode())
            digest.update(item.pixels.tobytes())
        elif item.file is not None:
            try:
                status = os.stat(item.file)
                digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            except OSError as error:
                digest.update(type(error).__name__.encode())
    return digest.hexdigest()


def write_part(
    path: Path,
    source: str,
    items: Sequence[Sample | Drop],
    standard: Callable[[Sample], Sample | Drop],
    *,
    jpeg: int | None = None,
) -> None:
    """Bring a stretch to the standard and write it; the file appears when it is complete, flushed to the disk.

    jpeg: quality of lossy pictures; None: PNG. Raises OSError where it cannot be written.
    """
    mark = fingerprint(source, items)  # before the files are read: a change after this makes the part stale
    rows = ((item if isinstance(item, Drop) else standard(item), None) for item in items)
    write_rows(path, source, rows, mark=mark, jpeg=jpeg)


def write_rows(
    path: Path,
    source: str,
    rows: Iterable[tuple[Sample | Drop, str | None]],
    *,
    mark: str,
    jpeg: int | None = None,
) -> None:
    """A part from standardised samples with their ``generated_from``, and drops; a few of them in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema().with_metadata({_SOURCE: source, _MARK: mark})
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as stream:
        with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=False) as writer:
            rest = iter(rows)
            while pending := [_encoded(*row, jpeg=jpeg) for row in islice(rest, _ROWS_AT_A_TIME)]:
                writer.write_table(pa.Table.from_pylist(pending, schema=schema))
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(path)


def _schema() -> Any:
    """A row is a picture, or a drop: ``path`` where, ``reason`` and ``detail``, and nothing else."""
    import pyarrow as pa

    floats = pa.list_(pa.float32())
    return pa.schema(
        [
            ("path", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("png", pa.binary()),
            ("label", pa.string()), ("split", pa.string()), ("votes", pa.list_(pa.int16())), ("group", pa.string()),
            ("landmarks", floats), ("valence", pa.float32()), ("arousal", pa.float32()), ("soft_label", floats),
            ("generated_from", pa.string()), ("averages", pa.binary(_AVERAGES)), ("digest", pa.binary(8)),
            ("usable", pa.bool_()),
        ]
    )  # fmt: skip


def _encoded(sample: Sample | Drop, original: str | None, *, jpeg: int | None) -> dict[str, Any]:
    if isinstance(sample, Drop):
        return {"path": utf8(sample.where), "reason": sample.reason, "detail": utf8(sample.detail)}
    pixels = sample.pixels
    assert pixels is not None
    data = encode_png(pixels) if jpeg is None else encode_jpeg(pixels, jpeg)
    if jpeg is not None:
        pixels = decode(data)  # the store's pictures are what comes out of it
    exact = hashlib.blake2b(pixels.tobytes(), digest_size=8, key=f"{pixels.shape}".encode())
    return {
        "png": data, "path": utf8(sample.path),
        "label": sample.label,
        "split": sample.split, "votes": None if sample.votes is None else list(sample.votes), "group": sample.group,
        "landmarks": None if sample.landmarks is None else [v for point in sample.landmarks for v in point],
        "valence": sample.valence, "arousal": sample.arousal, "soft_label": sample.soft_label,
        "generated_from": original,
        "averages": block_averages(pixels[None]).tobytes(), "digest": exact.digest(), "usable": can_vary(pixels),
    }  # fmt: skip


def part_info(path: Path) -> PartInfo | None:
    """What a part says of itself; None where there is no complete part."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = file.schema_arrow.metadata
            table = file.read(columns=["path", "reason", "detail"])
        dropped = table.filter(pc.is_valid(table.column("reason"))).to_pylist()
        drops = tuple(Drop(row["path"], row["reason"], row["detail"]) for row in dropped)
        return PartInfo(path, about[_SOURCE].decode(), len(table) - len(drops), drops, about[_MARK].decode())
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def read_rows(part: PartInfo) -> Iterator[Row]:
    """The pictures of a part in order, a few at a time in memory. Raises OSError where it has gone bad."""
    import pyarrow.parquet as pq

    number = 0
    with pq.ParquetFile(part.path) as file:
        columns = [name for name in file.schema_arrow.names if name not in ("averages", "digest", "usable", "detail")]
        for batch in file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=columns):
            for row in batch.to_pylist():
                if row["reason"] is None:
                    yield _row(row, number=number, source=part.source)
                    number += 1


def _row(row: dict[str, Any], *, number: int, source: str) -> Row:
    flat = row["landmarks"]
    sample = Sample(
        row["path"],
        None,
        row["label"],
        row["split"],
        votes=None if row["votes"] is None else tuple(row["votes"]),
        group=row["group"],
        landmarks=None if flat is None else tuple(zip(flat[::2], flat[1::2], strict=True)),
        valence=row["valence"],
        arousal=row["arousal"],
        soft_label=None if row["soft_label"] is None else tuple(row["soft_label"]),
    )
    return Row(number, source, row["png"], sample, row["generated_from"])


def read_facts(parts: Sequence[PartInfo], labels: Sequence[str] = EIGHT) -> Facts:
    """The index of all parts: their small columns, none of their pictures. labels: names by code."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    total = sum(part.rows for part in parts)
    averages = np.empty((total, BLOCKS * BLOCKS), np.float32)
    label = np.empty(total, np.int64)
    digest = np.empty(total, np.uint64)
    usable = np.empty(total, bool)
    names: dict[str, str] = {}  # one object for each split and group, however many rows have it
    source: list[str] = []
    path: list[str] = []
    split: list[str] = []
    group: list[str | None] = []
    has: set[str] = set()
    first = []
    for part in parts:
        start = len(path)
        first.append(start)
        stop = start + part.rows
        with pq.ParquetFile(part.path) as file:
            table = file.read(columns=[name for name in file.schema_arrow.names if name not in ("png", "votes")])
        table = table.filter(pc.is_null(table.column("reason"))).combine_chunks()
        averages[start:stop] = np.frombuffer(_joined(table, "averages"), np.float32).reshape(-1, BLOCKS * BLOCKS)
        digest[start:stop] = np.frombuffer(_joined(table, "digest"), np.uint64)
        codes = pc.index_in(table.column("label"), value_set=pa.array(labels, pa.string()))
        label[start:stop] = codes.fill_null(-1).to_numpy()
        usable[start:stop] = table.column("usable").to_numpy()
        source += [part.source] * part.rows
        path += table.column("path").to_pylist()
        split += [names.setdefault(name, name) for name in table.column("split").to_pylist()]
        group += [name and names.setdefault(name, name) for name in table.column("group").to_pylist()]
        has |= {
            name
            for name in ("valence", "arousal", "landmarks", "soft_label")
            if table.column(name).null_count < part.rows
        }
    if has & {"valence", "arousal"}:  # a pair, whichever of them a source has
        has |= {"valence", "arousal"}
    exact = np.unique(digest, return_inverse=True)[1].astype(np.int64)
    index = Index(source=source, path=path, label=label, split=split, group=group, exact=exact, labels=tuple(labels))
    return Facts(index, averages, digest, usable, frozenset(has), tuple(first))


def _joined(table: Any, name: str) -> bytes:
    return b"".join(table.column(name).to_pylist())


def read_digests(part: PartInfo) -> NDArray[np.uint64]:
    """uint64 N: the digest of each picture's pixels, in the part's order."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(part.path, columns=["digest", "reason"])
    return np.frombuffer(_joined(table.filter(pc.is_null(table.column("reason"))), "digest"), np.uint64)
