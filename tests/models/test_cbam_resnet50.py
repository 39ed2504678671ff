"""CBAM-ResNet50: the attention and its place in the block against formulas, the size against the published one."""

from collections.abc import Mapping
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models import registry
from mien.models.baselines import cbam_resnet50
from mien.models.baselines.cbam_resnet50 import load_backbone


def reduced() -> nn.Module:
    torch.manual_seed(4)
    network = registry.build("cbam_resnet50", registry.spec("cbam_resnet50").reduced)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, variance, weight, bias)


def channel(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """F · σ(MLP(avg F) + MLP(max F))"""

    def mlp(pooled: Tensor) -> Tensor:  # N×C
        w1, b1, w2, b2 = (state[f"se.channel.{name}"] for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"))
        return F.relu(pooled @ w1[:, :, 0, 0].T + b1) @ w2[:, :, 0, 0].T + b2

    flat = x.flatten(2)
    return x * torch.sigmoid(mlp(flat.mean(2)) + mlp(flat.max(2).values))[:, :, None, None]


def spatial(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """F · σ(BN(conv7×7([avg over channels, max over channels])))"""
    maps = torch.stack([x.mean(1), x.max(1).values], 1)
    gate = norm(state, "se.spatial.conv.bn", F.conv2d(maps, state["se.spatial.conv.conv.weight"], padding=3))
    return x * torch.sigmoid(gate)


def block_by_formula(block: nn.Module, x: Tensor, *, attend: Any) -> Tensor:
    state = block.state_dict()
    y = F.relu(norm(state, "bn1", F.conv2d(x, state["conv1.weight"])))
    y = F.relu(norm(state, "bn2", F.conv2d(y, state["conv2.weight"], stride=2, padding=1)))
    y = norm(state, "bn3", F.conv2d(y, state["conv3.weight"]))
    shortcut = norm(state, "downsample.1", F.conv2d(x, state["downsample.0.weight"], stride=2))
    return F.relu(attend(state, y) + shortcut)


def test_attention_stands_in_the_block_where_the_paper_has_it() -> None:
    network = reduced()
    block = network.get_submodule("layer2.0")
    x = torch.randn(3, 64, 9, 9)
    with torch.no_grad():
        got = block(x)
        expected = block_by_formula(block, x, attend=lambda state, y: spatial(state, channel(state, y)))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
        for control in (
            lambda state, y: channel(state, spatial(state, y)),  # the other order
            channel,  # one of the two alone
            spatial,
            lambda _state, y: y,  # a plain ResNet
        ):
            assert not torch.allclose(got, block_by_formula(block, x, attend=control), atol=1e-3)


def test_size_is_the_published_one() -> None:
    """28.09 M in the paper's Table 4; exactly pytorchcv's 28,089,624, which Pham et al. trained."""
    attention = 0
    for width, blocks in zip((256, 512, 1024, 2048), (3, 4, 6, 3), strict=True):
        mlp = 2 * width * (width // 16) + width // 16 + width
        attention += blocks * (mlp + 2 * 49 + 2)
    plain = 25_557_032  # torchvision's published number for ResNet50
    entry = registry.spec("cbam_resnet50")
    assert registry.measure(entry, {"num_classes": 1000})[0] == plain + attention == 28_089_624
    parameters, macs = registry.measure(entry)
    assert parameters == 28_089_624 - 2049 * 993
    gates = 0
    for width, blocks, side in zip((256, 512, 1024, 2048), (3, 4, 6, 3), (56, 28, 14, 7), strict=True):
        gates += blocks * (2 * 2 * width * (width // 16) + 2 * 49 * side * side)  # the MLP runs twice
    assert macs == registry.measure(registry.spec("timm/resnet50"))[1] + gates


def test_a_plain_backbone_is_taken_over() -> None:
    network = reduced()
    sizes = {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 128), "zero_init_last": False}
    plain = timm.create_model("resnet50", num_classes=7, **sizes).eval()
    fresh = load_backbone(network, plain.state_dict())
    assert len(fresh) == 4 * 9  # per block: two matrices with biases, a convolution, a batch norm's four
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(network(x), plain(x), atol=1e-3)  # control: the attention is at work
        for stage in range(1, 5):
            network.get_submodule(f"layer{stage}.0").se = None
        assert torch.equal(network(x), plain(x))


def test_a_backbone_that_does_not_fit_is_refused() -> None:
    network = reduced()
    backbone = {name: value for name, value in network.state_dict().items() if ".se." not in name}
    with pytest.raises(ValueError, match=r"differ in the attention alone, got layer1\.0\.conv1\.weight"):
        load_backbone(network, {name: value for name, value in backbone.items() if name != "layer1.0.conv1.weight"})
    with pytest.raises(ValueError, match="got stranger"):
        load_backbone(network, backbone | {"stranger": torch.zeros(1)})


def test_imagenet_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of ``init: imagenet`` with timm's download replaced by fresh weights."""
    backbones = []

    def fetch(name: str, *, pretrained: bool = False, options: Mapping[str, Any]) -> nn.Module:
        network = timm.create_model(name.split(".")[0], **options)
        if pretrained:
            assert name == "resnet50.tv_in1k"
            backbones.append(network)
        return network

    monkeypatch.setattr(cbam_resnet50, "timm_model", fetch)
    network = registry.build("cbam_resnet50", pretrained=True)
    state = network.state_dict()
    assert len(backbones) == 1
    assert all(torch.equal(value, state[name]) for name, value in backbones[0].state_dict().items())


def test_wrong_arguments() -> None:
    with pytest.raises(RecipeError, match="ImageNet weights fit the defaults only"):
        registry.build("cbam_resnet50", {"layers": (1, 1, 1, 1)}, pretrained=True)
