"""Is a model better on images that have a near-duplicate in Training, which it may have memorised?

*Leak-free* images have no near-duplicate in Training (``data/near_duplicates.py``). The figure is accuracy on all
images minus accuracy on the leak-free ones: by so much does a result without the leak-free column overstate.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.metrics import RESAMPLES, proportion, with_percentiles


def leak_effect(right: NDArray[np.bool_], leak: NDArray[np.bool_], *, seed: int = 0) -> dict[str, Any] | None:
    """All minus leak-free accuracy (−1 … 1) with its 95 % bootstrap interval; None where one of the parts is empty.

    right, leak: bool N. ``p``: Fisher's exact test, two-sided, of near-duplicates against the other images.
    """
    from scipy.stats import fisher_exact

    if not leak.any() or leak.all():
        return None
    # near-duplicate right, near-duplicate wrong, other right, other wrong
    table = [int((a & b).sum()) for a in (leak, ~leak) for b in (right, ~right)]
    drawn = np.random.default_rng(seed).multinomial(len(right), np.array(table) / len(right), size=RESAMPLES)
    return {
        "near_duplicates": table[0] + table[1],
        "accuracy_on_near_duplicates": proportion(table[0], table[0] + table[1]),
        "all_minus_leak_free": with_percentiles(float(_overstated(np.array([table]))[0]), _overstated(drawn)),
        "p": float(fisher_exact([table[:2], table[2:]]).pvalue),
    }


def _overstated(cells: NDArray[Any]) -> NDArray[np.float64]:
    """R×4 counts → R differences of accuracies."""
    everything = cells.sum(1)
    clean = np.maximum(cells[:, 2] + cells[:, 3], 1)
    result: NDArray[np.float64] = (cells[:, 0] + cells[:, 2]) / everything - cells[:, 2] / clean
    return result
