"""From a detected face to a square crop: level eyes, and the same margin as in the training data.

A reader trained on FER2013 expects FER2013's framing. Where its image borders lie relative to the detector's box was
measured (``benchmarks/face_geometry.py``) and stands in ``geometry.json`` beside this file; :class:`CropGeometry`
carries those numbers, and :func:`align_crop` applies them to any picture.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import atan2, ceil, cos, floor, hypot, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import ModelError, UsageError
from mien.faces.base import Detection, picture_size, turned_points
from mien.preprocess import points_in_square, squared

Uint8 = NDArray[np.uint8]

MAX_ROLL = pi / 4  # a face is turned back by 45 degrees at most; FER2013's 99th percentile is 35
SMALL_TILT = pi / 18  # the tilt that is left in tight pictures: 10 degrees, FER2013's standard deviation
MIN_EYE_DISTANCE = 0.2  # in box widths; nearer eyes mean a profile, whose line of eyes tells no roll
OVERSAMPLING = 3
MARGIN = 3  # pixels around what the interpolation reads


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """The crop relative to the detector's box, in units of the box's height.

    side: of the square. right, down: from the box's centre to the crop's centre, along the face's own axes
    (the eyes' line and its perpendicular).
    tight, loose: a picture cut tightly around a face makes the detector draw a smaller box than the same face gets
    in a photo. Where the picture is ``loose`` box heights tall or taller, ``side`` holds; where it is ``tight`` of
    them, the picture itself is the crop; the side is interpolated between, and to the same degree a crop that reaches
    beyond the picture is moved into it and a tilt of up to ``SMALL_TILT`` is left as it is: repeated border pixels show
    nothing, and FER2013's pictures, which are as tight, are not levelled either. None: ``side`` holds for all.
    """

    side: float
    right: float = 0.0
    down: float = 0.0
    tight: float | None = None
    loose: float = 1.4

    def __post_init__(self) -> None:
        if not 0.2 <= self.side <= 5 or abs(self.right) > 1 or abs(self.down) > 1:
            raise ModelError(f"expected a crop of 0.2-5 box heights, shifted by up to 1, got {self}")
        if self.tight is not None and not self.side <= self.tight < self.loose:
            raise ModelError(f"expected side <= tight < loose, got {self}")

    @classmethod
    def of(cls, detector: object) -> "CropGeometry":
        """As measured on FER2013 with that detector, by its ``name``; the default for one that was not measured."""
        return cls._measured().get(str(getattr(detector, "name", "")), cls.default())

    @classmethod
    def default(cls) -> "CropGeometry":
        """As measured on FER2013 with the detector ``centerface``."""
        return cls._measured()["centerface"]

    @classmethod
    @cache
    def _measured(cls) -> "dict[str, CropGeometry]":
        content = json.loads(files("mien.faces").joinpath("geometry.json").read_text("utf-8"))
        return {name: cls(**measured["geometry"]) for name, measured in content.items()}

    def side_in(self, picture_height: int, picture_width: int, box_height: float) -> float:
        """The side of the crop in pixels, for a box of that height in a picture of that size."""
        if self.tight is None:
            return self.side * box_height
        side = (self.side + (self.tight - self.side) * self.tightness(picture_height, box_height)) * box_height
        return min(side, float(max(picture_height, picture_width)))

    def tightness(self, picture_height: int, box_height: float) -> float:
        """0 where the picture is loose around a box of that height, 1 where it is tight, in pixels; linear between."""
        if self.tight is None:
            return 0.0
        return min(max((self.loose - picture_height / box_height) / (self.loose - self.tight), 0.0), 1.0)


def roll(detection: Detection) -> float:
    """The angle of the eyes' line in radians, clockwise on the screen, within ±MAX_ROLL; 0 where it is not known."""
    if detection.is_crop or detection.landmarks is None:
        return 0.0
    dx, dy = (float(v) for v in detection.landmarks[1] - detection.landmarks[0])
    if hypot(dx, dy) < MIN_EYE_DISTANCE * detection.box.w:
        return 0.0
    return min(max(atan2(dy, dx), -MAX_ROLL), MAX_ROLL)


def align_crop(image: Uint8, detection: Detection, *, size: int, geometry: CropGeometry) -> Uint8:
    """One face as a square: turned so that the eyes are level, antialiased where it shrinks.

    image: uint8 H×W×3 RGB, the picture in which the face was found. size: side of the result in pixels.
    A face that is turned (``detection.turns``) comes out upright.
    Where the crop reaches beyond the picture, the picture's border pixels are repeated. A detection that is a crop
    already (``is_crop``) is only padded to a square and resized, as ``Preprocess.pixels`` does it.
    Returns uint8 size×size×3. Raises UsageError for another kind of array or a size below 1, ImageError where what
    should be a crop is a strip.
    """
    return np.array(aligned(image, detection, size=size, geometry=geometry))  # a copy, because that can be written


def aligned(image: Uint8, detection: Detection, *, size: int, geometry: CropGeometry) -> Image.Image:
    """As :func:`align_crop`, as a Pillow image in RGB."""
    height, width = picture_size(image)
    if size < 1:
        raise UsageError(f"expected a crop size of at least 1 pixel, got {size}")
    if detection.is_crop:
        return squared(Image.fromarray(image)).resize((size, size), Image.Resampling.BILINEAR)

    if detection.turns:
        image, detection = np.rot90(image, detection.turns), detection.turned(height, width, detection.turns)
        height, width, _ = image.shape
    x, y, side, along, across = _placed(height, width, detection, geometry)

    # Three steps keep it both sharp and fast: average whole pixels down to at most three times the size, turn and
    # place by interpolation at a multiple of the size, average that multiple away.
    factor = max(1, ceil(side / (OVERSAMPLING * size)))
    reach = side / 2 * (along + abs(across))  # half of the turned square's extent
    patch, left, top = _patch(image, x - reach, y - reach, x + reach, y + reach, factor=factor)
    multiple = max(1, ceil(side / factor / size - 1e-6))
    step = side / (size * multiple)  # picture pixels a rendered pixel
    a, b = step * along / factor, -step * across / factor
    c = (x - left - side / 2 * (along - across)) / factor
    f = (y - top - side / 2 * (across + along)) / factor
    rendered = patch.transform(
        (size * multiple, size * multiple),
        Image.Transform.AFFINE,
        (a, b, c, -b, a, f),
        resample=Image.Resampling.BICUBIC if side < size else Image.Resampling.BILINEAR,
    )
    return rendered.reduce(multiple) if multiple > 1 else rendered


def landmarks_in_crop(
    points: tuple[tuple[float, float], ...],
    picture: tuple[int, int],
    detection: Detection,
    *,
    size: int,
    geometry: CropGeometry,
) -> tuple[tuple[float, float], ...]:
    """Where :func:`align_crop` puts points of the picture: x, y in pixels of the crop, perhaps outside of it.

    picture: its height and width. The inverse of what ``align_crop`` renders.
    """
    height, width = picture
    if detection.is_crop:
        return points_in_square(points, width=width, height=height, size=size)
    if detection.turns:
        moved = turned_points(np.asarray(points, np.float64), height, width, detection.turns)
        points = tuple((x, y) for x, y in moved.tolist())
        upright = detection.turned(height, width, detection.turns)
        height, width = (width, height) if detection.turns % 2 else (height, width)
        detection = upright
    x0, y0, side, along, across = _placed(height, width, detection, geometry)
    unit = size / side
    return tuple(
        (
            size / 2 + unit * ((x - x0) * along + (y - y0) * across),
            size / 2 + unit * ((y - y0) * along - (x - x0) * across),
        )
        for x, y in points
    )


def _placed(
    height: int, width: int, detection: Detection, geometry: CropGeometry
) -> tuple[float, float, float, float, float]:
    """The crop in a picture: x and y of its centre, its side, cosine and sine of its turn."""
    box, turn = detection.box, roll(detection)
    tightness = geometry.tightness(height, box.h)
    turn -= tightness * min(max(turn, -SMALL_TILT), SMALL_TILT)
    along, across = cos(turn), sin(turn)
    right, down = geometry.right * box.h, geometry.down * box.h
    x = box.x + box.w / 2 + right * along - down * across
    y = box.y + box.h / 2 + right * across + down * along
    side = geometry.side_in(height, width, box.h)
    x += tightness * (_within(x, side, width) - x)
    y += tightness * (_within(y, side, height) - y)
    return x, y, side, along, across


def _within(centre: float, side: float, length: int) -> float:
    """The centre nearest to that one from which ``side`` lies in 0…length; the middle where it is longer."""
    return min(max(centre, side / 2), length - side / 2) if side <= length else length / 2


def _patch(
    image: Uint8, left: float, top: float, right: float, bottom: float, *, factor: int
) -> tuple[Image.Image, float, float]:
    """A rectangle of the picture, averaged in factor×factor blocks, its border pixels repeated where it sticks out.

    left … bottom: in picture pixels, may lie outside. Returns the patch, somewhat wider than asked for, and the
    picture coordinates of its left and top edge.
    """
    height, width, _ = image.shape
    columns, x0, x1 = _blocks(left, right, width, factor)
    rows, y0, y1 = _blocks(top, bottom, height, factor)
    inside = Image.fromarray(image[y0 * factor : min((y1 + 1) * factor, height), x0 * factor : (x1 + 1) * factor])
    if factor > 1:
        inside = inside.reduce(factor)
    if inside.size != (len(columns), len(rows)):  # it sticks out
        taken = np.ix_(np.clip(rows, y0, y1) - y0, np.clip(columns, x0, x1) - x0)
        inside = Image.fromarray(np.asarray(inside)[taken])
    return inside, columns.start * factor, rows.start * factor


def _blocks(low: float, high: float, length: int, factor: int) -> tuple[range, int, int]:
    """The blocks that cover low…high with a margin; the first and the last of those inside 0…length."""
    blocks = range(floor(low / factor) - MARGIN, ceil(high / factor) + MARGIN)
    last = ceil(length / factor) - 1
    return blocks, min(max(blocks[0], 0), last), min(max(blocks[-1], 0), last)
