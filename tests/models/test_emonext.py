"""EmoNeXt's parts against torch's and timm's, its counts by hand, its regulariser in closed form."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models import registry
from mien.models.auxiliary import AuxiliaryLosses
from mien.models.baselines.emonext import EmoNeXt
from mien.models.layers.batch_attention import BatchAttentionSpread
from mien.models.layers.spatial_transformer import SpatialTransformer
from mien.training.recipe import load_recipe, recipes_by_network

ENTRY = registry.spec("emonext")
#: depths and channels of Liu et al. 2022, arXiv 2201.03545; their parameters in M and GMAC at 224, 1000 classes
PUBLISHED = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768), 29, 4.5),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768), 50, 8.7),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024), 89, 15.4),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536), 198, 34.4),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048), 350, 60.9),
}
PINNED = {
    "tiny": (29_972_953, 4_533_669_104),
    "small": (51_607_513, 8_761_850_096),
    "base": (90_714_617, 15_432_688_368),
    "large": (202_220_089, 34_439_099_120),
    "xlarge": (358_113_913, 60_998_488_816),
}


def reduced(*, seed: int = 0, **changes: object) -> EmoNeXt:
    torch.manual_seed(seed)
    network = ENTRY.build(image_size=48, **{**ENTRY.reduced, **changes})
    assert isinstance(network, EmoNeXt)
    return network


def smooth(n: int, *, side: int = 48) -> torch.Tensor:
    """Pictures with blobs, so that moving one a little changes it a little."""
    coarse = torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, size=side, mode="bicubic")


# --- the spatial transformer --------------------------------------------------------------------------------------
def test_the_transformer_starts_as_the_identity() -> None:
    images = smooth(3)
    transformer = SpatialTransformer(in_channels=3, image_size=48)
    torch.testing.assert_close(transformer(images), images, atol=1e-4, rtol=0)
    # Negative control: any other offset is seen. Two pixels to the left, and nothing beyond the border.
    transformer.offset.bias.data[2] = 2 * 2 / 47
    moved = transformer(images)
    torch.testing.assert_close(moved[..., :-2], images[..., 2:], atol=1e-3, rtol=0)
    assert not moved[..., -1].any()


def test_the_grid_is_torchs() -> None:
    matrices = torch.randn(4, 2, 3)
    ours = SpatialTransformer(in_channels=1, image_size=37).grid(matrices)
    torch.testing.assert_close(ours, F.affine_grid(matrices, [4, 1, 37, 37], align_corners=True))
    assert not torch.allclose(ours, F.affine_grid(matrices, [4, 1, 37, 37], align_corners=False), atol=1e-3)


def test_bf16_does_not_move_the_picture() -> None:
    images = smooth(2)
    transformer = SpatialTransformer(in_channels=3, image_size=48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(transformer(images), images, atol=1e-4, rtol=0)
    # An offset that is lost beside 1 in bf16 (negative control) is not lost here.
    transformer.offset.bias.data[0] = 0.001
    assert torch.tensor(1.0).bfloat16() + torch.tensor(0.001).bfloat16() == 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert transformer.matrices(images)[0, 0, 0].item() == pytest.approx(1.001, abs=1e-5)


@pytest.mark.parametrize("side", [32, 33, 48, 224])
def test_the_transformer_takes_the_side_it_was_built_for(side: int) -> None:
    assert SpatialTransformer(in_channels=3, image_size=side)(torch.zeros(1, 3, side, side)).shape[2:] == (side, side)


# --- the regulariser ----------------------------------------------------------------------------------------------
def test_attention_weights_are_torchs() -> None:
    torch.manual_seed(0)
    layer = BatchAttentionSpread(24)
    vectors = 3 * torch.randn(7, 24)
    for parameter in layer.parameters():
        parameter.data.normal_(0, 0.4)
    x = F.layer_norm(vectors, (24,), layer.norm.weight, layer.norm.bias)
    q, k = x @ layer.query.weight.T + layer.query.bias, x @ layer.key.weight.T
    theirs = F.scaled_dot_product_attention(q[None], k[None], torch.eye(7)[None], scale=24**-0.25)[0]
    torch.testing.assert_close(layer.weights(vectors), theirs)
    usual = F.scaled_dot_product_attention(q[None], k[None], torch.eye(7)[None])[0]  # scaled by 24^-1/2
    assert not torch.allclose(layer.weights(vectors), usual, atol=1e-2)

    expected = np.mean([(w - 1 / 7) ** 2 for row in theirs.tolist() for w in row])
    assert layer(vectors).item() == pytest.approx(expected, rel=1e-5)
    assert layer(vectors).item() != pytest.approx(np.std(theirs.tolist()), rel=0.1)


def test_the_spread_is_0_among_equals_and_bounded() -> None:
    torch.manual_seed(0)
    layer = BatchAttentionSpread(16)
    vector = torch.randn(1, 16)
    assert layer(vector).item() == 0
    assert layer(vector.expand(5, 16)).item() == pytest.approx(0, abs=1e-12)
    layer.query.weight.data.copy_(100 * torch.eye(16))
    layer.key.weight.data.copy_(100 * torch.eye(16))
    assert layer(torch.randn(5, 16)).item() == pytest.approx(4 / 25, rel=1e-3)  # each looks at itself alone


def test_a_bias_of_the_keys_would_do_nothing() -> None:
    torch.manual_seed(0)
    layer, vectors = BatchAttentionSpread(16), torch.randn(6, 16)
    without = layer.weights(vectors)
    weight = layer.key.weight
    layer.key = nn.Linear(16, 16)
    layer.key.weight = weight
    layer.key.bias.data.normal_(0, 3)
    torch.testing.assert_close(layer.weights(vectors), without, atol=1e-5, rtol=1e-4)
    layer.query.bias.data.normal_(0, 3)  # negative control: one of the queries does
    assert not torch.allclose(layer.weights(vectors), without, atol=1e-3)


def test_the_regulariser_is_declared_weighted_and_leaves_the_logits_alone() -> None:
    network, images = reduced().eval(), smooth(5)
    assert isinstance(network, AuxiliaryLosses)
    logits, losses = network.forward_with_losses(images, {"expression": torch.eye(7)[:5]})
    torch.testing.assert_close(logits, network(images))
    assert set(losses) == {"attention"}
    network.attention_weight = 0.25
    quarter = network.forward_with_losses(images, {})[1]["attention"]
    torch.testing.assert_close(4 * quarter, losses["attention"])


def without_gradient(network: EmoNeXt, images: torch.Tensor, *, regulariser: bool) -> set[str]:
    network.zero_grad()
    logits, losses = network.forward_with_losses(images, {})
    loss = F.cross_entropy(logits, torch.arange(len(images)) % 7)
    (loss + losses["attention"] if regulariser else loss).backward()
    return {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}


def test_every_parameter_learns_from_the_second_step_on() -> None:
    network, images = reduced(), smooth(6)
    behind = {name for name, _ in network.named_parameters() if name.startswith("transformer.")}
    at_start = without_gradient(network, images, regulariser=True)
    assert at_start == behind - {"transformer.offset.weight", "transformer.offset.bias"}
    torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    assert without_gradient(network, images, regulariser=True) == set()
    # Negative control: queries and keys learn from the regulariser alone.
    unregularised = without_gradient(network, images, regulariser=False)
    assert unregularised == {n for n, _ in network.named_parameters() if n.startswith("attention.")}


# --- backbone and counts ---------------------------------------------------------------------------------------------
def test_without_its_own_parts_it_is_timms_convnext() -> None:
    network, images = reduced().eval(), smooth(2)
    theirs = timm.create_model("convnext_tiny", depths=(1, 1, 2, 1), dims=(16, 32, 64, 128), num_classes=0).eval()
    gates = [stage.downsample[2] for stage in network.trunk.stages[1:]]
    for gate in gates:
        gate.fc1.weight.data.normal_()  # at the start all are near 1/2, which the next norm does not see
        gate.fc2.weight.data.normal_()
    with_gates = network.trunk(images)
    for stage in network.trunk.stages[1:]:
        stage.downsample[2] = nn.Identity()
    theirs.load_state_dict(network.trunk.state_dict())
    torch.testing.assert_close(network.trunk(images), theirs(images))
    assert not torch.allclose(with_gates, theirs(images), atol=1e-2)

    # A gate by hand: means over the picture, ReLU, sigmoid, no biases, a sixteenth in between.
    x, gate = torch.randn(2, 32, 5, 7), gates[0]
    w1, w2 = gate.fc1.weight[:, :, 0, 0].detach().numpy(), gate.fc2.weight[:, :, 0, 0].detach().numpy()
    assert w1.shape == (2, 32)
    excited = np.maximum(x.mean(dim=(2, 3)).numpy() @ w1.T, 0) @ w2.T
    expected = x.numpy() / (1 + np.exp(-excited))[:, :, None, None]
    np.testing.assert_allclose(gate(x).detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("variant", PUBLISHED)
def test_counts_by_hand(variant: str) -> None:
    depths, dims, millions, giga = PUBLISHED[variant]
    side = 56
    parameters, macs = 48 * dims[0] + 3 * dims[0], 48 * dims[0] * side**2  # patches, with bias and norm
    for number, (depth, d) in enumerate(zip(depths, dims, strict=True)):
        if number > 0:
            before, side = dims[number - 1], side // 2
            parameters += 2 * before + 4 * before * d + d
            macs += 4 * before * d * side**2
        parameters += depth * (8 * d * d + 58 * d)  # 7×7 a channel, norm, d → 4d → d, layer scale
        macs += depth * (49 * d + 8 * d * d) * side**2
    d = dims[3]
    parameters += 2 * d
    assert round((parameters + 1001 * d) / 1e6) == millions
    assert macs / 1e9 == pytest.approx(giga, abs=0.1)

    excitation = sum(2 * d * (d // 16) for d in dims[1:])
    transformer = 3 * 8 * 49 + 16 + 8 * 10 * 25 + 20 + (10 * 52 * 52 + 1) * 32 + 33 * 6
    parameters += excitation + transformer + (2 * d + d * d + d + d * d) + 7 * (d + 1)
    macs += excitation + 3 * 8 * 49 * 218**2 + 8 * 10 * 25 * 105**2 + 10 * 52 * 52 * 32 + 32 * 6 + 7 * d
    assert registry.measure(ENTRY, {"variant": variant}) == (parameters, macs) == PINNED[variant]


def test_stochastic_depth_grows_to_a_tenth() -> None:
    backbone = EmoNeXt(image_size=32).trunk
    rates = [getattr(b.drop_path, "drop_prob", 0.0) for stage in backbone.stages for b in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 18), atol=1e-6)


def test_a_variant_can_be_set_in_every_recipe_of_it() -> None:
    counted = {}
    for name in recipes_by_network()["emonext"]:
        for variant in ("small", "pico"):
            args = load_recipe(name, overrides={"model.args.variant": variant}).model.args
            counted[name, variant] = registry.measure(ENTRY, args)[0]
    assert set(counted.values()) == {PINNED["small"][0], 9_973_817}
    assert registry.measure(ENTRY, load_recipe("emonext/scratch").model.args, size=96) == (9_236_537, 264_060_144)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"variant": "huge"}, "expected variant to be one of tiny, small, base, large, xlarge, pico, got 'huge'"),
        ({"depths": (1, 2, 3)}, "expected depths to be four numbers"),
        ({"dims": (8, 16, 32, 64)}, r"channels from 16\), got \(8"),
        ({"image_size": 31}, "expected image_size of at least 32, got 31"),
        ({"pretrained": True, "depths": (1, 1, 1, 1)}, "expected no depths with ImageNet weights"),
        ({"pretrained": True, "variant": "pico"}, "expected no depths or dims with ImageNet weights"),
        ({"variant": "small", "dims": (16, 32, 64, 128)}, "expected variant or dims, not both: set one to null"),
        ({"variant": "tiny", "depths": [3, 3, 9, 3]}, "expected variant or depths, not both"),
    ],
)
def test_wrong_arguments_say_what_was_expected(args: dict[str, object], message: str) -> None:
    own = {name: args.pop(name) for name in ("image_size", "pretrained") if name in args}
    with pytest.raises(RecipeError, match=message):
        registry.build("emonext", args, **own)  # type: ignore[arg-type]
