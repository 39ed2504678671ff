"""A wider and deeper network that computes what a trained one does: a start for training it.

For compact, nano and pico, as Net2Net (Chen et al. 2015, arXiv 1511.05641) without its copies: a new channel has fresh
weights, and what reads it begins at 0; a new block begins with a last batch norm of scale 0. Copies of channels, which
share what reads them, learn nearly the same: after 40 epochs the weights of nano's copies still had cosines of 0.92 to
1.00 (results/LOG.md). "Random in, zero out" is the plainest of the growing methods that GradMax (Evci et al. 2022,
arXiv 2201.05125) compares itself with.
"""

from itertools import islice

import torch
from torch import Tensor, nn

from mien.models.compact import CompactNet
from mien.models.layers.residual import ResidualBlock


def widen(old: CompactNet, new: CompactNet) -> None:
    """Give ``new``, which is fresh, weights with which it computes what ``old`` does, to rounding.

    In evaluation mode; the batch norm of a projection that was an identity (compact with a wider first stage) has yet
    to learn its statistics. The stem keeps its width. Raises ValueError where ``new`` has fewer channels or blocks, or
    another number of stages.
    """
    try:
        new.stem.load_state_dict(old.stem.state_dict())
    except RuntimeError:
        raise ValueError("expected a stem of the same channels") from None
    here, there = _stages(old), _stages(new)
    if len(here) != len(there) or any(len(a) > len(b) or bool(a) != bool(b) for a, b in zip(here, there, strict=False)):
        few = ", ".join(str(len(blocks)) for blocks in here)
        raise ValueError(f"expected {len(here)} stages of at least {few} blocks, and none where it has none")
    for old_blocks, new_blocks in zip(here, there, strict=True):
        for source, block in zip(old_blocks, new_blocks, strict=False):
            _conv_bn(source.first, block.first)
            _conv_bn(source.second, block.second)
            if len(source.shortcut):
                if not len(block.shortcut):
                    raise ValueError("expected a first stage wider than the stem")
                _conv_bn(_projection(source), _projection(block))
            elif len(block.shortcut):  # the old one passes its input on; the new one has to make it wider
                weight = _layers(_projection(block))[0].weight
                weight.data[: weight.shape[1]] = torch.eye(weight.shape[1])[:, :, None, None]
        for block in new_blocks[len(old_blocks) :]:
            nn.init.zeros_(_layers(block.second)[1].weight)
    _reads(old.classifier.weight, new.classifier.weight)
    new.classifier.bias.data.copy_(old.classifier.bias.data)


def _stages(network: CompactNet) -> list[list[ResidualBlock]]:
    blocks = iter([block for block in network.stages if isinstance(block, ResidualBlock)])
    return [list(islice(blocks, depth)) for depth in network.depths]


def _projection(block: ResidualBlock) -> nn.Sequential:
    last = block.shortcut[-1]
    assert isinstance(last, nn.Sequential)
    return last


def _layers(conv_bn: nn.Sequential) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = conv_bn
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm


def _conv_bn(old: nn.Sequential, new: nn.Sequential) -> None:
    """The first channels are the old ones; those that are new keep their fresh weights."""
    (convolution, norm), (wide, wide_norm) = _layers(old), _layers(new)
    _reads(convolution.weight, wide.weight)
    for name, value in norm.state_dict().items():
        whole = wide_norm.state_dict()[name]
        (whole[: len(value)] if value.dim() else whole).copy_(value)


def _reads(old: Tensor, new: Tensor) -> None:
    """Weights O×I×…: the old ones, and 0 for what the old channels read of new ones."""
    outputs, inputs = old.shape[:2]
    for least, came in zip(old.shape, new.shape, strict=True):
        if came < least:
            raise ValueError(f"expected at least {least} channels, got {came}")
    new.data[:outputs] = 0
    new.data[:outputs, :inputs] = old.data
