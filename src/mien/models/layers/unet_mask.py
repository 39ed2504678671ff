"""A U-Net whose output is a mask of its input's shape, for masking the features of a residual stage.

U-Net: Ronneberger et al. 2015, arXiv 1505.04597. As a mask after each stage of a ResNet: Pham, Vu & Tran 2021 (arXiv
2603.05937, the Residual Masking Network), then with ECA in the encoder: Tian, Zhang & Huo 2024. One class
for both; the first paper's parts are passed in by ``baselines/resmaskingnet.py``, the second one's are the defaults.

Its words ("4 convolution blocks … from 64 to 1024 … 4 inverse convolutions") allow two readings, both here:
  first_level=True   levels of C, 2C … 2ᵈC channels with d pools between, d transposed convolutions back
  first_level=False  d levels of 2C … 2ᵈC with d − 1 pools between, d − 1 transposed convolutions back and a last
                     block 2C → C, as in the Residual Masking Network
Where the papers are silent: "same" padding (a mask must keep its input's size) and batch norm in place of the U-Net's
unpadded, unnormalised convolutions; the skip carries what ECA has weighted; ECA also at the lowest level; convolutions
before a batch norm have no bias; pooling rounds up and the upsampled map is cropped to its skip, so that odd sides
work; convolutions start as He et al.'s "fan out", as in the Residual Masking Network's code and in ResNet.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.models.layers.residual import conv_bn

ACTIVATIONS = ("softmax", "sigmoid")
#: Makes a layer from its input and output channels.
Block = Callable[[int, int], nn.Module]


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch norm and ReLU; N×inputs×H×W → N×outputs×H×W."""
    return nn.Sequential(
        conv_bn(inputs, outputs), nn.ReLU(inplace=True), conv_bn(outputs, outputs), nn.ReLU(inplace=True)
    )


def up_conv(inputs: int, outputs: int) -> nn.Module:
    """A 2×2 transposed convolution; N×inputs×H×W → N×outputs×2H×2W."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)


def eca(channels: int) -> nn.Module:
    """timm's efficient channel attention (Wang et al. 2020, arXiv 1910.03151): kernel 3 for 64 channels, 5 to 1,024."""
    from timm.layers import EcaModule

    return EcaModule(channels)


class UNetMask(nn.Module):
    """Features N×C×H×W, any H and W → mask of the same shape, always float32.

    Single precision also under autocast: 1 + M with M near 1/C needs more digits than bfloat16 has.

    depth: how often the channels double, 1 or more. first_level: the reading, see above. activation: "softmax" over
    the channels (each position sums to 1, so the mask averages 1/C) or "sigmoid" (each value by itself in 0…1).
    attention: made for each encoder level from its channels; None for none. block, up: what a level and a step up
    are made of. project: a 1×1 convolution before the activation. Raises ValueError for a wrong depth or activation.
    """

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        first_level: bool = True,
        activation: str = "softmax",
        attention: Callable[[int], nn.Module] | None = eca,
        block: Block = double_conv,
        up: Block = up_conv,
        project: bool = True,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth: expected 1 or more, got {depth}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.activation = activation
        #: What a mask without preferences (equal logits) holds everywhere.
        self.uniform = 1 / channels if activation == "softmax" else 0.5

        levels = [channels * 2**n for n in range(0 if first_level else 1, depth + 1)]
        self.encoder = nn.ModuleList(
            nn.Sequential(block(inputs, outputs), attention(outputs) if attention else nn.Identity())
            for inputs, outputs in pairwise([channels, *levels])
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        steps = list(pairwise(reversed(levels)))  # (2ᵈC, 2ᵈ⁻¹C), …
        self.ups = nn.ModuleList(up(inputs, outputs) for inputs, outputs in steps)
        self.decoder = nn.ModuleList(block(2 * outputs, outputs) for _, outputs in steps)
        self.last = nn.Sequential(
            *([] if first_level else [block(2 * channels, channels)]),
            *([nn.Conv2d(channels, channels, 1)] if project else []),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        x = self.encoder[0](features)  # N×C×H×W → N×C'×H×W, C' = C or 2C
        skips = []
        for level in self.encoder[1:]:
            skips.append(x)
            x = level(self.pool(x))  # → N×2C'×⌈H/2⌉×⌈W/2⌉, and so on
        for up, level in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            height, width = skip.shape[-2:]
            x = level(torch.cat([up(x)[..., :height, :width], skip], dim=1))
        logits = self.last(x).float()  # N×C×H×W
        return logits.softmax(dim=1) if self.activation == "softmax" else logits.sigmoid()
