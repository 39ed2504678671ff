"""The shipped readers' networks, our own design: ``compact`` for accuracy, ``nano`` for speed.

Both are small residual nets for 48×48 grey crops. What shaped them: on a CPU the time of a training step and of a
reading goes into memory traffic, not into multiplications, so the side is halved early (48 → 24 right after the first
convolutions) and the multiplications are spent on wide, late stages, where feature maps are small. Global average
pooling instead of fully connected layers keeps the parameters few and the input size free. Weights start as torch
initialises them: zeroed last batch norms ("each block starts as its shortcut"), the usual choice for deep nets, cost
these shallow ones 9 points after the first epoch.
"""

from itertools import pairwise

from torch import Tensor, nn

from mien.models.layers.residual import ResidualBlock, conv_bn
from mien.models.registry import register


@register(
    "compact",
    source="ours",
    summary="residual net, 64-128-256 channels at 24-12-6 pixels; the shipped reader for accuracy",
    color="grey",
    input_sizes=(48, 40),
    fixed={"stem_kernel": 3, "first_stride": 1},
)
@register(
    "nano",
    source="ours",
    summary="residual net, 32-48-128 channels at 24-12-6 pixels; with 64-160 the shipped reader for speed",
    color="grey",
    input_sizes=(48, 40),
    fixed={"stem_kernel": 5, "first_stride": 2},
    defaults={"stem": (32,), "widths": (48, 128), "depths": (2, 1), "dropout": 0.0},
)
@register(
    "pico",
    source="ours",
    summary="residual net, 48-80 channels at 10-5 pixels; classifies the orientation of a face",
    color="grey",
    input_sizes=(40, 48),
    fixed={"stem_kernel": 5, "first_stride": 2},
    defaults={"stem": (16,), "widths": (48, 80), "depths": (1, 1), "dropout": 0.0},
)
class CompactNet(nn.Module):
    """Stem to half the side, stages of residual blocks (each later stage halves the side), pool, linear classifier.

    stem: channels of the stem's convolutions; the last one strides by 2. widths, depths: channels and blocks of each
    stage. dropout: on the pooled vector, training only. ``compact`` has 2.7 M parameters and 205 MMAC at 48×48,
    ``nano`` 0.3 M and about 20 (as shipped, with widths of 64 and 160 and depths of 2 and 2, 0.9 M and about 47),
    ``pico`` 0.13 M and about 5 at 40×40.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 1,
        stem: tuple[int, ...] = (32, 64),
        stem_kernel: int,
        widths: tuple[int, ...] = (64, 128, 256),
        depths: tuple[int, ...] = (1, 2, 2),
        first_stride: int,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise((in_channels, *stem))):
            last = number == len(stem) - 1
            layers += [conv_bn(inputs, outputs, kernel=stem_kernel, stride=2 if last else 1), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*layers)
        blocks: list[nn.Module] = []
        width = stem[-1]
        for number, (outputs, depth) in enumerate(zip(widths, depths, strict=True)):
            for position in range(depth):
                halve = first_stride if number == 0 else 2
                blocks.append(ResidualBlock(width, outputs, stride=halve if position == 0 else 1))
                width = outputs
        self.stages = nn.Sequential(*blocks)
        self.depths = tuple(depths)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # N×C×S×S → N×stem×S/2×S/2
        x = self.stages(x)  # → N×widths[-1]×S/8×S/8
        x = self.pool(x).flatten(1)  # → N×widths[-1]
        return self.classifier(self.dropout(x))
