"""LHC-Net: the attention against its formula and torch's own attention, the backbone against timm's ResNetV2."""

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models import registry
from mien.models.baselines.lhcnet import LhcNet, grids
from mien.models.layers.local_channel_attention import LocalChannelAttention

Float = NDArray[np.float64]


def layer(channels: int = 5, side: int = 6, heads: int = 3, seed: int = 0) -> LocalChannelAttention:
    torch.manual_seed(seed)
    network = LocalChannelAttention(channels, side=side, heads=heads).double()
    nn.init.normal_(network.bias, 0, 0.3)
    for module in (network.power, network.value):
        nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


def reduced(**changes: Any) -> LhcNet:
    network = registry.spec("lhcnet").build(**(dict(registry.spec("lhcnet").reduced) | changes))
    assert isinstance(network, LhcNet)
    return network


def window(image: Float, row: int, column: int) -> Float:
    return image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]


def by_formula(network: LocalChannelAttention, image: Float, *, shared: bool = True, pad: bool = False) -> Float:
    """One image C×S×S, pixel by pixel, channel by channel. shared, pad: what the negative controls change."""
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    c, s, _ = image.shape
    area = (lambda _part: 9) if pad else np.size
    average, largest, value = np.zeros_like(image), np.zeros_like(image), np.zeros_like(image)
    conv = np.zeros_like(image)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    for k in range(c):
        for i in range(s):
            for j in range(s):
                conv[k, i, j] = (padded[:, i : i + 3, j : j + 3] * state["value.weight"][k]).sum()
                conv[k, i, j] += state["value.bias"][k]
    for k in range(c):
        for i in range(s):
            for j in range(s):
                average[k, i, j] = window(image[k], i, j).sum() / area(window(image[k], i, j))
                largest[k, i, j] = window(image[k], i, j).max()
                value[k, i, j] = window(conv[k], i, j).sum() / area(window(conv[k], i, j))
    pixels = s * s // network.heads
    out = np.zeros((c, s * s))
    for head in range(network.heads):
        piece = slice(head * pixels, (head + 1) * pixels)
        other = head if shared else head - 1
        query = average.reshape(c, -1)[:, piece] @ state["weight"][head] + state["bias"][head]
        key = largest.reshape(c, -1)[:, piece] @ state["weight"][other] + state["bias"][other]
        scores = query @ key.T
        mean = scores.mean(1) @ state["power.weight"].T + state["power.bias"]
        power = 1 + 1 / (1 + np.exp(-mean))
        scaled = scores / query.shape[1] ** power[:, None]
        weights = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
        out[:, piece] = weights @ value.reshape(c, -1)[:, piece]
    return image + out.reshape(image.shape)


@pytest.mark.parametrize(("side", "heads"), [(6, 3), (4, 1), (4, 8), (3, 9)])
def test_attention_equals_its_formula(side: int, heads: int) -> None:
    network = layer(side=side, heads=heads)
    x = torch.randn(2, 5, side, side, dtype=torch.float64)
    with torch.no_grad():
        got = network(x).numpy()
    np.testing.assert_allclose(got, [by_formula(network, image) for image in x.numpy()], atol=1e-10)
    # Controls: a second matrix for the keys, averages that count the border.
    assert not np.allclose(got[0], by_formula(network, x[0].numpy(), pad=True), atol=1e-4)
    if heads > 1 and network.embedding < side * side // heads:
        assert not np.allclose(got[0], by_formula(network, x[0].numpy(), shared=False), atol=1e-4)


def test_attention_equals_torchs_with_a_constant_power() -> None:
    network = layer()
    nn.init.zeros_(network.power.weight)
    nn.init.constant_(network.power.bias, 0.7)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)

    def pieces(grid: torch.Tensor) -> torch.Tensor:  # bands of two rows: N×heads×C×12
        return grid.unfold(2, 2, 2).permute(0, 2, 1, 4, 3).reshape(2, 3, 5, 12)

    with torch.no_grad():
        query = torch.einsum("nhcd,hde->nhce", pieces(network.query_pool(x)), network.weight) + network.bias
        key = torch.einsum("nhcd,hde->nhce", pieces(network.key_pool(x)), network.weight) + network.bias
        value = pieces(network.value_pool(network.value(x)))
        power = 1 + 1 / (1 + math.exp(-0.7))
        mixed = F.scaled_dot_product_attention(query, key, value, scale=6**-power)
        bands = mixed.reshape(2, 3, 5, 2, 6).permute(0, 2, 1, 3, 4).reshape(2, 5, 6, 6)
        torch.testing.assert_close(network(x), x + bands)
        usual = F.scaled_dot_product_attention(query, key, value)  # control: 1/√E
        assert not torch.allclose(mixed, usual, atol=1e-3)


