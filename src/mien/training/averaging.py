"""An exponential moving average of the weights that does not remember its first steps for long.

Lightning's ``WeightAveraging`` does the work (averaged weights for validation and under ``state_dict``, both sets in
the checkpoint). The decay grows with the number of updates n, min(decay, (1 + n) / (10 + n)), as TensorFlow's
``ExponentialMovingAverage`` has it, so that a short run is not dominated by its initial weights.
"""

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """decay: per step, in the long run. device: where the averages are kept; the network's own, to avoid copies."""

    def __init__(self, *, decay: float, device: torch.device) -> None:
        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = float(updates)
            share = 1 - min(decay, (1 + n) / (10 + n))
            return averaged + share * (current - averaged)

        super().__init__(device=device, avg_fn=average)
