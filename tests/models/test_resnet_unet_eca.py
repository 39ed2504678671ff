"""ResNet34 + U-Net + ECA: timm's resnet34 without masks, F (1 + M) with them, the published sizes."""

import copy
import math
from typing import Any

import pytest
import timm
import torch
from timm.layers import EcaModule
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models import registry, resnet_unet_eca
from mien.models.resnet_unet_eca import MaskedResNet

SPEC = registry.spec("resnet34_unet_eca")


def reduced(**args: Any) -> MaskedResNet:
    network = SPEC.build(**{**SPEC.reduced, "width": 8, **args})
    assert isinstance(network, MaskedResNet)
    return network


def test_without_masks_it_is_timms_resnet34() -> None:
    """And the negative control: with masks and the same weights it is not."""
    theirs = timm.create_model("resnet34", num_classes=7).eval()
    plain = SPEC.build(mask="none").eval()
    plain.trunk.load_state_dict(theirs.state_dict())
    masked = MaskedResNet(plain.trunk, list(reduced(width=64).unets)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(plain(x), expected)
        assert not torch.allclose(masked(x), expected, atol=1e-3)
    assert {f"trunk.{name}" for name in theirs.state_dict()} == set(plain.state_dict())


def counted(*, first_level: bool, side: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates by hand: k² · in · out (· H · W) of each convolution."""
    parameters, macs = registry.measure(registry.spec("timm/resnet34"), {"num_classes": 7}, size=side)

    def conv(k: int, inputs: int, outputs: int, side: int, *, extra: int) -> None:
        nonlocal parameters, macs
        parameters += k * k * inputs * outputs + extra * outputs
        macs += k * k * inputs * outputs * side * side

    def block(inputs: int, outputs: int, side: int) -> None:
        conv(3, inputs, outputs, side, extra=2)
        conv(3, outputs, outputs, side, extra=2)

    for c, depth, s in ((64, 4, side // 4), (128, 3, side // 8), (256, 2, side // 16), (512, 1, side // 32)):
        widths = [c * 2**n for n in range(0 if first_level else 1, depth + 1)]
        sides = [math.ceil(s / 2**n) for n in range(len(widths))]
        for n, width in enumerate(widths):
            block(widths[n - 1] if n else c, width, sides[n])
            kernel = 3 if width == 64 else 5
            parameters += kernel
            macs += kernel * width
            if n:
                conv(2, width, widths[n - 1], sides[n], extra=0)
                parameters += widths[n - 1]  # the transposed convolution's bias
                block(2 * widths[n - 1], widths[n - 1], sides[n - 1])
        if not first_level:
            block(2 * c, c, s)
        conv(1, c, c, s, extra=1)
    return parameters, macs


@pytest.mark.parametrize(
    ("first_level", "pinned", "published"),
    [(True, (142_051_211, 10_342_456_000), ("142.05", "10.34")), (False, (132_994_233, 20_978_419_840), ("133", "21"))],
)
def test_size_of_both_readings(first_level: bool, pinned: tuple[int, int], published: tuple[str, str]) -> None:
    """Three ways: pinned, counted by hand, and rounded."""
    measured = registry.measure(SPEC, {"first_level": first_level})
    assert measured == pinned == counted(first_level=first_level, side=224)
    for number, unit, text in zip(measured, (1e6, 1e9), published, strict=True):
        assert float(f"{number / unit:.2f}") == pytest.approx(float(text), abs=0.005 if "." in text else 0.05)


def test_without_masks_it_has_resnet34s_size() -> None:
    """torchvision's page gives 21,797,672 parameters with 1,000 classes."""
    parameters, macs = registry.measure(SPEC, {"mask": "none"})
    assert parameters == 21_797_672 - 513 * 1000 + 513 * 7
    assert macs == registry.measure(registry.spec("timm/resnet34"), {"num_classes": 7})[1]


@pytest.mark.parametrize("mask", ["softmax", "sigmoid"])
def test_each_stage_is_multiplied_by_one_plus_its_mask(mask: str) -> None:
    network, x = reduced(mask=mask).eval(), torch.randn(2, 3, 64, 64)
    backbone = network.trunk
    features: list[Tensor] = []
    inputs: list[Tensor] = []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        stage.register_forward_hook(lambda _, __, out: features.append(out))
    for after in (backbone.layer2, backbone.layer3, backbone.layer4, backbone.global_pool):
        after.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    masks = network.masks(x)
    for f, m, y, unet in zip(features, masks, inputs, network.unets, strict=True):
        torch.testing.assert_close(m, unet(f).detach())
        torch.testing.assert_close(y, f + f * m)
        assert not torch.allclose(y, f * m, atol=1e-3)  # negative control: without the residual
    if mask == "softmax":
        for m in masks:
            torch.testing.assert_close(m.sum(1), torch.ones_like(m[:, 0]))


def test_without_eca_it_is_the_network_whose_eca_passes_its_input_on() -> None:
    """Negative control: with the ECA it is not."""
    with_eca, without, x = reduced(eca=True).eval(), reduced(eca=False).eval(), torch.randn(2, 3, 64, 64)
    lost = without.load_state_dict(with_eca.state_dict(), strict=False)
    assert lost.missing_keys == []
    kernels = [module for module in with_eca.modules() if isinstance(module, EcaModule)]
    assert len(lost.unexpected_keys) == len(kernels) == 5 + 4 + 3 + 2
    with torch.no_grad():
        assert not torch.allclose(with_eca(x), without(x), atol=1e-3)
        for module in kernels:
            module.register_forward_hook(lambda _, args, out: args[0])
        torch.testing.assert_close(with_eca(x), without(x))


@pytest.mark.parametrize("first_level", [True, False])
def test_masks_at_224_are_at_the_papers_sides(first_level: bool) -> None:
    with torch.device("meta"):
        network = SPEC.build(first_level=first_level).eval()
        shapes = [tuple(m.shape) for m in network.masks(torch.empty(1, 3, 224, 224))]
    assert shapes == [(1, 64, 56, 56), (1, 128, 28, 28), (1, 256, 14, 14), (1, 512, 7, 7)]


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize("side", [48, 53, 72, 97, 224, 384])
def test_any_side(side: int, stem: str) -> None:
    with torch.device("meta"):
        network = reduced(stem=stem).eval()
        masks = network.masks(torch.empty(2, 3, side, side))
        first = side if stem == "small" else math.ceil(side / 4)
        assert [m.shape[-1] for m in masks] == [math.ceil(first / 2**n) for n in range(4)]
        assert network(torch.empty(2, 3, side, side)).shape == (2, 7)


def test_uniform_masks_are_constant_factors() -> None:
    network, x = reduced().eval(), torch.randn(2, 3, 48, 48)
    plain = MaskedResNet(copy.deepcopy(network.trunk), []).eval()
    for number, stage in enumerate((plain.trunk.layer1, plain.trunk.layer2, plain.trunk.layer3, plain.trunk.layer4)):
        stage.register_forward_hook(lambda _, __, out, number=number: out * (1 + 1 / (8 * 2**number)))
    with torch.no_grad():
        masked, expected = network(x), plain(x)
        network.uniform_masks = True
        torch.testing.assert_close(network(x), expected)
        assert network.mask_statistics(x) == dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), 0.0)
        network.uniform_masks = False
        assert torch.equal(network(x), masked)
        assert not torch.allclose(masked, expected, atol=1e-4)


