"""Fitting what calibrates probabilities: a temperature and a floor (``mien.reading.probabilities``).

Logits come as N×V×K: V views of each image (1, or 10 with test-time augmentation), whose calibrated probabilities are
averaged. With fewer than ``FEW`` images there is no floor, and log T has a normal prior of mean 0 and standard
deviation ``PRIOR``: the likelihood alone would make every answer certain where all of five images are right.
The calibration that ships is fitted on the whole validation split; what is *reported* comes from cross-fitting: each
half is scored with the calibration of the other half, and images that are duplicates of each other always lie in the
same half.
"""

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Float32, Int64
from mien.errors import DataError
from mien.evaluation.metrics import log_losses
from mien.reading import probabilities as reading
from mien.reading.probabilities import Calibration

RANGE = (0.05, 20.0)
#: Images below which there is no floor and log T has a prior, and its standard deviation.
FEW = 1000
PRIOR = 0.5
#: A label's probability counts as at least that.
LEAST = 1e-12
#: Floors from which the search starts, as parts of 1/K; the last one is the largest that is searched.
STARTS = (1e-4, 1e-3, 0.01, 0.05, 0.15, 0.3, 0.5)


def probabilities(logits: Float32, calibration: Calibration) -> Float32:
    """float N×V×K logits → float32 N×K probabilities: those of each view, then their mean."""
    views: Float32 = reading.probabilities(logits, calibration).mean(axis=1, dtype=np.float64).astype(np.float32)
    return views


def fit(logits: Float32, labels: Int64, *, few: bool | None = None) -> Calibration:
    """The most likely temperature and floor; of few images the most probable temperature, and no floor.

    few: whether they are few; None: where there are fewer than ``FEW``. Raises DataError without labelled rows.
    """
    from scipy.optimize import minimize

    few = len(labels) < FEW if few is None else few
    best = Calibration(fit_temperature(logits, labels, few=few))
    if few:
        return best
    floors = np.array(STARTS) / logits.shape[-1]
    started = [
        Calibration(fit_temperature(logits, labels, few=few, floor=floor, tolerance=1e-2), floor) for floor in floors
    ]
    losses = [_loss(logits, labels, one) for one in started]
    start = started[int(np.argmin(losses))]

    def loss(point: NDArray[np.float64]) -> float:
        return _loss(logits, labels, Calibration(*np.exp(point).tolist()))

    point = np.log([start.temperature, start.floor])
    bounds = [tuple(np.log(RANGE)), (np.log(floors[0] / 10), np.log(floors[-1]))]
    options = {"initial_simplex": [point, point - [0.05, 0.1], point - [0, 0.5]], "xatol": 1e-4, "fatol": 1e-8}
    found = minimize(loss, point, method="Nelder-Mead", bounds=bounds, options=options)
    return Calibration(*np.exp(found.x).tolist()) if found.fun < _loss(logits, labels, best) else best


def fit_temperature(
    logits: Float32, labels: Int64, *, few: bool | None = None, floor: float = 0.0, tolerance: float = 1e-5
) -> float:
    """The most probable temperature in 0.05-20 for this floor; the prior is for few images.

    few: as :func:`fit` takes it. tolerance: of log T. Raises DataError without labelled rows.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or labels.min() < 0:
        raise DataError(f"expected labelled rows to fit a temperature on, got {len(labels)}")
    few = len(labels) < FEW if few is None else few

    def loss(log_temperature: float) -> float:
        away = (log_temperature / PRIOR) ** 2 / 2 if few else 0.0
        return _loss(logits, labels, Calibration(float(np.exp(log_temperature)), floor)) + away / len(labels)

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": tolerance})
    return float(np.exp(found.x))


def _loss(logits: Float32, labels: Int64, calibration: Calibration) -> float:
    """The mean negative log-likelihood."""
    return float(log_losses(labels, probabilities(logits, calibration), least=LEAST).mean())


def halves(groups: Int64, *, seed: int = 0) -> NDArray[np.bool_]:
    """bool N: a random half of the images; whole groups stay together."""
    names, membership = np.unique(groups, return_inverse=True)
    sizes = np.bincount(membership)
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = np.zeros(len(names), bool)
    chosen[order[np.cumsum(sizes[order]) <= len(groups) / 2]] = True
    if not chosen.any():  # one group is more than half of all
        chosen[order[0]] = True
    return chosen[membership]


def cross_fit(
    logits: Float32, labels: Int64, groups: Int64, *, seed: int = 0
) -> tuple[Float32, tuple[Calibration, Calibration]]:
    """Held-out probabilities float32 N×K, and the two calibrations that made them.

    Whether there is a floor is decided by all images, as it is for the calibration that ships.
    """
    first = halves(groups, seed=seed)
    result = np.empty((logits.shape[0], logits.shape[2]), np.float32)
    fitted = []
    for part in (first, ~first):
        fitted.append(fit(logits[~part], labels[~part], few=len(labels) < FEW))
        result[part] = probabilities(logits[part], fitted[-1])
    return result, (fitted[0], fitted[1])
