"""ResNet34 whose four stages are each followed by a U-Net mask with ECA.

Tian, Zhang & Huo 2024, "Facial Expression Recognition Algorithm Integrating Semantic Features and Attention
Mechanisms" (HSMS 2024), after Pham, Vu & Tran 2021, arXiv 2603.05937. Backbone: timm's (He et al. 2015, 1512.03385).

    stage s: F → M = UNet_s(F) → F + F ⊙ M = F (1 + M); depth 4, 3, 2, 1 for C = 64, 128, 256, 512

The paper's text has the stem leave 112×112; its Table 1 and the 56×56 of its first block show that 112 is after the
convolution. Silent, chosen here: the softmax is over the channels, as in the Residual Masking Network (M then averages
1/C and the published form starts near the identity: +1.6 % at stage 1, +0.2 % at stage 4), ``mask="sigmoid"`` is the
other choice and ``mask="none"`` the plain ResNet34; no dropout; which of two readings of the U-Net (``first_level``,
see ``layers/unet_mask.py``); residual blocks do not start as their shortcuts (timm would zero their last batch norms).
Ours: ``stem="small"`` (for 48×48 inputs), ``width`` and ``layers`` (for smaller networks); ``uniform_masks`` and
``mask_statistics`` measure what the masks do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mien.models.backbones import timm_model
from mien.models.hook_points import HookPoint
from mien.models.layers.unet_mask import ACTIVATIONS, UNetMask
from mien.models.layers.unet_mask import eca as efficient_channel_attention
from mien.models.registry import register

LAYERS = (3, 4, 6, 3)
DEPTHS = (4, 3, 2, 1)


class MaskedResNet(nn.Module):
    """A timm ResNet of basic blocks; after stage s its features F become F (1 + masks[s](F)).

    images: float32 N×channels×S×S, any side → logits N×num_classes.
    masks: one a stage, or none at all.

    uniform_masks: an attribute, False unless set. Where True, every mask is replaced by what equal logits would give
    (1/C for softmax, 1/2 for sigmoid): the difference in accuracy is the effect of the masks.
    """

    def __init__(self, backbone: Any, masks: Sequence[UNetMask]) -> None:
        super().__init__()
        self.trunk = backbone
        self.unets = nn.ModuleList(masks)
        self.uniform_values = [mask.uniform for mask in masks]
        self.uniform_masks = False

    def forward(self, images: Tensor) -> Tensor:
        return self._forward(images)[0]

    def _forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the masks that were used."""
        backbone = self.trunk
        x = backbone.act1(backbone.bn1(backbone.conv1(images)))  # N×3×S×S → N×64×S/2×S/2
        x = backbone.maxpool(x)  # → N×64×S/4×S/4
        masks = []
        for number, stage in enumerate((backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)):
            x = stage(x)  # → N×(64·2ⁿ)×S/(4·2ⁿ)×S/(4·2ⁿ)
            if self.unets:
                if self.uniform_masks:
                    mask = torch.full_like(x, self.uniform_values[number], dtype=torch.float32)
                else:
                    mask = self.unets[number](x)
                x = x * (1 + mask)
                masks.append(mask)
        return backbone.forward_head(x), masks  # pool, dropout, classifier: N×512×s×s → N×num_classes

    def target_layer(self) -> HookPoint:
        """The last stage's features, masked (``models/hook_points.py``)."""
        return HookPoint("trunk.global_pool", "input", "channels_first")

    @torch.no_grad()
    def masks(self, images: Tensor) -> list[Tensor]:
        """The masks of stages 1-4 as forward uses them, each N×C×H×W; none for a network without masks.

        images: as for forward. Raises ValueError in train mode, where a look would move the batch norms' statistics.
        """
        if self.training:
            raise ValueError("masks: expected a network in eval mode, got one in train mode; call .eval()")
        return self._forward(images)[1]

    def mask_statistics(self, images: Tensor) -> dict[str, float]:
        """How far from uniform the masks are: {"stage1": …, … "stage4": …}, empty for a network without masks.

        Each is the standard deviation of M/u over all pictures, channels and positions; u is the value of a uniform
        mask, so it is std(C·M) for softmax and std(2M) for sigmoid. 0: the mask does nothing that a constant factor
        would not do. Raises ValueError in train mode.
        """
        pairs = zip(self.masks(images), self.uniform_values, strict=True)
        return {
            f"stage{number}": float((mask / uniform).std(correction=0))
            for number, (mask, uniform) in enumerate(pairs, start=1)
        }


