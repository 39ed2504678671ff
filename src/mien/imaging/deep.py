"""What Pillow does not decode: all sixteen bits of a colour, and TIFFs of several floats a pixel.

Pillow keeps eight bits of a colour. It drops the low byte of a sixteen-bit PNG or TIFF, so that colours of a 12-bit
camera come out as black; it reads separate planes of sixteen bits as if they had eight, and float colours not at all.
Both are read here with Pillow's decoders:

- A sixteen-bit colour is decoded twice, the second time under the other byte order, which gives the low bytes.
- A TIFF's compression works on rows of bytes. A copy whose directory declares them (grey, eight bits, wider) is decoded
  by Pillow; type, byte order and predictor are applied here.
"""

import struct
import sys
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import ImageError
from mien.imaging.pixels import from_array

OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 256, 257, 258, 259, 262, 277, 284
_STRIPS, _ORIENTATION, _STRIP_BYTES, _PREDICTOR, _TILE_WIDTH, _TILES, _FORMAT = 273, 274, 279, 317, 322, 324, 339
_OF_SAMPLES = (274, 280, 281, 338, 340, 341)  # orientation, extremes, extra samples: no longer true of rows of bytes
_KINDS = {1: "u", 2: "i", 3: "f"}
_WORDS = {"u": "unsigned", "i": "signed", "f": "float"}
_LETTERS = {1: "B", 3: "H", 4: "I"}  # of tags' types BYTE, SHORT, LONG
_PLAIN = {(0, 1), (1, 1), (1, 2), (2, 3), (2, 4)}  # photometric, samples: grey and RGB, with opacity or without


def raw_mode(image: Image.Image) -> str:
    """How the pixels of an image that is not loaded yet lie in its file, in Pillow's words; "" where it is unknown."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def is_deep_colour(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet is a PNG or TIFF of sixteen bits a colour."""
    mode, _, depth = raw_mode(image).partition(";")
    return image.format in ("PNG", "TIFF") and mode in ("RGB", "RGBA") and depth in OTHER_ORDER


def sixteen_bits(image: Image.Image, again: Any) -> NDArray[np.uint16]:
    """The pixels of a deep colour, uint16 H×W×3 or H×W×4, upright for TIFF.

    image, again: the same picture opened twice, neither of them loaded.
    """
    depth = raw_mode(again).partition(";")[2]
    other = raw_mode(again).replace(depth, OTHER_ORDER[depth])
    again.tile = [
        tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:])) for tile in again.tile
    ]
    high, low = (np.asarray(one).astype(np.uint16) for one in (image, again))
    return np.bitwise_or(np.left_shift(high, np.uint16(8)), low)


def is_planar(image: Image.Image) -> bool:
    """Whether Pillow would misread a TIFF: separate planes of more than eight bits."""
    tags = getattr(image, "tag_v2", {})
    return (
        image.format == "TIFF" and tags.get(_PLANAR) == 2 and tags.get(_SAMPLES, 1) > 1 and tags.get(_BITS, (8,))[0] > 8
    )


