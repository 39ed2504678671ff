"""DAN's attention head: where to look, then which channels to keep.

Wen et al. 2021, arXiv 2109.07270 (the "cross" is spatial then channel attention, there are no queries and keys); sizes,
order and starting weights as in its public code. What we changed: layers that a batch norm follows have no bias, which
would do nothing there; any width.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def _conv_bn(inputs: int, outputs: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False), nn.BatchNorm2d(outputs))


class SpatialAttention(nn.Module):
    """x · m, m one value a pixel: the sum over channels of ReLU(3×3 + 1×3 + 3×1) of a halved x. Shape unchanged.

    m is a plain sum, neither averaged nor squashed, so it is of the order of the width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = _conv_bn(width, width // 2, (1, 1))
        self.branches = nn.ModuleList(_conv_bn(width // 2, width, kernel) for kernel in ((3, 3), (1, 3), (3, 1)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)  # N×C×H×W → N×C/2×H×W
        square, row, column = (branch(y) for branch in self.branches)
        mask = F.relu(square + row + column).sum(dim=1, keepdim=True)  # → N×1×H×W
        return x * mask


class ChannelAttention(nn.Module):
    """v · σ(W₂ ReLU(BN(W₁ v))) of the mean v over the picture, a sixteenth as hidden width; N×C×H×W → N×C."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(width, width // 16, bias=False),
            nn.BatchNorm1d(width // 16),
            nn.ReLU(inplace=True),
            nn.Linear(width // 16, width),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        v = x.mean(dim=(2, 3))  # N×C×H×W → N×C
        return v * self.gate(v)


class CrossAttentionHead(nn.Sequential):
    """N×width×H×W → N×width. Raises ValueError for a width that 16 does not divide."""

    def __init__(self, width: int) -> None:
        if width < 16 or width % 16:
            raise ValueError(f"expected a width that is a multiple of 16, got {width}")
        super().__init__(SpatialAttention(width), ChannelAttention(width))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.001)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
