"""The U-Net mask: its steps written out, its sides and channels seen by hooks, its two readings."""

import pytest
import torch
from timm.layers import EcaModule
from torch import Tensor, nn
from torch.nn import functional as F

from mien.models.layers.unet_mask import UNetMask

STAGES = [(64, 4), (128, 3), (256, 2), (512, 1)]


def encoder_shapes(mask: UNetMask, side: int) -> list[tuple[int, int]]:
    """(channels, side) after each encoder level, seen by hooks; nothing is computed."""
    seen: list[tuple[int, int]] = []
    for level in mask.encoder:
        level.register_forward_hook(lambda _, __, out: seen.append((out.shape[1], out.shape[2])))
    channels = int(mask.encoder[0][0][0][0].in_channels)
    assert mask(torch.empty(1, channels, side, side, device="meta")).shape == (1, channels, side, side)
    return seen


@pytest.mark.parametrize(("channels", "depth"), STAGES)
def test_first_level_true_halves_the_side_as_often_as_its_depth(channels: int, depth: int) -> None:
    with torch.device("meta"):
        mask = UNetMask(channels, depth=depth, first_level=True)
    assert encoder_shapes(mask, 112) == [(channels * 2**n, 112 // 2**n) for n in range(depth + 1)]


@pytest.mark.parametrize(("channels", "depth"), STAGES)
def test_first_level_false_halves_it_once_less(channels: int, depth: int) -> None:
    with torch.device("meta"):
        mask = UNetMask(channels, depth=depth, first_level=False)
    assert encoder_shapes(mask, 112) == [(channels * 2**n, 112 // 2 ** (n - 1)) for n in range(1, depth + 1)]


@pytest.mark.parametrize("first_level", [True, False])
@pytest.mark.parametrize(("channels", "depth"), STAGES)
def test_widths_end_at_1024_with_one_eca_a_level(channels: int, depth: int, first_level: bool) -> None:
    with torch.device("meta"):
        mask = UNetMask(channels, depth=depth, first_level=first_level)
    kernels = [m.conv.kernel_size[0] for m in mask.modules() if isinstance(m, EcaModule)]
    widths = [channels * 2**n for n in range(0 if first_level else 1, depth + 1)]
    assert widths[-1] == 1024
    assert kernels == [{64: 3}.get(c, 5) for c in widths]
    transposed = [(m.in_channels, m.out_channels) for m in mask.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert transposed == list(zip(widths[:0:-1], widths[-2::-1], strict=True))


def double(x: Tensor, level: nn.Module) -> Tensor:
    for convolution, norm in (level[0], level[2]):
        x = F.conv2d(x, convolution.weight, padding=1)
        x = F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return x


def reference_training(mask: UNetMask, x: Tensor, *, eca: bool = True, swapped: bool = False) -> Tensor:
    """Depth 1, first_level=True, step by step."""

    def gate(x: Tensor, layer: nn.Module) -> Tensor:
        weights = torch.conv1d(x.mean((2, 3))[:, None], layer.conv.weight, padding=1).sigmoid()
        return x * weights[:, 0, :, None, None] if eca else x

    (first, first_eca), (second, second_eca) = mask.encoder
    skip = gate(double(x, first), first_eca)
    low = gate(double(F.max_pool2d(skip, 2, ceil_mode=True), second), second_eca)
    up = F.conv_transpose2d(low, mask.ups[0].weight, mask.ups[0].bias, stride=2)
    up = up[:, :, : x.shape[2], : x.shape[3]]
    y = double(torch.cat([skip, up] if swapped else [up, skip], 1), mask.decoder[0])
    return F.conv2d(y, mask.last[0].weight, mask.last[0].bias).softmax(1)


@pytest.mark.parametrize("side", [6, 7])
def test_equals_its_steps_written_out(side: int) -> None:
    """And the negative controls: without ECA, or with the halves of the concatenation swapped, it does not."""
    mask, x = UNetMask(16, depth=1).eval(), torch.randn(2, 16, side, side)
    with torch.no_grad():
        y = mask(x)
        torch.testing.assert_close(y, reference_training(mask, x))
        assert not torch.allclose(y, reference_training(mask, x, eca=False), atol=1e-3)
        assert not torch.allclose(y, reference_training(mask, x, swapped=True), atol=1e-3)


def test_the_last_block_of_the_second_reading() -> None:
    mask, x = UNetMask(8, depth=1, first_level=False, attention=None).eval(), torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        y = double(double(x, mask.encoder[0][0]), mask.last[0])
        y = F.conv2d(y, mask.last[1].weight, mask.last[1].bias).softmax(1)
        torch.testing.assert_close(mask(x), y)


@pytest.mark.parametrize("first_level", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 7), (9, 5), (13, 1), (16, 16)])
def test_any_side_and_a_softmax_that_averages_one_over_c(shape: tuple[int, int], first_level: bool) -> None:
    x = torch.randn(3, 8, *shape)
    y = UNetMask(8, depth=3, first_level=first_level)(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y.sum(1), torch.ones(3, *shape))
    torch.testing.assert_close(y.mean(), torch.tensor(1 / 8))
    sigmoid = UNetMask(8, depth=3, first_level=first_level, activation="sigmoid")(x)
    assert sigmoid.shape == x.shape
    assert 0 < sigmoid.min() < sigmoid.max() < 1
    assert not torch.allclose(sigmoid.sum(1), torch.ones(3, *shape), atol=0.1)  # negative control


def test_uniform_is_what_equal_logits_give() -> None:
    for activation, value in (("softmax", 1 / 8), ("sigmoid", 1 / 2)):
        mask = UNetMask(8, depth=1, activation=activation)
        for parameter in mask.last.parameters():
            parameter.data.zero_()
        assert mask.uniform == value
        torch.testing.assert_close(mask(torch.randn(2, 8, 4, 4)), torch.full((2, 8, 4, 4), value))


def test_single_precision_under_autocast() -> None:
    """In bfloat16 1 + 1/512 is 1: a mask in half precision could not do anything at the fourth stage."""
    with torch.autocast("cpu", torch.bfloat16):
        y = UNetMask(8, depth=2)(torch.randn(2, 8, 6, 6))
    assert y.dtype == torch.float32
    assert torch.tensor(1 + 1 / 512).bfloat16() == 1


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="depth: expected 1 or more, got 0"):
        UNetMask(8, depth=0)
    with pytest.raises(ValueError, match="activation: expected one of softmax, sigmoid, got 'relu'"):
        UNetMask(8, depth=1, activation="relu")
