"""A detector that also finds faces in pictures rotated by 90, 180 or 270°, and reports the rotation.

It wraps any detector of ``mien.faces``. Each detection is shown to :class:`mien.faces.orientation.OrientationNet`:

- all upright: nothing more is done, at the cost of the small network;
- some are turned: the picture is turned as they say and searched again;
- nothing was found, or nothing with certainty: the picture is searched in all four orientations, because a detector
  misses many of the faces that are turned. A picture without a face takes four searches for this reason.

Of overlapping detections, the one that is upright with the highest probability stays. A picture has one way up as a
rule: detections with another must be certain, or they are left out. A detection is also left out where the network's
probability that it is no face is higher than the detector's score.
"""

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mien.faces.align import CropGeometry
from mien.faces.base import Detection, Detector, ReducedDetector, picture_size
from mien.faces.orientation import NO_FACE, UPRIGHT, OrientationNet, square_box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Detect = Callable[[Uint8], list[Detection]]

#: A detection is certain by its score or by the probability of its orientation; against the rest of a picture, by both.
SURE_SCORE, SURE = 0.65, 0.9
LEAST_SCORE = 0.5  # of a detection in a turned picture without any in the upright one
MAX_OVERLAP = 0.3  # intersection over union above which two detections are one face


class UprightDetector:
    """``inner``, for pictures turned in any way. Detections carry ``turns``. Instances may be shared."""

    def __init__(self, inner: Detector, *, threads: int = 1, device: str = "cpu") -> None:
        self.inner = inner
        self._orientation = OrientationNet(threads=threads, device=device)
        self._geometry = CropGeometry.of(inner)

    @property
    def name(self) -> str:
        return self.inner.name

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB. Returns the faces, largest box first; UsageError for another array."""
        return self._detect(image, self.inner.detect)

    @property
    def finest_side(self) -> int | None:
        """See :class:`mien.faces.base.ReducedDetector`; None where the wrapped detector is none."""
        return getattr(self.inner, "finest_side", None)

    def detect_reduced(self, image: Uint8) -> list[Detection]:
        """As ``detect``, of a reduced copy; raises NeedsWholePicture."""
        return self._detect(image, cast("ReducedDetector", self.inner).detect_reduced)

    def _detect(self, image: Uint8, detect: Detect) -> list[Detection]:
        picture_size(image)
        found = detect(image)
        if any(face.is_crop for face in found):
            return found
        upright: list[tuple[Detection, float]] = []  # with the probability that they are
        turned: list[tuple[Detection, int, float]] = []  # with the turns that make them upright, and the probability
        for face, row in zip(found, self._probabilities(image, found), strict=True):
            kind = _kind(face, row)
            if kind == UPRIGHT:
                upright.append((face, float(row[UPRIGHT])))
            elif kind != NO_FACE:
                turned.append((face, -kind % 4, float(row[kind])))
        if turned:
            # a detection that the second search does not confirm stays as it is, unless the network is certain
            upright += [(_turned_by(face, turns), p / 10) if p >= SURE else (face, 0.0) for face, turns, p in turned]
            for turns in sorted({turns for _, turns, _ in turned}):
                upright += self._search(image, turns, detect)
        elif any(face.score >= SURE_SCORE or p >= SURE for face, p in upright):
            return [face for face, _ in upright]
        else:
            for turns in (1, 2, 3):
                there = list(self._search(image, turns, detect))
                if any(face.score >= LEAST_SCORE and p >= SURE for face, p in there):
                    upright += there
        faces = _one_way_up(_distinct(upright))
        return sorted(faces, key=lambda face: face.box.w * face.box.h, reverse=True)

    def _probabilities(self, image: Uint8, found: list[Detection]) -> Float32:
        return self._orientation.probabilities(image, found, geometry=self._geometry)

    def _search(self, image: Uint8, turns: int, detect: Detect) -> Iterator[tuple[Detection, float]]:
        """The faces of the picture turned by ``turns``, in its own coordinates, with their probability to be upright.

        That is 0 where the network takes them for turned without certainty.
        """
        frame = np.ascontiguousarray(np.rot90(image, turns))
        found = detect(frame)
        for face, row in zip(found, self._probabilities(frame, found), strict=True):
            kind = _kind(face, row)
            if kind == UPRIGHT or (kind != NO_FACE and row[kind] < SURE):
                p = float(row[UPRIGHT]) if kind == UPRIGHT else 0.0
                yield face.turned(frame.shape[0], frame.shape[1], -turns), p

    def detect_turned(self, image: Uint8, turns: int) -> list[Detection]:
        """The faces that are upright in ``numpy.rot90(image, turns)``, in the picture's own coordinates, largest first.

        A single search, for a video whose way up is known.
        """
        picture_size(image)
        faces = [face for face, _ in _distinct(list(self._search(image, turns, self.inner.detect)))]
        return sorted(faces, key=lambda face: face.box.w * face.box.h, reverse=True)


def _kind(face: Detection, row: Float32) -> int:
    """Index into ORIENTATIONS; turned only where that is likelier than all else that a face can be."""
    if row[NO_FACE] > face.score:
        return NO_FACE
    best = int(row[:NO_FACE].argmax())
    return best if row[best] > np.add.reduce(row[:NO_FACE]) / 2 else UPRIGHT


def _turned_by(face: Detection, turns: int) -> Detection:
    """A detection of unknown extent: a square, since its box is that of a face on its side."""
    return Detection(square_box(face.box), face.score, turns=turns)


def _distinct(found: list[tuple[Detection, float]]) -> list[tuple[Detection, float]]:
    """One detection per face: of those that overlap, the one that is most probably upright, or the first."""
    kept: list[tuple[Detection, float]] = []
    for face, p in sorted(found, key=lambda pair: pair[1], reverse=True):
        if all(face.box.overlap(other.box) <= MAX_OVERLAP for other, _ in kept):
            kept.append((face, p))
    return kept


def _one_way_up(found: list[tuple[Detection, float]]) -> list[Detection]:
    """Without uncertain detections with another way up than most of the picture."""
    weight = [sum(face.score * p for face, p in found if face.turns == turns) for turns in range(4)]
    main = int(np.argmax(weight))
    return [face for face, p in found if face.turns == main or (face.score >= SURE_SCORE and p >= SURE)]
