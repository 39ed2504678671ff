"""Degradation in batches, on the training device: what distance, lenses, sensors, codecs and light do to a face crop.

Augmentation (``augment.py``) draws another picture of the same quality; this draws a worse one. Lengths are in pixels
of a 48-pixel crop and grow with the picture's side. Every kind: float N×C×S×S in 0-1 and N strengths in 0-1 (mild to
strong) → the same shape and range.

    kind          from        to      what it is
    blur          σ 0.4       2.5     a Gaussian
    resolution    side 38     10      shrunk with antialiasing and enlarged again, both bilinear
    noise         σ 4         40      Gaussian, in grey levels
    compression   quality 50  6       a JPEG's quantised DCT (each channel like a grey picture)
    light         ×⅔ or 1¼    ×⅛ or 3½    brightness, cut off at white, in whole grey levels
    contrast      ×0.7        0.12    distance from the picture's mean, in whole grey levels

After the kinds of Hendrycks & Dietterich 2019, arXiv 1903.12261; the parameters are ours.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.training.augment import upload
from mien.training.part import WHOLE, Part

#: JPEG's luminance table (ITU-T T.81, table K.1).
QUANTISERS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def degrade(images: Tensor, probability: float, generator: torch.Generator, *, part: Part = WHOLE) -> Tensor:
    """Degrade each picture with that probability, in one of :data:`KINDS` and at a strength, both drawn uniformly.

    images: float N×C×S×S in 0-1. generator: the step's, on the CPU. Probability 0 draws nothing. part: the rows of the
    batch that these are (``part.py``).
    """
    if probability == 0:
        return images
    count = len(images)
    chosen, kind, strength = torch.rand(3, part.whole(count), generator=generator)
    kind = torch.where(chosen < probability, (kind * len(KINDS)).long(), -1)
    seed = int(torch.randint(2**62, (), generator=generator))
    for number, (name, change) in enumerate(KINDS.items()):
        every = torch.nonzero(kind == number).flatten()
        here = part.among(every, count)
        rows = every[here]
        if len(rows):
            there = upload(rows - part.rank * count, images.device)
            if name == "noise" and part.world > 1:  # the one kind that draws more: for the rows of all processes
                changed = noise(images[there], strength[rows], seed, rows=len(every), here=here)
            else:
                changed = change(images[there], strength[rows], seed)
            images = images.index_put((there,), changed)
    return images


def blur(images: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """A Gaussian."""
    return spread(images, gaussians(images.shape[-1], between(0.4, 2.5, strength) * images.shape[-1] / 48))


def resolution(images: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """Shrunk and enlarged again."""
    size = images.shape[-1]
    sides = (between(38, 10, strength) * size / 48).round().clamp(1, size)
    return spread(images, torch.stack([shrunk(size, int(side)) for side in sides]))


def noise(
    images: Tensor, strength: Tensor, seed: int = 0, *, rows: int | None = None, here: slice = slice(None)
) -> Tensor:
    """Drawn on the device, of the seed. rows, here: of so many pictures that are changed together, these are some."""
    stream = torch.Generator(device=images.device).manual_seed(seed)
    shape = (len(images) if rows is None else rows, *images.shape[1:])
    field = torch.randn(shape, generator=stream, device=images.device)[here].to(images.dtype)
    return (images + field * per_picture(between(4, 40, strength) / 255, images)).clamp(0, 1)


def compression(images: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """A JPEG's."""
    return jpeg(images, between(50, 6, strength))


def light(images: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """The lower half of the strengths darkens, the upper one brightens."""
    dark = between(math.log(2 / 3), math.log(1 / 8), strength * 2)
    bright = between(math.log(1.25), math.log(3.5), strength * 2 - 1)
    factor = torch.where(strength < 0.5, dark, bright).exp()
    return whole_levels(images * per_picture(factor, images))


def contrast(images: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """Towards the picture's mean."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return whole_levels(mean + (images - mean) * per_picture(between(0.7, 0.12, strength), images))


KINDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "blur": blur,
    "resolution": resolution,
    "noise": noise,
    "compression": compression,
    "light": light,
    "contrast": contrast,
}


def between(mild: float, strong: float, strength: Tensor) -> Tensor:
    """Linear in the strength: 0 mild, 1 strong."""
    return mild + (strong - mild) * strength


def per_picture(values: Tensor, images: Tensor) -> Tensor:
    """N numbers of the CPU → N×1×1×1 beside the pictures."""
    return upload(values.to(images.dtype)[:, None, None, None], images.device)


def whole_levels(images: Tensor) -> Tensor:
    """What 8 bits keep of it: what is lost in the dark stays lost."""
    return (images * 255).round().clamp(0, 255) / 255


def spread(images: Tensor, matrices: Tensor) -> Tensor:
    """M·X·Mᵀ for each picture X: a linear filter, the same along rows and columns. matrices: N×S×S, of the CPU."""
    m = upload(matrices.to(images.dtype), images.device)[:, None]
    return m @ images @ m.mT


def gaussians(size: int, sigmas: Tensor) -> Tensor:
    """N×size×size: row i holds what a Gaussian about i takes of each pixel; the picture is mirrored at its borders."""
    i = torch.arange(size, dtype=torch.float32)
    s = sigmas.clamp(min=1e-3)[:, None, None]
    sources = (i, -1 - i, 2 * size - 1 - i)  # each pixel, and its two mirror images
    weights = torch.stack([torch.exp(-((i[:, None] - j) ** 2) / (2 * s**2)) for j in sources]).sum(0)
    return weights / weights.sum(-1, keepdim=True)


@lru_cache(maxsize=512)
def shrunk(size: int, side: int) -> Tensor:
    """size×size: down to ``side`` pixels with antialiasing and up again."""
    down = F.interpolate(torch.eye(size)[None, None], (side, size), mode="bilinear", antialias=True)[0, 0]
    up = F.interpolate(torch.eye(side)[None, None], (size, side), mode="bilinear")[0, 0]
    return up @ down


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Each channel through an 8×8 DCT whose coefficients are rounded as libjpeg's quality 1-100 (N of them) has it."""
    n, c, height, width = images.shape
    quality = quality.round()
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()[:, None, None]
    table = ((torch.tensor(QUANTISERS) * scale + 50) / 100).floor().clamp(1, 255)
    steps = upload(table.to(images.dtype), images.device)[:, None, None, None]  # N×1×1×1×8×8
    k, x = torch.arange(8.0)[:, None], torch.arange(8.0)
    dct = torch.cos((2 * x + 1) * k * math.pi / 16) * torch.where(k == 0, math.sqrt(1 / 8), 0.5)
    dct = upload(dct.to(images.dtype), images.device)
    padded = F.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = (padded * 255 - 128).reshape(n, c, rows, 8, columns, 8).transpose(3, 4)
    kept = (dct @ blocks @ dct.mT / steps).round() * steps
    decoded = (dct.mT @ kept @ dct).transpose(3, 4).reshape(padded.shape)[:, :, :height, :width]
    return whole_levels((decoded + 128) / 255)
