"""What an audit keeps of every image of a store: about 700 bytes each, independent of picture size.

A store is read once, shard by shard and a few hundred rows at a time; of the pixels only block averages, a hash and a
few figures stay. The few images that a report shows or that are compared pixel by pixel are fetched again, by number.
Numbers run over the store's splits, shards and rows in order.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Uint8
from mien.data.near_duplicates import BLOCKS, block_averages, luma
from mien.data.pictures import shard_file
from mien.data.sources import VOTE_NAMES
from mien.data.store import Store
from mien.errors import DataError
from mien.imaging import plain

#: (items done, items in all, what is going on)
Progress = Callable[[int, int, str], None]

DIGEST = 16  # bytes of the hash of an image's pixels
FLAT_LEVELS = 5  # what JPEG makes of an even ground
_ROWS = 512  # decoded at a time
_COLUMNS = ("image", "label", "source", "votes", "group", "near_duplicate", "generated_from")
_TYPES: dict[str, Any] = {
    "split": np.int16, "source": np.int16, "label": np.int16, "votes": np.int16, "group": np.int32, "width": np.int32,
    "height": np.int32, "grey": bool, "mean": np.float32, "std": np.float32, "spread": np.int16, "flat": np.float32,
    "digest": f"V{DIGEST}", "averages": np.float32, "marked": np.int8, "generated": bool,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One entry an image, N in all, and the names behind the codes.

    split, source: int16 codes into ``splits``, ``sources``. label: int16 code into ``labels``, −1 where there is none.
    votes: int16 N×10 in the order of ``sources.VOTE_NAMES``, zeros where there are none. group: int32 code into
    ``groups`` ("source/name"), −1 for none. width, height: int32, 0 where the picture cannot be read. grey: bool.
    mean, std: float32, of the luma, 0-255. spread: int16, levels of luma between the 5th and the 95th percentile.
    flat: float32, largest part of the pixels within FLAT_LEVELS neighbouring levels of luma. digest: V16, hash of the
    pixels. averages: float32 N×144, zeros where there are none (a side below 12 pixels, or unreadable). marked: int8,
    the store's own ``near_duplicate`` column, −1 for null. generated: bool, made by augmentation from another image of
    the store. stray: int64, numbers of the generated images whose original is not in their own split.
    """

    splits: tuple[str, ...]
    sources: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    stray: NDArray[np.int64]
    split: NDArray[np.int16]
    source: NDArray[np.int16]
    label: NDArray[np.int16]
    votes: NDArray[np.int16]
    group: NDArray[np.int32]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    grey: NDArray[np.bool_]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    spread: NDArray[np.int16]
    flat: NDArray[np.float32]
    digest: NDArray[np.void]
    averages: NDArray[np.float32]
    marked: NDArray[np.int8]
    generated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.split)

    @property
    def readable(self) -> NDArray[np.bool_]:
        return self.width > 0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image that was fetched again. pixels: uint8 H×W or H×W×3; None where it cannot be read."""

    number: int
    path: str
    pixels: Uint8 | None


def read_index(store: Store, *, progress: Progress) -> Index:
    """Everything that an audit keeps of ``store``. Raises DataError where a shard is broken or nothing is in it."""
    total = 0
    for _, shard in _shards(store):
        with shard_file(shard) as file:
            total += file.metadata.num_rows
    if not total:
        raise DataError(f"expected images in {store.path}, got none", hint="build it again")
    rows = _Rows(store, total)
    for split, shard in _shards(store):
        with shard_file(shard) as file:
            there = [name for name in _COLUMNS if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=_ROWS, columns=there):
                rows.add(split, batch, shard)
                progress(rows.count, total, "reading the images")
    return rows.finish()


def fetch(store: Store, numbers: Sequence[int] | NDArray[np.int64]) -> Iterator[Picture]:
    """The images of these numbers, in rising order, each once. Only row groups that hold one of them are read."""
    wanted = np.unique(np.asarray(numbers, np.int64))
    start = 0
    for _, shard in _shards(store):
        with shard_file(shard) as file:
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                inside = wanted[(wanted >= start) & (wanted < stop)]
                if len(inside):
                    table = file.read_row_group(group, columns=["image"]).take(inside - start)
                    for number, row in zip(inside, table.column("image").to_pylist(), strict=True):
                        yield Picture(int(number), _path(row), _decoded(row))
                start = stop


def paths(store: Store) -> Iterator[list[str]]:
    """The path of every image, a row group at a time; no picture is read."""
    for _, shard in _shards(store):
        with shard_file(shard) as file:
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=["image.path"]).column("image")
                yield [_path(row) for row in column.to_pylist()]


def pixel_digest(pixels: Uint8) -> bytes:
    """The same bytes for the same pixels (as ``imaging.plain`` has them), whatever file they came in."""
    pixels = plain(pixels)
    head = "×".join(map(str, pixels.shape)).encode()
    return hashlib.blake2b(head + b" " + pixels.tobytes(), digest_size=DIGEST).digest()


def brightness(pixels: Uint8) -> tuple[float, float, int, float]:
    """Mean and standard deviation of the luma, its 5-95 % spread in levels, and how flat it is (see Index)."""
    counts = np.bincount((luma(pixels[None]) if pixels.ndim == 3 else pixels).ravel(), minlength=256)
    levels, n = np.arange(256), int(counts.sum())
    mean = float(counts @ levels) / n
    std = float(np.sqrt(counts @ (levels - mean) ** 2 / n))
    low, high = np.searchsorted(np.cumsum(counts), (0.05 * n, 0.95 * n))
    together = np.convolve(counts, np.ones(FLAT_LEVELS, np.int64), "same")
    return mean, std, int(high - low), float(together.max()) / n


class _Rows:
    """The arrays of an Index, filled while a store is read."""

    def __init__(self, store: Store, total: int) -> None:
        self.count = 0
        self._store = store
        width = {"votes": (len(VOTE_NAMES),), "averages": (BLOCKS * BLOCKS,)}
        self._columns = {name: np.zeros((total, *width.get(name, ())), kind) for name, kind in _TYPES.items()}
        self._sources: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._names: list[bytes] = []  # of all images, where some are generated: 8 bytes each
        self._originals: list[bytes] = []
        self._made: list[int] = []

    def add(self, split: str, batch: Any, shard: Path) -> None:
        """batch: an Arrow record batch with those of _COLUMNS that the shard has."""
        n = batch.num_rows
        values = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        nothing = [None] * n
        images = values["image"]
        sources = [name or "" for name in values.get("source", nothing)]
        groups = zip(sources, values.get("group", nothing), strict=True)
        self._put("split", [self._store.splits.index(split)] * n)
        self._put("source", [_code(self._sources, name) for name in sources])
        self._put("label", [self._label(name, shard) for name in values["label"]])
        self._put("votes", [_votes(votes, shard) for votes in values.get("votes", nothing)])
        self._put("group", [-1 if g is None else _code(self._groups, f"{s}/{g}") for s, g in groups])
        self._put("marked", [-1 if mark is None else int(mark) for mark in values.get("near_duplicate", nothing)])
        origins = values.get("generated_from", nothing)
        self._put("generated", [name is not None for name in origins])
        if "generated_from" in values:
            for i, (name, source, row) in enumerate(zip(origins, sources, images, strict=True)):
                self._names.append(_name(split, source, _path(row)) if name is None else bytes(8))
                if name is not None:
                    self._originals.append(_name(split, source, name))
                    self._made.append(self.count + i)
        self._look([_decoded(row) for row in images])
        self.count += n

    def finish(self) -> Index:
        known = np.isin(np.array(self._originals, "V8"), np.array(self._names, "V8"))
        return Index(
            splits=self._store.splits,
            sources=tuple(self._sources),
            labels=self._store.labels,
            groups=tuple(self._groups),
            stray=np.array(self._made, np.int64)[~known],
            **self._columns,
        )

    def _put(self, name: str, values: Any) -> None:
        self._columns[name][self.count : self.count + len(values)] = values

    def _label(self, name: str | None, shard: Path) -> int:
        if name is None:
            return -1
        if name not in self._store.labels:
            raise DataError(
                f"expected a label of the store ({', '.join(self._store.labels)}), got {name!r} in {shard}",
                hint="build it again",
            )
        return self._store.labels.index(name)

    def _look(self, pictures: list[Uint8 | None]) -> None:
        averages = np.zeros((len(pictures), BLOCKS * BLOCKS), np.float32)
        by_shape: dict[tuple[int, ...], list[int]] = {}
        figures: list[tuple[float, ...]] = []
        digests = []
        for i, pixels in enumerate(pictures):
            if pixels is None:
                figures.append((0, 0, True, 0, 0, 0, 0))
                digests.append(bytes(DIGEST))
                continue
            height, width = pixels.shape[:2]
            figures.append((width, height, plain(pixels).ndim == 2, *brightness(pixels)))
            digests.append(pixel_digest(pixels))
            if min(height, width) >= BLOCKS:
                by_shape.setdefault(pixels.shape, []).append(i)
        for rows in by_shape.values():
            averages[rows] = block_averages(np.stack([pixels for i in rows if (pixels := pictures[i]) is not None]))
        names = ("width", "height", "grey", "mean", "std", "spread", "flat")
        for name, column in zip(names, zip(*figures, strict=True), strict=True):
            self._put(name, column)
        self._put("digest", np.frombuffer(b"".join(digests), _TYPES["digest"]))
        self._put("averages", averages)


def _code(codes: dict[str, int], name: str) -> int:
    return codes.setdefault(name, len(codes))


def _name(split: str, source: str, path: str) -> bytes:
    return hashlib.blake2b(f"{split}\0{source}\0{path}".encode(), digest_size=8).digest()


def _votes(votes: list[int] | None, shard: Path) -> list[int]:
    if votes is None:
        return [0] * len(VOTE_NAMES)
    if len(votes) != len(VOTE_NAMES):
        raise DataError(f"expected {len(VOTE_NAMES)} votes an image, got {len(votes)} in {shard}")
    return votes


def _path(row: dict[str, Any] | None) -> str:
    return (row or {}).get("path") or ""


def _decoded(row: dict[str, Any] | None) -> Uint8 | None:
    """uint8 H×W or H×W×3; None where there is no picture that can be read, which is a finding and no failure."""
    from PIL import Image

    data = (row or {}).get("bytes")
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, TypeError):  # Pillow's ways to say that a picture is broken
        return None


def _shards(store: Store) -> Iterator[tuple[str, Path]]:
    for split in store.splits:
        for shard in store.shards(split):
            yield split, shard
