"""Top-2 accuracy against scikit-learn, by hand, and with a control that must fail."""

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from mien.evaluation import metrics
from mien.evaluation.metrics import ranks, wilson
from mien.labels import SEVEN


def case(n: int = 700, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 7, n)
    p = random.dirichlet(np.ones(7), n)
    p[np.arange(n), y] += 0.2
    return y, p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_as_scikit_learn_has_it(k: int) -> None:
    y, p = case()
    if k < 7:
        assert (ranks(y, p) < k).mean() == pytest.approx(top_k_accuracy_score(y, p, k=k, labels=range(7)))
    else:
        assert (ranks(y, p) < k).all()


def test_top_1_is_accuracy_even_with_ties_and_failures() -> None:
    y, p = case()
    p = np.round(p, 1) + 1e-9
    p /= p.sum(1, keepdims=True)
    p[:50] = np.nan
    assert (ranks(y, p) < 1).mean() == metrics.from_confusion(metrics.confusion(y, p))["accuracy"]
    assert (ranks(y, p)[:50] == 7).all()
    assert (ranks(y, p) < 7).mean() == pytest.approx(650 / 700)  # a failure is wrong at every rank


def test_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    assert ranks(np.array([1, 0, 1, 2]), p).tolist() == [1, 2, 1, 1]
    figure = metrics.summary(np.array([1, 0, 1, 2]), p, SEVEN[:3], resamples=2)["top2_accuracy"]
    assert figure["value"] == 0.75
    assert (figure["low"], figure["high"]) == wilson(3, 4)


def test_shuffled_labels_give_two_sevenths() -> None:
    y, p = case(5000)
    y = np.random.default_rng(1).permutation(y)
    figure = metrics.summary(y, p, SEVEN, resamples=2)["top2_accuracy"]
    assert figure["low"] < 2 / 7 < figure["high"]
    assert metrics.summary(*case(5000), SEVEN, resamples=2)["top2_accuracy"]["low"] > 0.4  # and the true ones do not
