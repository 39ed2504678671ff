"""Means over seeds, paired differences and readings: against scikit-learn, a plain bootstrap, cases by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from mien.errors import DataError
from mien.evaluation.comparisons import ARM_FIGURES, score_arms
from mien.evaluation.predictions import Predictions
from mien.labels import EIGHT, SEVEN


def answers(y: np.ndarray, said: np.ndarray, *, labels: tuple[str, ...] = SEVEN, sure: float = 0.9) -> Predictions:
    """Predictions that say ``said``; -1 is a failure. Every third image has a near-duplicate."""
    p = np.full((len(y), len(labels)), (1 - sure) / (len(labels) - 1))
    p[np.arange(len(y)), np.maximum(said, 0)] = sure
    p[said < 0] = np.nan
    paths, near = [f"{i}.png" for i in range(len(y))], np.arange(len(y)) % 3 == 0
    return Predictions(paths=paths, labels=labels, truth=y, probabilities=p, near_duplicate=near)


def noisy(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(len(y)) < share, y, random.integers(0, 7, len(y)))


Y = np.random.default_rng(0).integers(0, 7, 900)


def test_figures_are_means_over_seeds_of_scikit_learns() -> None:
    said = [noisy(Y, 0.5, seed) for seed in (1, 2, 3)]
    got = score_arms({"a": [answers(Y, one) for one in said]}, resamples=200)["a"]
    assert got["n"] == 900
    expected = [accuracy_score(Y, one) for one in said]
    assert got["accuracy"]["value"] == pytest.approx(np.mean(expected))
    assert got["accuracy"]["sd"] == pytest.approx(np.std(expected, ddof=1))
    assert got["accuracy"]["seeds"] == pytest.approx(expected)
    for place, name in enumerate(("weighted_precision", "weighted_recall", "weighted_f1")):
        theirs = [precision_recall_fscore_support(Y, one, average="weighted")[place] for one in said]
        assert got[name]["value"] == pytest.approx(np.mean(theirs))
    assert got["weighted_recall"]["value"] == pytest.approx(got["accuracy"]["value"])  # an identity
    assert "difference" not in got
    assert got["accuracy"]["low"] < got["accuracy"]["value"] < got["accuracy"]["high"]


def test_leak_free_figures_are_of_the_other_images() -> None:
    said = np.where(
        np.arange(900) % 3 == 0, Y, (Y + 1) % 7
    )  # knows by heart what has a near-duplicate, and nothing else
    group = {"copier": [answers(Y, said)]}
    assert score_arms(group, resamples=50)["copier"]["accuracy"]["value"] == pytest.approx(1 / 3)
    free = score_arms(group, part="leak_free", resamples=50)["copier"]
    assert (free["n"], free["accuracy"]["value"]) == (600, 0)
    without = replace(group["copier"][0], near_duplicate=None)
    with pytest.raises(DataError, match="near-duplicate"):
        score_arms({"a": [without]}, part="leak_free")


def test_differences_are_paired_and_their_interval_is_that_of_a_plain_bootstrap() -> None:
    one, two = noisy(Y, 0.5, 1), noisy(Y, 0.5, 1)
    two[:40] = Y[:40]  # the second answers like the first, but for forty images
    got = score_arms({"first": [answers(Y, one)], "second": [answers(Y, two)]}, resamples=4000)
    gap = got["second"]["difference"]["accuracy"]
    right = (two == Y).astype(float) - (one == Y)
    assert gap["value"] == pytest.approx(right.mean())
    random = np.random.default_rng(7)
    drawn = [right[random.integers(0, 900, 900)].mean() for _ in range(4000)]
    assert (gap["low"], gap["high"]) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=2e-3)
    # The control: unpaired, the same two would be told apart much worse.
    alone = got["second"]["accuracy"]
    assert gap["high"] - gap["low"] < 0.6 * (alone["high"] - alone["low"])
    same = score_arms({"first": [answers(Y, one)], "again": [answers(Y, one)]}, resamples=50)["again"]["difference"]
    assert all(same[name] == {"value": 0, "low": 0, "high": 0} for name in ARM_FIGURES)


def test_shuffled_labels_give_chance() -> None:
    shuffled = np.random.default_rng(3).permutation(Y)
    got = score_arms({"a": [answers(Y, shuffled)]}, resamples=500)["a"]["accuracy"]
    assert got["low"] < 1 / 7 < got["high"]


def test_a_failure_is_an_error() -> None:
    said = Y.copy()
    said[:90] = -1
    assert score_arms({"a": [answers(Y, said)]}, resamples=50)["a"]["accuracy"]["value"] == pytest.approx(0.9)


def test_other_images_cannot_be_compared() -> None:
    other = answers(Y, Y)
    moved = replace(other, paths=other.paths[::-1])
    with pytest.raises(DataError, match="predictions of the same images"):
        score_arms({"a": [other], "b": [moved]})


def test_seven_classes_of_eight_open_and_closed() -> None:
    y = np.array([0, 1, 7, 2])
    p = np.zeros((4, 8))
    p[0] = [0.30, 0.1, 0, 0, 0, 0, 0, 0.6]  # contempt said of an angry face: wrong when open, angry when closed
    p[1] = [0, 0.9, 0, 0, 0, 0, 0, 0.1]
    p[2] = [1, 0, 0, 0, 0, 0, 0, 0]
    p[3] = np.nan
    both = Predictions(paths=list("abcd"), labels=EIGHT, truth=y, probabilities=p)
    opened, closed = both.as_seven("open"), both.as_seven("closed")
    assert opened.paths == closed.paths == ["a", "b", "d"]
    assert (opened.probabilities.shape, closed.probabilities.shape) == ((3, 8), (3, 7))
    assert opened.probabilities[0].argmax() == 7
    np.testing.assert_allclose(closed.probabilities[0, :2], [0.75, 0.25])
    assert np.isnan(closed.probabilities[2]).all()  # a failure stays one
    figures = [score_arms({"a": [one]}, resamples=20)["a"]["accuracy"]["value"] for one in (opened, closed)]
    assert figures == pytest.approx([1 / 3, 2 / 3])
    assert both.has_contempt
    of_seven = answers(Y, Y)
    assert not of_seven.has_contempt
    assert of_seven.as_seven("closed") is of_seven


def test_predictions_are_read_back(tmp_path: Path) -> None:
    p = np.full((3, 7), 1 / 7, np.float32)
    columns = {"path": ["x", "y", "z"], "label": ["angry", "neutral", "sad"], "answer": ["angry", None, "sad"]}
    rows = {name: pa.array([p[0, i], None, p[2, i]], pa.float32()) for i, name in enumerate(SEVEN)}
    table = pa.table(columns | rows | {"near_duplicate": [True, False, False]})
    pq.write_table(table, tmp_path / "predictions.parquet")
    got = Predictions.read(tmp_path)
    assert got.labels == SEVEN
    assert got.y.tolist() == [0, 6, 4]
    assert np.isnan(got.probabilities[1]).all()
    assert got.near_duplicate is not None
    assert got.near_duplicate.tolist() == [True, False, False]
    hidden = table.set_column(1, "label", pa.array([None] * 3, pa.string()))
    pq.write_table(hidden, tmp_path / "predictions.parquet")
    assert (Predictions.read(tmp_path).truth == -1).all()
    (tmp_path / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"expected an evaluation with predictions\.parquet"):
        Predictions.read(tmp_path)