def masked_resnet34(
    make_mask: Callable[[int, int], UNetMask] | None,
    *,
    num_classes: int,
    in_channels: int,
    pretrained: bool,
    width: int = 64,
    layers: Sequence[int] = LAYERS,
    stem: str = "imagenet",
    dropout: float = 0.0,
) -> MaskedResNet:
    """timm's resnet34 with masks that ``make_mask(channels, depth)`` makes, freshly initialised; None: no masks.

    stem: "imagenet" (7×7 by 2, then 3×3 max-pool by 2) or "small" (3×3 by 1, no pool). width: channels of the stem
    and of the first stage; each stage doubles them. pretrained: ImageNet weights of the ResNet; only with the
    published stem, width and layers. Raises ValueError for wrong values, WeightsError where they cannot be fetched.
    """
    layers = tuple(layers)
    if stem not in ("imagenet", "small"):
        raise ValueError(f"stem: expected imagenet or small, got {stem!r}")
    if width < 1 or len(layers) != 4 or min(layers) < 1:
        raise ValueError(f"width, layers: expected a positive number and four of them, got {width} and {layers}")
    if pretrained and (stem, width, layers) != ("imagenet", 64, LAYERS):
        raise ValueError(
            f"expected stem imagenet, width 64 and layers {LAYERS} with ImageNet weights, got {stem}, {width}, {layers}"
        )
    widths = tuple(width * 2**n for n in range(4))
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels, "drop_rate": dropout}
    options |= {"layers": layers, "channels": widths, "zero_init_last": False}
    backbone: Any = timm_model("resnet34", pretrained=pretrained, options=options)
    if stem == "small":
        backbone.conv1 = _conv3x3(in_channels, width)
        backbone.maxpool = nn.Identity()
    elif width != 64:
        backbone.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
    if width != 64:  # timm's stem always has 64 channels, and a projection to the first stage's
        backbone.bn1 = nn.BatchNorm2d(width)
        backbone.layer1[0].conv1 = _conv3x3(width, width)
        backbone.layer1[0].downsample = None
    masks = [make_mask(c, d) for c, d in zip(widths, DEPTHS, strict=True)] if make_mask else []
    return MaskedResNet(backbone, masks)


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


@register(
    "resnet34_unet_eca",
    source="Tian, Zhang & Huo 2024",
    summary="ResNet34 with a U-Net + ECA mask after each stage",
    color="rgb",
    input_sizes=(224, 48, 72),
    reduced={"width": 16, "layers": (1, 1, 1, 1)},
)
def resnet34_unet_eca(
    *,
    num_classes: int = 7,
    in_channels: int = 3,
    pretrained: bool = False,
    mask: str = "softmax",
    eca: bool = True,
    first_level: bool = True,
    width: int = 64,
    layers: tuple[int, ...] = LAYERS,
    stem: str = "imagenet",
    dropout: float = 0.0,
) -> nn.Module:
    """142.05 M parameters and 10.34 GMAC at 224×224; with first_level=False 132.99 M and 20.98 GMAC.

    mask: softmax, sigmoid or none (then the plain ResNet34). eca: whether the masks'
    encoders have ECA. The others: see :func:`masked_resnet34`.
    """
    if mask not in (*ACTIVATIONS, "none"):
        raise ValueError(f"mask: expected one of {', '.join(ACTIVATIONS)}, none; got {mask!r}")

    def make_mask(channels: int, depth: int) -> UNetMask:
        attention = efficient_channel_attention if eca else None
        return UNetMask(channels, depth=depth, first_level=first_level, activation=mask, attention=attention)

    return masked_resnet34(
        None if mask == "none" else make_mask,
        num_classes=num_classes,
        in_channels=in_channels,
        pretrained=pretrained,
        width=width,
        layers=layers,
        stem=stem,
        dropout=dropout,
    )
