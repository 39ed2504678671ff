"""A split's pictures: decoded into one array, or left on the disk and decoded when they are asked for.

Those on the disk are read from their place in a shard. Parquet gives a row group at a time, which suits reading in
order. A shuffled epoch wants single pictures. Where a column is written as it is (not compressed, no dictionary), its
values lie in the file byte for byte; where each begins is found once, in a pass over the shards, and kept: sixteen
bytes a picture. ``build/shards.py`` writes large pictures so: PNG and JPEG are compressed already. Small ones stay
compressed, and are held in memory as they are encoded.

So a stream needs no format of its own and no copy of the data, and its order is whatever the caller asks for.
"""

import io
import mmap
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Uint8
from mien.errors import DataError
from mien.onnx_runtime import default_threads
from mien.tables import parquet_file

AGAIN = "build it again"
LARGE_PNG = 16_384  # bytes from which decoding takes longer than handing it to a thread
#: Encoded pictures of shards that cannot be read in place may take so many bytes of memory.
HELD = 256 << 20
_COLUMN = "image.bytes"
_BLOCK = 512  # pictures that are decoded at a time where all of them are looked at


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where a split's encoded pictures are. shards: the files. shard, offset, length: int N. held: in place of them."""

    store: Path
    shards: list[Path]
    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]
    held: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.shard) if self.held is None else len(self.held)


@dataclass(slots=True, eq=False)
class Pictures:
    """N pictures on the disk, which stand where ``Split.images`` has an array; ``decoded`` gives some of them.

    shape: N×S×S or N×S×S×3, taken from the first one; the others must have it. rows: which of the places these are.
    """

    places: Places
    names: list[str]
    shape: tuple[int, ...]
    rows: NDArray[np.int64]
    _open: dict[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, places: Places, names: list[str]) -> "Pictures":
        """Raises DataError where the first one cannot be read."""
        found = cls(places, names, (len(places),), np.arange(len(places)))
        found.shape = (len(places), *found._decode(0).shape)
        return found

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of the pixels, if all were in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, chosen: NDArray[np.int64]) -> "Pictures":
        """These rows, in this order; still on the disk."""
        rows = self.rows[chosen]
        return Pictures(self.places, self.names, (len(rows), *self.shape[1:]), rows)

    def __array__(self, *_: Any, **__: Any) -> Uint8:
        raise TypeError("expected rows to decode: the pictures are on the disk; see decoded()")

    def decoded(self, chosen: NDArray[np.int64]) -> Uint8:
        """uint8 n×S×S or n×S×S×3. Raises DataError for a shard that has vanished, or a broken picture."""
        pixels = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for number, row in enumerate(self.rows[chosen].tolist()):
            one = self._decode(row)
            _check_shape(one, self.shape[1:], name=self.names[row], store=self.places.store)
            pixels[number] = one
        return pixels

    def _decode(self, row: int) -> Uint8:
        return _decode(self._encoded(row), name=self.names[row], store=self.places.store)

    def _encoded(self, row: int) -> bytes:
        places = self.places
        if places.held is not None:
            return places.held[row]
        number = int(places.shard[row])
        key = (os.getpid(), number)  # a descriptor is opened by the process that uses it
        if key not in self._open:
            try:
                self._open[key] = os.open(places.shards[number], os.O_RDONLY)
            except OSError as error:
                raise DataError(
                    f"expected the shard {places.shards[number]}, cannot read it: {error.strerror}", hint=AGAIN
                ) from error
        return os.pread(self._open[key], int(places.length[row]), int(places.offset[row]))


