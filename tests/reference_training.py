"""Training written out in plain PyTorch, for the training path to be compared with: no Lightning, no optimiser class.

It shares with the path what is tested elsewhere (the targets, the draws, the network's first weights) and nothing of
what is compared: the order, the loss, parts, SAM, clipping, momentum and the moving average stand here once more.
Covers SGD with momentum at a constant rate, without weight decay and dropout.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from mien.data.store import Store
from mien.training.datasets import crop_dataset
from mien.training.networks import build_network, recipe_preprocess
from mien.training.objectives import Drawn, build_objective
from mien.training.recipe import Recipe
from tiny_networks import TinyWithTerms, own_terms

State = dict[str, Tensor]


@dataclass
class Trace:
    """losses: of each step, before it; uphill: SAM's, where it climbed to. states: the network's after each step.

    drawn: each step's inputs. average: the moving average at the end.
    """

    losses: list[float] = field(default_factory=list)
    uphill: list[float] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    average: State = field(default_factory=dict)


def reference_training(
    recipe: Recipe, store: Store, *, soft_answers: Callable[[Tensor], Tensor] | None = None, divide: int = 1
) -> Trace:
    """soft_answers: images → what the teachers say together. divide: in how many parts a step is computed."""
    torch.manual_seed(recipe.seed)
    network, preprocess = build_network(recipe), recipe_preprocess(recipe)
    objective = build_objective(recipe.model_copy(update={"distill": None}), preprocess, network)
    data = crop_dataset(store.read(recipe.data.train), recipe, preprocess, train=True)
    trace, velocity, size = Trace(), dict[str, Tensor](), min(recipe.batch_size, len(data))
    for epoch in range(recipe.epochs):
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(data))
        for number in range(len(data) // size):
            rows = order[number * size : (number + 1) * size].tolist()
            drawn = objective.draw(data[rows], step=len(trace.states))
            if soft_answers:
                drawn["answers"] = soft_answers(drawn["images"])
            loss, gradient = _gradient(recipe, network, drawn, divide)
            if recipe.optimizer.sam:
                climbed, gradient = _gradient_uphill(recipe, network, drawn, divide, gradient)
                trace.uphill.append(climbed)
            if recipe.optimizer.clip_norm:
                gradient = [g * min(1.0, recipe.optimizer.clip_norm / length(gradient)) for g in gradient]
            _sgd(recipe, network, gradient, velocity)
            trace.losses.append(loss)
            trace.drawn.append(drawn)
            trace.states.append({name: value.clone() for name, value in network.state_dict().items()})
    if recipe.ema:
        trace.average = moving_average(trace.states, recipe.ema.decay)
    return trace


def length(gradient: Sequence[Tensor]) -> float:
    """Euclidean, over all of them."""
    return float(torch.cat([g.flatten() for g in gradient]).norm())


def moving_average(states: Sequence[State], decay: float) -> State:
    """Σ over steps of each state's share, multiplied out; whole numbers (counts of batches) are left out."""
    rates = [0.0] + [min(decay, (1 + n) / (10 + n)) for n in range(1, len(states))]
    shares = [(1 - rate) * float(np.prod(rates[n + 1 :])) for n, rate in enumerate(rates)]
    assert sum(shares) == 1 or abs(sum(shares) - 1) < 1e-9
    floats = [name for name, value in states[0].items() if value.is_floating_point()]
    return {
        name: torch.stack([s * state[name].double() for s, state in zip(shares, states, strict=True)]).sum(0).float()
        for name in floats
    }


def loss_of(recipe: Recipe, network: nn.Module, drawn: Drawn) -> Tensor:
    """The sum over the rows of what each of them adds to the loss. Terms of the network's own are means of the part."""
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if recipe.precision == "bf16" else nullcontext()
    with autocast:  # a region of its own for each pass: no weight that was rounded in another one is seen
        logits = network(drawn["images"])
    logits, targets = logits.float(), drawn["expression"]
    loss = -(targets * logits.log_softmax(1)).sum()
    if recipe.distill:
        soft, answers = recipe.distill.temperature, drawn["answers"]
        away = (answers * (answers.log() - (logits / soft).log_softmax(1))).sum()
        loss = (1 - recipe.distill.weight) * loss + recipe.distill.weight * soft**2 * away
    if isinstance(network, TinyWithTerms):
        loss = loss + len(logits) * sum(own_terms(logits, targets).values(), torch.zeros(()))
    return loss


def _gradient(recipe: Recipe, network: nn.Module, drawn: Drawn, divide: int) -> tuple[float, list[Tensor]]:
    rows = len(drawn["images"])
    assert rows % divide == 0
    total, gradient = 0.0, [torch.zeros_like(p) for p in network.parameters()]
    for start in range(0, rows, rows // divide):
        part = {name: values[start : start + rows // divide] for name, values in drawn.items()}
        loss = loss_of(recipe, network, part) / rows
        total += float(loss.detach())
        gradient = [a + b for a, b in zip(gradient, torch.autograd.grad(loss, network.parameters()), strict=True)]
    return total, gradient


def _gradient_uphill(
    recipe: Recipe, network: nn.Module, drawn: Drawn, divide: int, gradient: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """SAM's: at w + ρ g/‖g‖; the running statistics stay those of the first pass."""
    assert recipe.optimizer.sam is not None
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for p, g in zip(network.parameters(), gradient, strict=True):
            p += recipe.optimizer.sam.rho * g / length(gradient)
    climbed, uphill = _gradient(recipe, network, drawn, divide)
    network.load_state_dict(before)
    return climbed, uphill


@torch.no_grad()
def _sgd(recipe: Recipe, network: nn.Module, gradient: Sequence[Tensor], velocity: dict[str, Tensor]) -> None:
    """v ← μ v + g; w ← w − η v."""
    for (name, p), g in zip(network.named_parameters(), gradient, strict=True):
        velocity[name] = recipe.optimizer.momentum * velocity.get(name, torch.zeros_like(g)) + g
        p -= recipe.optimizer.lr * velocity[name]
