"""Whether doubtful finds are faces: each is shown to the network once more, close up.

A face that the search shows to the network at 15 to 20 pixels scores low, and so do many things that are none. Shown
again, 64 pixels tall in a view of twice that, they part. Measured on 216 composed scenes and 250 pictures without a
face (of persons and pictures that are not in the table of docs/speed.md): of 784 finds between 0.15 and 0.6 that were
no face none then scored 0.85 or more, of 38 that were faces of at least 22 pixels 25 did (in plain scenes all); of 18
false finds of 0.6 to 0.8 seventeen scored less than 0.75, of 364 faces above 0.6 four, all blurred, which the
orientation network takes for no face too.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import Detection
from mien.faces.close_view import CloseView
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


class Seen(NamedTuple):
    """The best find in a view's middle: score 0-1; box (left, top, right, bottom) and landmarks 5×2 in its pixels."""

    score: float
    box: Float32
    landmarks: Float32


#: uint8 N×S×S×3 RGB → for each what is in its middle, or None.
Look = Callable[[Uint8], list[Seen | None]]

VIEW = CloseView(side=128, face=64)
WEAK, SURE = 0.15, 0.8  # scores between which a find is shown again
NEEDED = 0.85  # score of the look that makes a face of a find below ``min_score``
DOUBTED = 0.75  # score of the look below which another find is no face, at the default ``min_score`` of 0.6 or above;
DOUBTED_ABOVE = 0.15  # below that, ``min_score`` and this much
#: of the picture's longer side: taller finds above ``min_score`` are not shown again, since they may be all that there
#: is, and of tight and blurred crops (FER2013's) the look misses one in twelve.
SURROUNDED = 0.3
MAX_WEAK = 128  # of the finds below ``min_score``, the best; bounds the work on a hostile picture
LEAST_OVERLAP = 0.3  # intersection over union of the look's box with the find's
BATCH = 8


def confirmed(image: Uint8, found: list[Detection], look: Look, *, min_score: float) -> list[Detection]:
    """The faces among the finds, best score first; those below ``min_score`` with score, box and landmarks of the look.

    image: uint8 H×W×3 RGB. found: finds of :data:`WEAK` and more. min_score: 0-1, of what is returned.
    """
    found = sorted(found, key=lambda face: face.score, reverse=True)
    above = sum(face.score >= min_score for face in found)
    found = found[: above + MAX_WEAK]
    small = SURROUNDED * max(image.shape[:2])
    least = min(DOUBTED, min_score + DOUBTED_ABOVE)
    doubtful = [face for face in found if face.score < (SURE if face.box.h < small else min_score)]
    faces = [face for face in found if all(face is not other for other in doubtful)]
    for start in range(0, len(doubtful), BATCH):
        batch = doubtful[start : start + BATCH]
        for face, seen in zip(batch, look(np.stack([VIEW.of(image, face) for face in batch])), strict=True):
            again = None if seen is None else _placed(seen, face)
            score = 0.0 if again is None or again.box.overlap(face.box) < LEAST_OVERLAP else again.score
            if face.score >= min_score:
                faces += [face] if score >= least else []
            elif again is not None and score >= max(NEEDED, min_score):
                faces.append(again)
    return sorted(faces, key=lambda face: face.score, reverse=True)


def _placed(seen: Seen, face: Detection) -> Detection:
    """In pixels of the picture."""
    (left, top), (right, bottom) = VIEW.placed(seen.box.reshape(2, 2), face).tolist()
    return Detection(Box(left, top, right - left, bottom - top), seen.score, VIEW.placed(seen.landmarks, face))
