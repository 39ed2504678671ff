"""Metrics against textbook examples, independent formulas, other libraries, and controls that must fail."""

import json

import numpy as np
import pytest

from mien.errors import DataError
from mien.evaluation import metrics
from mien.labels import EIGHT, SEVEN


def random_case(n: int = 600, k: int = 7, seed: int = 0, failures: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and float32 probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    logits = rng.normal(size=(n, k)) * 1.5
    logits[np.arange(n), y] += 2.2
    p = np.exp(logits)
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    p[rng.choice(n, failures, replace=False)] = np.nan
    return y, p


def hard(answers: list[int], k: int) -> np.ndarray:
    """Probabilities of 0.9 for the answer; NaN for −1."""
    p = np.full((len(answers), k), 0.1 / (k - 1))
    for i, answer in enumerate(answers):
        p[i, answer] = 0.9
        if answer < 0:
            p[i] = np.nan
    return p


# A worked example: 3 classes, 10 images, one failure (−1).
Y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
ANSWERS = [0, 0, 0, 1, 1, 1, 2, 2, -1, 0]
P = hard(ANSWERS, 3)


BY_CLASS = ("precision", "recall", "f1")
AVERAGED = tuple(f"weighted_{name}" for name in BY_CLASS)


def accuracy(y: np.ndarray, p: np.ndarray) -> float:
    return float(averages_of(y, p)["accuracy"])


def nll(y: np.ndarray, p: np.ndarray) -> float:
    return figure(y, p, "nll")


def brier(y: np.ndarray, p: np.ndarray) -> float:
    return figure(y, p, "brier")


def figure(y: np.ndarray, p: np.ndarray, name: str) -> float:
    return metrics.summary(y, p, EIGHT[: p.shape[1]], resamples=2)[name]["value"]


def averages_of(y: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    return metrics.from_confusion(metrics.confusion(y, p))


def test_worked_example_by_hand():
    assert metrics.confusion(Y, P).tolist() == [[3, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 1]]
    assert accuracy(Y, P) == 0.6
    averages = metrics.from_confusion(metrics.confusion(Y, P))
    assert averages["precision"] == pytest.approx([3 / 4, 2 / 3, 1 / 2])
    assert averages["recall"] == pytest.approx([3 / 4, 2 / 3, 1 / 3])
    assert averages["f1"] == pytest.approx([3 / 4, 2 / 3, 2 / 5])
    per_class = metrics.summary(Y, P, ("a", "b", "c"), resamples=20)["per_class"]
    assert [found["support"] for found in per_class.values()] == [4, 3, 3]
    assert averages["macro_f1"] == pytest.approx((3 / 4 + 2 / 3 + 2 / 5) / 3)
    assert averages["balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 3 + 1 / 3) / 3)
    assert averages["weighted_precision"] == pytest.approx((4 * 3 / 4 + 3 * 2 / 3 + 3 * 1 / 2) / 10)
    assert averages["weighted_f1"] == pytest.approx((4 * 3 / 4 + 3 * 2 / 3 + 3 * 2 / 5) / 10)


def test_probability_figures_by_hand():
    y, p = np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]])
    assert nll(y, p) == pytest.approx(-np.log([0.8, 0.6, 0.1]).mean())
    assert brier(y, p) == pytest.approx((2 * 0.2**2 + 2 * 0.4**2 + 2 * 0.9**2) / 3)
    # tops 0.8 right, 0.6 right, 0.9 wrong, each alone in its bin
    assert metrics.ece(y, p) == pytest.approx((0.2 + 0.4 + 0.9) / 3)
    assert metrics.ece(y, p, bins=1) == pytest.approx(abs(2 / 3 - (0.8 + 0.6 + 0.9) / 3))
    assert nll(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(1e-7))


def test_bin_edges_belong_to_the_bin_below():
    p = np.array([[0.6, 0.4], [0.5, 0.5], [1.0, 0.0]])
    table = metrics.reliability(np.zeros(3, int), p, bins=5)  # edges 0.2, 0.4, 0.6, 0.8
    assert table.count.tolist() == [0, 0, 2, 0, 1]
    assert np.isnan(table.accuracy[0])


@pytest.mark.parametrize("failures", [0, 40])
def test_weighted_recall_is_accuracy(failures):
    y, p = random_case(failures=failures)
    assert averages_of(y, p)["weighted_recall"] == pytest.approx(accuracy(y, p), abs=1e-12)
    summary = metrics.summary(y, p, SEVEN, resamples=50)
    assert summary["weighted_recall"] == summary["accuracy"]


