"""Our squeeze-and-excitation against timm's."""

import pytest
import torch
from timm.layers import SqueezeExcite
from torch import nn

from mien.models.layers.se import ChannelGate, SELayer


def timm_with_weights_of(excitation: ChannelGate, **options: object) -> SqueezeExcite:
    """timm's block (1×1 convolutions) with the weights of ours (linear layers)."""
    hidden, channels = excitation.reduce.weight.shape
    other = SqueezeExcite(channels, rd_channels=hidden, **options)
    for ours, theirs in ((excitation.reduce, other.fc1), (excitation.expand, other.fc2)):
        theirs.weight.data = ours.weight.data[:, :, None, None]
        theirs.bias.data = ours.bias.data
    return other


def test_excitation_equals_timms_on_a_vector() -> None:
    ours, v = ChannelGate(96), torch.randn(5, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(v), timm_with_weights_of(ours)(v[:, :, None, None])[:, :, 0, 0])


def test_squeeze_excitation_equals_timms_on_maps_of_either_layout() -> None:
    first, last = SELayer(32, reduction=4), SELayer(32, reduction=4, channels_last=True)
    last.load_state_dict(first.state_dict())
    x = torch.randn(3, 32, 5, 7)
    with torch.no_grad():
        expected = timm_with_weights_of(first.excitation)(x)
        torch.testing.assert_close(first(x), expected)
        torch.testing.assert_close(last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("wrong", [{"act_layer": nn.SiLU}, {"gate_layer": "hard_sigmoid"}, {"add_maxpool": True}])
def test_the_comparison_sees_another_block(wrong: dict[str, object]) -> None:
    """Negative control: another activation, gate or squeeze, with the same weights."""
    ours, x = SELayer(32, reduction=4), torch.randn(3, 32, 5, 7)
    with torch.no_grad():
        assert not torch.allclose(ours(x), timm_with_weights_of(ours.excitation, **wrong)(x), atol=1e-4)


def test_reduction_sets_the_hidden_units() -> None:
    """timm rounds the units up to a multiple of eight, so 96 channels would have 8 there; Hu et al. have 6."""
    assert ChannelGate(768).reduce.weight.shape == SqueezeExcite(768).fc1.weight.shape[:2] == (48, 768)
    assert ChannelGate(96).reduce.weight.shape == (6, 96) != SqueezeExcite(96).fc1.weight.shape[:2]
    assert ChannelGate(8).reduce.weight.shape == (1, 8)
    assert sum(p.numel() for p in ChannelGate(96, reduction=16).parameters()) == 2 * 96 * 6 + 6 + 96
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        ChannelGate(8, reduction=0)


def test_gate_by_hand() -> None:
    """One unit: v · σ(2 · ReLU(v₁ − v₂) − 1)."""
    layer = ChannelGate(2, reduction=2)
    layer.load_state_dict(
        {
            "reduce.weight": torch.tensor([[1.0, -1.0]]),
            "reduce.bias": torch.zeros(1),
            "expand.weight": torch.tensor([[2.0], [2.0]]),
            "expand.bias": torch.tensor([-1.0, -1.0]),
        }
    )
    v = torch.tensor([[3.0, 1.0], [1.0, 3.0]])
    gates = torch.tensor([[3.0], [-1.0]]).sigmoid()  # 2 · 2 − 1, and −1 where ReLU cuts
    torch.testing.assert_close(layer(v), v * gates)
