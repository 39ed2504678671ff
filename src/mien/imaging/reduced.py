"""Large JPEGs decoded at a half, a quarter or an eighth of their sides, which costs less than all of their pixels."""

from dataclasses import dataclass

from PIL import Image

from mien.arrays import Uint8

_FORMATS = ("JPEG", "MPO")
_FACTORS = (8, 4, 2)
_FROM_RIGHT, _FROM_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)  # EXIF orientations whose first column or row is stored last
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright picture, perhaps reduced.

    rgb: uint8 h×w×3. height, width: of the whole picture, upright, pixels. factor: pixels of the whole picture in one
    of ``rgb``, 1 where it is the whole. left, top: of the whole picture in ``rgb``, in pixels of the whole picture: the
    last block of a row or column may be only partly filled, and may come first in the upright picture.
    """

    rgb: Uint8
    height: int
    width: int
    factor: int = 1
    left: int = 0
    top: int = 0


class Reduction:
    """What is asked of the decoder, and what came of it; for one picture.

    least: the longer side that a reduced picture has at least, pixels.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._size: tuple[int, int] | None = None
        self._factor, self._orientation = 1, 1

    def ask(self, image: Image.Image, orientation: int) -> None:
        """Before the pixels of a JPEG are loaded. orientation: by EXIF, 1-8."""
        if image.format not in _FORMATS:
            return
        width, height = image.size
        factor = next((f for f in _FACTORS if max(width, height) // f >= self._least and min(width, height) >= f), 1)
        if factor > 1 and image.draft("RGB", (width // factor, height // factor)) is not None:
            self._factor = next(f for f in (1, *_FACTORS) if image.size == (-(-width // f), -(-height // f)))
            self._size, self._orientation = (width, height), orientation

    def decoded(self, rgb: Uint8) -> Decoded:
        """What was loaded, upright, with its place in the whole picture."""
        if self._size is None or self._factor == 1:
            return Decoded(rgb, *rgb.shape[:2])
        width, height = self._size[::-1] if self._orientation in _SIDEWAYS else self._size
        left = -width % self._factor if self._orientation in _FROM_RIGHT else 0
        top = -height % self._factor if self._orientation in _FROM_BOTTOM else 0
        return Decoded(rgb, height, width, self._factor, left, top)
