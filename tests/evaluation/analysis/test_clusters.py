"""Cluster measures: closed forms, scikit-learn's own numbers, and labels that mean nothing."""

import numpy as np
import pytest
from sklearn import metrics as sk

from mien.errors import DataError
from mien.evaluation.analysis import clusters
from mien.evaluation.analysis.features import verdict


def blobs(n: int = 4000, distance: float = 8.0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two normal clouds in two dimensions, their centres ``distance`` apart."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], n // 2)
    return random.normal(0, spread, (n, 2)) + np.array([[0, 0], [distance, 0]])[labels], labels


def test_closed_form_on_gaussian_clouds() -> None:
    """The mean length of a 2-D standard normal vector is √(π/2)."""
    found = clusters.measure(*blobs(spread=2.0))
    assert found["intra"] == pytest.approx(2 * np.sqrt(np.pi / 2), rel=0.02)
    assert found["inter"] == pytest.approx(8, rel=0.02)
    assert found["ratio"] == pytest.approx(found["intra"] / found["inter"])
    assert found["davies_bouldin"] == pytest.approx(2 * found["intra"] / found["inter"], rel=0.01)


def test_scikit_learns_numbers() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(range(4), [10, 25, 40, 7])
    x = random.normal(size=(len(labels), 6)) + random.normal(size=(4, 6))[labels] + 100
    found = clusters.measure(x, labels)
    assert found["calinski_harabasz"] == pytest.approx(sk.calinski_harabasz_score(x, labels))
    assert found["davies_bouldin"] == pytest.approx(sk.davies_bouldin_score(x, labels))
    assert found["silhouette"] == pytest.approx(sk.silhouette_score(x, labels))
    own = clusters.per_class_intra(x, labels)
    assert found["intra"] == pytest.approx(np.mean(list(own.values())))


def test_a_weight_of_two_is_the_image_twice() -> None:
    """The weighted measures, which the resamples use, against the plain ones of a repeated set."""
    x, labels = blobs(60, distance=2)
    weights = np.random.default_rng(2).integers(1, 4, len(x))
    twice = np.repeat(np.arange(len(x)), weights)
    got = clusters._weighted(x, labels, weights[None].astype(float))
    expected = clusters._weighted(x[twice], labels[twice], np.ones((1, len(twice))))
    for key, value in expected.items():
        assert got[key] == pytest.approx(value)


def test_a_common_factor_and_a_shift_change_distances_alone() -> None:
    x, labels = blobs(200, distance=2)
    plain, grown = clusters.measure(x, labels), clusters.measure(7 * x + 5, labels)
    assert grown["intra"] == pytest.approx(7 * plain["intra"])
    assert grown["inter"] == pytest.approx(7 * plain["inter"])
    for key in ("ratio", "silhouette", "calinski_harabasz", "davies_bouldin"):
        assert grown[key] == pytest.approx(plain[key])
    unit = clusters.unit_norm(x)
    np.testing.assert_allclose(clusters.unit_norm(x * np.linspace(0.1, 9, len(x))[:, None]), unit)
    assert not np.allclose(unit, x)
    assert (clusters.unit_norm(np.zeros((2, 3))) == 0).all()


def test_shuffled_labels_have_no_clusters() -> None:
    x, labels = blobs(1000)
    assert clusters.measure(x, labels)["silhouette"] > 0.6
    shuffled = clusters.measure(x, np.random.default_rng(3).permutation(labels))
    assert abs(shuffled["silhouette"]) < 0.02
    assert shuffled["ratio"] > 5


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """60 draws of two clouds: the 95 % interval of the intra-distance covers √(π/2) in nearly all; of a wrong value in
    few."""
    random, hits, wrong = np.random.default_rng(4), 0, 0
    labels = np.repeat([0, 1], 40)
    for _ in range(60):
        x = random.normal(size=(80, 2)) + 6 * labels[:, None]
        weights = clusters.resample_weights(labels, resamples=200, seed=1)
        found, _ = clusters.with_intervals(x, labels, weights)
        hits += found["intra"]["low"] <= np.sqrt(np.pi / 2) <= found["intra"]["high"]
        wrong += found["intra"]["low"] <= 1.6 <= found["intra"]["high"]
        assert found["inter"]["low"] < found["inter"]["value"] < found["inter"]["high"]
    assert hits >= 52
    assert wrong <= 6


def test_resamples_keep_every_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 3, 20])
    weights = clusters.resample_weights(labels, resamples=50, seed=0)
    for code, count in ((0, 50), (1, 3), (2, 20)):
        assert (weights[:, labels == code].sum(1) == count).all()


def test_what_cannot_be_measured() -> None:
    x, labels = blobs(20)
    with pytest.raises(DataError, match="two classes"):
        clusters.measure(x, np.zeros(20, int))
    with pytest.raises(DataError, match="N×D features"):
        clusters.measure(x, labels[:5])
    with pytest.raises(DataError, match="finite"):
        clusters.measure(np.where(x > 0, np.nan, x), labels)


def figure(low: float, high: float) -> dict[str, float]:
    return {"value": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("intra", "inter", "claim"),
    [
        (figure(1, 2), figure(1, 2), "supported"),
        (figure(-2, -1), figure(-2, -1), "contradicted"),
        (figure(1, 2), figure(-2, -1), "contradicted in part"),
        (figure(1, 2), figure(-1, 2), "undecided"),
    ],
)
def test_the_verdict_follows_from_the_intervals(intra: dict, inter: dict, claim: str) -> None:
    assert verdict({"intra": intra, "inter": inter})["claim"] == claim
