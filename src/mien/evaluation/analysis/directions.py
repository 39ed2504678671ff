"""Filter-normalised random directions in weight space, and the loss along them.

Li et al. 2018, arXiv 1712.09913: a direction is drawn from a normal distribution, and each of its filters is scaled to
the length of the weights' own filter, because a network whose weights are twice as large (and whose batch norms make
that meaningless) would otherwise look twice as flat. As theirs, biases and norm parameters (all tensors of one
dimension) stay where they are. A filter is what makes one output: the first index of a weight, the second of a
transposed convolution's. The draw is on the CPU in double precision, so that a seed means the same on every device.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvTransposeNd

#: Images and labels on the network's device, kept in memory.
Batches = Sequence[tuple[Tensor, Tensor]]
#: A network's output and labels → a loss for each image, float n.
Loss = Callable[[Tensor, Tensor], Tensor]
Direction = list[Tensor]


def cross_entropy(output: Tensor, labels: Tensor) -> Tensor:
    """In nats, one an image."""
    return F.cross_entropy(output, labels, reduction="none")


def single_precision() -> Any:
    """A context without cuDNN's TF32, whose ten bits of mantissa would blur small differences of losses."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def filter_normalised(network: nn.Module, *, seed: int) -> Direction:
    """One tensor a parameter, in the order of ``parameters()``; zeros for parameters of fewer than two dimensions."""
    generator = torch.Generator().manual_seed(seed)
    turned = {id(m.weight) for m in network.modules() if isinstance(m, _ConvTransposeNd)}
    result = []
    for parameter in network.parameters():
        if parameter.dim() < 2:
            result.append(torch.zeros_like(parameter))
            continue
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        weight = parameter.detach().double().cpu()
        axis = 1 if id(parameter) in turned else 0
        others = [dim for dim in range(weight.dim()) if dim != axis]
        scale = (weight.square().sum(others, keepdim=True) / drawn.square().sum(others, keepdim=True)).sqrt()
        result.append((drawn * scale).to(parameter))
    return result


@contextmanager
def moved(network: nn.Module, directions: Sequence[Direction], steps: Sequence[float]) -> Iterator[None]:
    """Inside the context the weights are w + Σ step · direction; afterwards they are restored exactly."""
    before = [parameter.detach().clone() for parameter in network.parameters()]
    try:
        with torch.no_grad():
            for number, parameter in enumerate(network.parameters()):
                for direction, step in zip(directions, steps, strict=True):
                    parameter.add_(direction[number], alpha=step)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(network.parameters(), before, strict=True):
                parameter.copy_(value)


def image_losses(network: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Tensor:
    """The loss of every image, float64 N on the CPU. The mode is the caller's: eval keeps batch norms fixed."""
    with torch.no_grad(), single_precision():
        return torch.cat([loss(network(images), labels).double().cpu() for images, labels in batches])


def mean_loss(network: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> float | None:
    """The mean over images; None where it is not finite, as can happen far from the trained weights."""
    value = float(image_losses(network, batches, loss).mean())
    return value if math.isfinite(value) else None


def along(
    network: nn.Module, batches: Batches, directions: Sequence[Direction], points: Any, loss: Loss = cross_entropy
) -> list[float | None]:
    """The mean loss at every point; a point has one step for each direction."""
    result = []
    for steps in points:
        with moved(network, directions, [float(step) for step in steps]):
            result.append(mean_loss(network, batches, loss))
    return result
