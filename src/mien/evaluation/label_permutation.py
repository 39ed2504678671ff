"""Label permutation: do the predictions fit the labels better under other names?

The commonest slip of a predictions file. Tools write their classes in orders of their own (alphabetical ones above
all), and two columns with each other's name still give probabilities. What gives them away is the confusion matrix: its
large cells lie off the diagonal.
"""

from collections.abc import Sequence
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.evaluation.comparisons import mcnemar_p

#: Chance of a false alarm over all permutations of the names (Bonferroni).
LEVEL = 0.001


def better_names(matrix: NDArray[np.integer[Any]], labels: Sequence[str]) -> dict[str, Any] | None:
    """The exchange of names that would raise accuracy most, where it cannot be chance; else None.

    matrix: K×(K+1) counts of ``metrics.confusion``. Found by the assignment that has the most images on its diagonal
    (scipy); reported only where every renamed class is predicted more often by its new name than by its own, and
    where McNemar's p, times the number of possible exchanges, is below :data:`LEVEL`.
    Returns ``renamed`` {column: what it seems to hold}, ``accuracy`` and ``accuracy_renamed``.
    """
    from scipy.optimize import linear_sum_assignment

    k = len(labels)
    square = matrix[:, :k]
    _, column = linear_sum_assignment(square, maximize=True)
    moved = [i for i in range(k) if column[i] != i and matrix[i].sum()]
    if not moved or any(square[i, column[i]] <= square[i, i] for i in moved):
        return None
    now, then = int(np.trace(square)), int(square[np.arange(k), column].sum())
    lost, won = int(square[moved, moved].sum()), int(square[moved, column[moved]].sum())
    if mcnemar_p(lost, won)[0] * factorial(k) >= LEVEL:
        return None
    n = int(matrix.sum())
    return {
        "renamed": {labels[int(column[i])]: labels[i] for i in moved},
        "accuracy": now / n,
        "accuracy_renamed": then / n,
    }
