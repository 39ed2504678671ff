"""Top-2 accuracy: how often the label is among the two most probable classes.

Conventions as in ``metrics``, and: of equally probable classes the first in label order ranks first, so that top-1 is
exactly accuracy; a failure (a row of NaN) is wrong at every rank and stays in the denominator.
"""

import numpy as np
from numpy.typing import ArrayLike

from mien.evaluation.metrics import Int, checked, proportion


def ranks(y: ArrayLike, p: ArrayLike) -> Int:
    """int64 N: at which place the label stands among the K classes, 0 … K−1; K for a failure.

    y, p: as in ``metrics``. Raises DataError as ``metrics.checked`` does.
    """
    labels, probabilities = checked(y, p)
    k = probabilities.shape[1]
    own = np.take_along_axis(probabilities, labels[:, None], 1)
    above = (probabilities > own) | ((probabilities == own) & (np.arange(k) < labels[:, None]))
    return np.where(np.isnan(probabilities).any(1), k, above.sum(1)).astype(np.int64)


def top_accuracy(y: ArrayLike, p: ArrayLike, *, k: int = 2) -> dict[str, float]:
    """``value``, ``low``, ``high`` (Wilson's 95 %), each 0-1: how many images have their label among the first k."""
    right = ranks(y, p) < k
    return proportion(int(right.sum()), len(right))
