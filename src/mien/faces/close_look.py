"""A second look at each found face, close up, for landmarks that follow its tilt.

YuNet's landmarks of faces below some 150 pixels are nearly those of an upright face: of a tilt of 20° they show a tenth
in a face of 100 pixels, and two thirds in one of 180. So each face is shown to the network once more, :data:`FACE`
pixels tall, and where it looks tilted, once more with the tilt taken back; what is found is placed in the picture.
"""

from collections.abc import Callable
from dataclasses import replace
from math import atan2, ceil, cos, floor, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.faces.base import Detection
from mien.faces.views import GREY

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
#: uint8 N×S×S×3 RGB → for each, the landmarks 5×2 of the best find in the middle, pixels, or None.
Look = Callable[[Uint8], list[Float32 | None]]

SIDE, FACE = 224, 180  # pixels of the view, and of the face's height in it
SEEN = 0.68  # how much of a tilt the landmarks of the first look show: slope of what is seen over -30° to 30°
AGAIN = pi / 36  # a tilt seen above that, 5°, is looked at again
MAX_TILT = pi / 4
BATCH = 8


def with_landmarks(image: Uint8, faces: list[Detection], look: Look) -> list[Detection]:
    """The faces with the landmarks of the second look; those that it does not find keep theirs.

    image: uint8 H×W×3 RGB, the picture in which they were found.
    """
    tilts = _looked(image, faces, [0.0] * len(faces), look)
    first = [
        face if points is None else replace(face, landmarks=points) for face, points in zip(faces, tilts, strict=True)
    ]
    tilted = [i for i, points in enumerate(tilts) if points is not None and abs(_tilt(points)) > AGAIN]
    angles = [min(max(_tilt(first[i].landmarks) / SEEN, -MAX_TILT), MAX_TILT) for i in tilted]
    second = _looked(image, [faces[i] for i in tilted], angles, look)
    for i, points in zip(tilted, second, strict=True):
        if points is not None:
            first[i] = replace(first[i], landmarks=points)
    return first


def close_view(image: Uint8, face: Detection, angle: float) -> Uint8:
    """uint8 SIDE×SIDE×3: the face upright if it is tilted by ``angle`` (radians, clockwise on the screen)."""
    x, y = face.box.x + face.box.w / 2, face.box.y + face.box.h / 2
    wide = SIDE if angle == 0 else ceil(SIDE * 1.42)  # what a turned square covers
    half = wide / 2 * face.box.h / FACE
    left, top, right, bottom = floor(x - half), floor(y - half), ceil(x + half), ceil(y + half)
    height, width, _ = image.shape
    patch = np.full((bottom - top, right - left, 3), GREY, np.uint8)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    exact = (x - half - left, y - half - top, x + half - left, y + half - top)
    view = Image.fromarray(patch).resize((wide, wide), Image.Resampling.BILINEAR, box=exact, reducing_gap=2.0)
    if angle:
        edge = (wide - SIDE) / 2
        turned = view.rotate(angle * 180 / pi, Image.Resampling.BILINEAR, fillcolor=(GREY,) * 3)
        view = turned.crop((round(edge), round(edge), round(edge) + SIDE, round(edge) + SIDE))
    return np.asarray(view)


def _looked(image: Uint8, faces: list[Detection], angles: list[float], look: Look) -> list[Float32 | None]:
    """Landmarks in pixels of the picture, or None."""
    found: list[Float32 | None] = []
    for start in range(0, len(faces), BATCH):
        views = [close_view(image, *pair) for pair in list(zip(faces, angles, strict=True))[start : start + BATCH]]
        found += look(np.stack(views))
    return [
        None if points is None else _placed(points, face, angle)
        for points, face, angle in zip(found, faces, angles, strict=True)
    ]


def _placed(points: Float32, face: Detection, angle: float) -> Float32:
    """From pixels of the view to pixels of the picture."""
    u, v = ((points - SIDE / 2) * (face.box.h / FACE)).T
    x = face.box.x + face.box.w / 2 + u * cos(angle) - v * sin(angle)
    y = face.box.y + face.box.h / 2 + u * sin(angle) + v * cos(angle)
    return np.stack([x, y], 1).astype(np.float32)


def _tilt(points: Float32 | None) -> float:
    """Of the eyes' line; radians, clockwise on the screen."""
    assert points is not None
    dx, dy = (float(v) for v in points[1] - points[0])
    return atan2(dy, dx)