def test_scores_keep_single_precision_under_autocast() -> None:
    network = layer(channels=8, side=8, heads=4).float()
    x = 3 * torch.randn(2, 8, 8, 8)
    with torch.no_grad():
        exact = network(x) - x
        with torch.autocast("cpu", torch.bfloat16):
            got = network(x) - x  # the values and their mixture are in bf16
        rounded = network.bfloat16()(x.bfloat16()).float() - x  # control: all of it in bf16
    error, worse = ((other - exact).norm() / exact.norm() for other in (got, rounded))
    assert error < 0.006 < 0.012 < worse


def test_heads_are_bands_and_mix_channels_not_places() -> None:
    """A change at the top stays, but for the reach of the 3×3 windows, in the top head; it moves every channel."""
    x = torch.randn(1, 5, 8, 8, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0, 0] += 1
    for heads, reaches in ((4, False), (1, True)):  # one head over everything is the control
        network = layer(side=8, heads=heads)
        with torch.no_grad():
            moved = (network(changed) - network(x)).abs() > 1e-9
        assert moved[0, :, :2].flatten(1).any(1).all()
        assert bool(moved[0, :, 4:].any()) == reaches


def test_backbone_equals_timms() -> None:
    network = reduced().eval()
    options = {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 48), "num_classes": 0}
    theirs = timm.create_model("resnetv2_34", **options).eval()
    state = network.state_dict()
    theirs.load_state_dict({name: state[name] for name in theirs.state_dict()})
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(network(x), network.classifier(theirs(x)), atol=1e-3)  # control: attention at work
        for number in range(5):
            network.attentions[number] = nn.Identity()
        torch.testing.assert_close(network(x), network.classifier(theirs(x)))


def test_size_by_hand() -> None:
    """timm's ResNetV2-34 without its classifier, five attentions, two hidden layers."""
    with torch.device("meta"):
        backbone = timm.create_model("resnetv2_34", num_classes=0)
    grid = ((64, 56, 8, 196), (64, 56, 8, 196), (128, 28, 7, 56), (256, 14, 7, 14), (512, 7, 1, 25))  # authors' E
    parameters = sum(p.numel() for p in backbone.parameters()) + 512 * 4096 + 4096 + 4096 * 1024 + 1024 + 1024 * 7 + 7
    macs = registry.measure(registry.spec("timm/resnetv2_34"), {"num_classes": 0})[1]
    macs += 512 * 4096 + 4096 * 1024 + 1024 * 7
    for c, side, heads, e in grid:
        d = side * side // heads
        parameters += heads * (d * e + e) + (c * c + c) + (9 * c * c + c)
        macs += 2 * heads * c * d * e + heads * c * c * (e + d) + heads * c * c + 9 * c * c * side * side
    assert registry.measure(registry.spec("lhcnet")) == (parameters, macs) == (32_392_075, 4_516_196_352)


def test_sizes_of_grids_and_embeddings_are_the_papers() -> None:
    assert grids(224) == (56, 56, 28, 14, 7)
    with torch.device("meta"):
        network = registry.build("lhcnet")
    assert isinstance(network, LhcNet)
    layers = [m for m in network.attentions if isinstance(m, LocalChannelAttention)]
    assert [m.side for m in layers] == [56, 56, 28, 14, 7]
    assert [m.embedding for m in layers] == [196, 196, 56, 14, 25]


def test_biases_are_not_decayed() -> None:
    network = reduced()
    biases = {name for name, p in network.named_parameters() if name.endswith("bias") and p.ndim > 1}
    assert network.no_weight_decay() == biases
    assert len(biases) == 5


@pytest.mark.parametrize("size", [33, 48, 63, 64, 90])
def test_any_side_with_heads_that_fit(size: int) -> None:
    """The grids foretold at build time are those that the backbone makes; otherwise forward would refuse them."""
    with torch.device("meta"):
        network = reduced(image_size=size, heads=(1, 1, 1, 1, 1))
        assert network(torch.empty(2, 3, size, size)).shape == (2, 7)


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"image_size: expected .*\(224 with the default heads\), got 48, grids"):
        registry.build("lhcnet", image_size=48)
    with pytest.raises(RecipeError, match="ImageNet weights fit the defaults only"):
        registry.build("lhcnet", {"layers": (1, 1, 1, 1)}, pretrained=True)
    with pytest.raises(RecipeError, match="expected five heads"):
        registry.build("lhcnet", {"heads": (8, 8, 7, 7)})
    with pytest.raises(ValueError, match="6×6 pixels into equal pieces, got 5"):
        LocalChannelAttention(4, side=6, heads=5)
    with pytest.raises(ValueError, match="expected a grid of 6×6, got 5×6"):
        layer()(torch.zeros(1, 5, 5, 6, dtype=torch.float64))
