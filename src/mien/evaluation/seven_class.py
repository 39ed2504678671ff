"""Reading an eight-class model with seven classes, in the two ways of SPEC §1; both are always reported.

- *closed*: images labelled contempt are left out, contempt's probability is set aside and the rest brought to 1. An
  answer whose whole probability was contempt's has none left: a failure, which is wrong.
- *open*: images labelled contempt are left out, the model still answers among eight, and contempt is wrong.

The two agree where the model never answers contempt. The published figures of paper A do not say which they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.labels import SEVEN

CONTEMPT = "contempt"
READINGS = {
    "closed": "contempt images left out, contempt's probability set aside",
    "open": "contempt images left out, an answer of contempt is wrong",
}


def applies(labels: Sequence[str]) -> bool:
    """Whether a model with these labels can be read with seven classes."""
    return CONTEMPT in labels and set(SEVEN) < set(labels)


def kept(y: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.bool_]:
    """bool N: the images whose label is one of the seven. y: codes in the order of ``labels``."""
    return y != list(labels).index(CONTEMPT)


def closed(p: NDArray[Any], labels: Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Probabilities float N×K → float64 N×(K−1) without contempt, rows brought to 1 (NaN where nothing is left)."""
    at = list(labels).index(CONTEMPT)
    rest = np.delete(np.asarray(p, np.float64), at, axis=1)
    total = rest.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        brought = np.where(total > 0, rest / np.where(total > 0, total, 1), np.nan)
    return brought, tuple(name for name in labels if name != CONTEMPT)
