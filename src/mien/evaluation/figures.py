"""The figures of an evaluation: confusion matrix and reliability diagram.

Drawn as ``mien.drawing`` draws. Class order is the label order, everywhere, and text keeps its contrast on every cell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.drawing import BLUE, GREY, few_ticks, headline, heat_map, new_figure, tidy
from mien.errors import DataError
from mien.evaluation.metrics import BINS, Reliability, reliability, wilson
from mien.labels import noun

FAILURE = "no prediction"


def confusion_figure(
    matrix: NDArray[np.integer[Any]],
    labels: Sequence[str],
    *,
    title: str = "Confusion matrix",
    failure: str = FAILURE,
) -> Any:
    """The confusion matrix: colour and large numbers are proportions of the true class (rows), small numbers counts.

    matrix: K×K, or K×(K+1) with the failures as the last column, which is drawn where there are any.
    failure: what to call them.
    Returns a matplotlib Figure. Raises DataError where the sizes do not fit.
    """
    k = len(labels)
    if matrix.shape not in ((k, k), (k, k + 1)):
        raise DataError(f"expected a confusion matrix of {k}×{k} or {k}×{k + 1} for {k} labels, got {matrix.shape}")
    columns = list(labels)
    if matrix.shape[1] == k + 1:
        if matrix[:, k].any():
            columns.append(failure)
        else:
            matrix = matrix[:, :k]
    n, right = int(matrix.sum()), int(np.trace(matrix[:, :k]))
    figure = new_figure(2.5 + 0.72 * max(len(columns), 4), 1.5 + 0.72 * max(k, 4))
    axes = figure.subplots()
    rows = [f"{name} ({int(total):,})" for name, total in zip(labels, matrix.sum(1), strict=True)]
    what = noun(labels)
    heat_map(figure, axes, matrix, rows=rows, columns=columns, bar=f"proportion of the true {what}")
    axes.set_xlabel("prediction")
    axes.set_ylabel(f"true {what} (images)")
    facts = f"n = {n:,}, accuracy {right / max(n, 1):.1%}\nin the cells: % of the row, images"
    headline(axes, title, facts, width=max(8 * len(columns), 32))
    return figure


def reliability_figure(y: ArrayLike, p: ArrayLike, *, title: str = "Reliability", bins: int = BINS) -> Any:
    """The reliability diagram of the top probability: accuracy by bin above, number of images below.

    y, p: as in ``metrics``; failures are left out, and the title says how many. Returns a matplotlib Figure.
    """
    table = reliability(y, p, bins=bins)
    figure = new_figure(5.2, 5.8)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]})
    _draw_calibration(upper, table)
    width = np.diff(table.edges)
    lower.bar(table.edges[:-1], table.count, width=width, align="edge", color=BLUE, edgecolor="white", linewidth=0.8)
    lower.set_ylabel("images")
    lower.set_xlabel("top probability")
    lower.set_xlim(0, 1)
    lower.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    lower.yaxis.set_major_locator(few_ticks(3))
    for axes in (upper, lower):
        tidy(axes, grid="y")
    left_out = len(np.asarray(y)) - int(table.count.sum())
    without = f" ({left_out:,} without a prediction left out)" if left_out else ""
    facts = f"n = {table.count.sum():,}{without}\nECE {table.ece:.3f} in {bins} bins"
    headline(upper, title, facts, width=52)
    handles, names = upper.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, columnspacing=1.4)
    return figure


def _draw_calibration(axes: Any, table: Reliability) -> None:
    filled = table.count > 0
    left, width = table.edges[:-1][filled], np.diff(table.edges)[filled]
    accuracy, confidence = table.accuracy[filled], table.confidence[filled]
    axes.bar(left, accuracy, width=width, align="edge", color="#9ecae1", edgecolor="white", linewidth=0.8)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect calibration")
    intervals = np.array([wilson(round(a * n), int(n)) for a, n in zip(accuracy, table.count[filled], strict=True)])
    axes.vlines(confidence, *intervals.reshape(-1, 2).T, color=BLUE, linewidth=1.2, label="95 % interval")
    axes.plot(confidence, accuracy, "o", color=BLUE, markersize=4.5, clip_on=False, label="accuracy")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("accuracy")
