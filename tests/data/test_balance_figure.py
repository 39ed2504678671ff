"""Figure 2: every count is in it, the order is the label order, no text over another, and the same bytes each time."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from figure_texts import overlaps, shown
from mien.data.build import balance_figure as module
from mien.data.build.balance_figure import balance_figure
from mien.errors import DataError, MissingExtra, OutputError
from mien.labels import EIGHT, SEVEN

FER2013 = dict(zip(SEVEN, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True))
CKPLUS = dict(zip(EIGHT, (135, 177, 75, 207, 84, 249, 0, 54), strict=True))
AFFECTNET = dict(zip(EIGHT, (24882, 3803, 6378, 134415, 25459, 14090, 74874, 3750), strict=True))
HYBRID = {"fer2013": FER2013, "affectnet": AFFECTNET, "ckplus": CKPLUS}
MANY = HYBRID | {"rafdb": FER2013, "the pictures of my own": CKPLUS, "and still others": AFFECTNET, "csv": FER2013}


def made_of(originals):
    """What is missing to the largest class, a source at a time."""
    total = {name: sum(counts.get(name, 0) for counts in originals.values()) for name in EIGHT}
    made = {source: {} for source in originals}
    for name, n in total.items():
        givers = [source for source, counts in originals.items() if counts.get(name)]
        if givers:
            made[givers[-1]][name] = max(total.values()) - n
    return made


@pytest.fixture
def drawn(monkeypatch):
    """The Figure objects that are saved, to look at their texts and bars."""
    saved = []
    save = module.save
    monkeypatch.setattr(module, "save", lambda figure, stem: (saved.append(figure), save(figure, stem))[1])
    return saved


@pytest.mark.parametrize("originals", [{"fer2013": FER2013}, HYBRID, MANY], ids=["fer2013", "hybrid", "many"])
def test_the_figure(tmp_path, drawn, originals):
    made = made_of(originals)
    balance_figure(originals, made, tmp_path / "a", title="Training images")
    figure = drawn[0]
    classes = [name for name in EIGHT if any(counts.get(name) for counts in originals.values())]
    before = [sum(counts.get(name, 0) for counts in originals.values()) for name in classes]
    for axes, totals in zip(figure.axes, (before, [max(before)] * len(classes)), strict=True):
        assert [t.get_text() for t in axes.get_xticklabels()] == classes
        numbers = [t.get_text() for t in axes.texts]
        assert numbers == [f"{n:,}" for n in totals]
        tops = {round(bar.get_x() + bar.get_width() / 2): 0.0 for bar in axes.patches}
        for bar in axes.patches:
            tops[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
        assert list(tops.values()) == totals  # what is drawn is what is written
    words = " ".join(t.get_text() for t in shown(figure))
    for source, counts in originals.items():
        assert f"{source} ({sum(counts.values()):,})" in words
        assert f"generated from {source} ({sum(made[source].values()):,})" in words
    assert f"before: {sum(before):,} images" in words
    assert f"after: {max(before) * len(classes):,} images" in words
    assert overlaps(figure) == []
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.5)
        pixels = np.asarray(image.convert("L"))
    assert (pixels[[0, -1]] == 255).all()  # nothing is cut off
    assert (pixels[:, [0, -1]] == 255).all()


def test_the_check_of_overlaps_finds_them(tmp_path, drawn):
    """Negative control."""
    balance_figure(HYBRID, {}, tmp_path / "a")
    first = drawn[0].axes[0].texts[0]
    drawn[0].axes[0].text(*first.xy, "on top of it", va="bottom", ha="center")
    assert overlaps(drawn[0]) != []


def test_the_colours_of_a_stack_differ_and_generated_is_hatched(tmp_path, drawn):
    balance_figure(HYBRID, made_of(HYBRID), tmp_path / "a")
    colours = {module._color(s) for s in range(8)}
    assert len(colours) == 8
    hatched = [bar for bar in drawn[0].axes[1].patches if bar.get_hatch() and bar.get_height()]
    assert len(hatched) == 7  # every class but the largest
    assert not any(bar.get_hatch() for bar in drawn[0].axes[0].patches if bar.get_height())


def test_the_same_counts_give_the_same_bytes(tmp_path):
    for name in "ab":
        balance_figure(HYBRID, made_of(HYBRID), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_nothing_global_is_left(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    balance_figure({"a": {"happy": 3}}, {}, tmp_path / "a")
    assert dict(matplotlib.rcParams) == before


def test_aliases_are_one_class(tmp_path, drawn):
    balance_figure({"a": {"anger": 3, "angry": 4}}, {}, tmp_path / "a")
    assert [t.get_text() for t in drawn[0].axes[0].texts] == ["7"]


@pytest.mark.parametrize(
    ("originals", "message"),
    [({}, "got none"), ({"a": {"happy": 0}}, "got none"), ({"a": {"happy": -1}}, "got -1 happy in a"),
     ({"a": {"hungry": 1}}, "hungry")],
)  # fmt: skip
def test_wrong_counts(tmp_path, originals, message):
    with pytest.raises(DataError, match=message):
        balance_figure(originals, {}, tmp_path / "a")


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError):
        balance_figure({"a": {"happy": 1}}, {}, tmp_path / "no" / "a")


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match="matplotlib"):
        balance_figure({"a": {"happy": 1}}, {}, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
