"""The templates' environment: escaped, strict, without a request to anywhere; and how numbers are written."""

import re
import sys

import numpy as np
import pytest

from html_pages import BAD, Page, is_only_text, with_bad_names
from mien.errors import MissingExtra
from mien.pages import environment as pages
from mien.pages import format

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
TEMPLATES = sorted(file.name for file in pages.TEMPLATES.glob("*.html.j2"))


def study() -> dict[str, object]:
    """What the page of a study is filled with, every text a bad name."""
    words = with_bad_names(
        {
            "title": "t",
            "table": {"table": "t", "source": "s", "claim": "c", "preset": "p", "reduced": True},
            "facts": ["f"],
            "scored": [{"title": "t", "n": 3, "header": ["", "a"], "rows": [["r", "1"]], "differences": None}],
            "first": "f",
            "analyses": [{"title": "t", "lines": ["l"], "drawn": {}}],
            "runs": [["", "h"], ["r", "c"]],
            "notes": ["n"],
        }
    )
    return words | {"drawn": {"curves": SVG, "curves_all": SVG}, "confusion": SVG, "balance": SVG}


def comparison() -> dict[str, object]:
    words = with_bad_names({"title": "t", "about": "a", "tables": [(["h"], [["c"]])] * 3, "first": "f", "notes": ["n"]})
    return words | {"drawn": SVG}


@pytest.mark.parametrize(("template", "values"), [("study.html.j2", study), ("comparison.html.j2", comparison)])
def test_names_are_text(template: str, values, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    content = pages.render(template, **values())
    assert is_only_text(content)
    assert content.count("{{ 7 * 7 }}") > 5
    assert not re.search(r"\b49\b", Page(content).words())
    unescaped = pages.environment().overlay(autoescape=False)
    monkeypatch.setattr(pages, "environment", lambda: unescaped)
    assert not is_only_text(pages.render(template, **values()))  # the control


def test_halves_of_surrogate_pairs_can_be_written() -> None:
    content = pages.render("comparison.html.j2", **comparison() | {"about": "a\udcffb"})
    assert "a�b" in content
    content.encode("utf-8")


def test_a_missing_value_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="'about' is undefined"):
        pages.render("comparison.html.j2", **{k: v for k, v in comparison().items() if k != "about"})


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_page_extends_the_base_and_only_constants_are_safe(template: str) -> None:
    text = (pages.TEMPLATES / template).read_text("utf-8")
    assert all(before in "'\"" for before in re.findall(r"(.)\|safe", text))  # constants alone
    if template not in ("base.html.j2", "parts.html.j2"):
        assert '{% extends "base.html.j2" %}' in text


def test_every_page_has_the_policy_and_a_dark_style() -> None:
    content = pages.render("comparison.html.j2", **comparison())
    (policy,) = [attrs["content"] for tag, attrs in Page(content).tags if attrs.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content


def test_a_markdown_card_takes_names_as_they_are() -> None:
    """Markdown is not escaped; a data card's head is JSON texts, out of which nothing breaks."""
    entry = {"source": BAD, "licence": "l", "trained_on": "t", "package": "p", "version": "1", "file": "f"}
    assert BAD in pages.render("origins.md.j2", origins=[entry | {"sha256": "0" * 64}])
    assert pages.environment().filters["json"]('a"\n---') == r'"a\"\n---"'


def test_without_jinja2_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pages.environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"needs the package 'jinja2'.*pip install 'mien\[train\]'"):
        pages.render("comparison.html.j2")


@pytest.mark.parametrize(
    ("form", "figure", "shown"),
    [
        (format.percent, {"value": 0.71551, "low": 0.7005, "high": 0.73004}, "71.55 % [70.0, 73.0]"),
        (format.number, {"value": 0.0267, "low": 0.0168, "high": 0.0375}, "0.027 [0.017, 0.037]"),
        (format.points, {"value": -0.0401, "low": -0.0516, "high": 0.001}, "−4.01 [−5.16, +0.10]"),
        (format.percent, {"value": None, "low": None, "high": None}, "–"),
        (format.percent, None, "–"),
        (
            format.mean_over_seeds,
            {"value": 0.7155, "low": 0.701, "high": 0.73, "sd": 0.003},
            "71.55 [70.1, 73.0] ± 0.3",
        ),
        (format.mean_over_seeds, {"value": 0.7155, "low": 0.701, "high": 0.73, "sd": None}, "71.55 [70.1, 73.0]"),
        (format.thousands, 28709, "28,709"),
        (format.thousands, None, "–"),
        (format.magnitude, 2_719_975, "2.72 M"),
        (format.magnitude, 4_510_000_000, "4.51 G"),
    ],
)
def test_how_figures_are_written(form, figure, shown) -> None:  # type: ignore[no-untyped-def]
    assert form(figure) == shown


def test_intervals_have_their_options() -> None:
    figure = {"value": -0.012, "low": -0.02, "high": 0.001}
    assert format.points(figure, bounds=1, minus="-") == "-1.20 [-2.0, +0.1]"
    assert format.interval(figure, scale=100, digits=0) == "-1 [-2, 0]"
    assert format.proportion(332, 3589) == "332 (9.3%)"
    assert [format.proportion(0, 9), format.proportion(None, 9)] == ["0", "–"]
    assert [format.plural(1, "split"), format.plural(3, "split")] == ["1 split", "3 splits"]


def test_p_values_are_never_zero() -> None:
    assert format.p_value(1e-12) == "< 0.0001"
    assert format.p_value(0.04567) == "0.0457"
    assert np.isfinite(float(format.p_value(1.0)))


def test_an_image_is_inside_the_page() -> None:
    assert pages.data_uri(b"\x89P", "png") == "data:image/png;base64,iVA="
