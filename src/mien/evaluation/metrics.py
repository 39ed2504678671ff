"""Metrics of a set of predictions: pure functions over arrays, each figure with its 95 % interval.

Conventions, everywhere in mien:

- ``y``: int64 N, codes 0 … K−1. ``p``: float N×K, probabilities; rows are renormalised to 1 (float32 rounding).
  The predicted class is the most probable one, the first of equal ones.
- A *failure*, an image without a prediction (no face found), is a row of NaN. It is wrong: it stays in the denominator
  of accuracy, recall and F1, lowers no precision, and is the last column of the confusion matrix. NLL, Brier and
  ECE cannot be computed for it: they are over the scored rows, whose number is stated.
- A ratio without a denominator (the precision of a class that was never predicted) is 0. Macro averages are over the
  classes that occur in ``y``; weighted averages weigh by support, so that weighted recall is accuracy.
- Top-2 accuracy: of equally probable classes the first in label order ranks first, so that top-1 is accuracy. A
  failure is wrong at every rank.
- NLL is in nats, probabilities clipped at 1e-7. Brier is the sum over classes of squared differences: 0 … 2.
- ECE: 15 equal-width bins of the top probability, right edges inclusive, (0, 1/15] … (14/15, 1]; mean over images
  of |accuracy − mean top probability| of the bin.
- Intervals: Wilson's for a proportion of images (accuracy, recall, precision); for the others the 2.5 and 97.5
  percentiles of 2,000 bootstrap resamples of images. ECE's resamples are shifted so that their median is the measured
  value, because resampling by itself adds miscalibration. Resampling is over images: it says nothing about
  another training run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.arrays import Float64, Int64
from mien.errors import DataError

BINS = 15
RESAMPLES = 2000
AVERAGES = ("macro_f1", "balanced_accuracy", "weighted_precision", "weighted_recall", "weighted_f1")
UNDEFINED: dict[str, float | None] = {"value": None, "low": None, "high": None}
_CLIP = 1e-7
#: Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054
#: Resampled weights are drawn in parts of about this many numbers (8 bytes each).
_PART = 4_000_000


@dataclass(frozen=True, slots=True)
class Reliability:
    """By bin of the top probability: how many images, their mean top probability, their accuracy.

    edges: float B+1. count: int64 B. confidence, accuracy: float B, NaN in empty bins.
    """

    edges: Float64
    count: Int64
    confidence: Float64
    accuracy: Float64

    @property
    def ece(self) -> float:
        """Expected calibration error, 0-1; NaN where nothing was scored."""
        total = self.count.sum()
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gap * self.count).sum() / total) if total else float("nan")


def checked(y: ArrayLike, p: ArrayLike) -> tuple[Int64, Float64]:
    """The two arrays in our types, rows renormalised. Raises DataError where they are no labels or no probabilities."""
    labels, probabilities = np.asarray(y), np.array(p, np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        shapes = f"{labels.shape} and {probabilities.shape}"
        raise DataError(f"expected N labels and N×K probabilities, N > 0, got {shapes}")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise DataError(
            f"expected label codes 0 to {probabilities.shape[1] - 1}, "
            f"got {labels.dtype} {labels.min()} to {labels.max()}",
            hint="images whose label is held back (−1) cannot be scored",
        )
    scored = ~np.isnan(probabilities).any(1)
    probabilities[~scored] = np.nan
    rows = probabilities[scored]
    total = rows.sum(1, keepdims=True)
    if (rows < 0).any() or (np.abs(total - 1) > 1e-3).any():
        raise DataError("expected probabilities of 0 to 1 that sum to 1, got other numbers", hint="are these logits?")
    probabilities[scored] = rows / total
    return labels.astype(np.int64), probabilities


def predicted(p: ArrayLike) -> Int64:
    """int64 N: the most probable class; K for a failure."""
    p = np.asarray(p, np.float64)
    failed = np.isnan(p).any(1)
    return np.where(failed, p.shape[1], np.where(failed[:, None], 0, p).argmax(1)).astype(np.int64)


def confusion(y: ArrayLike, p: ArrayLike) -> Int64:
    """int64 K×(K+1): true class by predicted class, counts; the last column holds the failures."""
    labels, probabilities = checked(y, p)
    k = probabilities.shape[1]
    cells = labels * (k + 1) + predicted(probabilities)
    return np.bincount(cells, minlength=k * (k + 1)).reshape(k, k + 1).astype(np.int64)


def log_losses(y: Int64, p: NDArray[np.floating[Any]], *, least: float = _CLIP) -> Float64:
    """Of each row, nats: minus the logarithm of its label's probability, which counts as at least ``least``."""
    losses: Float64 = -np.log(np.maximum(p[np.arange(len(y)), y], least, dtype=np.float64))
    return losses


