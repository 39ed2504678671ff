"""The figures of a report: drawn once, written as PNG and SVG, and put into the page as SVG.

Beside those of ``figures.py``: recall by class on all and on leak-free images, accuracy by agreement of the voters,
and one figure a grouping. The same style: class order is the label order, Okabe-Ito colours, 95 % whiskers.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mien import drawing
from mien.evaluation import figures
from mien.evaluation.predictions import Predictions

_COLOURS = {"all": drawing.BLUE, "leak_free": drawing.VERMILLION}
#: The files that what :func:`draw` makes is saved as.
_OURS = re.compile(r"(confusion|recall|reliability|votes|groups-[a-z0-9-]+)\.(png|svg)")
#: What the parts of a report are called.
PARTS = {"all": "all images", "leak_free": "leak-free"}


def draw(report: dict[str, Any], case: Predictions, *, title: str) -> dict[str, Any]:
    """File name without ending → matplotlib Figure, for what a scored report holds. MissingExtra: no matplotlib."""
    matrix = np.array(report["figures"]["all"]["confusion"])
    failure = "no face" if report.get("detector") not in (None, "none") else figures.FAILURE
    drawn = {
        "confusion": figures.confusion_figure(matrix, case.labels, title=title, failure=failure),
        "recall": recall_figure(report["figures"], title=title),
    }
    if not case.answers_only and report["figures"]["all"]["scored"]:
        drawn["reliability"] = figures.reliability_figure(case.y, case.probabilities, title=title)
    if "votes" in report:
        drawn["votes"] = votes_figure(report["votes"], title=title)
    for name, stem in group_stems(report.get("groups", {})).items():
        drawn[stem] = groups_figure(report["groups"][name]["all"], title=f"{title}, by {name}")
    return drawn


def is_ours(name: str) -> bool:
    """Whether a file of this name is a figure of an evaluation."""
    return _OURS.fullmatch(name) is not None


def recall_figure(parts: dict[str, Any], *, title: str) -> Any:
    """Recall by class, on all and on leak-free images. parts: ``report["figures"]``."""
    labels = parts["all"]["labels"]
    figure = drawing.new_figure(6.2, 1.6 + 0.46 * len(labels))
    axes = figure.subplots()
    for number, (part, scored) in enumerate(parts.items()):
        rows = [(i, scored["per_class"][name]) for i, name in enumerate(labels) if scored["per_class"][name]["support"]]
        at = [i + 0.18 * (2 * number - len(parts) + 1) for i, _ in rows]
        whiskers(axes, at, [values["recall"] for _, values in rows], kind=part)
    support = parts["all"]["per_class"]
    axes.set_yticks(range(len(labels)), [f"{name} ({support[name]['support']:,})" for name in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    proportion_axis(axes, "recall")
    facts = f"n = {parts['all']['n']:,}, accuracy {parts['all']['accuracy']['value']:.1%}, 95 % intervals"
    drawing.headline(axes, f"Recall by class: {title}", facts, width=52)
    legend(figure, axes)
    return figure


def votes_figure(parts: dict[str, Any], *, title: str) -> Any:
    """Accuracy by how many of ten voters agree. parts: ``report["votes"]``."""
    figure = drawing.new_figure(6.2, 4.4)
    axes = figure.subplots()
    names = [row["level"] for row in parts["all"]["accuracy_by_level"]]
    for number, (part, scored) in enumerate((p, s) for p, s in parts.items() if s is not None):
        rows = [(i, row) for i, row in enumerate(scored["accuracy_by_level"]) if row["n"]]
        at = [i + 0.09 * (2 * number - 1) for i, _ in rows]
        found = [row["accuracy"] for _, row in rows]
        value, low, high = (np.array([one[k] for one in found]) for k in ("value", "low", "high"))
        axes.vlines(at, low, high, color=_COLOURS[part], linewidth=1.4)
        axes.plot(at, value, "o-", color=_COLOURS[part], markersize=4.5, linewidth=0.8, label=PARTS[part])
    counts = [row["n"] for row in parts["all"]["accuracy_by_level"]]
    axes.set_xticks(range(len(names)), [f"{name}\n{n:,}" for name, n in zip(names, counts, strict=True)])
    axes.set_xlabel("votes for the most-voted column, and images")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("accuracy (against the label)")
    drawing.tidy(axes, grid="y")
    votes = parts["all"]["vote_share"]
    most = f"{votes['value']:.0%} of the votes, {votes['possible']:.0%} possible"
    facts = f"n = {parts['all']['n']:,}; the prediction has {most}"
    drawing.headline(axes, f"Agreement of the voters: {title}", facts, width=58)
    legend(figure, axes)
    return figure


def groups_figure(part: dict[str, Any], *, title: str) -> Any:
    """Accuracy and macro-F1 by group; hollow marks for small groups. part: of ``groups.by_group``."""
    groups = part["groups"]
    figure = drawing.new_figure(8.2, 1.7 + 0.42 * max(len(groups), 2))
    figure.get_layout_engine().set(wspace=0.08)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, name in zip(panels, ("accuracy", "macro_f1"), ("accuracy", "macro-F1"), strict=True):
        for at, values in enumerate(groups.values()):
            whiskers(axes, [at], [values[key]], hollow=values["small"])
        proportion_axis(axes, name)
    words = [
        f"{short(name)} ({values['n']:,}{', small' if values['small'] else ''})" for name, values in groups.items()
    ]
    panels[0].set_yticks(range(len(groups)), words)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    gap = part["gaps"]["accuracy"]
    facts = "95 % intervals"
    if gap is not None:
        facts = (
            f"largest gap in accuracy {100 * gap['value']:.1f} points [{100 * gap['low']:.1f}, {100 * gap['high']:.1f}]"
        )
    figure.suptitle(f"{title}\n{facts}", fontsize=11, x=0.02, ha="left")
    return figure


def group_stems(names: Iterable[str]) -> dict[str, str]:
    """Grouping → the file name of its figure without ending, one of its own for each."""
    found: dict[str, str] = {}
    for name in names:
        stem = plain = "groups-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "groups")
        number = 1
        while stem in found.values():
            number += 1
            stem = f"{plain}-{number}"
        found[name] = stem
    return found


def whiskers(
    axes: Any, at: Sequence[float], found: Sequence[dict[str, float]], *, kind: str = "all", hollow: bool = False
) -> None:
    """A dot and its 95 % interval at each height. found: proportions with value, low and high. kind: "all" or
    "leak_free" (images). hollow: of a small group."""
    value, low, high = (np.array([one[key] for one in found], float) for key in ("value", "low", "high"))
    colour = _COLOURS[kind]
    axes.hlines(at, low, high, color=colour, linewidth=1.6)
    face = "white" if hollow else colour
    axes.plot(value, at, "o", color=colour, markerfacecolor=face, markersize=5, label=PARTS[kind], clip_on=False)


def proportion_axis(axes: Any, name: str) -> None:
    """A horizontal axis from 0 to 100 %."""
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(name)
    drawing.tidy(axes, grid="x")


def legend(figure: Any, axes: Any) -> None:
    """Below the axes, where there is more than one kind to tell apart."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)


def short(name: str) -> str:
    """At most 28 letters of a name."""
    return name if len(name) <= 28 else name[:27] + "…"
