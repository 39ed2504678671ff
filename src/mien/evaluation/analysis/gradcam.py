"""Grad-CAM: which positions of the last feature map support a class.

Selvaraju et al. 2017, arXiv 1610.02391: with A the map N×C×H×W and s the class's logit, each channel is weighted with
its gradient's mean over positions, α = mean_{hw} ∂s/∂A, and the map is ReLU(Σ_c α_c A_c). For a global mean pool and a
linear classifier α is that classifier's row by H·W, so that this is CAM (Zhou et al. 2016, arXiv 1512.04150): the
closed form that tests hold it to. Which map is the last one: ``hook_points.py``; tokens become a square grid.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.evaluation.analysis.hook_points import as_map, reading
from mien.models.hook_points import HookPoint


def grad_cam(network: nn.Module, images: Tensor, targets: Tensor, point: HookPoint) -> tuple[Tensor, Tensor]:
    """Maps float N×H×W, 0 or more, in the units of the logit, and logits N×K.

    images: float N×C×S×S. targets: int64 N, the class of each map. The network's mode is the caller's;
    no parameter's gradient is touched.
    """
    with torch.enable_grad(), _frozen(network), reading(network, [point]) as found:
        logits = network(images.detach().requires_grad_(True))
        chosen = logits.gather(1, targets[:, None]).sum()  # rows do not see each other in eval mode
        (gradient,) = torch.autograd.grad(chosen, found[0])
        features, slopes = as_map(found[0].detach(), point), as_map(gradient, point)  # N×C×H×W
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    return F.relu((weights * features).sum(dim=1)), logits.detach()


def enlarge(maps: Tensor, side: int) -> Tensor:
    """N×H×W → N×side×side, bilinear."""
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def to_unit(maps: Tensor) -> Tensor:
    """Every map divided by its largest value, so that each picture counts alike; a map of zeros stays."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest.clamp_min(1e-20), torch.zeros_like(maps))


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No graph through the parameters: half the time and memory."""
    before = [(p, p.requires_grad) for p in network.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