def ece(y: ArrayLike, p: ArrayLike, *, bins: int = BINS) -> float:
    """Expected calibration error of the scored rows, 0-1; NaN where there is none."""
    return reliability(y, p, bins=bins).ece


def reliability(y: ArrayLike, p: ArrayLike, *, bins: int = BINS) -> Reliability:
    """The bins behind :func:`ece`, over the scored rows."""
    labels, probabilities = _scored(y, p)
    edges = np.linspace(0, 1, bins + 1)
    where, top, right = _binned(labels, probabilities, edges)
    count = np.bincount(where, minlength=bins).astype(np.int64)
    with np.errstate(invalid="ignore"):  # 0/0 of an empty bin is the NaN that we want
        confidence = np.bincount(where, top, minlength=bins) / count
        accuracies = np.bincount(where, right, minlength=bins) / count
    return Reliability(edges, count, confidence, accuracies)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; (0, 1) where n is 0."""
    if not n:
        return 0.0, 1.0
    p = successes / n
    centre = p + _Z**2 / (2 * n)
    half = _Z * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return max(0.0, float((centre - half) / scale)), min(1.0, float((centre + half) / scale))


def proportion(successes: int, n: int) -> dict[str, float]:
    """A proportion of images with Wilson's interval; 0, by the convention above, where n is 0."""
    low, high = wilson(successes, n)
    return {"value": successes / n if n else 0.0, "low": low, "high": high}


def proportion_if_any(successes: int, n: int) -> dict[str, float | None]:
    """As :func:`proportion`; None where n is 0, for parts of a set that may be empty."""
    return {**proportion(successes, n)} if n else UNDEFINED


