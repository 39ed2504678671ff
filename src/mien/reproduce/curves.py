"""Figures of a study: the training curves that the papers draw, and every arm's difference from the first.

Drawn as ``mien.drawing`` draws.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.drawing import BLUE, GREY, VERMILLION, few_ticks, headline, new_figure, of_run, tidy


def curves_figure(runs: Mapping[str, Sequence[Path]], *, title: str, facts: str) -> Any:
    """Accuracy and loss over epochs. runs: arm's title → run directories (its seeds), of which ``log.csv`` is drawn.

    One arm: training and validation, as the papers have it. Several: validation alone. Thick: mean over the seeds that
    reached the epoch; thin: each.
    """
    figure = new_figure(9.6, 3.9)
    panels = figure.subplots(1, 2)
    alone = len(runs) == 1
    for panel, what in zip(panels, ("accuracy", "loss"), strict=True):
        number = 0
        for name, directories in runs.items():
            logs = [_log(directory / "log.csv") for directory in directories]
            for part in ("train", "valid") if alone else ("valid",):
                label = {"train": "training", "valid": "validation"}[part] if alone else name
                _draw(panel, [log[f"{part}_{what}"] for log in logs], label=label, number=number)
                number += 1
        panel.set_xlabel("epoch")
        panel.set_ylabel(what)
        panel.xaxis.set_major_locator(few_ticks(8))
        tidy(panel, grid="y")
        low, high = panel.dataLim.intervaly
        if what == "loss" and low > 0 and high > 2.5 * low:  # one arm that diverges would flatten the others
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        if what == "accuracy":
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    headline(panels[0], title, facts, width=60)
    panels[1].set_title(" \n ", fontsize=11, linespacing=1.35)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    return figure


def differences_figure(table: Mapping[str, Any], *, reading: str, part: str) -> Any:
    """Accuracy of each arm less the first arm's, with its paired 95 % interval; the published difference beside it."""
    scores = table["figures"][reading][part]
    rows = [row for row in table["rows"] if "difference" in scores[row["arm"]]]
    base = table["rows"][0]
    figure = new_figure(7.6, 1.6 + 0.52 * max(len(rows), 2))
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=1)
    for place, row in enumerate(rows):
        gap = scores[row["arm"]]["difference"]["accuracy"]
        value, low, high = (100 * gap[key] for key in ("value", "low", "high"))
        axes.hlines(place, low, high, color=BLUE, linewidth=2.2, label="ours, 95 %" if not place else None)
        axes.plot(value, place, "o", color=BLUE, markersize=6)
        if "accuracy" in row["published"] and "accuracy" in base["published"]:
            printed = 100 * (row["published"]["accuracy"] - base["published"]["accuracy"])
            axes.plot(printed, place, "D", color=VERMILLION, markersize=6, markerfacecolor="none", markeredgewidth=1.6)
    axes.plot(
        [], [], "D", color=VERMILLION, markerfacecolor="none", markeredgewidth=1.6, label="published (its own data)"
    )
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("accuracy, difference in points")
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    n = scores[base["arm"]]["n"]
    headline(axes, f"Against {base['title']}", f"{table['scored_on']}, n = {n:,}, paired", width=60)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw(panel: Any, curves: list[np.ndarray], *, label: str, number: int) -> None:
    color, style, _ = of_run(number)
    longest = max(map(len, curves))
    padded = np.full((len(curves), longest), np.nan)
    for row, curve in zip(padded, curves, strict=True):
        row[: len(curve)] = curve
        if len(curves) > 1:
            panel.plot(np.arange(1, len(curve) + 1), curve, color=color, linewidth=0.7, alpha=0.4)
    marker = "o" if longest < 4 else None
    panel.plot(
        np.arange(1, longest + 1), np.nanmean(padded, 0), style, color=color, linewidth=1.8, label=label, marker=marker
    )


def _log(file: Path) -> dict[str, np.ndarray]:
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