class InMemory:
    """One array that fills with a split's pictures, so that no second copy of all of them is ever held.

    rows: how many there will be, by the summary. Large ones are decoded in threads, for which small ones are too quick.
    """

    def __init__(self, store: Path, rows: int) -> None:
        self.store, self.rows, self.filled = store, rows, 0
        self.pixels: Uint8 | None = None

    def add(self, names: list[str], data: list[bytes]) -> None:
        """Raises DataError for a broken picture, one of another size, or more than there should be."""
        decode = partial(_decode, store=self.store)
        if data and len(data[0] or b"") > LARGE_PNG:
            with ThreadPoolExecutor(default_threads()) as pool:
                self._keep(names, pool.map(decode, data, names))
        else:
            self._keep(names, map(decode, data, names))

    def all(self) -> Uint8:
        """uint8 N×S×S or N×S×S×3. Raises DataError where pictures are missing."""
        if self.pixels is None or self.filled != self.rows:
            raise DataError(f"expected {self.rows} images in {self.store}, found {self.filled}", hint=AGAIN)
        return self.pixels

    def _keep(self, names: list[str], decoded: Iterable[Uint8]) -> None:
        for name, pixels in zip(names, decoded, strict=True):
            if self.pixels is None:
                try:
                    self.pixels = np.empty((self.rows, *pixels.shape), np.uint8)
                except (ValueError, MemoryError) as error:
                    raise DataError(
                        f"expected memory for {self.rows:,} images {pixels.shape} of {self.store}, got too little"
                    ) from error
            _check_shape(pixels, self.pixels.shape[1:], name=name, store=self.store)
            if self.filled == self.rows:
                raise DataError(f"expected {self.rows} images in {self.store}, found more", hint=AGAIN)
            self.pixels[self.filled] = pixels
            self.filled += 1


def _decode(data: bytes, name: str, store: Path) -> Uint8:
    """The pixels of an encoded picture. Raises DataError for a broken one."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, TypeError) as error:  # Pillow's ways to say that a picture is broken
        raise DataError(f"expected a picture for {name} in {store}, cannot read it: {error}", hint=AGAIN) from error


def _check_shape(pixels: Uint8, shape: tuple[int, ...], *, name: str, store: Path) -> None:
    if pixels.shape != shape:
        raise DataError(f"expected every image of {store} to be {shape}, got {pixels.shape} for {name}")


def shard_file(shard: Path) -> AbstractContextManager[Any]:
    """An open ``pyarrow.parquet.ParquetFile``; what pyarrow raises meanwhile is a DataError."""
    return parquet_file(shard, expected="a shard of ours", hint=AGAIN)


def blocks(images: Uint8 | Pictures) -> Iterator[Uint8]:
    """All of them, a few at a time, wherever they are."""
    for start in range(0, len(images), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(images)))
        yield images.decoded(rows) if isinstance(images, Pictures) else images[start : start + _BLOCK]


def find(store: Path, shards: list[Path]) -> Places:
    """The places of a split's pictures, in the order of its rows.

    Raises DataError for a broken shard, or where compressed pictures are too many to be held in memory.
    """
    found = [_in_place(shard) for shard in shards]
    if all(one is not None for one in found):
        pairs = [one for one in found if one is not None]
        counts = [len(offsets) for offsets, _ in pairs]
        return Places(
            store,
            shards,
            np.repeat(np.arange(len(shards), dtype=np.int32), counts),
            np.concatenate([offsets for offsets, _ in pairs]),
            np.concatenate([lengths for _, lengths in pairs]),
        )
    held: list[bytes] = []
    size = 0
    for shard in shards:
        with shard_file(shard) as file:
            for batch in file.iter_batches(batch_size=_BLOCK, columns=[_COLUMN]):
                held += batch.column(0).field("bytes").to_pylist()
                size += batch.nbytes
                if size > HELD:
                    raise DataError(
                        f"expected pictures that can be read in place, got compressed ones of more than "
                        f"{HELD >> 20} MiB in {store}",
                        hint="build the store again, or say --set data.stream=never",
                    )
    none = np.empty(0, np.int32)
    return Places(store, shards, none, np.empty(0, np.int64), none, held)


def _in_place(shard: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]] | None:
    """Offset and length of each picture in a shard; None where its column is compressed."""
    offsets: list[int] = []
    lengths: list[int] = []
    with (
        shard_file(shard) as file,
        shard.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw,
    ):
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == _COLUMN)
            if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
                return None
            place = chunk.data_page_offset
            end = place + chunk.total_compressed_size
            for batch in file.iter_batches(batch_size=_BLOCK, row_groups=[number], columns=[_COLUMN]):
                for value in batch.column(0).field("bytes").to_pylist():
                    place = raw.find(value, place, end)  # four bytes on, or behind the next page's header
                    if place < 0:
                        return None
                    offsets.append(place)
                    lengths.append(len(value))
                    place += len(value)
    return np.array(offsets, np.int64), np.array(lengths, np.int32)
