"""Which image goes to which split, decided on an index of labels and names: no pixel is looked at.

The order is dedupe, split, then augment (``balance.py``), so that nothing that is made from a Training image can stand
on the other side of a boundary.

- Official splits are kept. Two rows that belong together (a subject, near-duplicates, identical pixels) and stand in
  different official splits are marked, or the Training one is dropped, as the settings say; neither is ever moved.
- Rows without an official split are placed by *units*: all that a subject, a near-duplicate or an identical image ties
  together, directly or through others. A unit never crosses splits.
- The placing is stratified by class, and decided by a hash of (seed, source, path): the order of the rows does not
  matter, and one more image moves few others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

#: Which copies: none, those with identical pixels, or near-duplicates too.
Copies = Literal["none", "exact", "near"]

TRAINING = "training"

CONFLICT = "duplicate with a conflicting label"
EXACT_COPY = "exact duplicate"
NEAR_COPY = "near-duplicate"
CROSSING_COPY = "near-duplicate of an evaluation image"
CROSSING_GROUP = "same group as an evaluation image"
BEYOND = "beyond the balanced count"


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What the plan knows of N images, row by row. (source, path) must be unique.

    source, path: names. label: int64 N, codes of ``mien.labels``, −1 where held back. split: the official one, "" where
    there is none ("train" reads as "training"). group: a subject within its source, None or "" where there is none.
    near, exact: int64 N, rows with the same number ≥ 0 are near-duplicates or have identical pixels; −1: no copy known.
    """

    source: Sequence[str]
    path: Sequence[str]
    label: NDArray[np.int64]
    split: Sequence[str]
    group: Sequence[str | None]
    near: NDArray[np.int64] | None = None
    exact: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How rows are placed. The defaults change nothing where every row has an official split.

    official: source → official split → split of the store, where the name shall be another one; "" makes its rows free.
    carve: rows of official Training are free as well, save those tied to an official evaluation image.
    shares: split → share of the free images of each class (a float below 1) or number of images (an int ≥ 1); Training
    takes the rest. None: a tenth each for validation and test, where these are not balanced.
    balanced: split → images per class, or None for as many as the smallest class allows. A split with official rows is
    only trimmed; another one is filled from the free rows.
    at_most: no balanced split takes more than this share of a class's free images, so that Training keeps some.
    crossing: what happens to a Training row that is tied to an official evaluation row.
    drop_conflicts: copies whose labels differ are dropped, all of them, save official evaluation rows.
    drop_copies: of copies with one label in one split all but the first are dropped.
    seed: of the hash.
    """

    official: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    carve: bool = False
    shares: Mapping[str, float] | None = None
    balanced: Mapping[str, int | None] = field(default_factory=dict)
    at_most: float = 0.25
    crossing: Literal["keep", "drop-from-training"] = "keep"
    drop_conflicts: Copies = "none"
    drop_copies: Copies = "none"
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RowDrop:
    """A row that goes nowhere. reason: one of the phrases above. detail: the row it stands back for, and the like."""

    row: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SplitPlan:
    """split: N names, "" where dropped. drops: in the order of the rows. unit: int64 N, what must stay together.

    crossing: bool N, rows whose unit stands in another split as well (only official rows can).
    warnings: one sentence each, for stderr and ``summary.json``.
    """

    split: list[str]
    drops: list[RowDrop]
    unit: NDArray[np.int64]
    crossing: NDArray[np.bool_]
    warnings: list[str]

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of one split, in order."""
        raise NotImplementedError


def plan_splits(index: Index, settings: SplitSettings | None = None) -> SplitPlan:
    """The split of every row. Pure, and independent of the order of the rows.

    Raises DataError where the index is wrong or a class has too few units for the splits that need it.
    """
    raise NotImplementedError
