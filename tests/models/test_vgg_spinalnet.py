"""VGG-SpinalNet: the backbone against torchvision's, the head against its formula."""

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from mien.errors import RecipeError
from mien.models import registry
from mien.models.baselines.vgg_spinalnet import VggSpinalNet
from mien.models.layers.spinal import SpinalHead

Float = NDArray[np.float64]


def head(features: int = 10, width: int = 6, layers: int = 4) -> SpinalHead:
    torch.manual_seed(2)
    network = SpinalHead(features, 7, width=width, layers=layers).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network


def by_formula(network: SpinalHead, x: Float, *, carry: bool = True) -> Float:
    """h_i = ReLU(BN(W_i [half_(i mod 2), h_(i−1)])), logits = W [h_1 … h_L]; carry=False forgets the chain."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    half = x.shape[1] // 2
    outputs: list[Float] = []
    for i in range(len(network.layers)):
        seen = x[:, :half] if i % 2 == 0 else x[:, half:]
        if outputs:
            seen = np.hstack([seen, outputs[-1] * carry])
        z = seen @ state[f"layers.{i}.1.weight"].T
        norm = f"layers.{i}.2."
        z = (z - state[norm + "running_mean"]) / np.sqrt(state[norm + "running_var"] + 1e-5)
        outputs.append(np.maximum(z * state[norm + "weight"] + state[norm + "bias"], 0))
    return np.hstack(outputs) @ state["classifier.1.weight"].T + state["classifier.1.bias"]


@pytest.mark.parametrize("layers", [1, 2, 4, 5])
def test_head_equals_its_formula(layers: int) -> None:
    network, x = head(layers=layers), torch.randn(5, 10, dtype=torch.float64)
    with torch.no_grad():
        got = network(x).numpy()
    np.testing.assert_allclose(got, by_formula(network, x.numpy()), atol=1e-12)
    # Controls: the halves exchanged, or (with more than one layer) no chain between the layers.
    assert not np.allclose(got, by_formula(network, np.roll(x.numpy(), 5, axis=1)))
    assert np.allclose(got, by_formula(network, x.numpy(), carry=False)) == (layers == 1)


def test_the_first_layer_sees_the_first_half_alone() -> None:
    network = head()
    x = torch.randn(5, 10, dtype=torch.float64, requires_grad=True)
    outputs: list[torch.Tensor] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    network(x)
    for number, halves in enumerate([(True, False), (True, True)]):
        (gradient,) = torch.autograd.grad(outputs[number].sum(), x, retain_graph=True)
        assert (bool(gradient[:, :5].any()), bool(gradient[:, 5:].any())) == halves


def test_backbone_equals_torchvisions() -> None:
    network = registry.build("vgg_spinalnet", {"depth": 11, "width": 8})
    assert isinstance(network, VggSpinalNet)
    theirs = torchvision.models.vgg11_bn(weights=None).features
    theirs.load_state_dict(network.features.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.features.eval()(x), theirs.eval()(x))
        assert not torch.equal(network.features(x.flip(1)), theirs(x))  # control


def test_imagenet_weights_would_fit() -> None:
    """On the meta device: VGG19-BN's convolutions by name and shape, as torchvision (and so timm) stores them."""
    with torch.device("meta"):
        network = registry.build("vgg_spinalnet")
        theirs = torchvision.models.vgg19_bn(weights=None)
    assert isinstance(network, VggSpinalNet)
    shapes = {name: value.shape for name, value in network.features.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.features.state_dict().items()}


def test_size() -> None:
    """torchvision's published 143,678,248 parameters of vgg19_bn, less its classifier, plus the head by hand."""
    classifier = 25_088 * 4096 + 4096 * 4096 + 4096 * 1000 + 4096 + 4096 + 1000
    spinal = 256 * 512 + 3 * (256 + 512) * 512 + 4 * 2 * 512 + (4 * 512 * 7 + 7)
    convolutions = [(3, 64, 112), (64, 64, 112), (64, 128, 56), (128, 128, 56), (128, 256, 28), *[(256, 256, 28)] * 3]
    convolutions += [(256, 512, 14), *[(512, 512, 14)] * 3, *[(512, 512, 7)] * 4]
    macs = sum(9 * i * o * s * s for i, o, s in convolutions) + 256 * 512 + 3 * 768 * 512 + 2048 * 7
    parameters = 143_678_248 - classifier + spinal
    assert registry.measure(registry.spec("vgg_spinalnet")) == (parameters, macs) == (21_364_551, 4_878_432_256)


def test_wrong_arguments() -> None:
    with pytest.raises(RecipeError, match="depth: expected 11, 13, 16 or 19, got 12"):
        registry.build("vgg_spinalnet", {"depth": 12})
    with pytest.raises(ValueError, match="even number of features, got 9"):
        SpinalHead(9, 7, width=4)
    with pytest.raises(ValueError, match="at least 1, got 0 and 4"):
        SpinalHead(8, 7, width=0)
