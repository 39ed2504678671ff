"""VGG-SpinalNet: VGG19 with batch norm, and a SpinalNet head in place of its three fully connected layers.

Santoso & Kusuma 2022, *Facial Emotion Recognition on FER2013 Using VGGSpinalNet*, Journal of Theoretical and Applied
Information Technology 100(7). We could not read the paper and found no code of its authors, so its details are
unverified; what is chosen here follows SpinalNet's own authors (Kabir et al. 2020, arXiv 2007.03347,
github.com/dipuk0506/SpinalNet):

- backbone: timm's ``vgg19_bn``, the convolutions only (SpinalNet's authors take torchvision's, the same weights);
- features: the backbone's 512 channels averaged over the grid, so two halves of 256, as in their VGG19 on 32×32
  pictures (theirs at 224×224 flattens a 7×7 grid to 25,088). So any side from 32 pixels works;
- head: four layers of 512 with dropout 0.5 and batch norm, the form of their transfer-learning scripts.

The published 74.45 % is one run, and we know of no reproduction.
"""

from typing import Any

from torch import Tensor, nn

from mien.models.backbones import timm_model
from mien.models.layers.spinal import SpinalHead
from mien.models.registry import register


@register(
    "vgg_spinalnet",
    source="Santoso & Kusuma 2022, JATIT 100(7); head: Kabir et al. 2020, arXiv 2007.03347",
    summary="VGG19-BN with a SpinalNet head: four small layers, each fed with half of the features",
    color="rgb",
    input_sizes=(112, 48),
    reduced={"depth": 11, "width": 64},
)
class VggSpinalNet(nn.Module):
    """VGG's convolutions, average pool, SpinalNet head. N×C×S×S → N×num_classes.

    depth: of the VGG, 11, 13, 16 or 19; width: of each spinal layer. 21.4 M parameters, 4.9 GMAC at 112×112. Raises
    ValueError for another depth, WeightsError where ImageNet weights cannot be fetched.
    """

    def __init__(
        self,
        *,
        num_classes: int = 7,
        in_channels: int = 3,
        pretrained: bool = False,
        depth: int = 19,
        width: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth not in (11, 13, 16, 19):
            raise ValueError(f"depth: expected 11, 13, 16 or 19, got {depth}")
        # timm's fully connected layers are thrown away; without weights to load they are built as small as possible.
        options = {"in_chans": in_channels, "num_classes": 0} | ({} if pretrained else {"mlp_ratio": 1 / 4096})
        backbone: Any = timm_model(f"vgg{depth}_bn", pretrained=pretrained, options=options)
        self.features = backbone.features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = SpinalHead(512, num_classes, width=width, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # N×C×S×S → N×512×S/32×S/32
        return self.head(self.pool(x).flatten(1))  # → N×512 → N×num_classes
