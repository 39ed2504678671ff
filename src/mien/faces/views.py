"""One picture searched in several views: each at its own size, perhaps in a frame; what they find is merged.

No network sees faces of all sizes in one input, and none sees a picture larger than its detail view; so memory is
bounded whatever the picture's size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.faces.base import Detection, picture_size
from mien.faces.heads import suppress_overlaps
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
#: uint8 H×W×3 RGB, sides multiples of 32 → boxes K×4 (left, top, right, bottom), scores K, landmarks K×5×2, its pixels.
Find = Callable[[Uint8], tuple[Float32, Float32, Float32]]

GREY = 127  # of frames and padding
MULTIPLE = 32  # of the network's input sides
_BAND = 4 << 20  # pixels that are copied at a time while a large picture is reduced


class View(NamedTuple):
    """side: the picture's longer side in this view, pixels. frame: grey pixels around it.

    largest: of a face's sides, pixels of the view; what is larger there is left to the other views.
    box: reduced by means of whole pixels, a third faster than by a bilinear filter, and less smooth.
    gap: how many times the view's size is left to that filter, at least, after means of whole blocks of pixels.
    """

    side: int
    frame: int = 0
    largest: float = float("inf")
    box: bool = False
    gap: float = 2.0


def search(image: Uint8, views: Sequence[View], find: Find, *, max_overlap: float) -> list[Detection]:
    """The faces that ``find`` sees in the views, largest box first, in pixels of the picture.

    image: uint8 H×W×3 RGB, at least 1×1 (UsageError for another array). views: from the largest down.
    max_overlap: intersection over union above which two boxes are one face; the better one stays.
    """
    height, width = picture_size(image)
    found, smaller = [], image
    for view in views:
        # from a smaller picture that was made for another view, where it is large enough: that is cheaper
        source = smaller if view.side < max(smaller.shape[:2]) else image
        shown = resized(source, side=view.side, box=view.box, gap=view.gap)
        if view.side < max(height, width):
            smaller = shown
        h, w, _ = shown.shape
        sides = [-(-(n + 2 * view.frame) // MULTIPLE) * MULTIPLE for n in (h, w)]
        canvas = shown
        if sides != [h, w]:
            canvas = np.full((*sides, 3), GREY, np.uint8)
            canvas[view.frame : view.frame + h, view.frame : view.frame + w] = shown
        boxes, scores, points = find(canvas)
        fits = (boxes[:, 2:] - boxes[:, :2] <= view.largest).all(axis=1)
        if not fits.all():
            boxes, scores, points = boxes[fits], scores[fits], points[fits]
        if len(scores):
            unit = np.asarray([width / w, height / h] * 2, np.float32)  # picture pixels in one pixel of the view
            found.append(((boxes - view.frame) * unit, scores, (points - view.frame) * unit[:2]))
    if not found:
        return []
    boxes, scores, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-scores, kind="stable")
    keep = order[suppress_overlaps(boxes[order], max_overlap=max_overlap)]
    return _largest_first([_detection(boxes[i], scores[i], points[i]) for i in keep])


def distinct(faces: list[Detection], *, max_overlap: float) -> list[Detection]:
    """One detection a face, that with the best score; largest box first. max_overlap: as for :func:`search`."""
    if len(faces) <= 1:
        return faces
    faces = sorted(faces, key=lambda face: face.score, reverse=True)
    corners = [(f.box.x, f.box.y, f.box.x + f.box.w, f.box.y + f.box.h) for f in faces]
    keep = suppress_overlaps(np.asarray(corners, np.float32), max_overlap=max_overlap)
    return _largest_first([faces[i] for i in keep])


def _largest_first(faces: list[Detection]) -> list[Detection]:
    return sorted(faces, key=lambda face: face.box.w * face.box.h, reverse=True)


def resized(image: Uint8, *, side: int, box: bool = False, gap: float = 2.0) -> Uint8:
    """uint8 H×W×3 with its longer side brought to ``side``, antialiased, sides at least 1; copies little at a time.

    box, gap: see :class:`View`.
    """
    height, width, _ = image.shape
    scale = side / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    if target == (width, height):
        return image
    factor = int(1 / scale / gap)
    small = block_means(image, factor)
    exact = (0.0, 0.0, width / max(factor, 1), height / max(factor, 1))
    resample = Image.Resampling.BOX if box and scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(small.resize(target, resample, box=exact))


def block_means(image: Uint8, factor: int) -> Image.Image:
    """uint8 H×W×3 → the means of factor×factor blocks, those at the right and bottom edge perhaps smaller.

    Pillow copies what it works on at four bytes a pixel; by bands of rows that never is a second large picture.
    """
    if factor <= 1:
        return Image.fromarray(image)
    height, width, _ = image.shape
    rows = max(1, _BAND // (width * factor)) * factor
    bands = [Image.fromarray(image[top : top + rows]).reduce(factor) for top in range(0, height, rows)]
    return bands[0] if len(bands) == 1 else Image.fromarray(np.concatenate([np.asarray(band) for band in bands]))


def _detection(box: Float32, score: np.float32, points: Float32) -> Detection:
    left, top, right, bottom = (float(v) for v in box)
    return Detection(box=Box(left, top, right - left, bottom - top), score=float(score), landmarks=points)