def test_failures_stay_in_the_denominator():
    y, p = random_case()
    scored = p.copy()
    right = np.flatnonzero(metrics.predicted(p) == y)[:60]
    p[right] = np.nan
    assert accuracy(y, p) == pytest.approx(accuracy(y, scored) - 60 / 600)
    kept = np.setdiff1d(np.arange(600), right)
    for measure in (nll, brier, metrics.ece):
        assert measure(y, p) == pytest.approx(measure(y[kept], p[kept]))
    summary = metrics.summary(y, p, SEVEN, resamples=50)
    assert (summary["n"], summary["failures"], summary["scored"]) == (600, 60, 540)
    assert sum(row[-1] for row in summary["confusion"]) == 60


def test_nothing_answered():
    summary = metrics.summary(np.array([0, 1]), np.full((2, 2), np.nan), ("a", "b"), resamples=20)
    assert summary["accuracy"]["value"] == 0
    assert summary["macro_f1"]["value"] == 0
    assert summary["ece"] == {"value": None, "low": None, "high": None}
    assert np.isnan(metrics.ece([0], [[np.nan, np.nan]]))


@pytest.mark.parametrize("seed", range(4))
def test_against_torchmetrics_and_sklearn(seed):
    """Foreign implementations: ECE, NLL and the averages."""
    torch = pytest.importorskip("torch")
    from sklearn.metrics import f1_score, log_loss
    from torchmetrics.classification import MulticlassCalibrationError

    y, p = random_case(seed=seed)
    theirs = MulticlassCalibrationError(num_classes=7, n_bins=15, norm="l1")(torch.from_numpy(p), torch.from_numpy(y))
    assert metrics.ece(y, p) == pytest.approx(float(theirs), abs=1e-6)
    rows = p.astype(np.float64)
    assert nll(y, p) == pytest.approx(log_loss(y, rows / rows.sum(1, keepdims=True), labels=range(7)))
    assert averages_of(y, p)["macro_f1"] == pytest.approx(f1_score(y, p.argmax(1), average="macro"))


@pytest.mark.parametrize("failures", [0, 70])
def test_figures_from_the_matrix_are_scikit_learns(failures):
    from sklearn import metrics as theirs

    y, p = random_case(failures=failures)
    y[y == 4] = 5  # a class without an image: left out of the averages
    matrix, said = metrics.confusion(y, p), metrics.predicted(p)
    assert np.array_equal(matrix, theirs.confusion_matrix(y, said, labels=range(8))[:7])
    ours = metrics.from_confusion(matrix)
    assert ours["accuracy"] == pytest.approx(theirs.accuracy_score(y, said), abs=1e-12)
    for average, names in (
        ("macro", (None, "balanced_accuracy", "macro_f1")),
        ("weighted", AVERAGED),
        (None, BY_CLASS),
    ):
        labels = range(7) if average is None else np.unique(y)
        values = theirs.precision_recall_fscore_support(y, said, labels=labels, average=average, zero_division=0)
        for name, value in zip(names, values, strict=False):
            assert name is None or ours[name] == pytest.approx(value, abs=1e-12), name
    many = metrics.from_confusion(np.stack([matrix, matrix]))
    assert many["f1"].shape == (2, 7)
    assert many["macro_f1"] == pytest.approx([ours["macro_f1"]] * 2)


