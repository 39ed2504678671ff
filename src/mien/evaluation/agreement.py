"""Agreement with FER+ votes (Barsoum et al. 2016, arXiv 1608.01041): ten people's votes instead of one label.

Votes are counts N×10 in the order of ``data.sources.VOTE_NAMES``: eight expressions (contempt among them), *unknown*
and *not a face*. Conventions:

- Columns meet classes by name (``mien.labels``), never by position. A column that the model has no class for
  (contempt for seven classes; unknown and not-a-face always) is a vote that no prediction can match.
- *Majority*: the column with the most votes. Images with a tie for the most votes, or whose most-voted column the
  model has no class for, have no majority that a prediction could match: they are left out of ``majority`` and counted.
- *Vote share*: the votes for the predicted class ÷ all votes of that image, 0-1, the mean over all images that have
  votes; nothing is left out. ``possible`` is what always giving the most-voted class would reach.
- *Agreement level*: votes of the most-voted column, as tenths of the image's votes, rounded down: ≤4, 5 … 10. Accuracy
  by level is against the data set's label, over all images that have votes.
- A failure matches no majority, has a vote share of 0, and is wrong.
- ``label`` is the same measure for the data set's own labels: the ceiling that label noise leaves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.arrays import Float64, Int64
from mien.data.sources import VOTE_LABELS, VOTE_NAMES
from mien.errors import DataError
from mien.evaluation.metrics import mean_with_percentiles, proportion_if_any
from mien.labels import canonical

LEVELS = (4, 5, 6, 7, 8, 9, 10)


def class_of_each_column(labels: Sequence[str]) -> NDArray[np.int64]:
    """int64 10: the class of each vote column, −1 where the model has none. labels: the K names in code order."""
    order = [canonical(name) for name in labels]
    return np.array([order.index(name) if name in order else -1 for name in VOTE_LABELS], np.int64)


def agreement(
    y: ArrayLike, predicted: ArrayLike, votes: ArrayLike | None, labels: Sequence[str], *, seed: int = 0
) -> dict[str, Any] | None:
    """How predictions and labels agree with the votes; None where no image has any.

    y: int64 N, codes. predicted: int64 N, codes, K for failures. votes: float N×10, a row of NaN (or zeros) where
    there are none. Figures are ``{"value", "low", "high"}``, 0-1, Wilson's interval for proportions of images,
    bootstrap for the vote share. Raises DataError where the arrays do not fit.
    """
    if votes is None:
        return None
    truth, given, counts = np.asarray(y), np.asarray(predicted), np.asarray(votes, np.float64)
    if counts.shape != (len(truth), len(VOTE_NAMES)) or given.shape != truth.shape:
        raise DataError(
            f"expected N labels, N predictions and N×{len(VOTE_NAMES)} votes, "
            f"got {truth.shape}, {given.shape}, {counts.shape}"
        )
    has = np.nan_to_num(counts).sum(1) > 0
    if not has.any():
        return None
    truth, given, counts = truth[has], given[has], counts[has]
    columns = class_of_each_column(labels)
    majority, left_out = _majority(counts, columns)
    clear, rows = majority >= 0, np.arange(len(truth))
    by_class = _by_class(counts, columns, len(labels))
    return {
        "n": len(truth),
        "without_votes": int((~has).sum()),
        "majority": _accuracy((given == majority)[clear]) | {"n": int(clear.sum()), "left_out": left_out},
        "vote_share": mean_with_percentiles(by_class[rows, given], seed=seed)
        | {"possible": float(by_class.max(1).mean())},
        "label": {
            "majority": _accuracy((truth == majority)[clear]),
            "vote_share": mean_with_percentiles(by_class[rows, truth], seed=seed),
        },
        "accuracy_by_level": _by_level(given == truth, counts),
    }


def levels(votes: ArrayLike) -> Int64:
    """int64 N: tenths of the votes that the most-voted column has, 0 … 10, rounded down. votes: N×10, none empty."""
    counts = np.asarray(votes, np.float64)
    return np.floor(10 * counts.max(1) / counts.sum(1) + 1e-9).astype(np.int64)


def _majority(counts: Float64, columns: Int64) -> tuple[Int64, dict[str, int]]:
    """The most-voted class, −1 where no prediction could match it; and how many images that leaves out, by reason."""
    top = counts.max(1, keepdims=True)
    tie = (counts == top).sum(1) > 1
    best = counts.argmax(1)
    outside = ~tie & (columns[best] < 0)
    left_out = {"tie": int(tie.sum())}
    for number, name in enumerate(VOTE_NAMES):
        if columns[number] < 0:
            left_out[name] = int((outside & (best == number)).sum())
    return np.where(tie, -1, columns[best]), left_out


def _by_class(counts: Float64, columns: Int64, classes: int) -> Float64:
    """float N×(K+1): the proportion of an image's votes that each class has; the last column, failures, has none."""
    result = np.zeros((len(counts), classes + 1))
    for number, code in enumerate(columns):
        if code >= 0:
            result[:, code] += counts[:, number]
    return result / counts.sum(1, keepdims=True)


def _by_level(right: NDArray[np.bool_], votes: Float64) -> list[dict[str, Any]]:
    level = np.maximum(levels(votes), LEVELS[0])
    rows = []
    for number in LEVELS:
        here = right[level == number]
        name = f"≤{number}/10" if number == LEVELS[0] else f"{number}/10"
        rows.append({"level": name, "n": len(here), "accuracy": _accuracy(here)})
    return rows


def _accuracy(hits: NDArray[np.bool_]) -> dict[str, float | None]:
    return proportion_if_any(int(hits.sum()), len(hits))
