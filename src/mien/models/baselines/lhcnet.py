"""LHC-Net: a pre-activation ResNet34 with local channel self-attention after the stem and after each stage.

Pecoraro, Basile & Bono 2022, *Local Multi-Head Channel Self-Attention for Facial Expression Recognition*, arXiv
2111.07224. The attention: ``layers/local_channel_attention.py``; 8, 8, 7, 7 and 1 heads on grids of 56, 56, 28, 14
and 7 pixels, so each head is a band of 7, 7, 4, 2 or 7 rows and the input side is fixed. Behind the average pool:
4096 and 1024 hidden units with ReLU and dropout 0.4, as in the authors' code (github.com/Bodhis4ttva/LHC_Net).

The backbone is timm's ``resnetv2_34``, for its ImageNet weights. The authors' is the Keras port of MXNet's
(``classification_models``), which differs in three places: batch norm on the raw input, batch norm and ReLU between
the stem's convolution and its pool, and a 1×1 convolution on the very first shortcut (about 4,300 parameters in all).

Other sides need other heads: ``image_size`` gives the grids (a quarter, a quarter, an eighth, …, rounded up), and each
must split evenly over its heads. The variant LHC-NetC, a learnt factor on each attention with all else frozen, is not
built: it scored lower (74.28 against 74.42 %).

The published 74.42 % averages 62 predictions for each image: its own three times, and 59 rotated, shifted, mirrored
and zoomed copies.
"""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from mien.models.backbones import timm_model
from mien.models.layers.local_channel_attention import LocalChannelAttention
from mien.models.registry import register


def grids(image_size: int) -> tuple[int, ...]:
    """Sides of the stem's and the four stages' grids: 224 → 56, 56, 28, 14, 7. Each halving rounds up."""
    sides = [image_size]
    for _ in range(5):
        sides.append((sides[-1] + 1) // 2)
    return sides[2], *sides[2:]


@register(
    "lhcnet",
    source="Pecoraro, Basile & Bono 2022, arXiv 2111.07224",
    summary="pre-activation ResNet34 with five local multi-head channel attentions; input fixed at 224",
    color="rgb",
    input_sizes=(224,),
    reduced={
        "image_size": 64,
        "heads": (4, 4, 4, 2, 1),
        "layers": (1, 1, 1, 1),
        "channels": (16, 24, 32, 48),
        "hidden": (256, 64),
    },
)
class LhcNet(nn.Module):
    """timm's ResNetV2 in parts, an attention behind each, two hidden layers. 32.4 M parameters, 4.5 GMAC at 224×224.

    heads: of the five attentions. layers, channels: blocks and channels of the four stages. hidden: sizes of the
    hidden layers. Raises ValueError for a side whose grids the heads do not divide, or for ImageNet weights with other
    than the default layers and channels; WeightsError where they cannot be fetched.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        image_size: int = 224,
        pretrained: bool = False,
        heads: tuple[int, ...] = (8, 8, 7, 7, 1),
        layers: tuple[int, ...] = (3, 4, 6, 3),
        channels: tuple[int, ...] = (64, 128, 256, 512),
        hidden: tuple[int, ...] = (4096, 1024),
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if pretrained and (tuple(layers), tuple(channels)) != ((3, 4, 6, 3), (64, 128, 256, 512)):
            raise ValueError(f"layers, channels: ImageNet weights fit the defaults only, got {layers} and {channels}")
        if (len(heads), len(layers), len(channels)) != (5, 4, 4) or not hidden:
            raise ValueError(f"expected five heads, four layers, four channels, got {heads}, {layers}, {channels}")
        sides = grids(image_size)
        if any(count < 1 or side * side % count for side, count in zip(sides, heads, strict=True)):
            raise ValueError(
                f"image_size: expected a side whose grids split evenly over the heads {tuple(heads)} (224 with the "
                f"default heads), got {image_size}, grids {sides}"
            )
        options = {"in_chans": in_channels, "num_classes": 0, "layers": tuple(layers), "channels": tuple(channels)}
        backbone: Any = timm_model("resnetv2_34", pretrained=pretrained, options=options)
        widths = (64, *channels)  # the stem's are timm's
        attentions = [
            LocalChannelAttention(width, side=side, heads=count)
            for width, side, count in zip(widths, sides, heads, strict=True)
        ]
        self.stem: nn.Module = backbone.stem
        self.stages: nn.Sequential = backbone.stages
        self.norm: nn.Module = backbone.norm
        self.attentions = nn.ModuleList(attentions)
        self.pool = nn.AdaptiveAvgPool2d(1)
        head: list[nn.Module] = []
        for inputs, outputs in pairwise((backbone.num_features, *hidden)):
            head += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*head, nn.Linear(hidden[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.attentions[0](self.stem(x))  # N×C×S×S → N×64×S/4×S/4
        for stage, attention in zip(self.stages, list(self.attentions)[1:], strict=True):
            x = attention(stage(x))  # → N×channels×S/4 … S/32
        x = self.norm(x)  # batch norm and ReLU
        return self.classifier(self.pool(x).flatten(1))  # → N×channels[-1] → N×num_classes

    def no_weight_decay(self) -> set[str]:
        """The attentions' biases, which by their shape (one row for each head) look like matrices."""
        return {f"attentions.{number}.bias" for number in range(len(self.attentions))}