def test_a_class_that_does_not_occur():
    y, p = np.array([0, 0, 1]), hard([0, 2, 1], 3)
    assert averages_of(y, p)["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)  # class 2 has no image: left out
    summary = metrics.summary(y, p, ("a", "b", "c"), resamples=200)  # many resamples lose class 1 altogether
    assert summary["per_class"]["c"]["support"] == 0
    assert summary["per_class"]["c"]["recall"] == {"value": 0.0, "low": 0.0, "high": 1.0}
    assert 0 <= summary["macro_f1"]["low"] <= summary["macro_f1"]["high"] <= 1


def test_wilson_of_the_literature():
    """Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29."""
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert metrics.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert metrics.wilson(0, 0) == (0, 1)
    assert metrics.wilson(20, 20)[1] == 1


def test_wilson_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for successes, n in ((3, 7), (2500, 3589), (1, 55)):
        theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert metrics.wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_bootstrap_agrees_with_resampling_images_one_by_one():
    """The multinomial shortcut against the plain way: rows drawn with replacement, figures computed anew."""
    y, p = random_case(n=300, failures=20)
    summary = metrics.summary(y, p, SEVEN, seed=1)
    rng = np.random.default_rng(2)
    plain: dict[str, list[float]] = {"macro_f1": [], "weighted_f1": [], "nll": [], "brier": []}
    for _ in range(500):
        rows = rng.integers(0, 300, 300)
        drawn = metrics.from_confusion(metrics.confusion(y[rows], p[rows]))
        plain["macro_f1"].append(float(drawn["macro_f1"]))
        plain["weighted_f1"].append(float(drawn["weighted_f1"]))
        plain["nll"].append(nll(y[rows], p[rows]))
        plain["brier"].append(brier(y[rows], p[rows]))
    for name, values in plain.items():
        width = np.ptp(np.percentile(values, (2.5, 97.5)))
        ours = summary[name]["low"], summary[name]["high"]
        assert ours == pytest.approx(np.percentile(values, (2.5, 97.5)), abs=0.15 * width), name


def test_intervals_cover():
    """Wilson-like coverage of the accuracy of a known process, and every value inside its interval."""
    hits = 0
    for seed in range(60):
        y, p = random_case(n=200, seed=seed)
        low, high = metrics.wilson(int((p.argmax(1) == y).sum()), 200)
        hits += low <= 0.5699 <= high  # the process's own accuracy, from 4 million draws
    assert hits >= 52
    summary = metrics.summary(y, p, SEVEN, resamples=500)
    for name in ("accuracy", "macro_f1", "balanced_accuracy", "weighted_f1", "nll", "brier", "ece"):
        assert summary[name]["low"] <= summary[name]["value"] <= summary[name]["high"], name


def test_summary_is_json_and_seeded():
    y, p = random_case()
    first = metrics.summary(y, p, SEVEN, seed=3, resamples=300)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert metrics.summary(y, p, SEVEN, seed=3, resamples=300) == first
    assert metrics.summary(y, p, SEVEN, seed=4, resamples=300)["macro_f1"] != first["macro_f1"]
    assert list(first["per_class"]) == list(SEVEN)


def test_parts_of_the_bootstrap_do_not_change_the_shape(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(50, 2))
    monkeypatch.setattr(metrics, "_PART", 300)
    drawn = metrics.bootstrap(rows, lambda means: means, resamples=13)
    assert drawn.shape == (13, 2)
    assert np.abs(drawn - rows.mean(0)).max() < 1


def test_negative_control_shuffled_labels_give_chance():
    y, p = random_case(n=5000)
    shuffled = np.random.default_rng(0).permutation(y)
    chance = (np.bincount(y) / 5000) @ (np.bincount(p.argmax(1), minlength=7) / 5000)
    assert accuracy(shuffled, p) == pytest.approx(chance, abs=0.02)
    assert accuracy(y, p) > chance + 0.3
    assert metrics.ece(shuffled, p) > 0.3
    assert nll(shuffled, p) > np.log(7)


def test_negative_control_overconfidence_raises_ece():
    y, p = random_case(n=3000)
    sharp = np.power(p.astype(np.float64), 4)
    assert metrics.ece(y, sharp / sharp.sum(1, keepdims=True)) > metrics.ece(y, p) + 0.05


@pytest.mark.parametrize(
    ("y", "p", "says"),
    [
        ([], np.zeros((0, 2)), "expected N labels"),
        ([0, 1], [[1.0, 0.0]], "expected N labels"),
        ([0], [1.0], "expected N labels"),
        ([-1], [[0.5, 0.5]], "held back"),
        ([2], [[0.5, 0.5]], "expected label codes 0 to 1, got int64 2 to 2"),
        ([0.0], [[0.5, 0.5]], "expected label codes"),
        ([0], [[3.0, -1.0]], "are these logits"),
        ([0], [[-1.0, 2.0]], "are these logits"),
        ([0], [[np.inf, 0.0]], "are these logits"),
    ],
)
def test_what_cannot_be_labels_and_probabilities(y, p, says):
    with pytest.raises(DataError, match=says):
        metrics.confusion(y, p)


def test_labels_must_fit():
    with pytest.raises(DataError, match="expected 7 probabilities a row"):
        metrics.summary([0], [[0.5, 0.5]], SEVEN)


def test_the_input_is_left_alone():
    y, p = random_case(n=50)
    before = p.copy()
    metrics.summary(y, p, SEVEN, resamples=10)
    assert np.array_equal(p, before)
