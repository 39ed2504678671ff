"""A square view of one found face, enlarged or reduced to a given height, and the way back to the picture."""

from math import ceil, cos, floor, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.faces.base import Detection
from mien.faces.views import GREY, block_means

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


class CloseView(NamedTuple):
    """side: of the square view, pixels. face: the height of the face's box in it, pixels."""

    side: int
    face: int

    def of(self, image: Uint8, found: Detection, angle: float = 0.0) -> Uint8:
        """uint8 side×side×3, grey beyond the picture: upright if the face is tilted by ``angle``.

        image: uint8 H×W×3 RGB. angle: radians, clockwise on the screen. Memory is bounded by the view and by what of
        the picture is copied after its reduction to at most twice the view.
        """
        x, y = found.box.x + found.box.w / 2, found.box.y + found.box.h / 2
        wide = self.side if angle == 0 else ceil(self.side * 1.42)  # what a turned square covers
        half = wide / 2 * found.box.h / self.face
        factor = max(1, floor(2 * half / wide))  # picture pixels in one of the view: whole ones are averaged first
        left, top, right, bottom = (floor(v / factor) for v in (x - half, y - half, x + half, y + half))
        height, width, _ = image.shape
        rows, columns = _blocks(top, bottom + 1, height, factor), _blocks(left, right + 1, width, factor)
        part = image[rows.start * factor : rows.stop * factor, columns.start * factor : columns.stop * factor]
        patch = block_means(part, factor) if rows and columns else Image.new("RGB", (0, 0))
        if patch.size != (right - left + 1, bottom - top + 1):
            inside, patch = patch, Image.new("RGB", (right - left + 1, bottom - top + 1), (GREY,) * 3)
            patch.paste(inside, (columns.start - left, rows.start - top))
        exact = (
            (x - half) / factor - left,
            (y - half) / factor - top,
            (x + half) / factor - left,
            (y + half) / factor - top,
        )
        view = patch.resize((wide, wide), Image.Resampling.BILINEAR, box=exact)
        if angle:
            # Pillow's rotate, of the middle alone: half of the turned square would be cut off
            along, across, middle = cos(angle), sin(angle), wide / 2
            start = round((wide - self.side) / 2) - middle
            view = view.transform(
                (self.side, self.side),
                Image.Transform.AFFINE,
                (
                    *(along, -across, middle + (along - across) * start),
                    *(across, along, middle + (across + along) * start),
                ),
                Image.Resampling.BILINEAR,
                fillcolor=(GREY,) * 3,
            )
        return np.asarray(view)

    def placed(self, points: Float32, found: Detection, angle: float = 0.0) -> Float32:
        """K×2 points (x, y) from pixels of the view to pixels of the picture."""
        u, v = ((points - self.side / 2) * (found.box.h / self.face)).T
        x = found.box.x + found.box.w / 2 + u * cos(angle) - v * sin(angle)
        y = found.box.y + found.box.h / 2 + u * sin(angle) + v * cos(angle)
        return np.stack([x, y], 1).astype(np.float32)


def _blocks(start: int, stop: int, length: int, factor: int) -> range:
    """Those of the blocks start to stop, ``factor`` pixels each, that lie in a side of ``length`` pixels."""
    return range(max(start, 0), min(stop, -(-length // factor)))
