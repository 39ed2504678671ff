"""From CenterFace's four output maps to boxes, scores and landmarks; pure functions on arrays.

CenterFace (Xu et al. 2019, arXiv 1911.03599) is anchor-free: a face is a peak of a heatmap at a quarter of the
input's resolution, and at the peak's cell the other maps tell the rest. With row r, column c and stride 4:

    centre    = 4 · (c + offset_x + ½, r + offset_y + ½)
    size      = 4 · exp(scale)
    landmark  = top left corner + map · size        (fractions of the box, five points)

Every pair of maps is ordered (y, x).
"""

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

STRIDE = 4
MAX_INSIDE = 0.7  # of a box within a better one, above which it is a repetition of that
MAX_CANDIDATES = 4096  # bounds the work on a hostile picture; a crowd of 500 faces gives about 2,000 cells


def decode(
    heatmap: Float32, scale: Float32, offset: Float32, landmarks: Float32, *, min_score: float, max_overlap: float = 0.3
) -> tuple[Float32, Float32, Float32]:
    """The faces in one picture's heads, best score first.

    heatmap: 1×h×w, 0-1. scale, offset: 2×h×w. landmarks: 10×h×w. min_score: 0-1.
    max_overlap: of two boxes with a greater intersection over union, the one with the lower score is dropped.
    Returns boxes K×4 (left, top, right, bottom), scores K, landmarks K×5×2 (x, y), all in pixels of the network's
    input and not clipped to it.
    """
    row, column = np.nonzero(heatmap[0] >= min_score)
    scores = heatmap[0, row, column]
    best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    row, column, scores = row[best], column[best], scores[best]

    cell = np.stack([column, row], 1).astype(np.float32)  # K×2 (x, y), like all below
    centre = STRIDE * (cell + _pairs(offset, row, column)[:, 0] + 0.5)
    # A map's size is bounded, so a wild exponent cannot overflow; no face is 2¹⁴ times its cell.
    size = STRIDE * np.exp(np.clip(_pairs(scale, row, column)[:, 0], -10, 10))
    corner = centre - size / 2
    points = corner[:, None] + _pairs(landmarks, row, column) * size[:, None]  # K×5×2

    boxes = np.concatenate([corner, corner + size], 1)
    keep = suppress_overlaps(boxes, max_overlap=max_overlap)
    return boxes[keep], scores[keep], points[keep]


def suppress_overlaps(boxes: Float32, *, max_overlap: float, max_inside: float = MAX_INSIDE) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: which of K×4 boxes, best first, are no repetition of a kept better one.

    A box repeats a better one where they overlap by more than ``max_overlap`` (intersection over union), or where
    more than ``max_inside`` of it lies within the better one: on a greatly enlarged face, the network also sees
    lesser "faces" in its parts. Both 0-1. Returns the kept indices, best first.
    """
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    rest = np.arange(len(boxes))
    keep = []
    while rest.size:
        first, rest = rest[0], rest[1:]
        keep.append(first)
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        apart = shared <= max_overlap * (areas[first] + areas[rest] - shared)
        rest = rest[apart & (shared <= max_inside * areas[rest])]
    return np.asarray(keep, np.intp)


def _pairs(maps: Float32, row: NDArray[np.intp], column: NDArray[np.intp]) -> Float32:
    """2P×h×w maps of (y, x) pairs at K cells → K×P×2 (x, y)."""
    values = maps[:, row, column].T  # K×2P
    return values.reshape(len(row), len(maps) // 2, 2)[:, :, ::-1]
