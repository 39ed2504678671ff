"""LHC: local multi-head self-attention between channels.

Pecoraro, Basile & Bono 2022, *Local Multi-Head Channel Self-Attention for Facial Expression Recognition*, arXiv
2111.07224. The tokens are channels, and a head is a piece of the picture: the grid, read row by row, is cut into as
many equal pieces as there are heads, and in each piece every channel looks at every other. With D pixels a head:

    q, k   the piece of the average-pooled and of the max-pooled grid, both times the head's own D×E matrix (one for
           both: keys and queries share it)
    v      the piece of the average-pooled 3×3 convolution of the grid; no matrix of its own
    head   softmax(q kᵀ / E^(1 + p)) v,   p = σ(W · mean over keys of q kᵀ)   one power for each channel and head

and the pieces, put together again, are added to the input. From the authors' code (github.com/Bodhis4ttva/LHC_Net),
where the paper leaves room: windows of 3×3 at stride 1 for every pool, borders not counted in an average; W is shared
by the heads; biases everywhere. E is half of D, rounded up, which at 224×224 gives the authors' 196, 196, 56, 14 and
25. Matrices start as in Keras (Glorot uniform, biases at 0).

Ours: the scores are always computed in single precision. They are sums over pixels, not normalised, and reach 10⁴ on
faces before any training; in bf16 their error would be larger than the differences that the softmax is to see.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn


class LocalChannelAttention(nn.Module):
    """float N×channels×side×side → the same shape.

    heads: in how many pieces the grid is cut. base: the scale's power without its learnt part. Raises ValueError where
    the pieces are not equal; also in forward, for a grid of another side.
    """

    def __init__(self, channels: int, *, side: int, heads: int, base: float = 1.0) -> None:
        super().__init__()
        if heads < 1 or side * side % heads:
            raise ValueError(f"expected heads that cut {side}×{side} pixels into equal pieces, got {heads}")
        pixels = side * side // heads
        self.side, self.heads, self.base = side, heads, base
        self.embedding = max(2, (pixels + 1) // 2)  # at 1 every power would be the same
        self.query_pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.key_pool = nn.MaxPool2d(3, 1, 1)
        self.weight = nn.Parameter(torch.empty(heads, pixels, self.embedding))
        self.bias = nn.Parameter(torch.empty(heads, 1, self.embedding))
        self.power = nn.Linear(channels, channels)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        self.value_pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        for matrix in (*self.weight, self.power.weight, self.value.weight):
            nn.init.xavier_uniform_(matrix)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        _, _, height, width = x.shape
        if (height, width) != (self.side, self.side):
            raise ValueError(f"expected a grid of {self.side}×{self.side}, got {height}×{width}")
        value = self._pieces(self.value_pool(self.value(x)))  # N×heads×C×D
        exact = nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)  # meta knows no autocast
        with exact:
            grid = x.to(self.weight.dtype)
            query = self._pieces(self.query_pool(grid)) @ self.weight + self.bias  # N×heads×C×E
            key = self._pieces(self.key_pool(grid)) @ self.weight + self.bias
            scores = query @ key.transpose(-2, -1)  # N×heads×C×C, the last axis over keys
            power = self.base + torch.sigmoid(self.power(scores.mean(-1)))  # N×heads×C
            weights = torch.softmax(scores * self.embedding ** -power[..., None], dim=-1)
        mixed = (weights @ value).transpose(1, 2)  # N×C×heads×D
        return x + mixed.reshape(x.shape)

    def _pieces(self, grid: Tensor) -> Tensor:
        """N×C×side×side → N×heads×C×D."""
        return grid.flatten(2).unflatten(2, (self.heads, -1)).transpose(1, 2)