def white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF says that small numbers are light. Pillow heeds that up to eight bits only."""
    return image.format == "TIFF" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0


def tiff_pixels(data: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], int]:
    """A deep TIFF (see :func:`tiff_samples`) as RGB uint8 H×W×3, not turned upright, and its orientation as in EXIF."""
    values, tags = tiff_samples(data, max_pixels)
    if values.shape[2] == 2:  # grey with opacity
        values = np.concatenate([np.repeat(values[..., :1], 3, axis=2), values[..., 1:]], axis=2)
    pixels = from_array(values)
    return 255 - pixels if tags.first(_PHOTOMETRIC, 1) == 0 else pixels, tags.first(_ORIENTATION, 1)


def tiff_samples(data: bytes, max_pixels: int) -> "tuple[NDArray[Any], _Directory]":
    """The first page of a deep TIFF: H×W×samples in the type of the file, and its tags. data: the file.

    Grey or RGB, either with opacity; integers or floats of 16, 32 or 64 bits; strips or tiles, together or as separate
    planes, with whatever compression Pillow has. Raises ImageError that names what else it is.
    """
    tags = _Directory(data)
    width, height = tags.first(_WIDTH, 0), tags.first(_HEIGHT, 0)
    samples, bits, kind = tags.first(_SAMPLES, 1), tags.first(_BITS, 1), _KINDS.get(tags.first(_FORMAT, 1), "?")
    planar, tiled, predictor = tags.first(_PLANAR, 1) == 2, _TILES in tags.entries, tags.first(_PREDICTOR, 1)
    colour = tags.first(_PHOTOMETRIC, 1)
    if (
        (colour, samples) not in _PLAIN
        or bits not in (16, 32, 64)
        or (kind == "?" or min(width, height) < 1)
        or (tiled and (planar or predictor != 1))
    ):
        what = f"{samples} × {bits}-bit {_WORDS.get(kind, 'unknown')} samples a pixel"
        how = f"photometric {colour}, compression {tags.first(_COMPRESSION, 1)}, predictor {predictor}"
        raise ImageError(
            f"expected a TIFF of a kind that is read here, got {'tiles' if tiled else 'strips'} of {what} ({how})",
            kind="unsupported",
            hint="save it with 8 or 16 bits, grey or RGB",
        )
    if width * height > max_pixels:
        raise ImageError(
            f"expected at most {max_pixels:,} pixels, got {width}×{height} = {width * height:,}", kind="too_large"
        )
    dtype = np.dtype(f"{tags.order}{kind}{bits // 8}")
    together = 1 if planar else samples
    step = together * dtype.itemsize
    changes = {_WIDTH: width * step, _SAMPLES: 1, _BITS: 8, _FORMAT: 1, _PHOTOMETRIC: 1, _PLANAR: 1, _PREDICTOR: 1}
    if tiled:
        changes[_TILE_WIDTH] = tags.first(_TILE_WIDTH, 0) * step
    planes = []
    for plane in range(samples // together):
        image = Image.open(BytesIO(tags.changed(changes, plane, samples // together)), formats=["TIFF"])
        rows = np.ascontiguousarray(np.asarray(image))  # uint8 height × width·step
        planes.append(_unpredicted(rows, predictor, dtype, together).reshape(height, width, together))
    return np.concatenate(planes, axis=2), tags


def _unpredicted(rows: NDArray[np.uint8], predictor: int, dtype: np.dtype[Any], samples: int) -> NDArray[Any]:
    """Undo TIFF's predictors, which go from a pixel to the next: 2, differences; 3, differences of bytes (floats).

    rows: uint8 H × (W·samples·bytes). Returns H × (W·samples) of dtype, in this machine's byte order.
    """
    height, size = len(rows), dtype.itemsize
    native = dtype.newbyteorder("=")
    if predictor == 3:  # bytes of a row lie by significance, the most significant ones of all first
        sums = np.cumsum(rows.reshape(height, -1, samples), axis=1, dtype=np.uint8).reshape(height, size, -1)
        return np.ascontiguousarray(sums.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))[..., 0].astype(native)
    if predictor == 2:
        whole = rows.view(f"{dtype.byteorder}u{size}").astype(f"u{size}").reshape(height, -1, samples)
        return np.cumsum(whole, axis=1, dtype=whole.dtype).reshape(height, -1).view(native)
    return rows.view(dtype).astype(native)


class _Directory:
    """A TIFF's first directory. entries: tag → (type, count, place of the entry in the file)."""

    def __init__(self, data: bytes) -> None:
        if data[2:4] not in (b"*\0", b"\0*"):
            raise ImageError("expected a TIFF of a kind that is read here, got a BigTIFF", kind="unsupported")
        self.data, self.order = data, "<" if data[:2] == b"II" else ">"
        try:
            (start,) = self._unpack("I", 4)
            (count,) = self._unpack("H", start)
            places = [start + 2 + 12 * number for number in range(count)]
            found = [(*self._unpack("HHI", place), place) for place in places]
        except struct.error as error:
            raise ImageError("the file ends before the picture does", kind="truncated") from error
        self.start, self.entries = start, {tag: (kind, many, place) for tag, kind, many, place in found}

    def _unpack(self, form: str, place: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self.data, place)

    def values(self, tag: int) -> tuple[int, ...]:
        """The whole numbers of a tag; () where it is absent or of another type."""
        kind, count, place = self.entries.get(tag, (0, 0, 0))
        letter = _LETTERS.get(kind)
        if letter is None or count > len(self.data):
            return ()
        inside = struct.calcsize(self.order + letter) * count <= 4
        return self._unpack(f"{count}{letter}", place + 8 if inside else self._unpack("I", place + 8)[0])

    def first(self, tag: int, absent: int) -> int:
        return next(iter(self.values(tag)), absent)

    def changed(self, changes: dict[int, int], plane: int, planes: int) -> bytes:
        """The file as this one page, with other values of some tags, and of separate planes only one. Adds no tag."""
        copy = bytearray(self.data)
        entries = []
        for tag, (_, _, place) in self.entries.items():
            own = self.values(tag) if planes > 1 and tag in (_STRIPS, _STRIP_BYTES) else ()
            own = own[plane * len(own) // planes : (plane + 1) * len(own) // planes]
            if tag in changes:
                entries.append(struct.pack(self.order + "HHII", tag, 4, 1, changes[tag]))
            elif own:
                at = own[0] if len(own) == 1 else len(copy)
                copy += struct.pack(f"{self.order}{len(own)}I", *own)
                entries.append(struct.pack(self.order + "HHII", tag, 4, len(own), at))
            elif tag not in _OF_SAMPLES:
                entries.append(self.data[place : place + 12])
        directory = struct.pack(self.order + "H", len(entries)) + b"".join(entries) + bytes(4)
        copy[self.start : self.start + len(directory)] = directory
        return bytes(copy)
