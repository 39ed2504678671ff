"""A spatial transformer: a small network computes an affine map from the picture, which then warps it.

Jaderberg et al. 2015, arXiv 1506.02025, with the localisation network of the public EmoNeXt code (8 channels 7×7,
10 channels 5×5, both unpadded and pooled, then 32 hidden units), which is the one of torch's tutorial on a larger
picture. What we changed: the six numbers are an offset that is added to the identity in single precision (under bf16
autocast a step of 1/256 near 1 would be most of a pixel), the grid is written out instead of ``affine_grid`` (a
matrix product, which autocast would round), and convolutions before a batch norm have no bias (it would do nothing).

At the start the offset's weights are zero, so that every picture passes unchanged; only that last
layer has a gradient then, and after its first step all the others do.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialTransformer(nn.Module):
    """images: float N×in_channels×image_size×image_size → the same shape, warped by one affine map each.

    Beyond the border the warped picture is 0. Raises ValueError for sides below 32.
    """

    identity: Tensor
    steps: Tensor

    def __init__(self, *, in_channels: int, image_size: int) -> None:
        super().__init__()
        if image_size < 32:
            raise ValueError(f"expected image_size of at least 32, got {image_size}")
        side = ((image_size - 6) // 2 - 4) // 2
        first, second = nn.Conv2d(in_channels, 8, 7, bias=False), nn.Conv2d(8, 10, 5, bias=False)
        self.localise = nn.Sequential(
            *(first, nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
            *(second, nn.BatchNorm2d(10), nn.MaxPool2d(2), nn.ReLU(inplace=True)),
        )
        self.hidden = nn.Linear(10 * side * side, 32)
        self.offset = nn.Linear(32, 6)
        for layer in (first, second, self.hidden):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.register_buffer("identity", torch.eye(2, 3), persistent=False)
        self.register_buffer("steps", torch.linspace(-1, 1, image_size), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return F.grid_sample(images, self.grid(self.matrices(images)).to(images), align_corners=True)

    def matrices(self, images: Tensor) -> Tensor:
        """Output → input coordinates in -1…1, the outermost pixels' centres at the ends; float32 N×2×3."""
        x = self.localise(images).flatten(1)  # N×C×S×S → N×(10·side²)
        x = self.offset(F.relu(self.hidden(x)))  # → N×6
        return self.identity + x.float().unflatten(1, (2, 3))

    def grid(self, matrices: Tensor) -> Tensor:
        """N×2×3 → where each pixel of the result comes from, N×S×S×2, last (x, y)."""
        x, y = self.steps, self.steps[:, None]  # S and S×1: along a row, down a column
        m = matrices[:, :, :, None, None]  # N×2×3×1×1
        positions = m[:, :, 0] * x + m[:, :, 1] * y + m[:, :, 2]  # N×2×S×S
        return positions.permute(0, 2, 3, 1)
