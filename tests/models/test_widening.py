"""The wider network computes what the narrower one does, and then learns what that one cannot."""

import pytest
import torch

from mien.models import registry
from mien.models.compact import CompactNet
from mien.models.widening import widen

SMALL = {"stem": (6,), "widths": (8, 12), "depths": (1, 1)}


def network(name: str = "nano", **args: object) -> CompactNet:
    built = registry.build(name, {**SMALL, **args}, num_classes=7, image_size=48)
    assert isinstance(built, CompactNet)
    return built


def trained(**args: object) -> CompactNet:
    """Weights, scales and statistics that are all different."""
    torch.manual_seed(3)
    small = network(**args)
    for module in small.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.3)
    return small.eval()


@pytest.mark.parametrize(
    "wider", [{"widths": (11, 30)}, {"widths": (8, 12), "depths": (3, 2)}, {"widths": (20, 12), "depths": (1, 2)}, {}]
)
def test_it_computes_the_same(wider: dict[str, tuple[int, ...]]) -> None:
    small, wide = trained(), network(**wider)
    x = torch.randn(16, 1, 48, 48)
    with torch.no_grad():
        control = (wide.eval()(x) - small(x)).abs().max()
        widen(small, wide)
        torch.testing.assert_close(wide.eval()(x), small(x), atol=1e-5, rtol=1e-4)
        assert control > 1e-2


@pytest.mark.parametrize("widths", [(8, 12), (13, 12), (8, 30), (20, 30)])
def test_compact_whose_first_stage_passes_the_stem_on(widths: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    stem = {"stem": (4, 8)}
    small, wide = network("compact", **stem).eval(), network("compact", **stem, widths=widths, depths=(2, 2))
    widen(small, wide)
    x = torch.randn(16, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(wide.eval()(x), small(x), atol=1e-4, rtol=1e-3)


def test_what_cannot_be_computed_is_refused() -> None:
    stem = {"stem": (4, 8)}
    small, wide = network("compact", **stem, widths=(6, 12)), network("compact", **stem, widths=(8, 12))
    with pytest.raises(ValueError, match="a first stage wider than the stem"):
        widen(small, wide)  # the narrow one projects where the wide one passes on
    with pytest.raises(ValueError, match="none where it has none"):
        widen(network(depths=(1, 0)), network(depths=(1, 1)))  # the block would be the first of its stage


def test_what_is_new_learns() -> None:
    """New channels differ from the old ones, are read after a step, and are changed by the next."""
    small, wide = trained(), network(widths=(16, 24), depths=(2, 2))
    widen(small, wide)
    first, last = wide.stages[0].first[0].weight, wide.classifier.weight
    rows = torch.nn.functional.normalize(first.detach().flatten(1))
    assert (rows[8:] @ rows[:8].T).abs().max() < 0.9  # copies would have 1
    fresh = first.detach()[8:].clone()
    assert last.detach()[:, 12:].abs().max() == 0
    optimizer = torch.optim.SGD(wide.train().parameters(), 0.05)
    x, y = torch.randn(32, 1, 48, 48), torch.arange(32) % 7
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(wide(x), y).backward()
        optimizer.step()
    assert last.detach()[:, 12:].abs().min() > 0
    assert ((first.detach()[8:] - fresh).flatten(1).norm(dim=1) > 0).all()
    assert wide.stages[1].second[1].weight.abs().min() > 0  # the block that was added has begun to add


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (7, 12)}, "at least 8 channels, got 7"),
        ({"widths": (8, 12, 20), "depths": (1, 1, 1)}, "2 stages of at least 1, 1 blocks"),
        ({"stem": (9,)}, "a stem of the same channels"),
        ({"widths": (8, 12), "depths": (1, 0)}, "at least 1, 1 blocks"),
    ],
)
def test_a_network_that_is_not_wider_is_refused(changes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widen(trained(), network(**changes))
