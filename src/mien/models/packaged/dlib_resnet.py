"""dlib's face-recognition network, for ``dlib_resnet``: out of PyPI's ``face_recognition_models``, CC0.

That package also holds a 68-landmark model whose terms are doubtful; it is not touched.
"""

import torch
from torch import Tensor, nn

from mien.models.dlib_resnet import ConvNorm
from mien.models.packaged.dlib_file import read_network
from mien.models.packaged.packages import Backbone


def weights(raw: bytes, network: nn.Module) -> dict[str, Tensor]:
    """The convolutions in order, each with the factor and the offset behind it; its own bias goes into the offset.

    Batch norms get mean 0 and variance 1, so that they are that factor and offset until their statistics are measured.
    """
    layers = [layer for layer in read_network(raw).layers if layer.kind in ("con", "affine")]
    names = [name for name, module in network.named_modules() if isinstance(module, ConvNorm)]
    if [layer.kind for layer in layers] != ["con", "affine"] * len(names):
        raise ValueError(f"expected {len(layers) // 2} convolutions, got {len(names)}")
    found: dict[str, Tensor] = {}
    for name, convolution, affine in zip(names, layers[::2], layers[1::2], strict=True):
        scale, shift = affine.tensors["gamma"], affine.tensors["beta"]
        norm = network.get_submodule(f"{name}.1")
        assert isinstance(norm, nn.BatchNorm2d)
        found[f"{name}.0.weight"] = torch.from_numpy(convolution.tensors["filters"].copy())
        found[f"{name}.1.weight"] = torch.from_numpy(scale.copy())
        found[f"{name}.1.bias"] = torch.from_numpy(shift + scale * convolution.tensors["biases"])
        found[f"{name}.1.running_mean"] = torch.zeros(len(scale))
        found[f"{name}.1.running_var"] = torch.full((len(scale),), 1 - norm.eps)
    return found


BACKBONE = Backbone(
    network="dlib_resnet",
    package="face_recognition_models",
    version="0.3.0",
    module="face_recognition_models",
    file="models/dlib_face_recognition_resnet_model_v1.dat",
    sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0-1.0",
    trained_on="about 3 million photos of 7,485 people (FaceScrub, VGG Face, and faces from the internet)",
    source="Davis King, dlib-models",
    weights=weights,
    without_statistics=True,
)
