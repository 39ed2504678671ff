"""Swin-T with and without SE: timm's network with timm's weights, and timm's SE where ours stands."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import SqueezeExcite
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.models import registry
from mien.models.layers.se import ChannelGate, SELayer
from mien.models.swin_se import SwinSE

NAME = "swin_tiny_patch4_window7_224"
SMALL: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}


def timm_swin(*, image_size: int, num_classes: int = 1000, patch_size: int = 4, **sizes: Any) -> nn.Module:
    return timm.create_model(NAME, img_size=image_size, patch_size=patch_size, num_classes=num_classes, **sizes).eval()


def test_timms_state_dict_gives_timms_output() -> None:
    """The whole Swin-T at 56×56 (14, 7, 4 and 2 tokens a side: shifted and padded windows, an odd merge)."""
    theirs = timm_swin(image_size=56)
    ours = SwinSE(se_position=None, num_classes=1000, image_size=56).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
        ours.get_parameter("layers.3.blocks.1.attn.relative_position_bias_table").add_(torch.randn(9, 24))
        assert not torch.allclose(ours(x), theirs(x))  # negative control: one table differs


@pytest.mark.parametrize(("size", "patch"), [(112, 4), (112, 2), (96, 4), (48, 2), (48, 4)])
def test_other_sides_and_patches(size: int, patch: int) -> None:
    theirs = timm_swin(image_size=size, patch_size=patch, num_classes=7, **SMALL)
    ours = SwinSE(se_position=None, image_size=size, patch_size=patch, **SMALL).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, size, size)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def without_se(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("se_")}


@pytest.mark.parametrize("position", ["head", "stem"])
def test_an_open_gate_is_plain_swin(position: str) -> None:
    with_se = SwinSE(image_size=48, se_position=position, **SMALL).eval()
    plain = SwinSE(se_position=None, image_size=48, **SMALL).eval()
    plain.load_state_dict(without_se(with_se.state_dict()))
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(with_se(x), plain(x), atol=1e-4)  # negative control: the gate as it starts
        gates = [m for m in with_se.modules() if isinstance(m, ChannelGate)]
        assert len(gates) == 1
        gates[0].expand.weight.zero_()
        gates[0].expand.bias.fill_(40)  # σ(40) = 1 in float32
        assert torch.equal(with_se(x), plain(x))


def timms_se(excitation: ChannelGate) -> SqueezeExcite:
    hidden, channels = excitation.reduce.weight.shape
    other = SqueezeExcite(channels, rd_channels=hidden)
    for ours, theirs in ((excitation.reduce, other.fc1), (excitation.expand, other.fc2)):
        theirs.weight.data, theirs.bias.data = ours.weight.data[:, :, None, None], ours.bias.data
    return other


def test_se_at_the_head_is_timms_on_the_pooled_vector() -> None:
    ours = SwinSE(image_size=48, **SMALL).eval()
    theirs: Any = timm_swin(image_size=48, num_classes=7, **SMALL)
    theirs.load_state_dict(without_se(ours.state_dict()))
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        pooled = theirs.forward_features(x).mean(dim=(1, 2))
        gated = timms_se(ours.se_head)(pooled[:, :, None, None])[:, :, 0, 0]
        torch.testing.assert_close(ours(x), theirs.head.fc(gated))


def test_se_at_the_stem_is_timms_on_the_patch_embedding() -> None:
    ours = SwinSE(image_size=48, se_position="stem", **SMALL).eval()
    theirs: Any = timm_swin(image_size=48, num_classes=7, **SMALL)
    theirs.load_state_dict(without_se(ours.state_dict()))
    assert isinstance(ours.se_stem, SELayer)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        embedded = timms_se(ours.se_stem.excitation)(theirs.patch_embed(x).permute(0, 3, 1, 2))
        expected = theirs.forward_head(theirs.norm(theirs.layers(embedded.permute(0, 2, 3, 1))))
        torch.testing.assert_close(ours(x), expected)


def macs_of_swin_t(side: int) -> int:
    """Patch embedding; in each block qkv, two products of 49 keys, projection, MLP; merging; classifier. No padding."""
    tokens, width, total = (side // 4) ** 2, 96, 0
    total += tokens * 48 * width
    for stage, depth in enumerate((2, 2, 6, 2)):
        if stage:
            total += tokens // 4 * 4 * width * 2 * width
            tokens, width = tokens // 4, 2 * width
        total += depth * tokens * (3 * width**2 + 2 * 49 * width + width**2 + 8 * width**2)
    return total + 768 * 7


def test_counted_sizes() -> None:
    """timm's published 28,288,354 parameters, less 993 classes of 768 weights and a bias; SE: 2 · D · D/16 + biases."""
    parameters = 28_288_354 - 993 * 769
    macs = macs_of_swin_t(224)
    assert (parameters, macs) == (27_524_737, 4_489_804_032)  # "4.5 G" in Liu et al., table 1
    assert registry.measure(registry.spec("swin_t")) == (parameters, macs)
    head = 2 * 768 * 48
    assert registry.measure(registry.spec("swin_t_se")) == (parameters + head + 768 + 48, macs + head)
    stem = 2 * 96 * 6
    measured = registry.measure(registry.spec("swin_t_se"), {"se_position": "stem"})
    assert measured == (parameters + stem + 96 + 6, macs + stem)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 50}, "image_size: expected a multiple of patch_size 4, got 50"),
        ({"image_size": 16}, "image_size: expected at least 32 for 4 stages, got 16"),
        ({"depths": (2, 2)}, r"of one length.*got \(2, 2\) and \(3, 6, 12, 24\)"),
        ({"num_heads": (5, 6, 12, 24)}, "num_heads: expected a divisor of 96, stage 1's width, got 5"),
        ({"window_size": 0}, "window_size: expected at least 1, got 0"),
        ({"pretrained": True, "embed_dim": 48}, "sizes that have ImageNet weights"),
    ],
)
def test_sizes_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwinSE(se_position=None, **wrong)


