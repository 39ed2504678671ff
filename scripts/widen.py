"""A run of a wider and deeper reader that computes what a finished run's does: a start for training it (Net2Net).

    python scripts/widen.py runs/nano-fer2013 -o runs/nano-widened --widths 64,160 --depths 2,2

For compact, nano and pico. Channels and blocks are added as in Chen et al. 2015 (arXiv 1511.05641): a new channel
repeats an old one, and the layers that read it divide its weight among the copies, in unequal parts, so that the copies learn
different things. A new block adds nothing at first: the scale of its last batch norm is 0. The stem keeps its width.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from mien.atomic import make_folder, write_text
from mien.models.compact import CompactNet
from mien.models.layers.residual import ResidualBlock
from mien.training.networks import build_network, load_network

Sources = list[int]  # for each new channel, the old one that it repeats


def widen(old: CompactNet, new: CompactNet, *, seed: int = 0) -> None:
    """Give ``new`` weights with which it computes what ``old`` does. Raises ValueError where ``new`` is smaller."""
    draw = torch.Generator().manual_seed(seed)
    new.stem.load_state_dict(old.stem.state_dict())
    reads: Sources = list(range(old.stages[0].first[0].in_channels))
    here, there = _stages(old), _stages(new)
    if len(here) != len(there) or any(len(a) > len(b) for a, b in zip(here, there, strict=True)):
        raise ValueError(f"expected at least as many blocks in each of {len(here)} stages")
    for old_blocks, new_blocks in zip(here, there, strict=True):
        writes = _sources(old_blocks[0].second[0], new_blocks[0].second[0], draw)
        for position, block in enumerate(new_blocks):
            if position >= len(old_blocks):
                nn.init.zeros_(block.second[1].weight)
                continue
            source = old_blocks[position]
            inner = _sources(source.first[0], block.first[0], draw)
            _conv_bn(source.first, block.first, reads, inner, draw)
            _conv_bn(source.second, block.second, inner, writes, draw)
            if len(source.shortcut):
                _conv_bn(source.shortcut[-1], block.shortcut[-1], reads, writes, draw)
            reads = writes
    new.classifier.weight.data = _divided(old.classifier.weight.data, reads, draw)
    new.classifier.bias.data = old.classifier.bias.data.clone()


def _stages(network: CompactNet) -> list[list[ResidualBlock]]:
    """Its blocks; a stage begins where the shortcut is no identity."""
    stages: list[list[ResidualBlock]] = []
    for block in network.stages:
        if len(block.shortcut):
            stages.append([])
        stages[-1].append(block)
    return stages


def _sources(old: nn.Conv2d, new: nn.Conv2d, draw: torch.Generator) -> Sources:
    before, after = old.out_channels, new.out_channels
    if after < before:
        raise ValueError(f"expected at least {before} channels, got {after}")
    more = torch.cat([torch.randperm(before, generator=draw) for _ in range(after // before)])[: after - before]
    return [*range(before), *more.tolist()]


def _divided(weight: Tensor, sources: Sources, draw: torch.Generator) -> Tensor:
    """Weights O×I×… that read copied channels: I becomes len(sources), the copies' shares of a weight add up to 1."""
    share = 0.5 + torch.rand(len(sources), generator=draw)
    total = torch.zeros(weight.shape[1]).index_add_(0, torch.tensor(sources), share)
    share = share / total[sources]
    return weight[:, sources] * share.view(1, -1, *[1] * (weight.dim() - 2))


def _conv_bn(old: nn.Sequential, new: nn.Sequential, reads: Sources, writes: Sources, draw: torch.Generator) -> None:
    new[0].weight.data = _divided(old[0].weight.data, reads, draw)[writes]
    for name, value in old[1].state_dict().items():
        new[1].state_dict()[name].copy_(value[writes] if value.dim() else value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of compact, nano or pico")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RUN")
    for name in ("--widths", "--depths"):
        parser.add_argument(name, required=True, help="of each stage, e.g. 64,160")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    old, recipe, preprocess, meta = load_network(options.run)
    if not isinstance(old, CompactNet):
        parser.error(f"expected a run of compact, nano or pico, got one of {recipe.model.name}")
    sizes = {name: [int(part) for part in getattr(options, name).split(",")] for name in ("widths", "depths")}
    model = recipe.model.model_copy(update={"args": {**recipe.model.args, **sizes}})
    recipe = recipe.model_copy(update={"model": model})
    new = build_network(recipe, classes=old.classifier.out_features)
    try:
        widen(old, new, seed=options.seed)
    except ValueError as error:
        parser.error(str(error))
    some = torch.randn(64, old.stem[0][0].in_channels, preprocess.size, preprocess.size)
    with torch.no_grad():
        difference = (old(some).softmax(1) - new.eval()(some).softmax(1)).abs().max()
    make_folder(options.out)
    state = {f"network.{key}": value for key, value in new.state_dict().items()}
    torch.save({"state_dict": state}, options.out / "best.ckpt")
    write_text(options.out / "recipe.yaml", recipe.to_yaml())
    write_text(options.out / "meta.json", json.dumps(meta | {"widened": str(options.run)}, indent=1))
    print(f"{options.out}: probabilities differ from {options.run} by {difference:.1e} at most")


if __name__ == "__main__":
    main()
