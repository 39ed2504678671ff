"""Sharpness-aware minimisation as an optimiser around any other (Foret et al. 2020, arXiv 2010.01412).

    g = ∇L(w);  ŵ = w + ρ g / ‖g‖₂;  then the base optimiser steps from w with ∇L(ŵ).

The norm is over all parameters of all groups. ASAM (Kwon et al. 2021, arXiv 2102.11600) measures the step in units of
the weights: ŵ = w + ρ w² g / ‖|w| g‖₂. ρ = 0 is the base optimiser.

One step calls its closure twice, so whatever the closure does must be the same function of the weights both times:
the training step draws its batch before, seeds dropout alike for both passes, and keeps the second one from touching
batch-norm statistics (``frozen_statistics``). The state is the base optimiser's own, momentum included; weights are
put back from copies that live as long as the step.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mien.training.recipe import Recipe

Closure = Callable[[], Any]
Pass = Callable[[], AbstractContextManager[Any]]


class SAM(torch.optim.Optimizer):
    """base: the optimiser that takes the step; parameter groups and state are shared with it.

    rho: radius of the ascent, ≥ 0 (in units of the weights where ``adaptive``). ascent_pass, descent_pass: contexts
    around the two calls of the closure.
    """

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        rho: float = 0.05,
        adaptive: bool = False,
        ascent_pass: Pass = nullcontext,
        descent_pass: Pass = nullcontext,
    ) -> None:
        if not rho >= 0:
            raise ValueError(f"expected rho ≥ 0, got {rho}")
        super().__init__([{"params": group["params"]} for group in base.param_groups], {})
        self.base, self.rho, self.adaptive = base, rho, adaptive
        self.ascent_pass, self.descent_pass = ascent_pass, descent_pass
        self._adopt()

    def _adopt(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """closure: clears the gradients, computes the loss of one fixed batch and its gradients, returns the loss.

        Returns what its first call, at the unperturbed weights, gave. Raises RuntimeError without a closure, which is
        how fp16 with a GradScaler would call it.
        """
        if closure is None:
            raise RuntimeError("SAM.step needs a closure: it looks at the batch twice (fp16 with a GradScaler cannot)")
        with torch.enable_grad(), self.ascent_pass():
            loss = closure()
        moved, before = self.ascend()
        try:
            with torch.enable_grad(), self.descent_pass():
                closure()
        finally:
            if moved:
                torch._foreach_copy_(moved, before)
        self.base.step()
        return loss

    @torch.no_grad()
    def ascend(self) -> tuple[list[Tensor], list[Tensor]]:
        """Move the weights to ŵ, using up their gradients; returns the moved weights and what they were."""
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not moved:
            return [], []
        gradients = [p.grad for p in moved if p.grad is not None]
        lengths = torch._foreach_norm(
            [p.abs() * g for p, g in zip(moved, gradients, strict=True)] if self.adaptive else gradients
        )
        # A tensor on the device to the end: no step waits for the host. A zero gradient moves nothing.
        scale = self.rho / (torch.linalg.vector_norm(torch.stack([length.float() for length in lengths])) + 1e-12)
        before = [p.detach().clone() for p in moved]
        # In place: the closure clears these gradients before it computes the next ones.
        if self.adaptive:
            torch._foreach_mul_(gradients, [p.square() for p in moved])
        torch._foreach_mul_(gradients, scale)
        torch._foreach_add_(moved, gradients)
        return moved, before

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which torch's optimisers make of what they know alone."""
        own = ("base", "rho", "adaptive", "ascent_pass", "descent_pass")
        return super().__getstate__() | {name: getattr(self, name) for name in own}

    def state_dict(self) -> dict[str, Any]:
        """The base optimiser's: momentum and all, and nothing of ours."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.base.load_state_dict(state_dict)
        self._adopt()  # loading gives the base new groups and a new state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if hasattr(self, "base"):
            self.base.add_param_group(param_group)
        else:  # while Optimizer's own constructor runs
            super().add_param_group(param_group)


def climbs_locally(recipe: Recipe) -> bool:
    """Whether each of several processes climbs along the gradient of its own part."""
    return recipe.optimizer.sam is not None and recipe.optimizer.sam.ascent == "local"


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Within: batch norms in training normalise by their batch as ever, but leave running statistics alone."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
