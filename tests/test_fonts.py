"""Letters that a font lacks: another font has them, or one note says so; against fontTools' tables of letters."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien import drawing, fonts
from mien.fonts import file_with, font_for, letters
from mien.reading.annotate import annotate
from mien.results import Box, Face

matplotlib = pytest.importorskip("matplotlib")
FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
LOOP = "ᶄ"  # in STIX, neither in DejaVu nor in Pillow's


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The fonts of the machine, which a test may change."""
    files = [FONTS / "DejaVuSans.ttf"]
    monkeypatch.setattr(fonts, "_files", lambda: files)
    for cached in (fonts.file_with, fonts._tell):
        cached.cache_clear()
    yield files
    for cached in (fonts.file_with, fonts._tell):
        cached.cache_clear()


def test_it_knows_which_letters_a_font_has(known: list[Path]) -> None:
    tools = pytest.importorskip("fontTools.ttLib")
    table = set(tools.TTFont(FONTS / "DejaVuSans.ttf").getBestCmap())
    for letter in "éßøŁЖλ→≠…不投あअ" + LOOP:
        assert (file_with(frozenset(letter)) is not None) == (ord(letter) in table), letter


def test_pillows_own_font_stays_where_it_has_all_letters(known: list[Path]) -> None:
    assert "Aileron" in font_for(12, "happy").getname()[0]
    assert "DejaVu" in font_for(12, "très").getname()[0]
    assert letters("très 80 %\u00a0x") == {"è"}


def test_a_figure_takes_letters_from_a_second_font(known: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    def figure(title: str) -> bytes:
        made = drawing.new_figure(2, 1)
        made.subplots().set_title(title)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return drawing.png(made)

    with caplog.at_level(logging.WARNING, "mien"):
        box, plain = figure(LOOP), figure("très")
        figure("不")
    assert caplog.text.count("no font of this machine has all letters") == 1
    known.append(FONTS / "STIXGeneral.ttf")
    file_with.cache_clear()
    assert figure(LOOP) != box
    assert figure("très") == plain  # negative control


def test_an_annotated_picture_shows_the_letters_of_a_class(known: list[Path]) -> None:
    def picture(name: str) -> bytes:
        face = Face(Box(20, 20, 60, 60), 0.9, name, 0.8, {name: 0.8, "no": 0.2})
        return annotate(np.full((200, 400, 3), 90, np.uint8), [face]).tobytes()

    assert picture("tr\u00e8s") != picture("tr\u00eas")
    assert picture("tr不s") == picture("tr投s")  # negative control: no font has them, both are boxes


def test_dollars_in_a_name_are_letters() -> None:
    """matplotlib would take them for a formula, and fail where it cannot draw it. Log axes keep theirs."""
    made = drawing.new_figure(3, 2)
    axes = made.subplots()
    axes.set_title(r"$\nothing$")
    axes.set_xticks([0, 1], [r"a$\frac{$", "b"])
    axes.set_yscale("log")
    axes.plot([0, 1], [1, 1000], label="$x_")
    axes.legend()
    drawing.png(made)
    numbers = [label for label in axes.get_yticklabels() if label.get_text()]
    assert numbers
    assert all(label.get_parse_math() and "mathdefault" in label.get_text() for label in numbers)
    control = drawing.new_figure(3, 2)
    control.subplots().set_title(r"$\nothing$")
    with pytest.raises(ValueError, match="nothing"):
        control.draw_without_rendering()
