"""How sharp a minimum is: the Hessian's top eigenvalue, and the increase of the loss in a small ball.

Top eigenvalue λ of the mean loss's Hessian with respect to all weights, by power iteration with Hessian-vector products
(Pearlmutter 1994; as Yao et al. 2020, arXiv 1912.07145, PyHessian). Power iteration finds the eigenvalue that is
largest in size; where that one is negative, a second iteration on H − λI finds the top one. ``residual`` is ‖Hv − λv‖:
an eigenvalue lies within that distance of λ.

SAM's sharpness (Foret et al. 2020, arXiv 2010.01412): max over ‖ε‖ ≤ ρ of L(w + ε) − L(w), with the maximum taken where
SAM's one ascent step leads (``training/sam.py``, the very code), so it is a lower bound; adaptive: in units of the
weights (Kwon et al. 2021, arXiv 2102.11600), with their ρ of 0.5. The interval is a bootstrap over images.

Everything in eval mode and single precision; attention is computed by torch's plain kernel, because the fast ones
cannot be differentiated twice.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mien.evaluation.analysis.directions import Batches, Direction, Loss, cross_entropy, image_losses, single_precision
from mien.evaluation.metrics import mean_with_percentiles
from mien.training.sam import SAM

RHO, ADAPTIVE_RHO = 0.05, 0.5
ITERATIONS = 60
TOLERANCE = 0.01


def gradient(network: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Direction:
    """∇ of the mean loss, one tensor a parameter; zeros for parameters that the loss does not reach."""
    return _accumulate(network, batches, loss, lambda parameters, first: first, create_graph=False)


def hessian_times(network: nn.Module, batches: Batches, vector: Direction, loss: Loss = cross_entropy) -> Direction:
    """H v for the Hessian of the mean loss; v and the result have one tensor a parameter."""

    def product(parameters: list[Tensor], first: list[Tensor | None]) -> Any:
        dot = sum((g * v).sum() for g, v in zip(first, vector, strict=True) if g is not None and g.requires_grad)
        if not isinstance(dot, Tensor):  # a loss that is linear in the weights
            return [None] * len(parameters)
        return torch.autograd.grad(dot, parameters, allow_unused=True)

    return _accumulate(network, batches, loss, product, create_graph=True)


def _accumulate(network: nn.Module, batches: Batches, loss: Loss, make: Any, *, create_graph: bool) -> Direction:
    parameters = list(network.parameters())
    total = sum(len(labels) for _, labels in batches)
    result = [torch.zeros_like(p) for p in parameters]
    with sdpa_kernel(SDPBackend.MATH), single_precision():
        for images, labels in batches:
            value = loss(network(images), labels).sum() / total
            first = torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True)
            for sum_, part in zip(result, make(parameters, first), strict=True):
                if part is not None:
                    sum_ += part.detach()
    return result


def top_eigenvalue(
    times: Callable[[Direction], Direction],
    like: Direction,
    *,
    seed: int = 0,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """The largest eigenvalue of a symmetric operator, with its residual.

    times: v → H v. like: the shapes. Stops where the residual is below ``tolerance`` · |λ|, or after ``iterations``.
    Returns {"value", "residual", "iterations", "converged", "most_negative": the eigenvalue of the largest size where
    that one is negative, else None}. step: called after each product.
    """
    found = _power(times, like, 0.0, seed, iterations, tolerance, step)
    if found["value"] >= 0:
        return found | {"most_negative": None}
    lowest = found["value"]
    again = _power(times, like, lowest, seed + 1, iterations, tolerance, step)
    return again | {"iterations": found["iterations"] + again["iterations"], "most_negative": lowest}


def _power(times: Any, like: Direction, shift: float, seed: int, iterations: int, tolerance: float, step: Any) -> Any:
    """Power iteration on H − shift · I; the value that is returned is H's own."""
    generator = torch.Generator().manual_seed(seed)
    v = _unit([torch.randn(t.shape, generator=generator).to(t) for t in like])
    value = residual = 0.0
    for count in range(1, iterations + 1):
        hv = times(v)
        if step:
            step()
        value = _dot(v, hv)
        residual = _dot(*[[h - value * x for h, x in zip(hv, v, strict=True)]] * 2) ** 0.5
        moved = [h - shift * x for h, x in zip(hv, v, strict=True)]
        # for a shifted operator the size that counts is that of its own eigenvalue
        if residual <= tolerance * max(abs(value - shift) if shift else abs(value), 1e-12):
            return {"value": value, "residual": residual, "iterations": count, "converged": True}
        if _dot(moved, moved) == 0:
            break
        v = _unit(moved)
    return {"value": value, "residual": residual, "iterations": iterations, "converged": False}


def ascent_sharpness(
    network: nn.Module, batches: Batches, *, rho: float, adaptive: bool, seed: int = 0, loss: Loss = cross_entropy
) -> dict[str, float]:
    """L(w + ε) − L(w) for SAM's ε, in nats, with its interval: {"rho", "value", "low", "high"}. Weights come back."""
    sam = SAM(torch.optim.SGD(network.parameters(), lr=0.0), rho=rho, adaptive=adaptive)
    before = image_losses(network, batches, loss)
    for parameter, value in zip(network.parameters(), gradient(network, batches, loss), strict=True):
        parameter.grad = value
    with torch.no_grad():
        where, were = sam.ascend()
    try:
        rise = (image_losses(network, batches, loss) - before).numpy()
    finally:
        with torch.no_grad():
            torch._foreach_copy_(where, were)
        network.zero_grad(set_to_none=True)
    return {"rho": rho, **mean_with_percentiles(rise, seed=seed)}


def _dot(a: Direction, b: Direction) -> float:
    return float(sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True)))


def _unit(v: Direction) -> Direction:
    length = _dot(v, v) ** 0.5
    return [x / length for x in v]
