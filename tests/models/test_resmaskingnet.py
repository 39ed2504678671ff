"""The Residual Masking Network: its block out of timm's, its published size."""

import pytest
import timm
import torch
from timm.layers import EcaModule
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F

from mien.models import registry
from mien.models.baselines.resmaskingnet import residual_mask
from mien.models.layers.residual import ResidualBlock
from mien.models.resnet_unet_eca import MaskedResNet

SPEC = registry.spec("resmaskingnet")
STAGES = [(64, 4), (128, 3), (256, 2), (512, 1)]


def timms_block(ours: ResidualBlock) -> nn.Module:
    """timm's basic block with the weights of ours."""
    inputs, outputs = ours.first[0].in_channels, ours.first[0].out_channels
    projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    theirs = BasicBlock(inputs, outputs, downsample=projection).train(ours.training)
    parts = [(theirs.conv1, ours.first[0]), (theirs.bn1, ours.first[1])]
    parts += [(theirs.conv2, ours.second[0]), (theirs.bn2, ours.second[1]), (projection, ours.shortcut[0])]
    for to, source in parts:
        to.load_state_dict(source.state_dict())
    return theirs


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("training", [False, True])
def test_mask_of_depth_two_out_of_timms_blocks(training: bool, side: int) -> None:
    """Down to one pool, up, skip, last block, softmax; and the negative control: without the skip's features."""
    mask, x = residual_mask(8, 2).train(training), torch.randn(3, 8, side, side)
    blocks = [timms_block(m) for m in mask.modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == 4

    def reference_training(keep: float) -> Tensor:
        skip = blocks[0](x)
        low = blocks[1](F.max_pool2d(skip, 2, ceil_mode=True))
        up = mask.ups[0](low)[:, :, :side, :side]
        return blocks[3](blocks[2](torch.cat([up, keep * skip], 1))).softmax(1)

    with torch.no_grad():
        torch.testing.assert_close(mask(x), reference_training(1))
        assert not torch.allclose(mask(x), reference_training(0), atol=1e-3)


def test_a_step_up_is_transposed_convolution_norm_relu() -> None:
    for up in residual_mask(8, 3).ups:
        assert [type(m) for m in up] == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
        assert up[0].kernel_size == up[0].stride == (2, 2)


@pytest.mark.parametrize(("channels", "depth"), STAGES)
def test_a_mask_of_depth_d_halves_the_side_d_minus_one_times(channels: int, depth: int) -> None:
    with torch.device("meta"):
        mask = residual_mask(channels, depth)
    seen: list[tuple[int, int]] = []
    for level in mask.encoder:
        level.register_forward_hook(lambda _, __, out: seen.append((out.shape[1], out.shape[2])))
    side = 3584 // channels  # 56, 28, 14, 7
    assert mask(torch.empty(1, channels, side, side, device="meta")).shape[-1] == side
    assert seen == [(channels * 2**n, side // 2 ** (n - 1)) for n in range(1, depth + 1)]
    assert seen[-1] == (1024, 7)
    assert not any(isinstance(m, EcaModule) for m in mask.modules())


def test_size() -> None:
    """137.8 M parameters and 21.9 GMAC at 224×224, and by hand."""
    parameters, macs = registry.measure(registry.spec("timm/resnet34"), {"num_classes": 7}, size=224)

    def conv(k: int, inputs: int, outputs: int, side: int, *, extra: int = 2) -> None:
        nonlocal parameters, macs
        parameters += k * k * inputs * outputs + extra * outputs
        macs += k * k * inputs * outputs * side * side

    def block(inputs: int, outputs: int, side: int) -> None:
        conv(3, inputs, outputs, side)
        conv(3, outputs, outputs, side)
        conv(1, inputs, outputs, side)

    for channels, depth in STAGES:
        side = 3584 // channels
        for n in range(depth):
            inputs, at = channels * 2**n, side // 2**n
            block(inputs, 2 * inputs, at)  # down
            block(2 * inputs, inputs, side // 2 ** max(0, n - 1))  # up: one level higher, or the last block
            if n:
                conv(2, 2 * inputs, inputs, at, extra=3)  # bias, batch norm
    assert registry.measure(SPEC) == (parameters, macs) == (137_796_423, 21_903_232_512)
    assert (round(parameters / 1e6, 1), round(macs / 1e9, 1)) == (137.8, 21.9)


def test_backbone_is_timms_resnet34_and_the_head_drops_forty_percent() -> None:
    with torch.device("meta"):
        network = SPEC.build()
    assert isinstance(network, MaskedResNet)
    assert network.trunk.drop_rate == 0.4
    theirs = timm.create_model("resnet34", num_classes=7).state_dict()
    assert {n: v.shape for n, v in network.trunk.state_dict().items()} == {n: v.shape for n, v in theirs.items()}


def test_softmax_averages_one_over_c_at_any_side() -> None:
    network = SPEC.build(**SPEC.reduced).eval()
    for side in (48, 72, 77):
        for mask in network.masks(torch.randn(2, 3, side, side)):
            torch.testing.assert_close(mask.sum(1), torch.ones_like(mask[:, 0]))


def test_zero_init_starts_blocks_as_their_shortcuts() -> None:
    x = torch.randn(2, 8, 4, 4)
    for zero_init in (True, False):
        mask = residual_mask(8, 1, zero_init=zero_init).eval()
        with torch.no_grad():
            shortcut = x
            for block in (mask.encoder[0][0], mask.last[0]):
                shortcut = block.shortcut(shortcut).relu()
            assert torch.allclose(mask(x), shortcut.softmax(1), atol=1e-6) == zero_init
