"""From a recipe to its optimiser and the learning rate of each step."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from mien.training.recipe import OptimizerSection, ScheduleSection
from mien.training.sam import SAM, Pass


def build_optimizer(
    section: OptimizerSection, network: nn.Module, *, ascent_pass: Pass, descent_pass: Pass
) -> torch.optim.Optimizer:
    """The recipe's optimiser over the network's parameters, wrapped in SAM where the recipe has it.

    Biases, norms and the network's ``no_weight_decay()`` (timm's convention) are never decayed.
    ascent_pass, descent_pass: contexts for SAM's two passes.
    """
    spared: Callable[[], set[str]] = getattr(network, "no_weight_decay", set)
    names = spared()
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim > 1 and name not in names]
    plain = [p for name, p in trained if p.ndim <= 1 or name in names]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": section.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    # One kernel for all parameters, where they are on CUDA; elsewhere torch's own choice. RAdam has none.
    fused = True if all(p.is_cuda for _, p in trained) else None
    base: torch.optim.Optimizer
    if section.name == "sgd":
        nesterov = section.nesterov and section.momentum > 0
        base = torch.optim.SGD(groups, lr=section.lr, momentum=section.momentum, nesterov=nesterov, fused=fused)
    elif section.name == "radam":
        base = torch.optim.RAdam(groups, lr=section.lr, betas=section.betas, decoupled_weight_decay=True)
    else:
        kind = torch.optim.AdamW if section.name == "adamw" else torch.optim.Adam
        base = kind(groups, lr=section.lr, betas=section.betas, fused=fused)
    if section.sam is None:
        return base
    return SAM(
        base,
        rho=section.sam.rho,
        adaptive=section.sam.adaptive,
        ascent_pass=ascent_pass,
        descent_pass=descent_pass,
    )


def build_schedule(
    section: ScheduleSection, optimizer: torch.optim.Optimizer, *, total_steps: int, steps_per_epoch: int, mode: str
) -> LRScheduler:
    """mode: "max" or "min", which way the validated figure improves; only ``plateau`` looks at it."""
    if section.name == "plateau":
        # torch lowers the rate after more than ``patience`` bad epochs, we after that many.
        return ReduceLROnPlateau(
            optimizer,
            mode=mode,  # type: ignore[arg-type]
            factor=section.factor,
            patience=section.patience - 1,
            threshold=0.0,
            threshold_mode="abs",
            min_lr=section.floor,
            eps=0,  # torch would leave steps below 1e-8 out, without a word
        )
    return LambdaLR(optimizer, partial(lr_factor, section, total_steps=total_steps, steps_per_epoch=steps_per_epoch))


def lr_factor(section: ScheduleSection, step: int, *, total_steps: int, steps_per_epoch: int) -> float:
    """The learning-rate schedule: a step's rate divided by the recipe's. Linear warm-up, then the decay."""
    warmup = section.warmup * total_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if section.name == "step":
        return section.factor ** (step // steps_per_epoch // section.every)
    progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
    shape = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
    return section.final + (1 - section.final) * shape[section.name]
