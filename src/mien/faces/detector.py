"""What a face detector is: one small protocol, so that a reader takes any of them, and the choice by name.

``centerface`` finds faces in photos (see :mod:`mien.faces.centerface`); ``none`` is for pictures that are face
crops already, as data sets hold them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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
    """

    box: Box
    score: float
    landmarks: Float32 | None = None
    is_crop: bool = False


class Detector(Protocol):
    """Finds the faces in one picture. Instances may be shared between threads."""

    @property
    def name(self) -> str: ...

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB, at least 1×1. Returns the faces, largest box first; UsageError for another array."""
        ...


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
    device: str = "cpu",
) -> Detector:
    """The detector of that name: one of :data:`DETECTORS`.

    detect_size: the longer side, in pixels, at which a picture is searched (default: chosen for each picture).
    threads: processor threads that one search uses. min_score: faces with a lower score, 0-1, are left out
    (default: the detector's own). device: "cpu" or "cuda". ``none`` needs none of the four, but they are checked all
    the same. Raises UsageError for an unknown name, an option out of range or a device that cannot be used, ModelError
    where the weights cannot be used.
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
    return DETECTORS[name](detect_size, threads, min_score, device)


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


DETECTORS: dict[str, Callable[[int | None, int, float | None, str], Detector]] = {
    "centerface": _centerface,
    "none": _none,
}
