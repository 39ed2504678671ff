"""DAN's two losses: features gather about learned class centres, attention heads keep apart.

Wen et al. 2021, arXiv 2109.07270, as its public code computes them. What we changed: the affinity loss takes soft
targets (the distance to each centre is weighted by the class's probability, as in the paper for one-hot targets), and
distances are summed from differences, where the code expands the square and then clamps what rounding made negative.
"""

import sys

import torch
from torch import Tensor, nn


class AffinityLoss(nn.Module):
    """Mean over the batch of ‖x - c_y‖², over the summed variance of the centres, so that they do not fall together."""

    def __init__(self, *, num_classes: int, features: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(num_classes, features))

    def forward(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """vectors: N×features. targets: N×K, rows sum to 1. Returns a float32 scalar ≥ 0."""
        distances = (vectors.float()[:, None] - self.centres).square().sum(dim=2)  # N×1×F - K×F → N×K
        variance = self.centres.var(dim=0).sum()  # over the classes, unbiased; summed over features
        return (targets * distances).sum(dim=1).mean() / variance


def partition_loss(heads: Tensor) -> Tensor:
    """log(1 + H / σ²), σ² the variance between H ≥ 2 heads (unbiased), averaged over batch and channels.

    heads: N×H×C, fused (after log-softmax). Returns a float32 scalar > 0, the smaller the more the heads differ.
    """
    _, count, _ = heads.shape
    variance = heads.float().var(dim=1).mean()
    return torch.log1p(count / (variance + sys.float_info.epsilon))
