"""CBAM-ResNet50: ResNet50 with channel and then spatial attention at the end of every bottleneck block.

Woo et al. 2018, *CBAM: Convolutional Block Attention Module*, arXiv 1807.06521; measured on FER2013 by Pham et al.
2021 (Residual Masking Network). In each block, after the last batch norm and before the shortcut is added:

    F' = F · σ(MLP(avg F) + MLP(max F))        MLP shared, C → C/16 → C with ReLU, pooled over the grid
    F″ = F' · σ(BN(conv7×7([avg F', max F'])))  pooled over the channels

Both parts are timm's (``timm.layers.cbam``, with the biases that the authors' MLP has and timm's default lacks:
28,089,624 parameters with 1000 classes, the published 28.09 M), and so is the ResNet.

Three details. The authors' code starts the spatial gate's batch norm at weight 0, which the paper does not mention;
here it starts at 1, as in pytorchcv, whose network Pham et al. trained. timm starts the last batch norm of each block
at weight 0; not here, where the attention would get no gradient. With ``pretrained`` the backbone has the weights of
timm's ``resnet50.tv_in1k`` and the attention is fresh: gates near ½ · ½, so the first epochs repair what they damp.
Pham et al. started from a CBAM-ResNet50 trained on ImageNet as a whole, which timm does not have.

The published 73.39 % is Pham et al.'s; their script averages ten randomly mirrored and rotated copies of each picture.
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from mien.models.backbones import timm_model
from mien.models.registry import register


def load_backbone(network: nn.Module, backbone: Mapping[str, Tensor]) -> list[str]:
    """Copy a plain ResNet's state into the same ResNet with attention.

    Returns the names that stay fresh, all of them the attention's. Raises ValueError where anything else of the
    network is not in ``backbone``, or the other way round.
    """
    fresh, unknown = network.load_state_dict(backbone, strict=False)
    stray = [*unknown, *(name for name in fresh if ".se." not in name)]
    if stray:
        raise ValueError(f"expected backbone and network to differ in the attention alone, got {', '.join(stray)}")
    return fresh


@register(
    "cbam_resnet50",
    source="Woo et al. 2018, arXiv 1807.06521",
    summary="ResNet50 with channel and spatial attention in each block",
    color="rgb",
    input_sizes=(224, 48),
    reduced={"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128)},
)
def cbam_resnet50(
    *,
    num_classes: int = 7,
    in_channels: int = 3,
    pretrained: bool = False,
    layers: tuple[int, int, int, int] = (3, 4, 6, 3),
    channels: tuple[int, int, int, int] = (64, 128, 256, 512),
    reduction: int = 16,
) -> nn.Module:
    """26.05 M parameters, 4.09 GMAC at 224×224.

    layers, channels: blocks of each stage, and their inner width (a quarter of the outer). reduction: of the channel
    attention's MLP. Raises ValueError for ImageNet weights with other than the default layers and channels,
    WeightsError where they cannot be fetched.
    """
    if pretrained and (tuple(layers), tuple(channels)) != ((3, 4, 6, 3), (64, 128, 256, 512)):
        raise ValueError(f"layers, channels: ImageNet weights fit the defaults only, got {layers} and {channels}")
    from timm.layers import get_attn

    common = {"num_classes": num_classes, "in_chans": in_channels}
    attention = partial(get_attn("cbam"), rd_ratio=1 / reduction, mlp_bias=True)
    sizes = {"layers": tuple(layers), "channels": tuple(channels)}
    network = timm_model(
        "resnet50", options=common | sizes | {"block_args": {"attn_layer": attention}, "zero_init_last": False}
    )
    if pretrained:
        load_backbone(network, timm_model("resnet50.tv_in1k", pretrained=True, options=common).state_dict())
    return network
