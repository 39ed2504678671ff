"""An exponential moving average of the weights that does not remember its first steps for long.

Lightning's ``WeightAveraging`` does the work (averaged weights for validation and under ``state_dict``, both sets in
the checkpoint; batch-norm statistics are averaged like weights). The decay grows with the number of updates n,
min(decay, (1 + n) / (10 + n)), as TensorFlow's ``ExponentialMovingAverage`` has it, so that a short run is not
dominated by its initial weights.
"""

from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """decay: per step, in the long run. device: where the averages are kept; the network's own, to avoid copies."""

    def __init__(self, *, decay: float, device: torch.device) -> None:
        def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
            if not averaged[0].is_floating_point():  # batch norm's count of batches
                torch._foreach_copy_(averaged, current)
                return
            n = torch.as_tensor(updates, dtype=torch.float32, device=averaged[0].device)
            share = 1 - torch.clamp((1 + n) / (10 + n), max=decay)
            away = torch._foreach_sub(current, averaged)
            torch._foreach_mul_(away, share)
            torch._foreach_add_(averaged, away)

        super().__init__(device=device, multi_avg_fn=update)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        super().setup(*args, **kwargs)
        if self._average_model is not None:  # counted on the host, or each step would wait for the device to answer
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()
