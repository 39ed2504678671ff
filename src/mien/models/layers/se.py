"""Squeeze-and-excitation: a gate between 0 and 1 for each channel, computed from all channels.

Hu et al. 2017, arXiv 1709.01507. Ours: the excitation is a class of its own, :class:`ChannelGate`, because Vats &
Chadha 2023 (arXiv 2301.10906, §3.5, after Aouayeb et al. 2021, arXiv 2107.03107) apply it to a vector, which needs no
squeeze; and the whole block takes maps with the channels last, as Swin has them, as well as first. The weights are
linear layers with biases. The reduction of 16 is Hu's; the paper states none. The gate starts near 1/2, as in torch.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class ChannelGate(nn.Module):
    """v · σ(W₂ ReLU(W₁ v)); float …×channels → the same shape.

    reduction: channels / hidden units, at least one unit is left. Raises ValueError where it is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction: expected at least 1, got {reduction}")
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)

    def gate(self, v: Tensor) -> Tensor:
        """…×channels → …×channels in 0…1."""
        return self.expand(F.relu(self.reduce(v))).sigmoid()

    def forward(self, v: Tensor) -> Tensor:
        return v * self.gate(v)


class SELayer(nn.Module):
    """Each channel of a map times the excitation's gate for the channels' means over all positions.

    N×channels×H×W → the same, or N×H×W×channels → the same where ``channels_last``.
    """

    def __init__(self, channels: int, *, reduction: int = 16, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.excitation = ChannelGate(channels, reduction=reduction)

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            return x * self.excitation.gate(x.mean(dim=(1, 2)))[:, None, None, :]
        return x * self.excitation.gate(x.mean(dim=(2, 3)))[:, :, None, None]
