"""A second look at each found face, close up, for landmarks that follow its tilt.

YuNet's landmarks of faces below some 150 pixels are nearly those of an upright face: of a tilt of 20° they show a tenth
in a face of 100 pixels, and two thirds in one of 180. So each face is shown to the network once more, 180
pixels tall, and where it looks tilted, once more with the tilt taken back; what is found is placed in the picture.
"""

from collections.abc import Callable
from dataclasses import replace
from math import atan2, pi

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import Detection
from mien.faces.close_view import CloseView

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
#: uint8 N×S×S×3 RGB → for each, the landmarks 5×2 of the best find in the middle, pixels, or None.
Look = Callable[[Uint8], list[Float32 | None]]

VIEW = CloseView(side=224, face=180)
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


def _looked(image: Uint8, faces: list[Detection], angles: list[float], look: Look) -> list[Float32 | None]:
    """Landmarks in pixels of the picture, or None."""
    found: list[Float32 | None] = []
    for start in range(0, len(faces), BATCH):
        views = [VIEW.of(image, *pair) for pair in list(zip(faces, angles, strict=True))[start : start + BATCH]]
        found += look(np.stack(views))
    return [
        None if points is None else VIEW.placed(points, face, angle)
        for points, face, angle in zip(found, faces, angles, strict=True)
    ]


def _tilt(points: Float32 | None) -> float:
    """Of the eyes' line; radians, clockwise on the screen."""
    assert points is not None
    dx, dy = (float(v) for v in points[1] - points[0])
    return atan2(dy, dx)
