"""The charts of an audit, each as one SVG: classes, brightness, votes. From ``audit.json``'s figures alone.

Drawn as ``mien.drawing`` draws; labels stand in the label order.
"""

from typing import Any

import numpy as np

from mien.data.sources import VOTE_NAMES
from mien.drawing import AREA_COLOURS, heat_map, new_figure, svg, tidy


def classes_svg(by_split: list[dict[str, Any]]) -> bytes | None:
    """Proportion of each label in each split that has labels; None where none has. by_split: ``labels.by_split``."""
    rows = [row for row in by_split if sum(row["counts"].values())]
    if not rows:
        return None
    names = list(rows[0]["counts"])
    figure = new_figure(1.4 + 0.95 * len(names), 3.2)
    axes = figure.subplots()
    width = 0.8 / len(rows)
    for i, row in enumerate(rows):
        counts = np.array(list(row["counts"].values()))
        left = np.arange(len(names)) - 0.4 + i * width
        color = AREA_COLOURS[i % len(AREA_COLOURS)]
        label = f"{row['split']} ({counts.sum():,})"
        axes.bar(left, counts / counts.sum(), width * 0.92, align="edge", color=color, label=label)
    axes.axhline(1 / len(names), color="#555555", linewidth=1, linestyle="--")
    at = {"xycoords": ("axes fraction", "data"), "xytext": (5, 0), "textcoords": "offset points"}
    axes.annotate("all equal", (1, 1 / len(names)), fontsize=8, color="#555555", va="center", **at)
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("proportion of the split")
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    tidy(axes, grid="y")
    return svg(figure)


def light_svg(brightness: list[dict[str, Any]], contrast: list[dict[str, Any]]) -> bytes:
    """Mean and standard deviation of the luma by split and by label: medians, halves and 98 in 100 of the images."""
    names = [(row["by"], row["name"]) for row in brightness]
    figure = new_figure(8.2, 0.9 + 0.27 * len(names))
    panels = figure.subplots(1, 2, sharey=True)
    shades = {
        kind: AREA_COLOURS[n] for n, kind in enumerate(("split", "source", "label")) if kind in {by for by, _ in names}
    }
    for axes, rows, title in zip(panels, (brightness, contrast), ("brightness (mean)", "contrast (std)"), strict=True):
        for y, row in enumerate(rows):
            color = shades[row["by"]]
            axes.plot((row["q1"], row["q99"]), (y, y), color=color, linewidth=1)
            axes.plot((row["q25"], row["q75"]), (y, y), color=color, linewidth=6, solid_capstyle="butt", alpha=0.45)
            axes.plot(row["q50"], y, "o", color=color, markersize=4.5)
        axes.set_xlim(0, 255 if title.startswith("b") else None)
        axes.set_xlabel(f"{title}, of 255")
        axes.set_yticks(range(len(names)), [name for _, name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        tidy(axes, grid="x")
    return svg(figure)


def votes_svg(votes: dict[str, Any]) -> bytes:
    """How far the FER+ voters agree, and how many of them agree with the label of the image."""
    panels = [("votes for the majority", votes["agreement_tenths"], votes["images"])]
    if votes["labelled"]:
        panels.append(("votes for the image's own label", votes["label_support_tenths"], votes["labelled"]))
    figure = new_figure(4.3 * len(panels), 2.7)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, counts, total), color in zip(grid, panels, AREA_COLOURS, strict=False):
        axes.bar(range(11), counts, 0.85, color=color)
        axes.set_xticks(range(11), [str(n) for n in range(11)])
        axes.set_xlabel(f"{title}, in tenths")
        axes.set_ylabel("images")
        axes.set_title(f"n = {total:,}", fontsize=9, loc="left")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        tidy(axes, grid="y")
    return svg(figure)


def votes_against_labels_svg(rows: list[dict[str, Any]]) -> bytes | None:
    """Heat map of ``votes.label_against_majority``: proportions of each label; None where nothing was counted."""
    rows = [row for row in rows if sum(row[name] for name in (*VOTE_NAMES, "tie"))]
    if not rows:
        return None
    order = _columns([row["label"] for row in rows])
    counts = np.array([[row[name] for name in order] for row in rows])
    figure = new_figure(2.2 + 0.66 * len(order), 1.5 + 0.5 * len(rows))
    axes = figure.subplots()
    labels, columns = [row["label"] for row in rows], [name.replace("_", " ") for name in order]
    bar = "proportion of the label"
    heat_map(figure, axes, counts, rows=labels, columns=columns, bar=bar, zeros=False, aspect="auto")
    axes.set_xlabel("majority vote")
    axes.set_ylabel("label of the image")
    return svg(figure)


def _columns(labels: list[str]) -> list[str]:
    """What voters could choose, the labels first and in their order, and "tie"."""
    from mien.data.audit.findings import column_of_each_label

    first = [VOTE_NAMES[column] for column in column_of_each_label(labels) if column >= 0]
    return [*first, *(name for name in VOTE_NAMES if name not in first), "tie"]
