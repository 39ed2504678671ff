"""Preprocessing: how a face crop becomes a network's input, for training and reading alike.

Training, evaluation, export and reading all go through this class; it travels as JSON
inside each ONNX file, so that weights and preprocessing cannot drift apart. No torch here:
training normalises its uint8 batches with the same ``mean`` and ``std`` numbers.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from mien.arrays import Float32, Uint8
from mien.errors import ImageError, ModelError

Points = tuple[tuple[float, float], ...]

#: Longer side ÷ shorter side of a face crop at most. Face boxes have 1.1 to 1.4; a strip shows no face.
MAX_ASPECT = 4


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Pad to a square, resize to size × size, grey or RGB, scaled to 0-1, then (x − mean) / std, channels first.

    A crop that is not square stands in the middle of the square, and its border pixels are repeated beside it, as in
    crops that reach beyond their picture: squashed, a face is another face (``benchmarks/crop_padding.py``).

    size: side in pixels. color: "grey" (ITU-R 601 luma) or "rgb". mean, std: one number a channel,
    in units of 0-1. tta_crop: side of the ten crops as a fraction of ``size`` (four corners and the centre,
    each also mirrored; each resized back to ``size``). window: side of the part that the network takes, where it does
    not take the whole picture (VGGNet sees 40×40 of 48×48): the centre of it, or ten windows, never resized.
    """

    size: int = 48
    color: str = "grey"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    tta_crop: float = 44 / 48
    window: int | None = None

    def __post_init__(self) -> None:
        if self.color not in ("grey", "rgb"):
            raise ModelError(f"expected color 'grey' or 'rgb', got {self.color!r}")
        numbers = all(isinstance(v, int | float) and isfinite(v) for v in (*self.mean, *self.std, self.tta_crop))
        if not numbers or {len(self.mean), len(self.std)} != {self.channels} or min(self.std) <= 0:
            raise ModelError(f"expected {self.channels} mean and positive std values, got {self.mean}, {self.std}")
        if not isinstance(self.size, int) or not 8 <= self.size <= 1024 or not 0.5 <= self.tta_crop <= 1:
            raise ModelError(f"expected size 8-1024 and tta_crop 0.5-1, got size {self.size}, tta_crop {self.tta_crop}")

        if self.window is not None and not (isinstance(self.window, int) and 8 <= self.window <= self.size):
            raise ModelError(f"expected a window of 8-{self.size} pixels, got {self.window}")

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3

    @property
    def input_size(self) -> int:
        """Side of what the network takes, in pixels."""
        return self.window or self.size

    def pixels(self, crop: Image.Image | Uint8) -> Uint8:
        """A face crop (PIL image, or uint8 H×W or H×W×3) as uint8 C×size×size, which is what a loader keeps.

        Raises ImageError for a strip, see :func:`square_place`.
        """
        image = Image.fromarray(crop) if isinstance(crop, np.ndarray) else crop
        image = squared(image.convert("L" if self.color == "grey" else "RGB"))
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)  # antialiased when it shrinks
        array = np.asarray(image)
        return array[None] if self.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))

    def stack(self, images: Uint8) -> Uint8:
        """Pictures of one size, uint8 N×H×W or N×H×W×3 → uint8 N×C×size×size; a view where nothing has to change."""
        if images.ndim == 3 and images.shape[1:] == (self.size, self.size) and self.channels == 1:
            return images[:, None]
        return np.stack([self.pixels(image) for image in images])

    def normalise(self, pixels: Uint8 | Float32) -> Float32:
        """uint8 or float (0-255) N×C×S×S → float32 N×C×S×S, as the network expects it."""
        mean, std = _by_channel(tuple(self.mean)), _by_channel(tuple(self.std))
        return (pixels.astype(np.float32) * np.float32(1 / 255) - mean) / std

    def views(self, batch: Float32, *, tta: bool) -> Float32:
        """What the network is shown of normalised pictures N×C×S×S: one view of each, or its ten crops in a row."""
        return self.ten_crops(batch) if tta else self.centre(batch)

    def centre(self, batch: Any) -> Any:
        """An array or tensor N×C×S×S → its middle N×C×input×input; the batch itself where there is no window."""
        if self.window is None:
            return batch
        start = (self.size - self.window) // 2
        return batch[:, :, start : start + self.window, start : start + self.window]

    def ten_crops(self, batch: Float32) -> Float32:
        """float32 N×C×S×S → 10N×C×input×input: crops of one image stand together, centre first, mirrored last."""
        n, c, s, _ = batch.shape
        k, out = self.window or max(1, round(s * self.tta_crop)), self.input_size
        far = s - k
        spread = _linear_resize_matrix(k, out)  # out×k: resizes by two matrix products, exactly the same everywhere
        views = []
        for top, left in ((far // 2, far // 2), (0, 0), (0, far), (far, 0), (far, far)):
            view = batch[:, :, top : top + k, left : left + k]
            views.append(view if k == out else spread @ view @ spread.T)
        crops = np.stack(views, 1)  # N×5×C×out×out
        return np.concatenate([crops, crops[..., ::-1]], 1).reshape(n * 10, c, out, out).astype(np.float32)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Preprocess":
        """Raises ModelError where the text is not a preprocess of ours."""
        try:
            raw: dict[str, Any] = json.loads(text)
            raw["mean"], raw["std"] = tuple(raw["mean"]), tuple(raw["std"])
            return cls(**raw)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ModelError(f"expected a preprocess description in the model file, got {text[:80]!r}") from error


@cache
def _by_channel(numbers: tuple[float, ...]) -> Float32:
    return np.asarray(numbers, np.float32).reshape(1, -1, 1, 1)


def square_place(width: int, height: int) -> tuple[int, int, int]:
    """The side of the square that a crop is padded to, and the crop's left and top in it, in pixels.

    Raises ImageError where one side is more than MAX_ASPECT times the other: that is no face crop.
    """
    side = max(width, height)
    if side > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"expected a face crop, its longer side at most {MAX_ASPECT} times the shorter one, got {width}×{height}",
            kind="unsupported",
            hint="cut the face out first, or let a detector find it",
        )
    return side, (side - width) // 2, (side - height) // 2


def squared(crop: Image.Image) -> Image.Image:
    """A crop, L or RGB, in the middle of a square, its border pixels repeated; itself where it is square."""
    side, left, top = square_place(*crop.size)
    if crop.width == crop.height:
        return crop
    beside = [(top, side - crop.height - top), (left, side - crop.width - left), (0, 0)]
    pixels = np.asarray(crop)
    return Image.fromarray(np.pad(pixels, beside[: pixels.ndim], mode="edge"))


def points_in_square(points: Iterable[tuple[float, float]], *, width: int, height: int, size: int) -> Points:
    """Where a crop's points, x and y in pixels, lie once it is padded to a square and that is resized to ``size``."""
    side, left, top = square_place(width, height)
    return tuple(((x + left) * size / side, (y + top) * size / side) for x, y in points)


def _linear_resize_matrix(source: int, target: int) -> Float32:
    """target×source matrix of linear interpolation with half-pixel centres, clamped at the borders."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, source - 1)
    weight = (position - low).astype(np.float32)
    matrix = np.zeros((target, source), np.float32)
    np.add.at(matrix, (np.arange(target), low), 1 - weight)
    np.add.at(matrix, (np.arange(target), high), weight)
    return matrix
