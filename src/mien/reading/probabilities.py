"""Logits to calibrated probabilities.

A network that learns from smoothed labels, mixed images or a softened teacher gives every class some probability,
however clear the picture is. A temperature (Guo et al. 2017, arXiv 1706.04599) cannot take that away: the one that
suits the largest probability does not suit the small ones. So a floor is subtracted first, as label smoothing (Szegedy
et al. 2016, arXiv 1512.00567) added it:

    p = softmax(logits)
    q = (p - floor + √((p - floor)² + (floor · BEND)²)) / 2     p - floor, bent above 0; p where the floor is 0
    probabilities = q^(1/temperature), divided by their sum     softmax(logits / temperature) where the floor is 0

A class with a larger logit keeps a larger probability, so that the prediction stays.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Float32
from mien.errors import UsageError

#: How softly p - floor is bent above 0.
BEND = 0.25


@dataclass(frozen=True, slots=True)
class Calibration:
    """What makes probabilities of logits: a temperature and a floor, fitted by :func:`fit_calibrations`.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599) after a floor is subtracted, as label smoothing (Szegedy et
    al. 2016, arXiv 1512.00567) added it; the formula is in ``mien/reading/probabilities.py``.

    Attributes:
        temperature: above 0; above 1 makes probabilities more even.
        floor: of each class's probability, from 0 to below 1/K. 0: softmax(logits / temperature).

    Raises:
        UsageError: numbers out of these ranges.

    Examples:
        >>> import numpy as np
        >>> from mien.reading.probabilities import Calibration, probabilities
        >>> logits = np.array([[3, 1, 0]], np.float32)
        >>> for calibration in Calibration(), Calibration(floor=0.04):
        ...     calibration.check(classes=3)
        ...     print(probabilities(logits, calibration).round(2))
        [[0.84 0.11 0.04]]
        [[0.91 0.08 0.01]]
    """

    temperature: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"expected a positive temperature, got {self.temperature}")
        if not 0 <= self.floor < 0.5:
            raise UsageError(f"expected a floor from 0 to below 1 divided by the number of classes, got {self.floor}")

    def check(self, classes: int) -> None:
        """Whether the floor fits a reader.

        Args:
            classes: how many it has.

        Raises:
            UsageError: the floor is not below 1/classes.
        """
        if self.floor >= 1 / classes:
            raise UsageError(f"expected a floor from 0 to below 1/{classes}, got {self.floor}")


def probabilities(logits: Float32, calibration: Calibration) -> Float32:
    """float32 …×K → float32 …×K that sum to 1 along K; computed in float64, so that rows sum exactly enough."""
    if not calibration.floor:
        return _softmax(np.asarray(logits, np.float64) / calibration.temperature).astype(np.float32)
    above = _softmax(np.asarray(logits, np.float64)) - calibration.floor
    bent = (above + np.hypot(above, calibration.floor * BEND)) / 2
    return _softmax(np.log(bent) / calibration.temperature).astype(np.float32)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
