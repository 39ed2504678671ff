"""Smoothing: against SciPy's convolution and the closed form of an exponential mean; lag as stated; no leak."""

import numpy as np
import pytest

from mien.labels import SEVEN
from mien.results import Box, Face, Reading
from mien.video.smoothing import FLOOR, Causal, Centred, combined

BOX = Box(0, 0, 9, 9)


def readings(rows: np.ndarray, step: float = 0.04, track: int | None = 1) -> list[Reading]:
    made = []
    for n, row in enumerate(rows):
        p = dict(zip(SEVEN, row.tolist(), strict=True))
        top = max(p, key=p.__getitem__)
        made.append(Reading("v", 9, 9, (Face(BOX, 1.0, top, p[top], p, track=track),), n * step))
    return made


def values(smoothed: list[Reading]) -> np.ndarray:
    return np.array([[face.probabilities[k] for k in SEVEN] for r in smoothed for face in r.faces])


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(7), count)


def test_centred_is_a_hann_window() -> None:
    from scipy.signal import windows

    rows = noise(60)
    out = values(list(Centred(0.4)(readings(rows))))
    kernel = windows.hann(11)  # 11 frames of 0.04 s are 0.4 s with both ends
    logs = np.log(np.maximum(rows, FLOOR))
    means = np.array([np.convolve(logs[:, k], kernel / kernel.sum(), "same") for k in range(7)]).T
    expected = np.array([combined(row) for row in means])
    assert np.allclose(out[5:-5], expected[5:-5])
    assert not np.allclose(out[:5], expected[:5])  # zeros beyond the ends would stand for certainty
    assert np.allclose(out.sum(1), 1)


def test_the_mean_is_geometric() -> None:
    from scipy.stats import gmean

    same = np.array([0.5, 0.3, 0.1, 0.04, 0.03, 0.02, 0.01])
    assert np.allclose(combined(np.log(same)), same)
    rows, weights = noise(9), np.arange(1.0, 10)
    expected = gmean(rows, weights=np.repeat(weights[:, None], 7, 1))
    out = combined(weights @ np.log(rows) / weights.sum())
    assert np.allclose(out, expected / expected.sum())
    assert not np.allclose(out, weights @ rows / weights.sum(), atol=0.01)  # the arithmetic one is another


def crossing(rows: np.ndarray) -> float:
    """When the second label becomes more probable than the first, in seconds."""
    away = np.log(rows[:, 1] / rows[:, 0])
    n = int(np.flatnonzero(away > 0)[0])
    return float((n - away[n] / (away[n] - away[n - 1])) * 0.04)


def test_centred_has_no_lag_and_causal_has_the_stated_one() -> None:
    odds = np.exp(np.linspace(-4, 4, 200))
    rows = np.full((200, 7), 0.01)
    rows[:, 0], rows[:, 1] = 0.95 / (1 + odds), 0.95 * odds / (1 + odds)
    assert crossing(rows) == pytest.approx(crossing(values(list(Centred(1.0)(readings(rows))))), abs=1e-6)
    causal = Causal(1.0)
    late = crossing(values([causal.push(r) for r in readings(rows)])) - crossing(rows)
    assert causal.lag_s == 0.5
    assert late == pytest.approx(0.5, abs=0.03)


def test_causal_is_the_exponential_mean() -> None:
    rows = noise(50)
    causal = Causal(0.4)
    live = values([causal.push(r) for r in readings(rows)])
    logs = np.log(np.maximum(rows, FLOOR))
    for n in (0, 7, 49):
        weights = np.exp(-(n - np.arange(n + 1)) * 0.04 / 0.2)
        assert np.allclose(live[n], combined((weights[:, None] * logs[: n + 1]).sum(0) / weights.sum()))


def test_causal_sees_no_future_and_centred_hands_out_in_time() -> None:
    rows = noise(40)
    other = rows.copy()
    other[30:] = noise(10, 1)
    a, b = Causal(0.4), Causal(0.4)
    assert np.array_equal(
        values([a.push(r) for r in readings(rows)])[:30], values([b.push(r) for r in readings(other)])[:30]
    )
    centred, waiting = Centred(0.4), []
    for n, reading in enumerate(readings(rows)):
        waiting += list(centred.push(reading))
        assert n - len(waiting) <= 6
    assert len(waiting + list(centred.flush())) == 40


def test_persons_do_not_mix_and_raw_values_stay() -> None:
    one, two = noise(20), noise(20, 1)
    both = [
        Reading("v", 9, 9, (*a.faces, *b.faces), a.time_s)
        for a, b in zip(readings(one), readings(two, track=2), strict=True)
    ]
    out = list(Centred(0.4)(both))
    alone = list(Centred(0.4)(readings(one)))
    assert [r.faces[0] for r in out] == [r.faces[0] for r in alone]
    raw = np.array([[r.faces[1].raw_probabilities[k] for k in SEVEN] for r in out])
    assert np.array_equal(raw, two)
    assert not np.allclose(values(out)[1::2], two)
    row = out[3].to_rows()[1]
    assert row["raw_happy"] == round(float(two[3][3]), 4)


def test_times_not_frames_weigh() -> None:
    """Two frames close together, one far away: the far one is outside of the window."""
    rows = np.eye(7)[[0, 0, 1]] * 0.94 + 0.06 / 7
    made = readings(rows)
    late = [made[0], made[1], Reading("v", 9, 9, made[2].faces, 5.0)]
    assert np.allclose(values(list(Centred(0.4)(late))), rows)
