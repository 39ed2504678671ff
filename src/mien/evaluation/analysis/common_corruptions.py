"""Nine corruptions of a face crop, each in five severities; severity 0 is the image itself.

After Hendrycks & Dietterich 2019, arXiv 1903.12261 (their kinds, our parameters: theirs are for 224-pixel photographs).
Lengths are in pixels of a 48-pixel crop and grow with the image's side. Bands are for crops in FER2013's geometry:
eyes about row 17 of 48, mouth about row 38 (``EYES``, ``MOUTH``, from the mean of PublicTest's images).

    kind              parameter                                     severity 1 … 5
    blur              σ of a Gaussian, pixels                       0.5   1     1.5   2     3
    noise             σ of Gaussian noise, grey levels              6     12    20    30    45
    jpeg              quality of a JPEG                             40    25    15    10    5
    dark              factor on the grey levels                     0.7   0.5   0.35  0.2   0.1
    bright            factor on the grey levels, cut off at 255     1.3   1.6   2     2.6   3.5
    contrast          factor on the distance from the image's mean  0.7   0.5   0.3   0.2   0.1
    eyes              height of a band of the image's mean, pixels  2     5     8     11    15
    mouth             the same                                      2     5     8     11    15
    low_resolution    side it is shrunk to and enlarged from        32    24    16    12    8

Noise is drawn for each image from (seed, the image's number), the same field at every severity, so that a result
depends on nothing else. Every function: uint8 H×W or H×W×3 → uint8 of the same shape.
"""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Uint8 = NDArray[np.uint8]

#: Rows of the eyes and of the mouth, as fractions of the height: the bands of severity 5.
EYES, MOUTH = (0.21, 0.52), (0.645, 0.955)
SEVERITIES = (1, 2, 3, 4, 5)
PARAMETERS: dict[str, tuple[float, float, float, float, float]] = {
    "blur": (0.5, 1, 1.5, 2, 3),
    "noise": (6, 12, 20, 30, 45),
    "jpeg": (40, 25, 15, 10, 5),
    "dark": (0.7, 0.5, 0.35, 0.2, 0.1),
    "bright": (1.3, 1.6, 2, 2.6, 3.5),
    "contrast": (0.7, 0.5, 0.3, 0.2, 0.1),
    "eyes": (2, 5, 8, 11, 15),
    "mouth": (2, 5, 8, 11, 15),
    "low_resolution": (32, 24, 16, 12, 8),
}
KINDS = tuple(PARAMETERS)
#: What a figure calls them, and their parameter's unit.
TITLES = {
    "blur": ("Gaussian blur", "σ, pixels"),
    "noise": ("Gaussian noise", "σ, grey levels"),
    "jpeg": ("JPEG", "quality"),
    "dark": ("brightness down", "factor"),
    "bright": ("brightness up", "factor"),
    "contrast": ("contrast", "factor"),
    "eyes": ("eyes covered", "rows of 48"),
    "mouth": ("mouth covered", "rows of 48"),
    "low_resolution": ("low resolution", "side of 48"),
}


def corrupt(images: Uint8, kind: str, severity: int, *, seed: int = 0) -> Uint8:
    """uint8 N×H×W or N×H×W×3 → the same, corrupted.

    severity: 0 (the images themselves) to 5. Raises ValueError for an unknown kind or severity.
    """
    if kind not in PARAMETERS or severity not in (0, *SEVERITIES):
        raise ValueError(f"expected a kind of {', '.join(KINDS)} and a severity of 0-5, got {kind!r} and {severity}")
    if severity == 0:
        return images
    value = PARAMETERS[kind][severity - 1]
    if kind == "noise":
        return np.stack([noise(image, value, seed=seed, number=i) for i, image in enumerate(images)])
    return np.stack([_APPLY[kind](image, value) for image in images])


def blur(image: Uint8, sigma: float) -> Uint8:
    """sigma in pixels of 48; borders are mirrored."""
    from scipy.ndimage import gaussian_filter

    s = sigma * image.shape[0] / 48
    return _rounded(gaussian_filter(image.astype(np.float64), (s, s, 0)[: image.ndim], mode="reflect"))


def noise(image: Uint8, sigma: float, *, seed: int, number: int) -> Uint8:
    """sigma in grey levels, independent for every pixel and channel."""
    field = np.random.default_rng((seed, number)).standard_normal(image.shape)
    return _rounded(image + sigma * field)


def jpeg(image: Uint8, quality: float) -> Uint8:
    """Through Pillow's encoder and back."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, format="JPEG", quality=int(quality))
    return np.asarray(Image.open(data)).copy()


def brightness(image: Uint8, factor: float) -> Uint8:
    """Grey levels times ``factor``, cut off at 255."""
    return _rounded(image * np.float64(factor))


def contrast(image: Uint8, factor: float) -> Uint8:
    """Distances from the image's mean times ``factor``."""
    mean = image.mean()
    return _rounded(mean + factor * (image - mean))


def low_resolution(image: Uint8, side: float) -> Uint8:
    """side of 48: shrunk with antialiasing and enlarged again, both bilinear."""
    height, width = image.shape[:2]
    small = (max(1, round(width * side / 48)), max(1, round(height * side / 48)))
    picture = Image.fromarray(image).resize(small, Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).copy()


def cover(image: Uint8, rows: float, band: tuple[float, float]) -> Uint8:
    """The middle of ``band``, ``rows`` of 48 high and as wide as the image, in the image's mean colour."""
    height = image.shape[0]
    thick = max(1, round(rows * height / 48))
    top = round((band[0] + band[1]) / 2 * height - thick / 2)
    result = image.copy()
    result[top : top + thick] = _rounded(image.mean(axis=(0, 1)))
    return result


def _rounded(values: NDArray[np.float64]) -> Uint8:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


_APPLY: dict[str, Callable[[Uint8, float], Uint8]] = {
    "blur": blur,
    "jpeg": jpeg,
    "dark": brightness,
    "bright": brightness,
    "contrast": contrast,
    "eyes": lambda image, rows: cover(image, rows, EYES),
    "mouth": lambda image, rows: cover(image, rows, MOUTH),
    "low_resolution": low_resolution,
}
