"""Numbers of any type and depth → uint8, by one rule for arrays and for files.

A number alone does not say what white is: 4095 is white of a 12-bit camera, and nearly black in sixteen bits. So the
greatest value of a picture decides which of the usual scales it has:

- bool: False is black, True white. uint8: as it is.
- other integers: 0-255, 0-1023, 0-4095, 0-16383 or 0-65535, the smallest that holds them; beyond, their own maximum.
- floats: 0-1, or one of the scales of integers. Between the two (a maximum of 1.01 to 25) no scale fits, nor does one
  below one grey level of 0-1 (what was divided by 255 twice): such a picture is refused.

A scale may be left by 1 % at either end, as resizing and rounding leave it. Negative numbers and numbers that are not
finite are refused: such data were normalised for a network, or are no picture.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Uint8
from mien.errors import ImageError

SCALES = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14 and 16 bits
SLACK = 0.01  # of a scale, at either end
LEAST_OF_255 = 25.0  # floats whose maximum is below it are no picture of 0-255
_BAND = 4 << 20  # values that are converted at a time


def to_eight_bits(values: NDArray[Any]) -> Uint8:
    """Numbers of any shape, not empty → uint8 of the same shape, by the rule of this module. Raises ImageError."""
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind not in "uif":
        raise ImageError(
            f"expected an array of uint8, bool, another integer or float, got dtype {values.dtype}",
            kind="unsupported",
            hint="an array of objects comes of pictures of different shapes; give them as a list"
            if kind == "O"
            else None,
        )
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(values.size - np.isfinite(values).sum())
        raise ImageError(
            f"expected finite numbers, got {bad:,} of {values.size:,} that are NaN or infinite", kind="unsupported"
        )
    scale = _scale(high, floats=kind == "f")
    if scale is None or low < -SLACK * scale:
        came = f"got {low:g} to {high:g}"
        if low < -SLACK * (scale or 1):
            raise ImageError(
                f"expected numbers from 0 (black) up, {came}",
                kind="unsupported",
                hint="undo the normalisation, or give the picture as uint8",
            )
        raise ImageError(
            f"expected float values 0-1 or 0-255, {came}: either scale would be wrong",
            kind="unsupported",
            hint="divide by the value that is white",
        )
    return _scaled(values, scale)


def _scale(high: float, *, floats: bool) -> float | None:
    """The value that is white where the greatest value is ``high``; None where no scale fits."""
    if floats and high < LEAST_OF_255:
        return None if high > 1 + SLACK or 0 < high < (1 + SLACK) / 255 else 1.0
    return next((float(scale) for scale in SCALES if high <= scale * (1 + SLACK)), high)


def _scaled(values: NDArray[Any], scale: float) -> Uint8:
    """Black 0 and white ``scale`` → 0 and 255, rounded; by bands, because the way leads over eight bytes a value."""
    result = np.empty(values.shape, np.uint8)
    rows = max(1, _BAND // max(1, values[0].size)) if values.ndim else 1
    for start in range(0, len(values), rows):
        part = values[start : start + rows].astype(np.float64) * (255 / scale)
        result[start : start + rows] = np.rint(np.clip(part, 0, 255))
    return result


def from_array(array: NDArray[Any]) -> Uint8:
    """An array H×W, H×W×1, H×W×3 or H×W×4 (the last channel is opacity, laid on white) → uint8 H×W×3, contiguous.

    The array may be read-only, big-endian, in Fortran order, or a view with any strides. Raises ImageError.
    """
    shape = array.shape
    if not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))):
        raise ImageError(
            f"expected an array H×W, H×W×1, H×W×3 or H×W×4, got shape {shape}", kind="unsupported", hint=_hint(array)
        )
    if 0 in shape:
        raise ImageError(f"expected an array with pixels, got shape {shape}", kind="empty")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise ImageError(
            f"expected an array whose values are all known, got {int(np.ma.getmaskarray(array).sum()):,} masked ones",
            kind="unsupported",
            hint="fill them first, as in array.filled(0)",
        )
    values = np.asarray(array)
    if values.dtype != np.uint8 and values.ndim == 3 and values.shape[2] == 4:  # opacity has a scale of its own
        pixels = np.concatenate([to_eight_bits(values[..., :3]), to_eight_bits(values[..., 3:])], axis=2)
    else:
        pixels = to_eight_bits(values)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    elif pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def _hint(array: NDArray[Any]) -> str | None:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return "channels come last: array.transpose(1, 2, 0)"
    if array.ndim == 3 and array.shape[2] < 8:
        return f"give the channels that are grey, RGB or RGBA of its {array.shape[2]}"
    return "several pictures go to read_many(…)" if array.ndim in (3, 4) else None


def as_numpy(source: Any) -> str | None:
    """How to make a NumPy array of another library's array (torch, JAX, TensorFlow, CuPy); None for anything else."""
    if isinstance(source, (np.ndarray, np.generic, type)):
        return None
    library = type(source).__module__.split(".")[0]
    if library == "cupy":
        return "array.get()"
    if hasattr(source, "numpy"):
        return "tensor.detach().cpu().numpy()" if library == "torch" else "tensor.numpy()"
    return "np.asarray(array)" if hasattr(source, "__dlpack__") else None
