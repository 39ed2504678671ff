"""An exponential moving average of the weights with a growing decay, so that the first steps are soon forgotten.

Lightning's ``WeightAveraging`` does the work around it (averaged weights for validation and under ``state_dict``, both
sets in the checkpoint; batch-norm statistics are averaged like weights). The decay grows with the number of updates n,
min(decay, (1 + n) / (10 + n)), as TensorFlow's ``ExponentialMovingAverage`` has it, so that a short run is not
dominated by its initial weights.

The update itself is ours: torch's ``AveragedModel`` walks all modules twice a step and sends its count to the device,
which holds the host up until the device has caught up. Here the tensors are looked up once, and the count stays.
"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn


class MovingAverage(WeightAveraging):
    """decay: per step, in the long run. device: where the averages are kept; the network's own, to avoid copies."""

    def __init__(self, *, decay: float, device: torch.device) -> None:
        super().__init__(device=device)
        self.decay = decay
        self._averaged, self._current = _Tensors(), _Tensors()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._average_model is not None
        self._averaged, self._current = _Tensors(self._average_model.module), _Tensors(pl_module)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._average_model is not None
        if trainer.global_step <= self._latest_update_step:
            return
        self._latest_update_step = trainer.global_step
        averaged, current, n = self._averaged, self._current, self._average_model.n_averaged
        _copy(averaged.counts, current.counts)
        move(averaged.numbers, current.numbers, updates=int(n), decay=self.decay)
        n += 1


def move(averaged: list[Tensor], current: list[Tensor], *, updates: int, decay: float) -> None:
    """Move the averages towards the current numbers, in place, after that many updates; the first one copies."""
    if updates == 0:
        _copy(averaged, current)
        return
    n = torch.tensor(updates, dtype=torch.float32)  # in the weights' precision, so that old runs resume exactly
    step = float(1 - torch.clamp((1 + n) / (10 + n), max=decay))
    away = torch._foreach_sub(current, averaged)
    torch._foreach_mul_(away, step)
    torch._foreach_add_(averaged, away)


class _Tensors:
    """A module's parameters and buffers: numbers, which are averaged, and counts (batch norm's, of batches)."""

    def __init__(self, module: nn.Module | None = None) -> None:
        held = [] if module is None else [*module.parameters(), *module.buffers()]
        self.numbers: list[Tensor] = [tensor for tensor in held if tensor.is_floating_point()]
        self.counts: list[Tensor] = [tensor for tensor in held if not tensor.is_floating_point()]


def _copy(to: list[Tensor], source: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, source)
