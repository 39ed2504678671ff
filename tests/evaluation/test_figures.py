"""Figures: written whole, with every text inside the picture and none over another, and no global state."""

import sys

import numpy as np
import pytest
from PIL import Image

from figure_texts import overlaps, texts
from mien import drawing
from mien.errors import DataError, OutputError
from mien.evaluation import figures
from mien.evaluation.metrics import confusion
from mien.labels import EIGHT, SEVEN


def case(k: int, failures: int = 0, n: int = 400):
    rng = np.random.default_rng(0)
    y = rng.integers(0, k, n)
    p = rng.dirichlet(np.ones(k) * 0.3, n)
    p[np.arange(n), y] += 0.7
    p /= p.sum(1, keepdims=True)
    p[:failures] = np.nan
    return y, p


@pytest.mark.parametrize(("labels", "failures"), [(SEVEN, 0), (SEVEN, 25), (EIGHT, 25)])
def test_confusion_matrix(tmp_path, labels, failures):
    matrix = confusion(*case(len(labels), failures))
    figure = figures.confusion_figure(matrix, labels, title="a reader on a split, " * 6)
    drawing.save(figure, tmp_path / "c")
    words = texts(figure)
    assert ("no prediction" in words) == bool(failures)
    accuracy = np.trace(matrix) / 400
    assert any(f"n = 400, accuracy {accuracy:.1%}" in word for word in words)
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()][: len(labels)] == list(labels)
    assert overlaps(figure) == []
    with Image.open(tmp_path / "c.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.5)
        pixels = np.asarray(image.convert("L"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 255).all()  # nothing is cut off
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "c.svg"]


@pytest.mark.parametrize("failures", [0, 30])
def test_reliability_diagram(tmp_path, failures):
    y, p = case(7, failures)
    figure = figures.reliability_figure(y, p, title="compact on PublicTest")
    drawing.save(figure, tmp_path / "r")
    words = texts(figure)
    assert any("ECE 0." in word and "15 bins" in word for word in words)
    assert any(f"{failures} without a prediction left out" in word for word in words) == bool(failures)
    assert overlaps(figure) == []
    with Image.open(tmp_path / "r.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert (np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]) == 255).all()


def test_the_check_for_overlaps_can_fail():
    figure = drawing.new_figure(2, 2)
    figure.text(0.5, 0.5, "one")
    figure.text(0.5, 0.5, "two")
    assert overlaps(figure) == [("one", "two")]


def test_text_keeps_its_contrast_on_every_colour():
    """WCAG 2.1 asks 4.5 : 1; black or white, the better one, always reaches it."""
    import matplotlib

    def luminance(color):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
        return np.dot((0.2126, 0.7152, 0.0722), linear)

    for value in np.linspace(0, 1, 101):
        cell = matplotlib.colormaps["Blues"](value)
        ink = 0.0 if drawing.ink(cell) == "black" else 1.0
        lighter, darker = max(ink, luminance(cell)), min(ink, luminance(cell))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_percent():
    assert [drawing.whole_percent(v) for v in (0, 0.001, 0.0049, 0.005, 0.126, 0.996, 1)] == [
        "",
        "<1",
        "<1",
        "1",
        "13",
        ">99",
        "100",
    ]


def test_empty_class_and_wrong_sizes(tmp_path):
    matrix = np.diag([3, 0, 2])
    drawing.save(figures.confusion_figure(matrix, ("a", "b", "c")), tmp_path / "c")
    assert (tmp_path / "c.png").stat().st_size > 1000
    with pytest.raises(DataError, match="3×3 or 3×4"):
        figures.confusion_figure(np.eye(2, dtype=int), ("a", "b", "c"))


def test_unwritable(tmp_path):
    figure = figures.confusion_figure(np.eye(2, dtype=int), ("a", "b"))
    with pytest.raises(OutputError, match=r"^expected to write .*absent/c\.png.* does not exist; make it first$"):
        drawing.save(figure, tmp_path / "absent/c")


def test_same_figures_same_bytes_and_no_pyplot(tmp_path):
    y, p = case(7)
    for name in ("a", "b"):
        drawing.save(figures.confusion_figure(confusion(y, p), SEVEN), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
