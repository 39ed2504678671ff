"""Equal classes in Training without a doubled image (SPEC §2.4, Paper A): which originals are varied, and how.

Offline, ``plan_balance`` says how many variations each Training original gets and ``variations`` makes them: rotated
within ±10°, autocontrast, mirrored, slightly shifted, scaled, brightened. A class that has the target already keeps all
its originals; only as many images are generated as the target asks for, so none has to be dropped afterwards.
Online, ``BalancedOrder`` gives an epoch in which each class has the same share and the loader's augmentation varies.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.splits import Index, SplitPlan

Uint8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """Strengths of :func:`generate`.

    rotate: degrees either way. autocontrast, mirror: probabilities. shift: share of the side either way. scale,
    brightness: relative range either way.
    """

    rotate: float = 10.0
    autocontrast: float = 0.5
    mirror: float = 0.5
    shift: float = 0.04
    scale: float = 0.05
    brightness: float = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class BalancePlan:
    """rows, copies, seeds: int64 M, the originals that are varied, how often, and the seed of their variations.

    before, after: expression → images of Training, originals and all. warnings: one sentence each.
    """

    rows: NDArray[np.int64]
    copies: NDArray[np.int64]
    seeds: NDArray[np.int64]
    before: dict[str, int]
    after: dict[str, int]
    warnings: list[str]


def plan_balance(
    index: Index,
    plan: SplitPlan,
    *,
    target: int | Mapping[str, int] | None = None,
    seed: int = 0,
    usable: NDArray[np.bool_] | None = None,
) -> BalancePlan:
    """How often each Training original is varied.

    target: images per class; None: as many as the largest class has; a mapping leaves the classes that it does not
    name as they are. usable: bool N, False for what cannot be varied (:func:`can_vary`). Rows that are tied to an
    evaluation image (``plan.crossing``) are never varied. Raises UsageError for a wrong target.
    """
    raise NotImplementedError


def can_vary(pixels: Uint8) -> bool:
    """False for a blank image (one value in each channel), of which every variation is blank again."""
    raise NotImplementedError


def generate(pixels: Uint8, seed: int, *, attempt: int = 0, strength: Variation | None = None) -> Uint8:
    """One variation of the same shape: uint8 H×W or H×W×3. The same bytes for the same arguments, always."""
    raise NotImplementedError


def variations(pixels: Uint8, copies: int, seed: int, *, strength: Variation | None = None) -> list[Uint8]:
    """Up to ``copies`` variations, none equal to the original or to another; fewer where that cannot be done."""
    raise NotImplementedError


def generated_name(path: str, number: int) -> str:
    """The name of an original's ``number``-th variation (from 1) in a store."""
    raise NotImplementedError


def sampling_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 N, sum 1: each class has the same share, each image of a class the same part of it; 0 for label −1."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class BalancedOrder:
    """An epoch's rows, each class equally often: ``order(epoch)`` → int64, decided by (seed, epoch) alone.

    labels: int64 N; rows of label −1 never come. size: images an epoch, rounded to a multiple of the classes; None: N.
    Over the epochs every image of a class comes equally often: none comes again before all others have come.
    """

    labels: NDArray[np.int64]
    size: int | None = None
    seed: int = 0

    def __len__(self) -> int:
        raise NotImplementedError

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        raise NotImplementedError
