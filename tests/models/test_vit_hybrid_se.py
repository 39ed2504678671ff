"""The hybrid ViT: timm's VisionTransformer behind our stem, torch's encoder layer in the place of a block."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mien.models import registry
from mien.models.vit_hybrid_se import ViTHybridSE

SMALL: dict[str, Any] = {
    "image_size": 48,
    "stem_widths": (8, 16, 24),
    "width": 32,
    "depth": 3,
    "num_heads": 4,
    "mlp_width": 72,
}


def small(**changes: Any) -> ViTHybridSE:
    network = ViTHybridSE(**(SMALL | changes))
    assert isinstance(network, ViTHybridSE)
    return network


class Stem(nn.Module):
    """Our stem with the interface of timm's patch embedding."""

    def __init__(self, network: ViTHybridSE) -> None:
        super().__init__()
        self.embed = network.embed

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


def test_timms_vision_transformer_behind_our_stem() -> None:
    ours = small().eval()
    theirs = VisionTransformer(
        img_size=48, patch_size=8, embed_dim=32, depth=3, num_heads=4, mlp_ratio=72 / 32, num_classes=7
    ).eval()
    state = {name: value for name, value in ours.state_dict().items() if not name.startswith(("stem.", "se_head."))}
    assert set(state) == {name for name in theirs.state_dict() if not name.startswith("patch_embed.")}
    theirs.load_state_dict(state, strict=False)
    theirs.patch_embed = Stem(ours)
    x = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(ours(x), theirs(x), atol=1e-4)  # negative control: SE as it starts
        ours.se_head.expand.weight.zero_()
        ours.se_head.expand.bias.fill_(40)  # σ(40) = 1 in float32
        torch.testing.assert_close(ours(x), theirs(x))


def torch_layer(block: Any, *, norm_first: bool) -> nn.TransformerEncoderLayer:
    """torch's encoder layer with a block's weights."""
    layer = nn.TransformerEncoderLayer(
        32, 4, 72, dropout=0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=norm_first
    )
    pairs = [
        (layer.self_attn.in_proj_weight, block.attn.qkv.weight),
        (layer.self_attn.in_proj_bias, block.attn.qkv.bias),
        (layer.self_attn.out_proj.weight, block.attn.proj.weight),
        (layer.self_attn.out_proj.bias, block.attn.proj.bias),
        (layer.linear1.weight, block.mlp.fc1.weight),
        (layer.linear1.bias, block.mlp.fc1.bias),
        (layer.linear2.weight, block.mlp.fc2.weight),
        (layer.linear2.bias, block.mlp.fc2.bias),
        (layer.norm1.weight, block.norm1.weight),
        (layer.norm2.weight, block.norm2.weight),
    ]
    with torch.no_grad():
        for target, source in pairs:
            target.copy_(source)
    return layer


def test_a_block_is_torchs_pre_norm_encoder_layer() -> None:
    network = small().eval()
    tokens = torch.randn(2, 37, 32)
    for block in network.blocks:
        torch.testing.assert_close(block(tokens), torch_layer(block, norm_first=True)(tokens))
    wrong = torch_layer(network.blocks[0], norm_first=False)
    assert not torch.allclose(network.blocks[0](tokens), wrong(tokens), atol=1e-3)  # negative control: post-norm


def test_eleven_encoders_on_a_stride_of_sixteen() -> None:
    with torch.device("meta"):
        network = ViTHybridSE()
        assert isinstance(network, ViTHybridSE)
        assert len(network.blocks) == 11
        assert network.embed(torch.empty(1, 3, 224, 224)).shape == (1, 14 * 14, 768)
        assert network.pos_embed.shape == (1, 197, 768)


def test_counted_sizes() -> None:
    """Stem: k² · in · out at each side; a block: 12 · 768² + biases and norms; ViT-Base's blocks are 7,087,872 each."""
    convolutions = [(3, 3, 64, 112)]
    for inputs, outputs, side in ((64, 128, 56), (128, 256, 28), (256, 512, 14)):
        convolutions += [(3, inputs, outputs, side), (3, outputs, outputs, side), (1, inputs, outputs, side)]
    stem = sum(k * k * i * o + 2 * o for k, i, o, _ in convolutions) + 512 * 768 + 768
    block = 12 * 768**2 + (3 + 1 + 4 + 1) * 768 + 4 * 768
    assert block == 7_087_872
    rest = 768 + 197 * 768 + 2 * 768 + (2 * 768 * 48 + 768 + 48) + 769 * 7
    parameters = stem + 11 * block + rest
    macs = sum(k * k * i * o * s * s for k, i, o, s in convolutions) + 512 * 768 * 196
    macs += 11 * (197 * 12 * 768**2 + 2 * 197**2 * 768) + 2 * 768 * 48 + 768 * 7
    assert (parameters, macs) == (83_418_231, 18_250_295_040)
    assert registry.measure(registry.spec("vit_hybrid_se")) == (parameters, macs)


def test_positions_and_class_token_matter() -> None:
    network = small().eval()
    tokens = torch.randn(1, 36, 32)
    with torch.no_grad():
        there, shuffled = network.encode(tokens)[:, 0], network.encode(tokens.flip(1))[:, 0]
        assert not torch.allclose(there, shuffled, atol=1e-4)
        network.pos_embed.zero_()  # without positions, encoders do not see the order
        torch.testing.assert_close(network.encode(tokens)[:, 0], network.encode(tokens.flip(1))[:, 0])
        before = network.encode(tokens)[:, 0]
        network.cls_token.normal_()
        assert not torch.allclose(network.encode(tokens)[:, 0], before, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 52}, "image_size: expected a multiple of 8, the stem's stride, got 52"),
        ({"num_heads": 5}, "width: expected a multiple of num_heads 5, got 32"),
        ({"stem_widths": ()}, "stem_widths: expected one or more positive widths"),
        ({"depth": 0}, "expected depth and mlp_width of at least 1, got 0 and 72"),
        ({"reduction": 0}, "reduction: expected at least 1, got 0"),
    ],
)
def test_sizes_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**wrong)


def test_stochastic_depth_and_dropout_follow_the_global_generator() -> None:
    network = small(drop_path=0.5, dropout=0.5)
    x = torch.randn(4, 3, 48, 48)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(network(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_bf16_channels_last_and_a_copy() -> None:
    network = small().eval()
    other = deepcopy(network).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(other(x.to(memory_format=torch.channels_last)), network(x), atol=1e-5, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x).float()
        torch.testing.assert_close(half, network(x), atol=0.05, rtol=0.05)
