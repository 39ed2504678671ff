"""What a recipe's optimiser settings do to the weights: each rule written out, step by step, from its paper."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.training.optimizers import build_optimizer
from mien.training.recipe import OptimizerSection

START = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
STEPS = 8


def gradients() -> list[Tensor]:
    random = torch.Generator().manual_seed(4)
    return [torch.randn(2, 2, generator=random) for _ in range(STEPS)]


def weights_after(gradients: list[Tensor], **section: Any) -> Tensor:
    """A single matrix under the recipe's optimiser, given these gradients one by one."""
    net = nn.Linear(2, 2, bias=False)
    net.weight.data.copy_(START)
    made = OptimizerSection(**({"lr": 0.1, "weight_decay": 0} | section))
    optimizer = build_optimizer(made, net, ascent_pass=nullcontext, descent_pass=nullcontext)
    for gradient in gradients:
        net.weight.grad = gradient.clone()
        optimizer.step()
    return net.weight.detach()


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, True), (0.5, False), (0.9, False), (0.9, True)])
def test_sgd(momentum: float, nesterov: bool, decay: float) -> None:
    """v ← μ v + g; w ← w − η v, or with Nesterov's look ahead w − η (g + μ v). Decay is part of the gradient."""
    w, v = START.clone(), torch.zeros(2, 2)
    for gradient in gradients():
        g = gradient + decay * w
        v = momentum * v + g
        w = w - 0.1 * (g + momentum * v if nesterov else v)
    got = weights_after(gradients(), name="sgd", momentum=momentum, nesterov=nesterov, weight_decay=decay)
    torch.testing.assert_close(got, w)


def moments(gradients: list[Tensor], betas: tuple[float, float]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """t, m̂ and v̂ of Adam (Kingma and Ba 2014, arXiv 1412.6980), as weighted sums of all gradients so far."""
    for t in range(1, len(gradients) + 1):
        shares = [[(1 - b) * b ** (t - 1 - i) / (1 - b**t) for i in range(t)] for b in betas]
        m = torch.stack([s * g for s, g in zip(shares[0], gradients, strict=False)]).sum(0)
        v = torch.stack([s * g**2 for s, g in zip(shares[1], gradients, strict=False)]).sum(0)
        yield t, m, v


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_adam_and_adamw(name: str, betas: tuple[float, float]) -> None:
    w = START.clone()
    for _, m, v in moments(gradients(), betas):
        w = (1 - 0.1 * 0.3) * w - 0.1 * m / (v.sqrt() + 1e-8)
    got = weights_after(gradients(), name="adamw", betas=betas, weight_decay=0.3)
    torch.testing.assert_close(got, w)
    plain = START.clone()
    for _, m, v in moments(gradients(), betas):
        plain = plain - 0.1 * m / (v.sqrt() + 1e-8)
    torch.testing.assert_close(weights_after(gradients(), name=name, betas=betas), plain)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_radam(betas: tuple[float, float]) -> None:
    """Liu et al. 2019 (arXiv 1908.03265): unadapted while the variance cannot be estimated; decay is decoupled."""
    w, longest = START.clone(), 2 / (1 - betas[1]) - 1
    for t, m, v in moments(gradients(), betas):
        known = longest - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        w = (1 - 0.1 * 0.3) * w
        if known > 5:
            top = (known - 4) * (known - 2) * longest
            w = w - 0.1 * math.sqrt(top / ((longest - 4) * (longest - 2) * known)) * m / v.sqrt()
        else:
            w = w - 0.1 * m
    torch.testing.assert_close(weights_after(gradients(), name="radam", betas=betas, weight_decay=0.3), w)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "radam"])
def test_where_decay_is_decoupled_a_weight_without_gradient_only_shrinks(name: str) -> None:
    """And in adam it does not: there the decay passes through the moments."""
    nothing = [torch.zeros(2, 2)] * 3
    shrunk = START * (1 - 0.1 * 0.3) ** 3
    got = weights_after(nothing, name=name, weight_decay=0.3, momentum=0)
    assert torch.allclose(got, shrunk) == (name != "adam")


def test_the_moments_of_sam_are_the_bases() -> None:
    """Momentum, betas and decay reach the base optimiser inside SAM."""
    for name, wanted in (
        ("sgd", {"momentum": 0.7, "nesterov": True, "weight_decay": 0.2}),
        ("radam", {"betas": (0.8, 0.9), "weight_decay": 0.2, "decoupled_weight_decay": True}),
    ):
        section = OptimizerSection(
            name=name, momentum=0.7, nesterov=True, betas=(0.8, 0.9), weight_decay=0.2, sam={"rho": 0.1}
        )
        made = build_optimizer(section, nn.Linear(2, 2), ascent_pass=nullcontext, descent_pass=nullcontext)
        assert wanted.items() <= made.param_groups[0].items()
