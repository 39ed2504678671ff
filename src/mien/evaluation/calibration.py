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
from mien.reading import probabilities as reading
from mien.reading.probabilities import Calibration

RANGE = (0.05, 20.0)
#: Images below which there is no floor and log T has a prior, and its standard deviation.
FEW = 1000
PRIOR = 0.5
#: A floor is searched up to this part of 1/K.
MOST_FLOOR = 0.5


def probabilities(logits: Float32, calibration: Calibration) -> Float32:
    """float N×V×K logits → float32 N×K probabilities: those of each view, then their mean."""
    views: Float32 = reading.probabilities(logits, calibration).mean(axis=1, dtype=np.float64).astype(np.float32)
    return views


def fit(logits: Float32, labels: Int64) -> Calibration:
    """The most likely temperature and floor; below ``FEW`` images the most probable temperature, and no floor.

    Raises DataError without labelled rows.
    """
    from scipy.optimize import minimize

    temperature = fit_temperature(logits, labels)
    if len(labels) < FEW:
        return Calibration(temperature)
    most = MOST_FLOOR / logits.shape[-1]

    def loss(point: NDArray[np.float64]) -> float:
        return _loss(logits, labels, Calibration(float(np.exp(point[0])), float(point[1]) * most))

    start, bounds = [np.log(temperature), 0.0], [tuple(np.log(RANGE)), (0.0, 1.0)]
    simplex = [start, [start[0] + 0.3, 0.4], [start[0], 0.2]]
    options = {"initial_simplex": np.clip(simplex, *np.transpose(bounds)), "xatol": 1e-4, "fatol": 1e-8}
    found = minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options)
    if found.fun >= loss(np.array(start)):
        return Calibration(temperature)
    return Calibration(float(np.exp(found.x[0])), float(found.x[1]) * most)


def fit_temperature(logits: Float32, labels: Int64) -> float:
    """The most probable temperature in 0.05-20 without a floor; the prior is for fewer than ``FEW`` images.

    Raises DataError without labelled rows.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or labels.min() < 0:
        raise DataError(f"expected labelled rows to fit a temperature on, got {len(labels)}")

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / PRIOR) ** 2 / 2 if len(labels) < FEW else 0.0
        return _loss(logits, labels, Calibration(float(np.exp(log_temperature)))) + prior / len(labels)

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def _loss(logits: Float32, labels: Int64, calibration: Calibration) -> float:
    """The mean negative log-likelihood."""
    chosen = probabilities(logits, calibration)[np.arange(len(labels)), labels]
    return -float(np.log(np.maximum(chosen, 1e-12, dtype=np.float64)).mean())


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
    """Held-out probabilities float32 N×K, and the two calibrations that made them."""
    first = halves(groups, seed=seed)
    result = np.empty((logits.shape[0], logits.shape[2]), np.float32)
    fitted = []
    for part in (first, ~first):
        fitted.append(fit(logits[~part], labels[~part]))
        result[part] = probabilities(logits[part], fitted[-1])
    return result, (fitted[0], fitted[1])
