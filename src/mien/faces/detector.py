"""What a face detector is: one small protocol, so that a reader takes any of them, and the choice by name.

``centerface`` finds faces in photos (see :mod:`mien.faces.centerface`); ``none`` is for pictures that are face
crops already, as data sets hold them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import UsageError
from mien.onnx_runtime import check_device
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

DETECT_SIZES = (32, 4096)  # the smallest and largest detect_size; 4096 takes about 2 GB of memory


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


def turned_points(points: NDArray[Any], height: int, width: int, turns: int) -> NDArray[Any]:
    """N×2 points (x, y) of a picture, in ``numpy.rot90(picture, turns)``; 0 ≤ turns ≤ 3."""
    x, y = points[:, 0], points[:, 1]
    moved = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turns]
    return np.stack(moved, axis=1)


class WholeImage:
    """The detector ``none``: each image is one face crop."""

    name = "none"

    def detect(self, image: Uint8) -> list[Detection]:
        height, width = picture_size(image)
        return [Detection(box=Box(0.0, 0.0, float(width), float(height)), score=1.0, is_crop=True)]


def make_detector(
    name: str,
    *,
    detect_size: int | None = None,
    threads: int = 1,
    min_score: float | None = None,
    turned: bool = True,
    device: str = "cpu",
) -> Detector:
    """The detector of that name: one of :data:`DETECTORS`.

    detect_size: the longer side, in pixels, at which a picture is searched (default: chosen for each picture).
    threads: processor threads that one search uses. min_score: faces with a lower score, 0-1, are left out
    (default: the detector's own). turned: also find faces in pictures that lie on their side or upside down, and leave
    out finds that are no face (:mod:`mien.faces.upright`). device: "cpu" or "cuda". ``none`` needs none of these, but
    they are checked all the same. Raises UsageError for an unknown name, an option out of range or a device that cannot
    be used, ModelError where the weights cannot be used.
    """
    if name not in DETECTORS:
        raise UsageError(
            f"expected a face detector ({', '.join(DETECTORS)}), got {name!r}",
            hint="'none' takes each image as one face crop",
        )
    low, high = DETECT_SIZES
    if detect_size is not None and not low <= detect_size <= high:
        raise UsageError(f"expected a detect size of {low}-{high} pixels, got {detect_size}")
    if threads < 1:
        raise UsageError(f"expected at least 1 thread, got {threads}")
    if min_score is not None and not 0 < min_score <= 1:
        raise UsageError(f"expected a smallest detection score above 0 and up to 1, got {min_score}")
    check_device(device)
    detector = DETECTORS[name](detect_size, threads, min_score, device)
    if not turned or name == WholeImage.name:
        return detector
    from mien.faces.upright import UprightDetector  # loads ONNX Runtime

    return UprightDetector(detector, threads=threads, device=device)


def picture_size(image: Uint8) -> tuple[int, int]:
    """Height and width of a uint8 H×W×3 picture; UsageError where the array is no such picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(f"expected a uint8 H×W×3 RGB picture, got {image.dtype} {'×'.join(map(str, image.shape))}")
    return image.shape[0], image.shape[1]


def _centerface(detect_size: int | None, threads: int, min_score: float | None, device: str) -> Detector:
    from mien.faces.centerface import MIN_SCORE, CenterFace  # loads ONNX Runtime

    least = MIN_SCORE if min_score is None else min_score
    return CenterFace(detect_size=detect_size, threads=threads, min_score=least, device=device)


def _none(detect_size: int | None, threads: int, min_score: float | None, device: str) -> Detector:
    return WholeImage()


def _yunet(detect_size: int | None, threads: int, min_score: float | None, device: str) -> Detector:
    from mien.faces.yunet import MIN_SCORE, YuNet  # loads ONNX Runtime

    least = MIN_SCORE if min_score is None else min_score
    return YuNet(detect_size=detect_size, threads=threads, min_score=least, device=device)


DETECTORS: dict[str, Callable[[int | None, int, float | None, str], Detector]] = {
    "yunet": _yunet,
    "centerface": _centerface,
    "none": _none,
}
