"""The orientation of a detected face: upright, turned by 90, 180 or 270°, or no face at all.

A photo without an orientation flag (a scan, a screenshot, a frame of a phone's video) may lie on its side or upside
down. A detector still finds many of its faces, but neither its score nor its landmarks tell that they are turned, and
its expression is then read at random, often with high confidence. So a small network of our own looks at each
found face. It is trained by ``recipes/orientation.yaml``; its card is ``mien/weights/orientation.md``.
:class:`mien.faces.upright.UprightDetector` acts on what it says.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import weights
from mien.errors import ModelError, UsageError
from mien.faces.align import CropGeometry, align_crop, aligned
from mien.faces.base import Detection
from mien.onnx_runtime import make_session
from mien.preprocess import Preprocess
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

#: The network's classes. turned_90: the picture was turned counter-clockwise by 90°, as ``numpy.rot90`` does it.
ORIENTATIONS: tuple[str, ...] = ("upright", "turned_90", "turned_180", "turned_270", "no_face")
UPRIGHT, NO_FACE = 0, 4
_REINSTALL = "reinstall mien"


class OrientationNet:
    """The shipped network on ONNX Runtime. Safe to share between threads; can be pickled.

    threads: of one run. device: "cpu" or "cuda". Raises ModelError where the file is missing, broken, or another
    model.
    """

    def __init__(self, *, threads: int = 1, device: str = "cpu") -> None:
        self._options: dict[str, Any] = {"threads": threads, "device": device}
        try:
            content = weights.read("orientation.onnx")
            self._session = make_session(content, threads=threads, device=device)
            told = self._session.get_modelmeta().custom_metadata_map
        except (ModelError, UsageError):
            raise
        except Exception as error:  # ONNX Runtime's own errors share no public base
            raise ModelError(
                f"expected the orientation network that mien ships, got {error}", hint=_REINSTALL
            ) from error
        if told.get("mien.task") != "orientation" or json.loads(told["mien.labels"]) != list(ORIENTATIONS):
            raise ModelError(f"expected labels {', '.join(ORIENTATIONS)}, got {dict(told)}", hint=_REINSTALL)
        self._preprocess = Preprocess.from_json(told["mien.preprocess"])
        self._temperature = float(told["mien.temperature"])

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to make the same network: sessions cannot be pickled."""
        return self._options

    def __setstate__(self, options: dict[str, Any]) -> None:
        OrientationNet.__init__(self, **options)

    def probabilities(
        self, image: Uint8, found: Sequence[Detection], *, geometry: CropGeometry | None = None
    ) -> Float32:
        """float32 N×5, in the order of :data:`ORIENTATIONS`.

        image: uint8 H×W×3. found: N faces in it. geometry: of the detector that found them.
        """
        if not found:
            return np.zeros((0, len(ORIENTATIONS)), np.float32)
        size = self._preprocess.size
        geometry = geometry or CropGeometry.default()
        crops = [self._preprocess.pixels(aligned(image, _square(face), size=size, geometry=geometry)) for face in found]
        logits = self._session.run(["logits"], {"crops": self._preprocess.normalise(np.stack(crops))})[0]
        powers = np.exp((logits - np.maximum.reduce(logits, axis=1, keepdims=True)) / self._temperature)
        probabilities: Float32 = powers / np.add.reduce(powers, axis=1, keepdims=True)
        return probabilities


def orientation_crop(image: Uint8, found: Detection, *, size: int, geometry: CropGeometry | None = None) -> Uint8:
    """The square that the network sees: around the box's centre, as wide as its longer side, never turned.

    The landmarks are not used, because they are wrong on turned faces; and a turned face's box is wider than tall.
    image: uint8 H×W×3. size: side of the result in pixels. geometry: as :meth:`CropGeometry.of` gives
    it. Returns uint8 size×size×3.
    """
    return align_crop(image, _square(found), size=size, geometry=geometry or CropGeometry.default())


def _square(found: Detection) -> Detection:
    return Detection(square_box(found.box), found.score)


def square_box(box: Box) -> Box:
    """The square around a box's centre, as wide as its longer side."""
    side = max(box.w, box.h)
    return Box(box.x + (box.w - side) / 2, box.y + (box.h - side) / 2, side, side)