def test_mask_statistics() -> None:
    """std(C·M), against the masks; 0 for equal logits; √(C − 1) where each position has chosen one channel."""
    network, x = reduced().eval(), torch.randn(3, 3, 48, 48)
    measured = network.mask_statistics(x)
    reference_training = [math.sqrt(float(((m * m.shape[1] - 1) ** 2).mean())) for m in network.masks(x)]
    assert measured == pytest.approx(
        dict(zip(("stage1", "stage2", "stage3", "stage4"), reference_training, strict=True)), rel=1e-4
    )
    assert min(reference_training) > 0.05
    for unet in network.unets:
        unet.last[0].weight.data.zero_()
        unet.last[0].bias.data.zero_()
    assert list(network.mask_statistics(x).values()) == pytest.approx([0] * 4, abs=1e-6)
    for unet in network.unets:
        unet.last[0].bias.data[0] = 1000
    assert list(network.mask_statistics(x).values()) == pytest.approx([math.sqrt(c - 1) for c in (8, 16, 32, 64)])
    assert reduced(mask="none").eval().mask_statistics(x) == {}


def test_looking_at_masks_changes_nothing() -> None:
    network, x = reduced(dropout=0.5), torch.randn(2, 3, 48, 48)
    with pytest.raises(ValueError, match="eval mode"):
        network.masks(x)
    with pytest.raises(ValueError, match="eval mode"):
        network.mask_statistics(x)
    before = copy.deepcopy(network.eval().state_dict())
    network.mask_statistics(x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_two_training_passes_differ_in_batch_norm_statistics_only() -> None:
    """What SAM needs; the control is dropout, which does draw anew."""
    network, x = reduced(), torch.randn(4, 3, 48, 48)
    other = copy.deepcopy(network)
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)
    norms = {f"{n}.{k}" for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) for k in m.state_dict()}
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, other.state_dict()[n])}
    assert changed <= norms
    dropped = reduced(dropout=0.5)
    assert not torch.equal(dropped(x), dropped(x))


def test_bf16_and_channels_last_train() -> None:
    network = reduced().to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 48, 48).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(network(x).float(), torch.arange(4))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_narrow_networks_have_a_narrow_stem() -> None:
    for stem, kernel, stride in (("imagenet", 7, 2), ("small", 3, 1)):
        backbone = reduced(stem=stem, in_channels=1).trunk
        assert backbone.conv1.weight.shape == (8, 1, kernel, kernel)
        assert backbone.conv1.stride == (stride, stride)
        assert backbone.layer1[0].downsample is None
        assert backbone.fc.in_features == 64


def test_pretrained_reaches_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def timm_model(name: str, *, pretrained: bool, options: dict[str, Any]) -> nn.Module:
        asked.append((name, pretrained))
        return timm.create_model(name, **options)

    monkeypatch.setattr(resnet_unet_eca, "timm_model", timm_model)
    registry.build("resnet34_unet_eca", {"mask": "none"}, pretrained=True)
    assert asked == [("resnet34", True)]


@pytest.mark.parametrize(
    ("args", "pretrained", "message"),
    [
        ({"mask": "relu"}, False, "mask: expected one of softmax, sigmoid, none; got 'relu'"),
        ({"stem": "big"}, False, "stem: expected imagenet or small, got 'big'"),
        ({"layers": [1, 2]}, False, "expected a positive number and four of them"),
        ({"width": 0}, False, "expected a positive number"),
        ({"width": 32}, True, "expected stem imagenet, width 64 .* with ImageNet weights, got imagenet, 32"),
        ({"stem": "small"}, True, "with ImageNet weights, got small"),
    ],
)
def test_wrong_arguments(args: dict[str, Any], pretrained: bool, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        registry.build("resnet34_unet_eca", args, pretrained=pretrained)
