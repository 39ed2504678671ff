"""Augmentation in batches, on the training device.

One affine warp does flip, rotation, scale and shift in a single interpolation; then brightness and contrast,
random erasing (Zhong et al. 2017, arXiv 1708.04896) and mixup (Zhang et al. 2017, arXiv 1710.09412). Every draw
comes from one generator that is seeded by (seed, step), so that a resumed run sees the very same batches, and so
that an optimiser that looks at a batch twice (SAM) sees the same pictures both times. That generator is the CPU's: few
numbers are drawn per picture, and the host knows their counts without asking the device (``upload``). ``part``: where
several processes share a batch, which rows of it these are; see ``part.py``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.training.part import WHOLE, Part


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Strengths; 0 (or scale (1, 1)) turns a change off.

    flip: probability of mirroring. rotate: degrees either way. scale: range of the zoom factor. shift: fraction of the
    side either way. brightness, contrast: relative range either way. erase: probability; erase_area: fraction of the
    picture. mixup: alpha of its Beta distribution. degrade: probability of a picture of worse quality (``degrade.py``).
    """

    flip: float = 0.5
    rotate: float = 15.0
    scale: tuple[float, float] = (0.85, 1.2)
    shift: float = 0.08
    brightness: float = 0.2
    contrast: float = 0.2
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.2)
    mixup: float = 0.2
    degrade: float = 0.0


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator for one step, the same in all processes; no two pairs share a stream in practice."""
    state = seed * 1_000_003 + step * 7_919 + 17
    return torch.Generator().manual_seed(state & 0x7FFF_FFFF_FFFF_FFFF)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, in the order of its work and without waiting for it.

    A copy out of ordinary memory would hold the host up until the device has done everything before; one out of
    page-locked memory (which torch keeps for the next step) does not.
    """
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def augment(
    images: Tensor,
    settings: AugmentSettings,
    generator: torch.Generator,
    *,
    size: int | None = None,
    window: float = 1.0,
    part: Part = WHOLE,
) -> Tensor:
    """Geometric and photometric changes. images: float N×C×S×S in 0-1 → N×C×size×size in the same range.

    size: side of the result, the pictures' own where None; resizing costs no interpolation of its own. window: fraction
    of the picture's side that the result shows, at a random position.
    """
    n = part.whole(len(images))
    matrices = affine_matrices(n, settings, generator)
    if window < 1:
        offsets = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - window)
        matrices = torch.cat([matrices[:, :, :2] * window, matrices[:, :, 2:] + offsets[:, :, None]], 2)
    images = warp(images, part.of(matrices), size=size)
    images = jitter(images, settings, generator, part=part)
    return erase(images, settings, generator, part=part)


def affine_matrices(n: int, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """float32 N×2×3: output → input coordinates in [-1, 1], as ``affine_grid`` wants them."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angle = uniform(-settings.rotate, settings.rotate) * math.pi / 180
    zoom = torch.exp(uniform(math.log(settings.scale[0]), math.log(settings.scale[1])))
    mirror = torch.where(torch.rand(n, generator=generator) < settings.flip, -1.0, 1.0)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    reach = 2 * settings.shift
    dx, dy = uniform(-reach, reach), uniform(-reach, reach)
    return torch.stack([torch.stack([cos * mirror, -sin, dx], 1), torch.stack([sin * mirror, cos, dy], 1)], 1)


def warp(images: Tensor, matrices: Tensor, *, size: int | None = None) -> Tensor:
    """Bilinear resampling by N×2×3 matrices, to side ``size``; beyond the border the picture is mirrored."""
    n, c, height, width = images.shape
    grid = F.affine_grid(
        upload(matrices, images.device).to(images.dtype), [n, c, size or height, size or width], align_corners=False
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, settings: AugmentSettings, generator: torch.Generator, *, part: Part = WHOLE) -> Tensor:
    """Contrast about the picture's mean, then brightness; clamped to 0-1."""
    if settings.brightness == 0 and settings.contrast == 0:
        return images
    drawn = torch.rand(2, part.whole(len(images)), 1, 1, 1, generator=generator) * 2 - 1
    draws = upload(part.of(drawn, 1), images.device).to(images.dtype)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * (1 + settings.contrast * draws[0]) + mean * (1 + settings.brightness * draws[1])
    return images.clamp(0, 1)


def erase(images: Tensor, settings: AugmentSettings, generator: torch.Generator, *, part: Part = WHOLE) -> Tensor:
    """A random rectangle of each chosen picture is filled with uniform noise."""
    if settings.erase == 0:
        return images
    _, _, height, width = images.shape
    chosen, area, aspect, top, left = torch.rand(5, part.whole(len(images)), generator=generator)
    every = torch.nonzero(chosen < settings.erase).flatten()
    here = part.among(every, len(images))
    rows = every[here]
    area, aspect, top, left = area[rows], aspect[rows], top[rows], left[rows]
    area = settings.erase_area[0] + (settings.erase_area[1] - settings.erase_area[0]) * area
    ratio = torch.exp((aspect * 2 - 1) * math.log(10 / 3))  # 0.3 … 3.3, as in the paper
    h = (torch.sqrt(area * ratio) * height).clamp(1, height).round()
    w = (torch.sqrt(area / ratio) * width).clamp(1, width).round()
    y0, x0 = (top * (height - h + 1)).floor(), (left * (width - w + 1)).floor()
    edges = upload(torch.stack([y0, y0 + h, x0, x0 + w])[:, :, None], images.device)  # 4×n×1
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_y, inside_x = (y >= edges[0]) & (y < edges[1]), (x >= edges[2]) & (x < edges[3])  # n×H, n×W
    mask = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]  # n×1×H×W
    # Noise is most of what is drawn: on the device, and for the chosen pictures alone.
    seed = int(torch.randint(2**62, (), generator=generator))
    filling = noise(seed, (len(every), *images.shape[1:]), images.device)[here].to(images.dtype)
    rows = upload(rows - part.rank * len(images), images.device)
    return images.index_put((rows,), torch.where(mask, filling, images[rows]))


def noise(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """float32, uniform in 0-1, drawn on the device."""
    return torch.rand(shape, generator=torch.Generator(device=device).manual_seed(seed), device=device)


def mixup(
    batch: dict[str, Tensor], alpha: float, generator: torch.Generator, *, part: Part = WHOLE
) -> dict[str, Tensor]:
    """Convex mixture of the batch with a shuffled copy of itself, the same for every tensor: images and all targets.

    A NaN (a target that an image has not got) stays NaN in every mixture. Several processes send each other the rows
    that they mix in.
    """
    if alpha == 0:
        return batch
    # Beta(a, a) from two gammas of our own generator: torch's Beta cannot take one.
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    weight = float(gammas[0] / gammas.sum()) if float(gammas.sum()) > 0 else 1.0
    weight = max(weight, 1 - weight)
    first = next(iter(batch.values()))
    order = torch.randperm(part.whole(len(first)), generator=generator)
    if part.world == 1:
        order = upload(order, first.device)
    return {name: torch.lerp(part.fetch(values, order), values, weight) for name, values in batch.items()}
