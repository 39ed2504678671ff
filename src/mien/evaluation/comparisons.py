"""Models on the same images: is one better, and by how much?

Conventions as in ``metrics``, and:

- Models are compared *paired*, image by image. An image on which both are right, or both wrong, says nothing about
  which is better; the *discordant* ones do. A failure is wrong.
- McNemar's test (McNemar 1947, Psychometrika 12:153): under equal accuracy each discordant image is a fair coin. Up to
  ``EXACT_UP_TO`` of them the p-value is the exact two-sided binomial one; above, chi-squared with one degree of
  freedom and Edwards' continuity correction (|b − c| − 1)² / (b + c), which differs from it by less than 0.001 there.
- Differences are *second minus first*, with the 2.5 and 97.5 percentiles of 2,000 bootstrap resamples of images, the
  same for both models. They say nothing about another training run. With fewer than ``FEW`` discordant
  images resampling makes intervals of accuracy too narrow: there it is Tango's score interval (1998, Statistics in
  Medicine 17:891), widened where needed to what the exact test allows, so that it leaves 0 out only where p < 0.05.
- Several models against one: Holm's (1979) correction, which keeps the chance of any false alarm below the level.
- A model of several seeds (an *arm*) has the mean of their figures; what another seed would have changed is stated
  beside its interval as the standard deviation over seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.arrays import Float64, Int64
from mien.errors import DataError
from mien.evaluation.metrics import (
    _Z,
    RESAMPLES,
    confusion,
    from_confusion,
    resampled_counts,
    with_percentiles,
)
from mien.evaluation.predictions import Predictions, same_images

#: Discordant images up to which the exact test is used.
EXACT_UP_TO = 1000
#: Discordant images below which the interval of the difference in accuracy is no bootstrap.
FEW = 25
DIFFERENCES = ("accuracy", "macro_f1", "weighted_f1")
ARM_FIGURES = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1", "macro_f1", "balanced_accuracy")


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> dict[str, Any]:
    """McNemar's test of two models.

    first_right, second_right: bool N, correct or not, same images in the same order. Returns the table (``both_right``,
    ``only_first``, ``only_second``, ``both_wrong``), ``discordant``, ``p`` (0-1, two-sided) and ``method`` ("exact
    binomial" or "chi-squared, continuity-corrected"). Raises DataError where the arrays do not fit each other.
    """
    a, b = np.asarray(first_right), np.asarray(second_right)
    if a.shape != b.shape or a.ndim != 1 or a.dtype != bool or b.dtype != bool or not len(a):
        raise DataError(f"expected two bool arrays over the same images, got {a.dtype} {a.shape}, {b.dtype} {b.shape}")
    table = {
        "both_right": int((a & b).sum()),
        "only_first": int((a & ~b).sum()),
        "only_second": int((~a & b).sum()),
        "both_wrong": int((~a & ~b).sum()),
    }
    p, method = mcnemar_p(table["only_first"], table["only_second"])
    return table | {"discordant": table["only_first"] + table["only_second"], "p": p, "method": method}


def mcnemar_p(only_first: int, only_second: int) -> tuple[float, str]:
    """The two-sided p-value, and how it was computed. No discordant image: 1."""
    from scipy.stats import binomtest, chi2

    n = only_first + only_second
    if n == 0:
        return 1.0, "exact binomial"
    if n <= EXACT_UP_TO:
        return float(binomtest(only_first, n, 0.5).pvalue), "exact binomial"
    statistic = max(abs(only_first - only_second) - 1, 0) ** 2 / n
    return float(chi2.sf(statistic, 1)), "chi-squared, continuity-corrected"


def paired_differences(
    y: ArrayLike, first: ArrayLike, second: ArrayLike, *, classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Second minus first in accuracy, macro-F1 and weighted F1: ``{"value", "low", "high"}`` each, in −1 … 1.

    y: int64 N, codes. first, second: int64 N, predicted classes, ``classes`` for failures (``metrics.predicted``).
    Each resample draws how often every triple (label, prediction, prediction) comes up, which is drawing images.
    Raises DataError where the arrays do not fit.
    """
    truth, a, b = (np.asarray(v) for v in (y, first, second))
    if not (truth.shape == a.shape == b.shape) or truth.ndim != 1 or not len(truth):
        raise DataError(f"expected labels and predictions of the same images, got {truth.shape}, {a.shape}, {b.shape}")
    if truth.min() < 0 or truth.max() >= classes or min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > classes:
        raise DataError(f"expected labels 0 to {classes - 1} and predictions 0 to {classes}, got others")
    wide = classes + 1
    triple = (truth * wide + a) * wide + b
    counts = np.bincount(triple, minlength=classes * wide * wide)
    used = np.flatnonzero(counts)  # at most N of the cells: the draw is small
    drawn = resampled_counts(counts[used], resamples=resamples, seed=seed)
    value = _difference(counts[used][None], used, classes)
    spread = _difference(drawn, used, classes)
    result = {name: with_percentiles(float(value[name][0]), spread[name]) for name in DIFFERENCES}
    only_first, only_second = int(((a == truth) & (b != truth)).sum()), int(((a != truth) & (b == truth)).sum())
    if only_first + only_second < FEW:
        low, high = few_discordant(only_first, only_second, len(truth))
        result["accuracy"] |= {"low": low, "high": high}
    return result


def right_difference(first_right: ArrayLike, second_right: ArrayLike, *, seed: int = 0) -> dict[str, float]:
    """Second minus first in accuracy as in :func:`paired_differences`, where only right (bool N) or not is known."""
    a, b = (np.where(right, 0, 1) for right in (first_right, second_right))  # of one class; 1 is a failure
    return paired_differences(np.zeros(len(a), np.int64), a, b, classes=1, seed=seed)["accuracy"]


def few_discordant(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """95 % interval of second minus first in accuracy over n images: Tango's, and the exact test's where wider.

    The exact one is Clopper and Pearson's for the proportion of discordant images on which the second is right.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    tango = -_tango_upper(only_second, only_first, n), _tango_upper(only_first, only_second, n)
    if not discordant:  # the exact test has nothing to go by
        return tango
    exact = binomtest(only_second, discordant).proportion_ci(0.95, "exact")
    low, high = ((2 * float(end) - 1) * discordant / n for end in (exact.low, exact.high))
    return min(low, tango[0]), max(high, tango[1])


def _tango_upper(minus: int, plus: int, n: int) -> float:
    """The upper end of Tango's interval of (plus − minus) / n: where the score statistic reaches −1.96, by halving."""
    low, high = (plus - minus) / n, 1.0
    for _ in range(60):
        delta = (low + high) / 2
        b = (2 * n - plus + minus) * delta - plus - minus
        q = (np.sqrt(max(b * b + 8 * n * minus * delta * (1 - delta), 0)) - b) / (4 * n)  # its likeliest minus / n
        variance = n * (2 * q + delta * (1 - delta))
        if plus - minus - n * delta > -_Z * np.sqrt(max(variance, 0)):
            low = delta
        else:
            high = delta
    return float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: max over the smaller ones of (m − rank) p, at most 1."""
    p = np.asarray(p_values, np.float64)
    if not len(p):
        return []
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1)
    return [float(v) for v in adjusted]


def compare(y: ArrayLike, first: ArrayLike, second: ArrayLike, *, classes: int, seed: int = 0) -> dict[str, Any]:
    """McNemar's test and the paired differences of two models, for a report. Arrays as above."""
    truth, a, b = (np.asarray(v) for v in (y, first, second))
    differences = paired_differences(truth, a, b, classes=classes, seed=seed)
    return {"n": len(truth), "mcnemar": mcnemar(a == truth, b == truth), "difference": differences}


def _difference(drawn: NDArray[np.integer[Any]], cells: Int64, classes: int) -> dict[str, Float64]:
    """R×C counts of the triples ``cells`` → arrays R of the differences."""
    wide = classes + 1
    truth, a, b = cells // wide**2, cells // wide % wide, cells % wide
    scores = []
    for predicted in (a, b):
        matrix = np.zeros((len(drawn), classes * wide), np.int64)
        at = truth * wide + predicted
        for cell in np.unique(at):
            matrix[:, cell] = drawn[:, at == cell].sum(1)
        scores.append(from_confusion(matrix.reshape(-1, classes, wide)))
    return {name: scores[1][name] - scores[0][name] for name in DIFFERENCES}


def score_arms(
    arms: Mapping[str, Sequence[Predictions]], *, part: str = "all", resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures of each arm, the first of which the others are compared with.

    arms: key → predictions of its seeds, all of the same labelled images. part: "all" images or "leak_free" ones. Each
    of the resamples draws the same images for every arm and seed, so that differences are paired. Returns by arm: each
    of ``ARM_FIGURES`` as value, low, high, ``sd`` over seeds (None for one seed) and ``seeds``; ``difference``: value,
    low, high against the first arm (not in its own); ``n``. Raises DataError where images differ.
    """
    runs = {f"{key}, run {number + 1}": one for key, group in arms.items() for number, one in enumerate(group)}
    same_images(runs)
    first = next(iter(runs.values()))
    if part == "leak_free" and first.near_duplicate is None:
        raise DataError("expected to know which images have a near-duplicate in Training, this store does not say")
    chosen = np.ones(len(first), bool) if part == "all" or first.near_duplicate is None else ~first.near_duplicate
    n = int(chosen.sum())
    weights = resampled_counts(np.ones(n, np.int64), resamples=resamples, seed=seed).astype(np.float32)
    result: dict[str, dict[str, Any]] = {}
    base: dict[str, tuple[Float64, Float64]] = {}
    for key, group in arms.items():
        each = [_resampled(one.subset(chosen), weights) for one in group]
        found = {
            name: (np.array([float(exact[name]) for exact, _ in each]), np.mean([drawn[name] for _, drawn in each], 0))
            for name in ARM_FIGURES
        }
        row: dict[str, Any] = {"n": n}
        for name, (values, drawn) in found.items():
            sd = float(values.std(ddof=1)) if len(values) > 1 else None
            row[name] = with_percentiles(float(values.mean()), drawn) | {"sd": sd, "seeds": values.tolist()}
        if base:
            row["difference"] = {
                name: with_percentiles(float(values.mean() - base[name][0].mean()), drawn - base[name][1])
                for name, (values, drawn) in found.items()
            }
        base = base or found
        result[key] = row
    return result


def _resampled(found: Predictions, weights: NDArray[np.float32]) -> tuple[dict[str, Float64], dict[str, Float64]]:
    """The figures of one run, and of each resample. weights: float32 R×N, how often an image is drawn."""
    k = len(found.labels)
    cells = np.zeros((len(found), k * (k + 1)), np.float32)
    cells[np.arange(len(found)), found.y * (k + 1) + found.predicted] = 1
    drawn = np.rint(weights @ cells).astype(np.int64).reshape(-1, k, k + 1)
    return from_confusion(confusion(found.y, found.probabilities)), from_confusion(drawn)
