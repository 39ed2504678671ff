"""VGGNet against torchvision's VGG layers, and its size by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import make_layers

from mien.errors import RecipeError
from mien.models import registry
from mien.models.baselines.vggnet import VggNet

WIDTHS = (8, 12, 16, 20)


def small(image_size: int = 40) -> VggNet:
    network = registry.build("vggnet", {"widths": WIDTHS, "hidden": (24, 28)}, image_size=image_size)
    assert isinstance(network, VggNet)
    return network


def theirs(network: VggNet) -> nn.Module:
    """torchvision's stages with the network's weights; its convolutions have biases, ours have none."""
    stages = make_layers([v for width in WIDTHS for v in (width, width, "M")], batch_norm=True)
    stages[0] = nn.Conv2d(1, WIDTHS[0], 3, padding=1)
    ours = [m for m in network.features.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for mine, other in zip(ours, [m for m in stages if isinstance(m, nn.Conv2d | nn.BatchNorm2d)], strict=True):
        state = dict(mine.state_dict())
        state.setdefault("bias", torch.zeros(mine.weight.shape[0]))
        other.load_state_dict(state)
    return stages


def randomise(network: nn.Module) -> None:
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # torch's own start lets the picture fade from layer to layer
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)


@pytest.mark.parametrize("size", [40, 47])
def test_equals_torchvisions_layers(size: int) -> None:
    network = small(size).eval()
    randomise(network)
    stages = theirs(network).eval()
    first, second, last = (m for m in network.classifier if isinstance(m, nn.Linear))
    x = torch.randn(3, 1, size, size)
    with torch.no_grad():
        grid = stages(x)
        assert grid.shape == (3, 20, 2, 2)  # 40 → 20 → 10 → 5 → 2 and 47 → 23 → 11 → 5 → 2
        expected = last(F.relu(second(F.relu(first(grid.flatten(1))))))
        assert expected.std(0).min() > 1e-3  # different pictures, different answers
        torch.testing.assert_close(network(x), expected)
        stages[1].running_mean += 0.1  # control: the comparison sees a batch norm
        assert not torch.allclose(network.features(x), stages(x), atol=1e-4)


def test_a_bias_before_batch_norm_would_change_nothing() -> None:
    network = small().train()
    stages = theirs(network).train()
    x = torch.randn(4, 1, 40, 40)
    for module in stages:
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.bias)
    with torch.no_grad():
        torch.testing.assert_close(network.features(x), stages(x), atol=1e-4, rtol=1e-4)
        # Control: with statistics that do not know of them, biases count.
        assert not torch.allclose(network.features.eval()(x), theirs(network).eval()(x + 1), atol=1e-3)


def test_size_by_hand() -> None:
    conv = [(1, 64, 40), (64, 64, 40), (64, 128, 20), (128, 128, 20)]
    conv += [(128, 256, 10), (256, 256, 10), (256, 512, 5), (512, 512, 5)]
    fully = [(2048, 4096), (4096, 4096), (4096, 7)]
    parameters = sum(9 * i * o + 2 * o for i, o, _ in conv) + sum(i * o + o for i, o in fully)
    macs = sum(9 * i * o * s * s for i, o, s in conv) + sum(i * o for i, o in fully)
    entry = registry.spec("vggnet")
    assert registry.measure(entry) == (parameters, macs) == (29_888_839, 350_519_296)
    authors = parameters + sum(o for _, o, _ in conv)  # with their convolutions' biases
    assert authors == 29_890_759
    assert registry.measure(entry, size=48)[0] == parameters + (9 - 4) * 512 * 4096  # a 3×3 grid in place of 2×2


def test_wrong_arguments() -> None:
    with pytest.raises(RecipeError, match=r"image_size: expected at least 16 for 4 pools, got 15"):
        registry.build("vggnet", image_size=15)
    with pytest.raises(RecipeError, match="at least one stage"):
        registry.build("vggnet", {"hidden": ()})


def test_dropout_only_in_training() -> None:
    network = registry.build("vggnet", {"widths": WIDTHS, "hidden": (24, 28), "dropout": 0.5})
    classifier = network.classifier
    assert isinstance(classifier, nn.Module)
    x = torch.randn(2, 80)
    assert torch.equal(classifier.eval()(x), classifier(x))
    assert not torch.equal(classifier.train()(x), classifier(x))
