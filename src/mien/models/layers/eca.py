"""Efficient channel attention (ECA): each channel is scaled by a gate that looks at its neighbouring channels.

Wang et al. 2020, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", arXiv 1910.03151.
Global average pool, a 1-D convolution over the channels (no bias, zero padding), sigmoid, scale. The kernel follows
from the number of channels. Changed by us: at least 3, because with a kernel of 1 (4 channels and fewer) no channel
would see another. Same arithmetic as timm's ``EcaModule``; ours because the masks of ``resnet_unet_eca.py`` are built
of it.
"""

from math import log2

from torch import Tensor, nn


def eca_kernel(channels: int, *, gamma: float = 2, b: float = 1) -> int:
    """|log₂(C)/γ + b/γ|_odd: cut to a whole number and, where that is even, one more; 3 for 64, 5 for 128 … 1024.

    Raises ValueError for less than one channel.
    """
    if channels < 1:
        raise ValueError(f"channels: expected 1 or more, got {channels}")
    whole = int((log2(channels) + b) / gamma)
    return max(3, whole if whole % 2 else whole + 1)


class ECA(nn.Module):
    """N×C×H×W → the same shape and type; channel c is multiplied by a number in 0…1 that its k neighbours give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = eca_kernel(channels)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean(dim=(2, 3))  # N×C×H×W → N×C
        gate = self.conv(gate[:, None]).sigmoid()  # N×1×C: the channels are the line that is convolved
        return x * gate[:, 0, :, None, None]  # N×C×1×1
