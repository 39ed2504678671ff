"""The analyses' figures: no text over another, class order and colours fixed, the same numbers give the same bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figure_texts import overlaps
from mien import drawing
from mien.errors import OutputError
from mien.evaluation.analysis import attention, corruptions, errors, features, landscape, masks, outputs
from mien.evaluation.analysis.common_corruptions import KINDS, SEVERITIES
from mien.labels import EIGHT, SEVEN

NAMES = ("compact", "resnet34_unet_eca-scratch-doubling", "vit")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    saved = []
    save = outputs.save_figure

    def keep(figure: Any, stem: Path) -> list[str]:
        saved.append(figure)
        return save(figure, stem)

    monkeypatch.setattr(outputs, "save_figure", keep)
    return saved


def corruption_report() -> dict[str, Any]:
    random = np.random.default_rng(0)
    right = {(kind, s): random.random(200) < 0.7 - 0.1 * s for kind in KINDS for s in SEVERITIES}
    right["clean", 0] = random.random(200) < 0.72
    runs = {name: corruptions.summarise(right) for name in NAMES}
    return {"data": {"images": 200, "split": "public_test"}, "runs": runs}


def landscape_report() -> dict[str, Any]:
    grid, cut = np.linspace(-1, 1, 5), np.linspace(-1, 1, 9)
    x, y = np.meshgrid(grid, grid)
    runs = {
        name: {
            "surface": (0.9 + k * (x**2 + y**2)).tolist(),
            "cut": (0.9 + k * cut**2).tolist(),
            "top_hessian_eigenvalue": {"value": 12.3456 * k},
        }
        for k, name in enumerate((*NAMES, "fourth"), start=1)
    }
    runs["vit"]["surface"][0][0] = None  # not finite out there
    return {"data": {"images": 200, "split": "public_test"}, "grid": grid.tolist(), "cut": cut.tolist(), "runs": runs}


def mask_report() -> dict[str, Any]:
    bits = np.arange(50) < 30
    spread = {"std_relative_to_uniform": {f"stage{i}": float(i) for i in range(1, 5)}}
    runs = {name: masks.compare(bits, bits) | spread for name in ("unet", "resmask")}
    return {"data": {"images": 50, "split": "public_test"}, "runs": runs}


@pytest.mark.long
def test_nothing_lies_over_anything(tmp_path: Path, drawn: list[Any]) -> None:
    corruptions.draw(corruption_report(), tmp_path / "corruptions")
    masks.draw(mask_report(), tmp_path / "masks")
    labels = np.arange(70) % 7
    errors.pairs_figure(errors.confused_pairs((labels + 1) % 7, labels, SEVEN), tmp_path / "p", title="compact")
    averages = {name: np.full((48, 48), 0.1) for name in EIGHT}
    attention.average_figure(averages, tmp_path / "a", title="compact on public_test")
    stages = [np.random.default_rng(0).random((70, s, s)) * 2 for s in (12, 6, 3, 2)]
    attention.mask_figure(stages, labels, SEVEN, tmp_path / "m", title="unet on public_test")
    x = np.random.default_rng(0).normal(size=(70, 4))
    features.draw({"before": x, "after": x}, labels, SEVEN, tmp_path / "f", title="vit", seed=0)
    features.draw({"penultimate": x}, labels, EIGHT, tmp_path / "g", title="vit", seed=0)
    assert len(drawn) == 7
    for figure in drawn:
        assert overlaps(figure) == []
    for word in ("a text", "another"):
        drawn[0].axes[0].text(0, 0, word)
    assert ("a text", "another") in overlaps(drawn[0])  # negative control


def test_landscapes_of_four_runs(tmp_path: Path, drawn: list[Any]) -> None:
    landscape.draw(landscape_report(), tmp_path / "landscape")
    panels = [axes for axes in drawn[0].axes if "eigenvalue" in axes.get_title(loc="left")]
    assert [axes.get_title(loc="left").splitlines()[0] for axes in panels] == [*NAMES, "fourth"]
    scales = {(axes.collections[0].norm.vmin, axes.collections[0].norm.vmax) for axes in panels}
    assert len(scales) == 1
    for axes in panels:  # numbers on contours may cross one another
        for text in list(axes.texts):
            text.remove()
    assert overlaps(drawn[0]) == []


def test_the_same_drawing_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert masks.draw(mask_report(), tmp_path / name) == [f"{name}.png", f"{name}.svg"]
    for kind in ("png", "svg"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    with pytest.raises(OutputError):
        masks.draw(mask_report(), tmp_path / "nowhere" / "masks")


def test_every_class_has_its_own_colour_and_marker() -> None:
    assert len(set(drawing.CLASS_COLOURS)) == len(set(drawing.CLASS_MARKERS)) == len(EIGHT)
    assert len(set(drawing.RUN_COLOURS)) == 8
