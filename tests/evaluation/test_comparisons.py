"""McNemar's test and paired intervals: a textbook table, independent formulas, known coverage, equal models."""

from math import comb

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation import comparisons
from mien.evaluation.comparisons import FEW, compare, few_discordant, holm, mcnemar, mcnemar_p, paired_differences


def pair(a: int, b: int, c: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """right/right, right/wrong, wrong/right, wrong/wrong."""
    first = np.repeat([True, True, False, False], [a, b, c, d])
    return first, np.repeat([True, False, True, False], [a, b, c, d])


def reference_training(b: int, c: int) -> float:
    """Twice the tail of a fair coin, at most 1."""
    n = b + c
    return min(1.0, 2 * sum(comb(n, i) for i in range(min(b, c) + 1)) / 2**n)


def test_a_textbook_table() -> None:
    """Agresti, Categorical Data Analysis, table 10.1: approval of a prime minister, 1,600 people asked twice.

    z² = (86 − 150)² / (86 + 150) = 17.36, p < 0.0001; exact, by the binomial sum.
    """
    found = mcnemar(*pair(794, 150, 86, 570))
    assert (found["both_right"], found["only_first"], found["only_second"], found["both_wrong"]) == (794, 150, 86, 570)
    assert (found["discordant"], found["method"]) == (236, "exact binomial")
    assert found["p"] == pytest.approx(reference_training(150, 86), rel=1e-9)
    assert found["p"] < 1e-4
    assert mcnemar(*pair(794, 150, 150, 506))["p"] == 1  # the control: symmetric tables show nothing


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (0, 5), (3, 9), (10, 10), (40, 61)])
def test_few_discordant_pairs_are_a_coin(b: int, c: int) -> None:
    assert mcnemar_p(b, c)[0] == pytest.approx(reference_training(b, c))
    assert mcnemar_p(c, b)[0] == pytest.approx(reference_training(b, c))


def test_many_discordant_pairs_use_the_approximation_and_it_is_close() -> None:
    for b, c in ((540, 500), (700, 600), (505, 505), (560, 450)):
        p, method = mcnemar_p(b, c)
        assert method.startswith("chi-squared")
        assert p == pytest.approx(reference_training(b, c), abs=1e-3)
    p, _ = mcnemar_p(540, 500)
    from math import erfc, sqrt

    assert p == pytest.approx(erfc(sqrt((39**2 / 1040) / 2)))  # chi-squared, one degree of freedom


def test_the_first_kind_of_error_is_kept() -> None:
    """Equal models are told apart in at most 5 % of trials; a better one nearly always."""
    random = np.random.default_rng(0)
    false = [mcnemar(random.random(500) < 0.7, random.random(500) < 0.7)["p"] < 0.05 for _ in range(400)]
    assert np.mean(false) < 0.075
    true = [mcnemar(random.random(500) < 0.6, random.random(500) < 0.75)["p"] < 0.05 for _ in range(100)]
    assert np.mean(true) > 0.95


def answers(n: int, skill: float, seed: int, y: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(n) < skill, y, random.integers(0, 8, n))  # 7 is no answer


def test_differences_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    y = np.random.default_rng(0).integers(0, 7, 900)
    a, b = answers(900, 0.5, 1, y), answers(900, 0.6, 2, y)
    found = paired_differences(y, a, b, classes=7)
    assert found["accuracy"]["value"] == pytest.approx((b == y).mean() - (a == y).mean())
    for name, average in (("macro_f1", "macro"), ("weighted_f1", "weighted")):
        one, two = (f1_score(y, v, labels=range(7), average=average, zero_division=0) for v in (a, b))
        assert found[name]["value"] == pytest.approx(two - one)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_the_interval_is_the_paired_one() -> None:
    """Against the closed form for paired shares: variance (b + c − (b − c)²/n) / n², normal approximation."""
    y = np.random.default_rng(0).integers(0, 7, 3000)
    a = answers(3000, 0.6, 1, y)
    b = np.where(np.random.default_rng(3).random(3000) < 0.05, y, a)  # mostly the same answers
    found = paired_differences(y, a, b, classes=7)["accuracy"]
    table = mcnemar(a == y, b == y)
    one, two = table["only_first"], table["only_second"]
    half = 1.96 * np.sqrt(one + two - (two - one) ** 2 / 3000) / 3000
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=0.08)
    unpaired = 1.96 * np.sqrt(2 * 0.6 * 0.4 / 3000)
    assert half < unpaired / 2  # pairing is what makes it narrow
    assert found["low"] > 0


def test_equal_models_differ_by_nothing() -> None:
    y = np.arange(70) % 7
    a = answers(70, 0.5, 1, y)
    found = compare(y, a, a, classes=7)
    assert found["mcnemar"]["p"] == 1
    assert all(value["value"] == 0 for value in found["difference"].values())
    change, end = found["difference"]["accuracy"], 1.96**2 / (70 + 1.96**2)  # Tango's, in closed form
    assert (change["low"], change["high"]) == pytest.approx((-end, end), abs=1e-4)


def test_resampling_images_one_by_one_gives_the_same_interval() -> None:
    y = np.random.default_rng(0).integers(0, 7, 400)
    a, b = answers(400, 0.5, 1, y), answers(400, 0.6, 2, y)
    random = np.random.default_rng(9)
    rows = random.integers(0, 400, (4000, 400))
    drawn = (b == y)[rows].mean(1) - (a == y)[rows].mean(1)
    found = paired_differences(y, a, b, classes=7)["accuracy"]
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.006)


def test_few_discordant_images_do_not_contradict_the_exact_test() -> None:
    """Five images against none: p 0.06, and the interval holds 0. So for every table below FEW."""
    y = np.zeros(200, int)
    first = np.where(np.arange(200) < 5, 1, 0)
    found = compare(y, first, y, classes=7)
    assert found["mcnemar"]["p"] == pytest.approx(0.0625)
    change = found["difference"]["accuracy"]
    assert change["low"] <= 0 < change["value"] < change["high"]
    for b in range(FEW):
        for c in range(FEW - b):
            low, high = few_discordant(b, c, 1000)
            assert low < (c - b) / 1000 < high
            assert (low, high) == pytest.approx([-v for v in reversed(few_discordant(c, b, 1000))])
            assert mcnemar_p(b, c)[0] < 0.05 or low <= 0 <= high


def test_few_discordant_images_are_covered() -> None:
    """Known rates of 1.5 % and 0.5 % on 600 images: the interval holds 1 % in at least 95 % of trials, about."""
    drawn = np.random.default_rng(0).multinomial(600, (0.005, 0.015, 0.98), size=600)
    held = [low <= 0.01 <= high for low, high in (few_discordant(int(b), int(c), 600) for b, c, _ in drawn)]
    assert 0.93 < np.mean(held) < 0.995


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="two bool arrays"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(DataError, match="two bool arrays"):
        mcnemar(np.ones(3, int), np.ones(3, bool))
    with pytest.raises(DataError, match="same images"):
        paired_differences(np.zeros(3, int), np.zeros(2, int), np.zeros(3, int), classes=7)
    with pytest.raises(DataError, match="predictions 0 to 7"):
        paired_differences(np.zeros(3, int), np.full(3, 9), np.zeros(3, int), classes=7)
    assert comparisons.EXACT_UP_TO == 1000
