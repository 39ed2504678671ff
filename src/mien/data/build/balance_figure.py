"""Figure 2 of Paper A: images per class before and after balancing, stacked by source.

Class order is the label order; generated images are hatched as well as named.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.drawing import AREA_COLOURS, new_figure, save, tidy
from mien.errors import DataError
from mien.labels import EIGHT, canonical, is_own

#: source → expression → images
BySource = Mapping[str, Mapping[str, int]]


def balance_figure(
    originals: BySource,
    generated: BySource,
    stem: Path,
    *,
    title: str = "Training images",
    labels: Sequence[str] = EIGHT,
) -> bytes:
    """Write ``stem``.png and ``.svg``: the originals on the left, with the generated images (hatched) on the right.

    originals, generated: images by source and expression; ``generated`` names the source of what was varied. Classes
    stand in the order of ``labels``, sources in the order of ``originals``. Returns the SVG.
    Raises DataError for a count below 0 or no image at all, MissingExtra without matplotlib, OutputError where a file
    cannot be written.
    """
    sources = list(dict.fromkeys((*originals, *generated)))
    before, made = (_table(each, sources, labels) for each in (originals, generated))
    shown = np.flatnonzero((before + made).sum(0))
    if not len(shown):
        raise DataError("expected images to count in a figure, got none")
    before, made = before[:, shown], made[:, shown]
    names = [labels[c] for c in shown.tolist()]
    rows = 2 * -(-len(sources) // 3)  # of the legend, which the bars make room for
    figure = new_figure(max(7.5, 1.1 * len(names) + 1.4), 3.8 + 0.2 * rows)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, names, sources, before, np.zeros_like(before))
    _bars(right, names, sources, before, made)
    left.set_title(f"before: {before.sum():,} images", fontsize=10, loc="left")
    right.set_title(f"after: {before.sum() + made.sum():,} images", fontsize=10, loc="left")
    left.set_ylabel("images")
    left.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    left.set_ylim(0, 1.12 * float((before + made).sum(0).max()))  # room for the numbers on top
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    patches, texts = _legend(sources, before.sum(1).tolist(), made.sum(1).tolist())
    figure.legend(
        patches,
        texts,
        loc="outside lower center",
        ncols=min(3, len(sources)),
        fontsize=8.5,
        frameon=False,
        columnspacing=1.6,
    )
    return save(figure, stem)


def _table(counts: BySource, sources: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """int64 sources × classes."""
    table = np.zeros((len(sources), len(labels)), np.int64)
    for source, classes in counts.items():
        for name, number in classes.items():
            if number < 0:
                raise DataError(f"expected counts of at least 0, got {number} {name} in {source}")
            table[sources.index(source), labels.index(name if is_own(labels) else canonical(name))] += number
    return table


def _bars(axes: Any, names: list[str], sources: list[str], before: NDArray[np.int64], made: NDArray[np.int64]) -> None:
    """Stacked bars: all sources' originals below, what was generated from each above, and the sum on top."""
    base = np.zeros(len(names))
    for layer, hatch in ((before, None), (made, "////")):
        for s in range(len(sources)):
            color = _color(s)
            fill = {"color": color} if hatch is None else _hatched(color)
            axes.bar(range(len(names)), layer[s], bottom=base, width=0.8, **fill)
            base = base + layer[s]
    for c, total in enumerate(base.astype(int).tolist()):
        text = axes.annotate(f"{total:,}", (c, total), (0, 2), textcoords="offset points", fontsize=6.5)
        text.set(
            ha="center", va="bottom", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4}
        )  # no grid in it
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="x", length=0)
    tidy(axes, grid="y")


def _color(source: int) -> str:
    return AREA_COLOURS[source % len(AREA_COLOURS)]


def _hatched(color: str) -> dict[str, Any]:
    return {"facecolor": "white", "edgecolor": color, "hatch": "////", "linewidth": 0.8}


def _legend(sources: list[str], before: list[int], made: list[int]) -> tuple[list[Any], list[str]]:
    """Two entries a source, with its numbers: a small source's part of a bar may be too thin to see."""
    from matplotlib.patches import Patch

    patches, texts = [], []
    for s, source in enumerate(sources):
        patches += [Patch(color=_color(s)), Patch(**_hatched(_color(s)))]
        texts += [f"{source} ({before[s]:,})", f"generated from {source} ({made[s]:,})"]
    for _ in range(-len(sources) % 3 if len(sources) > 3 else 0):  # full columns, so that no pair is divided
        patches += [Patch(alpha=0), Patch(alpha=0)]
        texts += ["", ""]
    return patches, texts
