"""What every face detector gives and every crop starts from: a detected face, and the protocol of a detector."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)  # no ==: comparing arrays gives no single truth
class Detection:
    """One found face.

    box: in picture pixels; it may reach beyond the picture where a face is cut by its border. score: 0-1.
    landmarks: float32 5×2, (x, y) in picture pixels: left eye, right eye, nose, left and right corner of the mouth,
    where left is the picture's left; None where the detector gives none.
    is_crop: the box already is the crop that a reader wants: no margin, no rotation.
    turns: the face is upright in ``numpy.rot90(picture, turns)``, 0-3; left and right of the landmarks are meant there.
    """

    box: Box
    score: float
    landmarks: Float32 | None = None
    is_crop: bool = False
    turns: int = 0

    def turned(self, height: int, width: int, turns: int) -> "Detection":
        """The same face in ``numpy.rot90(picture, turns)``, where the picture is height × width pixels."""
        box, turns = self.box, turns % 4
        corners = np.asarray([[box.x, box.y], [box.x + box.w, box.y + box.h]], np.float64)
        low, high = np.sort(turned_points(corners, height, width, turns), axis=0)
        landmarks = None if self.landmarks is None else turned_points(self.landmarks, height, width, turns)
        return replace(
            self,
            box=Box(float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])),
            landmarks=landmarks,
            turns=(self.turns - turns) % 4,
        )


class Detector(Protocol):
    """Finds the faces in one picture. Instances may be shared between threads."""

    @property
    def name(self) -> str: ...

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB, at least 1×1. Returns the faces, largest box first; UsageError for another array."""
        ...


class NeedsWholePicture(Exception):
    """A reduced picture shows something too small there to be judged as the whole picture would be."""


class ReducedDetector(Detector, Protocol):
    """A detector that tells when a reduced copy of a picture is as good as the picture."""

    @property
    def finest_side(self) -> int:
        """The longer side, in pixels, at which it searches a picture of any size at most."""
        ...

    def detect_reduced(self, image: Uint8) -> list[Detection]:
        """As ``detect``, of a reduced copy whose longer side is ``finest_side`` or more; raises NeedsWholePicture."""
        ...


def turned_points(points: NDArray[Any], height: int, width: int, turns: int) -> NDArray[Any]:
    """N×2 points (x, y) of a picture, in ``numpy.rot90(picture, turns)``; 0 ≤ turns ≤ 3."""
    x, y = points[:, 0], points[:, 1]
    moved = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turns]
    return np.stack(moved, axis=1)


def picture_size(image: Uint8) -> tuple[int, int]:
    """Height and width of a uint8 H×W×3 picture; UsageError where the array is no such picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"expected a uint8 H×W×3 RGB picture, got {image.dtype} {'×'.join(map(str, image.shape))}")
    return image.shape[0], image.shape[1]
