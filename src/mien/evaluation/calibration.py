"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): one number that calibrates probabilities.

Logits come as N×V×K: V views of each image (1, or 10 with test-time augmentation). Probabilities are
``mean over views of softmax(logits / T)``. With fewer than ``FEW`` images, log T has a normal prior of mean 0 and
standard deviation ``PRIOR``: the likelihood alone would make every answer certain where all of five images are right.
The temperature that ships is fitted on the whole validation split; what is *reported* comes from cross-fitting: each
half is scored with the temperature of the other half, and images that are duplicates of each other always lie in the
same half.
"""

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Float32, Int64
from mien.errors import DataError

RANGE = (0.05, 20.0)
#: Images below which log T has a prior, and its standard deviation.
FEW = 1000
PRIOR = 0.5


def probabilities(logits: Float32, temperature: float) -> Float32:
    """float N×V×K logits → float32 N×K probabilities: softmax of each view at this temperature, then their mean."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=2, keepdims=True)
    weights = np.exp(scaled)
    return (weights / weights.sum(axis=2, keepdims=True)).mean(axis=1).astype(np.float32)


def fit_temperature(logits: Float32, labels: Int64) -> float:
    """The most probable temperature in 0.05-20; the prior is for fewer than ``FEW`` images.

    Raises DataError without labelled rows.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or labels.min() < 0:
        raise DataError(f"expected labelled rows to fit a temperature on, got {len(labels)}")

    def loss(log_temperature: float) -> float:
        chosen = probabilities(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        likelihood = np.log(np.maximum(chosen, 1e-12)).sum()
        prior = -((log_temperature / PRIOR) ** 2) / 2 if len(labels) < FEW else 0.0
        return -float(likelihood + prior) / len(labels)

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


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


def cross_fit(logits: Float32, labels: Int64, groups: Int64, *, seed: int = 0) -> tuple[Float32, tuple[float, float]]:
    """Held-out probabilities float32 N×K, and the two temperatures that made them."""
    first = halves(groups, seed=seed)
    result = np.empty((logits.shape[0], logits.shape[2]), np.float32)
    temperatures = []
    for part in (first, ~first):
        temperature = fit_temperature(logits[~part], labels[~part])
        result[part] = probabilities(logits[part], temperature)
        temperatures.append(temperature)
    return result, (temperatures[0], temperatures[1])
