"""Every page that mien writes, checked by axe-core in Chromium, in light and dark: WCAG 2.1 AA."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from static_site import Site, Tab

from mien.labels import SEVEN
from mien.pages.environment import render
from mien.results import Box, Face, Reading

ROOT = Path(__file__).parents[2]
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'/>"


@pytest.fixture(scope="module")
def rules() -> Callable[[Any], list[str]]:
    """What scripts/accessibility.py finds in a tab."""
    pytest.importorskip("axe_playwright_python", reason="it carries axe-core: pip install axe-playwright-python")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import accessibility
    finally:
        sys.path.pop(0)
    script = accessibility.axe_core()
    return lambda tab: accessibility.broken_rules(tab, script)


def report(_: Path) -> str:
    return (ROOT / "docs" / "sample-report.html").read_text("utf-8")


def audit(folder: Path) -> str:
    from mien.data.audit.run import audit_store

    audit_store(folder / "store", out=folder / "audit")
    return (folder / "audit" / "audit.html").read_text("utf-8")


def comparison(_: Path) -> str:
    table = (["", "accuracy"], [["one", "70.1"], ["two", "68.2"]])
    return render(
        "comparison.html.j2", title="two models", about="70 images", tables=[table] * 3, first="one", notes=["a note"],
        drawn=SVG,
    )  # fmt: skip


def study(_: Path) -> str:
    scores = {"title": "seven classes; all images", "n": 70, "header": ["", "a", "b"], "rows": [["F1", "1", "2"]]}
    table = {"table": "Table 2", "source": "a paper", "claim": "it helps", "preset": "smoke", "reduced": True}
    return render(
        "study.html.j2", title="a study", table=table, facts=["a fact"], scored=[scores | {"differences": SVG}],
        first="a", analyses=[{"title": "an analysis", "lines": ["a line"], "drawn": {"one": SVG}}],
        runs=[["run", "seed"], ["a", "0"]], notes=["a note"], drawn={"curves": SVG, "curves_all": SVG},
        confusion=SVG, balance=SVG,
    )  # fmt: skip


def timeline(_: Path) -> str:
    from mien.timeline.collect import Collector
    from mien.timeline.page import render_page

    collector = Collector(SEVEN)
    for frame in range(35):
        label = SEVEN[frame // 5]
        row = dict.fromkeys(SEVEN, 0.05) | {label: 0.7}
        faces = tuple(Face(Box(9, 9, 30, 30), 0.9, label, 0.7, row, track=track) for track in (1, 2))
        collector.add(Reading("clip.mp4", 100, 80, faces, frame / 25))
    drawn = collector.timelines()
    return render_page(
        drawn, {(one.source, moment): b"" for one in drawn for track in one.tracks for moment in track.moments}
    )


@pytest.fixture(scope="module")
def folder(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("pages")
    (where / "store").symlink_to(small_store)
    return where


@pytest.mark.long
@pytest.mark.parametrize("page", [report, audit, comparison, study, timeline], ids=lambda make: make.__name__)
def test_pages_break_no_rule(
    page: Callable[[Path], str], folder: Path, browser: Any, rules: Callable[[Any], list[str]]
) -> None:
    content = page(folder)
    context = browser.new_context(bypass_csp=True)
    tab = context.new_page()
    tab.set_content(content)
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        assert not rules(tab), scheme
    context.close()


@pytest.mark.long
def test_the_browser_page_breaks_no_rule(
    browser: Any, site: Site, astronaut: Path, rules: Callable[[Any], list[str]]
) -> None:
    """Empty, and with a photo that was read. `mien page` and the service's `/` are these files."""
    with Tab.opened(browser, site, bypass_csp=True) as tab:
        tab.ready()
        assert not rules(tab.page)
        tab.choose(astronaut)
        for scheme in ("light", "dark"):
            tab.page.emulate_media(color_scheme=scheme)
            assert not rules(tab.page), scheme


def test_broken_rules_are_seen(browser: Any, rules: Callable[[Any], list[str]]) -> None:
    """Negative control: grey on white, a picture without a name, no language."""
    context = browser.new_context(bypass_csp=True)
    tab = context.new_page()
    tab.set_content(
        "<html><title>t</title><main><h1>t</h1><p style='color: #999'>some words<img src='data:,'></p></main>"
    )
    broken = {line.partition(" ")[0] for line in rules(tab)}
    context.close()
    assert {"color-contrast", "image-alt", "html-has-lang"} <= broken
