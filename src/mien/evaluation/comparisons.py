"""Two models on the same images: is one better, and by how much? Pure functions over arrays.

Conventions as in ``metrics``, and:

- Models are compared *paired*, image by image. An image on which both are right, or both wrong, says nothing about
  which is better; the *discordant* ones do. A failure (no answer) is wrong.
- McNemar's test (McNemar 1947, Psychometrika 12:153): under equal accuracy each discordant image is a fair coin. Up to
  ``EXACT_UP_TO`` of them the p-value is the exact two-sided binomial one; above, chi-squared with one degree of
  freedom and Edwards' continuity correction (|b − c| − 1)² / (b + c), which differs from it by less than 0.001 there.
- Differences are *second minus first*, with the 2.5 and 97.5 percentiles of 2,000 bootstrap resamples of images in
  which both models keep their answers. They say nothing about another training run. With fewer than ``FEW`` discordant
  images resampling makes intervals of accuracy too narrow: there it is Tango's score interval (1998, Statistics in
  Medicine 17:891), widened where needed to what the exact test allows, so that it leaves 0 out only where p < 0.05.
- Several models against one: p-values are multiplied as Holm (1979) does, which keeps the chance of any false alarm
  below the level.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import DataError, MissingExtra
from mien.evaluation.metrics import _Z, RESAMPLES, Float, Int, from_confusion, with_percentiles

#: Discordant images up to which the exact test is used.
EXACT_UP_TO = 1000
#: Discordant images below which the interval of the difference in accuracy is no bootstrap.
FEW = 25
DIFFERENCES = ("accuracy", "macro_f1", "weighted_f1")


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> dict[str, Any]:
    """McNemar's test on the images that two models answered.

    first_right, second_right: bool N, same images in the same order. Returns the table (``both_right``,
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
    n = only_first + only_second
    if n == 0:
        return 1.0, "exact binomial"
    stats = _stats()
    if n <= EXACT_UP_TO:
        return float(stats.binomtest(only_first, n, 0.5).pvalue), "exact binomial"
    statistic = max(abs(only_first - only_second) - 1, 0) ** 2 / n
    return float(stats.chi2.sf(statistic, 1)), "chi-squared, continuity-corrected"


def paired_differences(
    y: ArrayLike, first: ArrayLike, second: ArrayLike, *, classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Second minus first in accuracy, macro-F1 and weighted F1: ``{"value", "low", "high"}`` each, in −1 … 1.

    y: int64 N, codes. first, second: int64 N, answers 0 … classes−1, or ``classes`` for none (``metrics.predicted``).
    Each resample draws how often every triple (label, answer, answer) comes up, which is drawing images.
    Raises DataError where the arrays do not fit.
    """
    truth, a, b = (np.asarray(v) for v in (y, first, second))
    if not (truth.shape == a.shape == b.shape) or truth.ndim != 1 or not len(truth):
        raise DataError(f"expected labels and answers of the same images, got {truth.shape}, {a.shape}, {b.shape}")
    if truth.min() < 0 or truth.max() >= classes or min(a.min(), b.min()) < 0 or max(a.max(), b.max()) > classes:
        raise DataError(f"expected labels 0 to {classes - 1} and answers 0 to {classes}, got others")
    wide = classes + 1
    triple = (truth * wide + a) * wide + b
    counts = np.bincount(triple, minlength=classes * wide * wide)
    used = np.flatnonzero(counts)  # at most N of the cells: the draw is small
    drawn = np.random.default_rng(seed).multinomial(len(truth), counts[used] / len(truth), size=resamples)
    value = _difference(counts[used][None], used, classes)
    spread = _difference(drawn, used, classes)
    result = {}
    for name in DIFFERENCES:
        result[name] = with_percentiles(float(value[name][0]), spread[name])
    only_first, only_second = int(((a == truth) & (b != truth)).sum()), int(((a != truth) & (b == truth)).sum())
    if 0 < only_first + only_second < FEW:
        low, high = few_discordant(only_first, only_second, len(truth))
        result["accuracy"] |= {"low": low, "high": high}
    return result


def right_difference(first_right: ArrayLike, second_right: ArrayLike, *, seed: int = 0) -> dict[str, float]:
    """Second minus first in accuracy as in :func:`paired_differences`, where only right (bool N) or not is known."""
    a, b = (np.where(right, 0, 1) for right in (first_right, second_right))  # of one class; 1 is no answer
    return paired_differences(np.zeros(len(a), np.int64), a, b, classes=1, seed=seed)["accuracy"]


def few_discordant(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """95 % interval of second minus first in accuracy over n images: Tango's, and the exact test's where wider.

    The exact one is Clopper and Pearson's for the share of discordant images on which the second is right.
    """
    discordant = only_first + only_second
    exact = _stats().binomtest(only_second, discordant).proportion_ci(0.95, "exact")
    low, high = ((2 * float(share) - 1) * discordant / n for share in (exact.low, exact.high))
    return min(low, -_tango_upper(only_second, only_first, n)), max(high, _tango_upper(only_first, only_second, n))


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
    """McNemar's test and the paired differences of two models' answers, for a report. Arrays as above."""
    truth, a, b = (np.asarray(v) for v in (y, first, second))
    differences = paired_differences(truth, a, b, classes=classes, seed=seed)
    return {"n": len(truth), "mcnemar": mcnemar(a == truth, b == truth), "difference": differences}


def _difference(drawn: NDArray[np.integer[Any]], cells: Int, classes: int) -> dict[str, Float]:
    """R×C counts of the triples ``cells`` → arrays R of the differences."""
    wide = classes + 1
    truth, a, b = cells // wide**2, cells // wide % wide, cells % wide
    scores = []
    for answer in (a, b):
        matrix = np.zeros((len(drawn), classes * wide), np.int64)
        at = truth * wide + answer
        for cell in np.unique(at):
            matrix[:, cell] = drawn[:, at == cell].sum(1)
        scores.append(from_confusion(matrix.reshape(-1, classes, wide)))
    return {name: scores[1][name] - scores[0][name] for name in DIFFERENCES}


def _stats() -> Any:
    """scipy.stats, imported on use; it comes with scikit-learn in the extra ``train``."""
    try:
        import scipy.stats
    except ImportError as error:
        raise MissingExtra("scipy", "train") from error
    return scipy.stats
