"""What masks are worth: closed forms, a mask that does nothing, and networks that have none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.store import Store
from mien.errors import UsageError
from mien.evaluation import comparisons
from mien.evaluation.analysis import masks
from mien.evaluation.analysis.inputs import Network, Settings, labelled
from mien.evaluation.metrics import mean_with_percentiles
from mien.labels import SEVEN
from mien.models import registry
from mien.models.resnet_unet_eca import MaskedResNet
from mien.preprocess import Preprocess


def network(*, flat: bool = False) -> Network:
    torch.manual_seed(0)
    module = registry.build("resnet34_unet_eca", registry.spec("resnet34_unet_eca").reduced).eval()
    assert isinstance(module, MaskedResNet)
    if flat:
        with torch.no_grad():
            for unet in module.unets:
                unet.last[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
                unet.last[-1].bias.zero_()  # type: ignore[index, operator, union-attr]
    look = Preprocess(color="rgb", mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network("n", Path("n"), "resnet34_unet_eca", module, look, SEVEN, torch.device("cpu"), {})


def test_a_flat_mask_is_worth_nothing(small_store: Path) -> None:
    split = labelled(Store.open(small_store), "public_test", limit=70, labels=SEVEN)
    with_, without, spread = masks.both_ways(network(flat=True), split)
    assert (with_ == without).all()
    assert list(spread.values()) == pytest.approx([0] * 4, abs=1e-4)
    real = network()
    seen = list[int]()
    _, _, spread = masks.both_ways(real, split, seen.append)
    assert seen[-1] == 70
    assert min(spread.values()) > 0.05  # negative control
    assert not real.module.uniform_masks
    assert isinstance(real.module, MaskedResNet)
    assert spread == pytest.approx(real.module.mask_statistics(real.batch(split.images)), rel=1e-4)


def test_the_comparison_in_closed_form() -> None:
    """100 images: 60 right both ways, 9 only with the masks, 1 only without. Exact p: 2 · (1 + 10) / 2¹⁰."""
    with_, without = np.zeros(100, bool), np.zeros(100, bool)
    with_[:69], without[:60], without[99] = True, True, True
    got = masks.compare(with_, without)
    assert (got["with_masks"]["value"], got["uniform_masks"]["value"]) == (0.69, 0.61)
    assert got["difference"]["value"] == pytest.approx(0.08)
    assert 0 < got["difference"]["low"] < 0.08 < got["difference"]["high"]
    test = {"only_with": 9, "only_uniform": 1, "p": pytest.approx(22 / 1024), "method": "exact binomial"}
    assert got["mcnemar"] == test
    same = masks.compare(with_, with_)
    assert same["mcnemar"]["p"] == 1
    end = 1.96**2 / (100 + 1.96**2)  # Tango's interval without discordant images
    assert same["difference"] == pytest.approx({"value": 0, "low": -end, "high": end}, abs=1e-4)


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (9, 1), (60, 25), (900, 700)])
def test_the_comparison_is_that_of_two_models(gained: int, lost: int) -> None:
    """The same images as answers of seven classes, through ``mien compare``'s functions."""
    y = np.arange(3000) % 7
    right = np.arange(3000) < 2000
    with_, without = right.copy(), right.copy()
    without[:gained], with_[2000 - lost : 2000] = False, False
    answers = [np.where(bits, y, (y + 1) % 7) for bits in (without, with_)]
    theirs, ours = comparisons.compare(y, *answers, classes=7), masks.compare(with_, without)
    assert ours["mcnemar"]["p"] == theirs["mcnemar"]["p"]
    assert ours["mcnemar"]["method"] == theirs["mcnemar"]["method"]
    assert ours["mcnemar"]["only_with"] == theirs["mcnemar"]["only_second"] == gained
    few = gained + lost < comparisons.FEW  # else a bootstrap, whose draws are others
    assert ours["difference"] == pytest.approx(theirs["difference"]["accuracy"], abs=1e-12 if few else 0.0015)
    if gained == 5:  # p 0.06: resampling alone would leave 0 out
        assert ours["difference"]["low"] <= 0 < mean_with_percentiles(with_.astype(float) - without)["low"]


def test_the_report(small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks.inputs, "open_networks", lambda settings: {"n": network()})
    report = masks.masks(Settings(["n"], Store.open(small_store), "public_test", tmp_path, limit=20, device="cpu"))
    assert json.loads((tmp_path / "masks.json").read_text()) == report
    assert (tmp_path / "masks.svg").stat().st_size > 1000
    run = report["runs"]["n"]
    assert f"stage4 {run['std_relative_to_uniform']['stage4']:.3f}" in "\n".join(masks.headline(report))


def test_a_network_without_masks_says_who_has_them(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got nano .*resnet34_unet_eca .* and resmaskingnet have them"):
        masks.masks(Settings([str(trained_run)], Store.open(small_store), "public_test", tmp_path))
    bare = registry.build("resnet34_unet_eca", dict(registry.spec("resnet34_unet_eca").reduced) | {"mask": "none"})
    plain = Network("p", Path("p"), "resnet34_unet_eca", bare, Preprocess(), SEVEN, torch.device("cpu"), {})
    with pytest.raises(UsageError, match="U-Net masks"):
        masks.masked(plain)
