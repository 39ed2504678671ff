"""A loss from Lin's concordance correlation coefficient, for rows that may have no target.

Lin 1989 (Biometrics 45, 255-268), moments by 1/n as there: 2 cov / (var_p + var_t + (mean_p - mean_t)²). The loss
(1 - CCC) / 2 and its use for valence and arousal as in Savchenko's public code, which has n - 1 in the variances, so
its distance of the means weighs a little less; with 1/n a single row is defined.
"""

import torch
from torch import Tensor


def concordance_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Sum over the columns of (1 - CCC) / 2, so 0 (equal) … D (reversed); both N×D → float32 scalar.

    Rows whose target has a NaN are left out. With none left the loss is 0, and so is its gradient; with one, or where
    nothing varies, CCC counts as 0.
    """
    known = target.isfinite().all(dim=1, keepdim=True)  # N×1
    count = known.sum().clamp(min=1)
    p = torch.where(known, predicted.float(), 0.0)  # N×D
    t = torch.where(known, target.float(), 0.0)
    mean_p, mean_t = p.sum(dim=0) / count, t.sum(dim=0) / count
    off_p, off_t = torch.where(known, p - mean_p, 0.0), torch.where(known, t - mean_t, 0.0)
    spread = (off_p.square() + off_t.square()).sum(dim=0) / count + (mean_p - mean_t).square()
    ccc = 2 * (off_p * off_t).sum(dim=0) / count / spread.clamp(min=1e-8)
    return ((1 - ccc) / 2).sum() * known.any()
