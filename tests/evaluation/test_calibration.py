"""A temperature and a floor that are known, and a cross-fit that does not look at its own half."""

import numpy as np
import pytest

from mien.errors import DataError, UsageError
from mien.evaluation import metrics
from mien.evaluation.calibration import FEW, RANGE, cross_fit, fit, fit_temperature, halves, probabilities
from mien.reading.probabilities import Calibration


def drawn(n: int, *, temperature: float, views: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and logits that are z × temperature: the right answer is ``temperature``."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (n, 1, 7))
    p = probabilities(z, Calibration())
    labels = (p.cumsum(1) < random.random((n, 1))).sum(1)
    return np.repeat(z * temperature, views, axis=1).astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_known_temperature_is_found(temperature: float) -> None:
    logits, labels = drawn(40_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_a_handful_of_right_answers_does_not_make_every_answer_certain() -> None:
    """Five of five right: the likelihood alone goes to the bound, where p = 0.66 becomes p = 0.99999."""
    logits = np.tile(np.float32([0.65, 0]), (FEW, 1, 1))
    right = np.zeros(FEW, np.int64)
    assert 0.6 < fit_temperature(logits[:5], right[:5]) < 0.9
    assert 1.1 < fit_temperature(logits[:5], 1 - right[:5]) < 1.7
    assert fit_temperature(logits[: FEW - 1], right[1:]) > 0.08
    assert fit_temperature(logits, right) == pytest.approx(RANGE[0], rel=0.01)  # the control: many say so themselves


def test_the_known_floor_is_found() -> None:
    """A network that says (1 - 7 f) p + f where p is true, as one that learnt from smoothed labels does."""
    logits, labels = drawn(20_000, temperature=1)
    said = 0.86 * probabilities(logits, Calibration()) + 0.02
    found = fit(np.log(said)[:, None].astype(np.float32), labels)
    assert found.floor == pytest.approx(0.02, abs=0.003)
    assert found.temperature == pytest.approx(1, rel=0.05)
    assert metrics.ece(labels, probabilities(np.log(said)[:, None], found)) < 0.01
    scaled = fit_temperature(np.log(said)[:, None], labels)  # the control: a temperature alone
    assert metrics.ece(labels, probabilities(np.log(said)[:, None], Calibration(scaled))) > 0.015


@pytest.mark.parametrize("sharp", [2.0, 3.0, 50.0])
def test_a_floor_is_found_where_logits_are_too_large(sharp: float) -> None:
    """As of a network that learnt from hard labels: its floor is small, since softmax of such logits is small."""
    logits, labels = drawn(8000, temperature=1)
    said = np.log(0.86 * probabilities(logits, Calibration()) + 0.02)[:, None] * sharp
    found = fit(said, labels)
    grid = [Calibration(sharp * t, f / 7) for t in (0.7, 0.8, 0.9, 1.0, 1.1) for f in np.geomspace(1e-4, 0.4, 25)]
    losses = [float(-np.log(probabilities(said, one)[np.arange(8000), labels]).mean()) for one in (found, *grid)]
    assert losses[0] <= min(losses[1:]) + 1e-4


def test_both_halves_have_a_floor_where_the_whole_has_one() -> None:
    """1,500 images: the file gets a floor; half of them alone would not."""
    logits, labels = drawn(2 * FEW, temperature=1)
    said = np.log(0.86 * probabilities(logits, Calibration()) + 0.02)[:, None]
    for size, floors in ((FEW * 3 // 2, True), (FEW - 1, False)):
        _, halved = cross_fit(said[:size], labels[:size], np.arange(size))
        assert [one.floor > 0.005 for one in halved] == [floors] * 2
        assert (fit(said[:size], labels[:size]).floor > 0.005) is floors


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"floor": -0.1}, {"floor": 0.5}]
)
def test_a_calibration_out_of_its_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected a"):
        Calibration(**wrong)


def test_no_floor_where_there_is_none_and_where_images_are_few() -> None:
    logits, labels = drawn(20_000, temperature=1.5)
    found = fit(logits, labels)
    assert found.floor < 0.003
    assert found.temperature == pytest.approx(1.5, rel=0.03)
    few = fit(logits[: FEW - 1], labels[: FEW - 1])
    assert few == Calibration(fit_temperature(logits[: FEW - 1], labels[: FEW - 1]))


def test_equal_views_change_nothing() -> None:
    single, labels = drawn(500, temperature=2)
    ten, _ = drawn(500, temperature=2, views=10)
    np.testing.assert_allclose(probabilities(ten, Calibration(1.3)), probabilities(single, Calibration(1.3)), atol=1e-6)
    assert fit_temperature(ten, labels) == pytest.approx(fit_temperature(single, labels), rel=1e-3)


def test_scaling_lowers_the_ece_and_keeps_the_answers() -> None:
    logits, labels = drawn(4000, temperature=3)
    before = probabilities(logits, Calibration())
    after, fitted = cross_fit(logits, labels, np.arange(4000))
    assert (before.argmax(1) == after.argmax(1)).all()
    assert metrics.ece(labels, before) > 0.1  # the negative control: it was wrong before
    assert metrics.ece(labels, after) < 0.03
    assert fitted[0] != fitted[1]


def test_groups_are_never_split() -> None:
    groups = np.random.default_rng(0).integers(0, 300, 1000)
    first = halves(groups, seed=1)
    assert 0.4 < first.mean() < 0.6
    assert not set(groups[first]) & set(groups[~first])
    assert not np.array_equal(first, halves(groups, seed=2))


def test_each_half_is_scored_with_the_others_temperature() -> None:
    logits, labels = drawn(2000, temperature=1)
    first = halves(np.arange(2000), seed=0)
    logits[first] *= 4  # this half needs T = 4, the other T = 1
    scored, (one, two) = cross_fit(logits, labels, np.arange(2000), seed=0)
    assert (one.temperature, two.temperature) == (pytest.approx(1, rel=0.2), pytest.approx(4, rel=0.2))
    np.testing.assert_allclose(scored[first], probabilities(logits[first], one), atol=1e-6)


def test_unlabelled_rows_are_refused() -> None:
    with pytest.raises(DataError):
        fit_temperature(np.zeros((2, 1, 7), np.float32), np.array([-1, 2]))
