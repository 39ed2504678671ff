"""Pages for everybody: contrast of every pair of colours, names for what is no text, tables that scroll by keyboard.

Computed here; ``scripts/accessibility.py`` asks axe-core in a browser.
"""

import re
from collections.abc import Iterable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import mien
from mien import drawing
from mien.pages.environment import render
from mien.reading.annotate import COLORS, INK, MUTED, PAPER, UNSURE, color_of, ink_on

TEMPLATES = Path(mien.__file__).parent / "pages" / "templates"
STYLE = (TEMPLATES / "style.css").read_text("utf-8")
#: Text on what lies behind it, by the names in style.css.
TEXT = [
    ("ink", "paper"), ("soft", "paper"), ("link", "paper"), ("mark", "tint"), ("soft", "tint"), ("ink", "tint"),
    ("warn", "warn-paper"), ("ink", "warn-paper"), ("ink", "note-paper"), ("ink", "good-paper"),
]  # fmt: skip


def rgb(text: str) -> tuple[float, ...]:
    digits = text.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return tuple(int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))


def schemes() -> dict[str, dict[str, str]]:
    """light, dark, print → the colours by name."""
    found = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.S)
    ]
    light, dark, paper = found
    return {"light": light, "dark": light | dark, "print": light | paper}


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
@pytest.mark.parametrize(("front", "back"), TEXT)
def test_text_has_the_contrast_of_wcag_aa(scheme: str, front: str, back: str) -> None:
    colours = schemes()[scheme]
    ratio = drawing.contrast(rgb(colours[front]), rgb(colours[back]))
    assert ratio >= 4.5, f"{front} on {back}: {ratio:.2f}"


def test_contrast_is_that_of_wcag() -> None:
    """Published values: black on white 21, #777 on white 4.48 (fails AA), #767676 4.54 (passes)."""
    assert drawing.contrast(rgb("#000"), rgb("#fff")) == pytest.approx(21)
    assert drawing.contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.005)
    assert drawing.contrast(rgb("#767676"), rgb("#fff")) == pytest.approx(4.54, abs=0.005)


def test_names_on_marked_faces_can_be_read() -> None:
    def ratio(one: tuple[int, ...], other: tuple[int, ...]) -> float:
        return drawing.contrast([c / 255 for c in one], [c / 255 for c in other])

    for colour in (*COLORS.values(), UNSURE):
        assert ratio(ink_on(colour), colour) >= 4.5, colour
    assert ratio(PAPER, INK) >= 4.5
    assert ratio(MUTED, INK) >= 4.5
    assert min(ratio(PAPER, colour) for colour in COLORS.values()) < 4.5  # negative control: one ink for all fails


def test_classes_of_ones_own_differ_in_colour_up_to_eight() -> None:
    labels = [f"class {n}" for n in range(8)]
    assert len({color_of(label, labels) for label in labels}) == 8
    mixed = ["happy", "bored", "sad", "asleep"]
    assert len({color_of(label, mixed) for label in mixed}) == 4  # no expression's colour twice


#: In linear RGB: Machado, Oliveira & Fernandes 2009, severity 1.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
#: The colours that stand beside each other in charts, timelines and marked pictures.
PALETTES = {
    "class": [rgb(colour) for colour in drawing.CLASS_COLOURS],
    "run": [rgb(colour) for colour in drawing.RUN_COLOURS],
    "area": [rgb(colour) for colour in drawing.AREA_COLOURS],
    "faces": [tuple(c / 255 for c in colour) for colour in COLORS.values()],
}
#: Least CIEDE2000 difference; about 2 is just noticeable. Okabe and Ito's have 10.9 (orange and purple, tritanopia).
APART = 10.0


def least_apart(palette: Iterable[tuple[float, ...]], seen_by: str) -> float:
    """The least CIEDE2000 difference between two colours of a palette as these eyes see them."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    srgb = np.array(list(palette))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ SIGHT[seen_by].T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    return min(float(deltaE_ciede2000(one, other)) for one, other in combinations(lab, 2))


@pytest.mark.parametrize("seen_by", SIGHT)
@pytest.mark.parametrize("palette", PALETTES)
def test_colours_are_told_apart_by_colour_blind_people(palette: str, seen_by: str) -> None:
    pytest.importorskip("skimage")
    assert least_apart(PALETTES[palette], seen_by) >= APART


def test_colours_that_are_not_told_apart_are_seen() -> None:
    """Negative control: matplotlib's default colours, of which red-green blind people confuse orange and green."""
    pytest.importorskip("skimage")
    tab10 = [rgb(text) for text in ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd")]
    assert least_apart(tab10, "normal") >= APART
    assert least_apart(tab10, "protanopia") < 3


class Checked(HTMLParser):
    """What a page lacks, a line each."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.heading, self.cell = 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "img" and not own.get("alt"):
            self.faults.append("img without alt")
        if tag == "svg" and own.get("role") == "img" and not own.get("aria-label"):
            self.faults.append("svg without a name")
        if tag == "html" and not own.get("lang"):
            self.faults.append("html without lang")
        if tag == "th":
            self.cell = "?"
            if own.get("scope") not in ("col", "row"):
                self.faults.append("th without scope")
        if "scroll" in (own.get("class") or "").split() and (own.get("tabindex") != "0" or not own.get("aria-label")):
            self.faults.append("what scrolls cannot be reached by keyboard, or has no name")
        if re.fullmatch("h[1-6]", tag):
            if int(tag[1]) > self.heading + 1:
                self.faults.append(f"{tag} after h{self.heading}")
            self.heading = int(tag[1])

    def handle_data(self, data: str) -> None:
        if self.cell:
            self.cell = data.strip() or self.cell

    def handle_endtag(self, tag: str) -> None:
        if tag == "th":
            if self.cell == "?":
                self.faults.append("empty th")
            self.cell = ""


def faults(page: str) -> list[str]:
    checked = Checked()
    checked.feed(page)
    return checked.faults


def test_a_page_that_lacks_all_is_seen() -> None:
    """Negative control."""
    page = "<html><h1>a</h1><h3>b</h3><img src=x><div class='scroll'><table><th></th></table></div>"
    assert faults(page) == [
        "html without lang", "h3 after h1", "img without alt",
        "what scrolls cannot be reached by keyboard, or has no name", "th without scope", "empty th",
    ]  # fmt: skip


def test_tables_and_figures_have_names() -> None:
    page = render(
        "comparison.html.j2",
        title="a comparison",
        about="two models",
        tables=[(["", "accuracy"], [["one", "1"]])] * 3,
        drawn=b"<svg/>",
        first="one",
        notes=["a note"],
    )
    assert faults(page) == []
    assert 'aria-label="table: accuracy"' in page


def test_templates_name_what_scrolls() -> None:
    for file in sorted(TEMPLATES.glob("*.html.j2")):
        text = file.read_text("utf-8")
        assert all("aria-label=" in tag for tag in re.findall(r'<div class="scroll"[^>]*>', text)), file.name
        assert "<th>" not in text, file.name