def test_se_position_is_checked_and_named() -> None:
    with pytest.raises(RecipeError, match="se_position: expected head or stem, got 'neck'"):
        registry.build("swin_t_se", {"se_position": "neck"})


def test_imagenet_weights_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file in the hub's place: the backbone's weights arrive, other patches are resampled, the head is new."""
    file = tmp_path / "swin.pth"
    published: Any = timm_swin(image_size=224)
    torch.save(published.state_dict(), file)

    def from_file(name: str, *, pretrained: bool, options: dict[str, Any]) -> nn.Module:
        return timm.create_model(name, pretrained=pretrained, pretrained_cfg_overlay={"file": str(file)}, **options)

    monkeypatch.setattr("mien.models.swin_se.timm_model", from_file)
    state = SwinSE(pretrained=True).state_dict()
    for name, value in published.state_dict().items():
        assert torch.equal(state[name], value) != name.startswith("head.")
    small = SwinSE(se_position=None, pretrained=True, image_size=112, patch_size=2)
    kernel = small.get_parameter("patch_embed.proj.weight")
    assert kernel.shape == (96, 3, 2, 2)
    assert torch.equal(small.get_parameter("norm.weight"), published.norm.weight)
    assert not torch.equal(small.get_parameter("layers.0.blocks.0.mlp.fc1.weight"), torch.zeros(384, 96))
    assert small(torch.zeros(1, 3, 112, 112)).shape == (1, 7)


def test_stochastic_depth_and_dropout_follow_the_global_generator() -> None:
    network = SwinSE(image_size=48, drop_path=0.5, dropout=0.5, **SMALL)
    x = torch.randn(4, 3, 48, 48)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return network(x)

    before = deepcopy(network.state_dict())
    first = run(0)
    assert torch.equal(first, run(0))
    assert not torch.equal(first, run(1))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bf16_channels_last_and_a_copy() -> None:
    network = SwinSE(image_size=48, **SMALL).eval()
    other = deepcopy(network).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(other(x.to(memory_format=torch.channels_last)), network(x))
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(network(x).float(), other(x).float())
            half = network(x).float()
        torch.testing.assert_close(half, network(x), atol=0.05, rtol=0.05)
