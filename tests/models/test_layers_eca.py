"""Our efficient channel attention against timm's."""

import pytest
import torch
from timm.layers import CecaModule, EcaModule

from mien.models.layers.eca import ECA, eca_kernel


def test_kernel_sizes_of_the_paper() -> None:
    assert [eca_kernel(c) for c in (64, 128, 256, 512, 1024)] == [3, 5, 5, 5, 5]


@pytest.mark.parametrize("channels", [1, 2, 8, 16, 31, 64, 96, 100, 128, 256, 500, 512, 1024, 2048, 2**17])
def test_kernel_is_timms(channels: int) -> None:
    assert eca_kernel(channels) == EcaModule(channels).conv.kernel_size[0]


@pytest.mark.parametrize("channels", [8, 64, 128, 256, 512, 1024])
def test_equals_timms_with_its_weights(channels: int) -> None:
    ours, theirs = ECA(channels), EcaModule(channels)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, channels, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("other", [EcaModule(64, gate_layer="hard_sigmoid"), EcaModule(64, gamma=1), CecaModule(64)])
def test_the_comparison_sees_another_layer(other: torch.nn.Module) -> None:
    """Negative control: another gate, another kernel, circular padding; all weights are 1."""
    ours, x = ECA(64), torch.randn(3, 64, 5, 7)
    for parameter in (*ours.parameters(), *other.parameters()):
        parameter.data.fill_(1)
    with torch.no_grad():
        assert not torch.allclose(ours(x), other(x), atol=1e-3)


def test_gate_by_hand() -> None:
    """Kernel (1, 2, 4) on the means (1, −1, 2); beyond the first and the last channel there is zero."""
    layer = ECA(3)
    layer.conv.weight.data = torch.tensor([[[1.0, 2.0, 4.0]]])
    means = torch.tensor([1.0, -1.0, 2.0])
    x = means[None, :, None, None] + torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    gates = torch.tensor([2 - 4, 1 - 2 + 8, -1 + 4]).sigmoid()
    torch.testing.assert_close(layer(x), x * gates[:, None, None])


def test_no_channels() -> None:
    with pytest.raises(ValueError, match="expected 1 or more, got 0"):
        ECA(0)
