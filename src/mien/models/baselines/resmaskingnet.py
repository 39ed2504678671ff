"""The Residual Masking Network: ResNet34 with a residual U-Net mask after each stage.

Pham, Vu & Tran 2021 (ICPR 2020), "Facial Expression Recognition Using Residual Masking Network", arXiv 2603.05937;
public code by the authors. The same seats as resnet34_unet_eca, which took them over, so the same two classes
(``MaskedResNet``, ``UNetMask``) with other parts: a level is a basic residual block with a projected shortcut, d
levels with d − 1 pools between, a step up is a transposed convolution with batch norm and ReLU, no ECA, no 1×1
convolution: the softmax over the channels is on the last block's ReLU. Their published single score, 74.14, averages
many random augmentations of each test picture.

Differences: pooling rounds up and upsampled maps are cropped (any side works; at 224 nothing changes). ``zero_init``
(their code's start: a mask's residual blocks begin as their shortcuts) is off unless asked for, because parameters
behind a zero get no gradient in the first step; recipes/resmaskingnet/paper.yaml asks for it.
"""

from torch import nn

from mien.models.layers.residual import ResidualBlock
from mien.models.layers.unet_mask import UNetMask, up_conv
from mien.models.registry import register
from mien.models.resnet_unet_eca import LAYERS, masked_resnet34


def up_conv_bn(inputs: int, outputs: int) -> nn.Module:
    """Transposed convolution, batch norm, ReLU; N×inputs×H×W → N×outputs×2H×2W."""
    return nn.Sequential(up_conv(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def residual_mask(channels: int, depth: int, *, zero_init: bool = False) -> UNetMask:
    """The paper's masking block; zero_init: its residual blocks start as their shortcuts."""
    mask = UNetMask(
        channels,
        depth=depth,
        first_level=False,
        attention=None,
        block=ResidualBlock,
        up=up_conv_bn,
        project=False,
    )
    for module in mask.modules():
        if zero_init and isinstance(module, ResidualBlock):
            nn.init.zeros_(module.get_parameter("second.1.weight"))
    return mask


@register(
    "resmaskingnet",
    source="Pham, Vu & Tran 2021, arXiv 2603.05937",
    summary="ResNet34 with a residual U-Net mask after each stage",
    color="rgb",
    input_sizes=(224, 48, 72),
    reduced={"width": 16, "layers": (1, 1, 1, 1)},
)
def resmaskingnet(
    *,
    num_classes: int = 7,
    in_channels: int = 3,
    pretrained: bool = False,
    dropout: float = 0.4,
    zero_init: bool = False,
    width: int = 64,
    layers: tuple[int, ...] = LAYERS,
    stem: str = "imagenet",
) -> nn.Module:
    """137.8 M parameters and 21.9 GMAC at 224×224.

    dropout: on the pooled vector. zero_init: as their code starts. The others: see :func:`masked_resnet34`.
    """
    return masked_resnet34(
        lambda channels, depth: residual_mask(channels, depth, zero_init=zero_init),
        num_classes=num_classes,
        in_channels=in_channels,
        pretrained=pretrained,
        width=width,
        layers=layers,
        stem=stem,
        dropout=dropout,
    )
