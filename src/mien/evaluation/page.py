"""report.html: what ``report.json`` says, for people. One file, offline, printable; it computes nothing of its own."""

from typing import Any

from mien.evaluation.groups import SMALL
from mien.evaluation.page_figures import PARTS, group_stems
from mien.labels import EIGHT, noun
from mien.pages.environment import render as fill


def render(report: dict[str, Any], figures: dict[str, bytes]) -> str:
    """The page. report: as ``evaluate`` makes it. figures: name → SVG, those of ``page_figures.draw``.

    Raises MissingExtra without Jinja2.
    """
    single = report.get("single_crop")
    views = {"ten crops, ": report, "single crop, ": single} if single else {"": report}
    columns = {f"{v}{PARTS[name]}": part for v, of in views.items() for name, part in (of["figures"] or {}).items()}
    return fill(
        "report.html.j2",
        title=f"{report['model']['name']} on {report['data']['split']}",
        report=report,
        figures=figures,
        columns=columns,
        group_stems=group_stems(report.get("groups", {})),
        small=SMALL,
        all_labels=EIGHT,
        what=noun(report["figures"]["all"]["labels"] if report["figures"] else EIGHT),
    )