def from_confusion(matrix: NDArray[np.integer[Any]]) -> dict[str, Float64]:
    """Every figure that depends on the confusion matrix alone, for one matrix or thousands of resamples at once.

    matrix: …×K×(K+1) → arrays … (:data:`AVERAGES`, ``accuracy``) or …×K (``precision``, ``recall``, ``f1``), by the
    conventions above; balanced accuracy is macro recall. The tests hold them against scikit-learn's.
    """
    counts = matrix.astype(np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support, chosen = counts.sum(-1), counts[..., :-1].sum(-2)
    f1 = _ratio(2 * right, support + chosen)
    precision, recall = _ratio(right, chosen), _ratio(right, support)
    total, present = support.sum(-1), (support > 0)
    return {
        "accuracy": right.sum(-1) / total,
        "macro_f1": (f1 * present).sum(-1) / present.sum(-1),
        "balanced_accuracy": (recall * present).sum(-1) / present.sum(-1),
        "weighted_precision": (precision * support).sum(-1) / total,
        "weighted_recall": (recall * support).sum(-1) / total,
        "weighted_f1": (f1 * support).sum(-1) / total,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def ranks(y: ArrayLike, p: ArrayLike) -> Int64:
    """int64 N: at which rank the label stands among the K classes, 0 … K−1; K for a failure."""
    labels, probabilities = checked(y, p)
    k = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    above = (probabilities > own) | ((probabilities == own) & (np.arange(k) < labels[:, None]))
    return np.where(np.isnan(probabilities).any(1), k, above.sum(1)).astype(np.int64)


def resampled_counts(counts: Int64, *, resamples: int = RESAMPLES, seed: int | np.random.Generator = 0) -> Int64:
    """int64 R×…: how often each cell of ``counts`` comes up in R bootstrap resamples of all that was counted.

    counts: of any shape, a confusion matrix, or ones for N images. Drawing N images with replacement and counting them
    is drawing the counts from a multinomial distribution, so no image need be touched. seed: or a generator to go on.
    """
    n = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=resamples)
    return drawn.reshape(resamples, *counts.shape).astype(np.int64, copy=False)


def bootstrap(
    rows: Float64, statistic: Callable[[Float64], Float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float64:
    """``statistic`` of R resampled means. rows: float N×F, one an image; statistic: R×F means → R×…, row by row."""
    n = len(rows)
    rng = np.random.default_rng(seed)
    part = max(1, min(resamples, _PART // n))
    results = []
    for start in range(0, resamples, part):
        weights = resampled_counts(np.ones(n, np.int64), resamples=min(part, resamples - start), seed=rng)
        results.append(statistic(weights @ rows / n))
    return np.concatenate(results)


def with_percentiles(value: float, drawn: Float64) -> dict[str, float]:
    """A value with the 2.5 and 97.5 percentiles of its resamples."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"value": value, "low": float(low), "high": float(high)}


def mean_with_percentiles(rows: Float64, *, seed: int = 0) -> dict[str, float]:
    """The mean of one number an image, float N, with its bootstrap interval."""
    drawn = bootstrap(rows[:, None], lambda means: means[:, 0], seed=seed)
    return with_percentiles(float(rows.mean()), drawn)


def summary(
    y: ArrayLike, p: ArrayLike, labels: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """All figures with their 95 % intervals, ready for JSON: ``{"value", "low", "high"}`` each (None where undefined).

    labels: the K names in code order. Raises DataError as :func:`checked` does.
    """
    truth, probabilities = checked(y, p)
    if len(labels) != probabilities.shape[1]:
        raise DataError(
            f"expected {len(labels)} probabilities a row ({', '.join(labels)}), got {probabilities.shape[1]}"
        )
    matrix = confusion(truth, probabilities)
    value = from_confusion(matrix)
    drawn = from_confusion(resampled_counts(matrix, resamples=resamples, seed=seed))
    n, failures, support = len(truth), int(matrix[:, -1].sum()), matrix.sum(1)
    figures: dict[str, Any] = {"accuracy": proportion(int(np.trace(matrix)), n)}
    figures |= {name: with_percentiles(float(value[name]), drawn[name]) for name in AVERAGES}
    figures["weighted_recall"] = figures["accuracy"]  # they are the same: one figure, one interval
    figures |= _probability_figures(truth, probabilities, resamples=resamples, seed=seed)
    return {
        "n": n,
        "failures": failures,
        "scored": n - failures,
        **figures,
        "per_class": {
            name: {
                "support": int(support[i]),
                "precision": proportion(int(matrix[i, i]), int(matrix[:, i].sum())),
                "recall": proportion(int(matrix[i, i]), int(support[i])),
                "f1": with_percentiles(float(value["f1"][i]), drawn["f1"][:, i]),
            }
            for i, name in enumerate(labels)
        },
        "labels": list(labels),
        "confusion": matrix.tolist(),
        "top2_accuracy": proportion(int((ranks(truth, probabilities) < 2).sum()), n),
    }


def _probability_figures(y: Int64, p: Float64, *, resamples: int, seed: int) -> dict[str, Any]:
    """NLL, Brier and ECE with their bootstrap intervals."""
    y, p = _scored(y, p)
    if not len(y):
        return dict.fromkeys(("nll", "brier", "ece"), UNDEFINED)
    edges = np.linspace(0, 1, BINS + 1)
    where, top, right = _binned(y, p, edges)
    gaps = np.zeros((len(y), BINS))
    gaps[np.arange(len(y)), where] = right - top  # ECE is the sum over bins of |mean over images of this column|
    nll = log_losses(y, p)
    brier = np.square(p - np.eye(p.shape[1])[y]).sum(1)
    rows = np.column_stack([nll, brier, gaps])
    drawn = bootstrap(
        rows,
        lambda means: np.column_stack([means[:, :2], np.abs(means[:, 2:]).sum(1)]),
        resamples=resamples,
        seed=seed,
    )
    value = ece(y, p)
    return {
        "nll": with_percentiles(float(rows[:, 0].mean()), drawn[:, 0]),
        "brier": with_percentiles(float(rows[:, 1].mean()), drawn[:, 1]),
        "ece": with_percentiles(value, np.maximum(drawn[:, 2] - np.median(drawn[:, 2]) + value, 0)),
    }


def _scored(y: ArrayLike, p: ArrayLike) -> tuple[Int64, Float64]:
    labels, probabilities = checked(y, p)
    scored = ~np.isnan(probabilities).any(1)
    return labels[scored], probabilities[scored]


def _binned(y: Int64, p: Float64, edges: Float64) -> tuple[Int64, Float64, Float64]:
    """Bin, top probability and correctness (0 or 1) of each row."""
    top = p.max(1, initial=0)
    where = np.digitize(top, edges[1:-1], right=True).astype(np.int64)
    right: Float64 = (p.argmax(1) == y).astype(np.float64)
    return where, top, right


def _ratio(a: Float64, b: Float64) -> Float64:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
