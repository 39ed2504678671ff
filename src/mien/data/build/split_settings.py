"""The words of a split plan: the index that it is made of, its settings, its result. ``splits.py`` makes the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, UsageError
from mien.labels import EIGHT

#: Which copies: none, those with identical pixels, or near-duplicates too.
Copies = Literal["none", "exact", "near"]
Crossing = Literal["keep", "drop-from-training"]

TRAINING = "training"

CONFLICT = "duplicate with a conflicting label"
EXACT_COPY = "exact duplicate"
NEAR_COPY = "near-duplicate"
CROSSING_COPY = "near-duplicate of an evaluation image"
CROSSING_GROUP = "same group as an evaluation image"
BEYOND = "beyond the balanced count"

#: A tenth each for validation and test, where nothing else is asked for.
_SHARES = {"validation": 0.1, "test": 0.1}
_K = len(EIGHT)


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

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in self.__slots__}
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) != 1:
            raise DataError(f"expected columns of one length in an index, got {lengths}")
        if len(self) and not -1 <= self.label.min() <= self.label.max() < _K:
            raise DataError(f"expected label codes −1 … {_K - 1}, got {self.label.min()} … {self.label.max()}")

    def __len__(self) -> int:
        return len(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """How rows are placed. The defaults change nothing where every row has an official split.

    official: source → official split → split of the store, where the name shall be another one; "" makes its rows free.
    carve: rows of official Training are free as well, save those tied to an official evaluation image.
    shares: split → share of the free images of each class (a float below 1) or number of images (an int ≥ 1); Training
    takes the rest. None: a tenth each for validation and test, where these are not balanced. Single images meet a
    share exactly; units of several may go over it by a part of a unit.
    balanced: split → images per class, or None for as many as the smallest class allows. A split with official rows is
    only trimmed; another one is filled from the free rows.
    at_most: no balanced split takes more than this share of a class's free images, so that Training keeps some.
    crossing: what happens to a Training row that is tied to an official evaluation row.
    drop_conflicts: copies whose labels differ are dropped, all of them, save official evaluation rows.
    drop_copies: of copies with one label in one split all but the first are dropped, save official evaluation rows.
    seed: of the hash. Raises UsageError for a value that cannot work.
    """

    official: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    carve: bool = False
    shares: Mapping[str, float] | None = None
    balanced: Mapping[str, int | None] = field(default_factory=dict)
    at_most: float = 0.25
    crossing: Crossing = "keep"
    drop_conflicts: Copies = "none"
    drop_copies: Copies = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kinds in (("crossing", Crossing), ("drop_conflicts", Copies), ("drop_copies", Copies)):
            if getattr(self, name) not in get_args(kinds):
                raise UsageError(f"expected {name} to be {' or '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if not 0 < self.at_most <= 1:
            raise UsageError(f"expected at_most to be a share above 0 and up to 1, got {self.at_most}")
        for split, per_class in self.balanced.items():
            if split == TRAINING or (per_class is not None and per_class < 1):
                raise UsageError(
                    f"expected balanced splits other than {TRAINING}, of at least 1 image per class, "
                    f"got {split}: {per_class}"
                )
        for split, share in (self.shares or {}).items():
            number = isinstance(share, int) and not isinstance(share, bool)
            if split in (TRAINING, "") or not ((number and share >= 1) or 0 < share < 1):
                raise UsageError(
                    f"expected shares like validation: 0.1 or validation: 500, got {split}: {share}",
                    hint=f"{TRAINING} takes what the others leave",
                )
        if both := sorted(set(self.shares or {}) & set(self.balanced)):
            raise UsageError(f"expected a split to be balanced or to get a share, got both for {', '.join(both)}")
        if sum(share for share in self.free_shares.values() if share < 1) >= 1:
            raise UsageError(f"expected shares that leave something to {TRAINING}, got {dict(self.free_shares)}")

    @property
    def free_shares(self) -> Mapping[str, float]:
        """The shares, with the default filled in."""
        if self.shares is not None:
            return self.shares
        return {split: share for split, share in _SHARES.items() if split not in self.balanced}

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        return {
            "official": {source: dict(names) for source, names in sorted(self.official.items())},
            "carve": self.carve,
            "shares": dict(self.free_shares),
            "balanced": dict(self.balanced),
            "at_most": self.at_most,
            "crossing": self.crossing,
            "drop_conflicts": self.drop_conflicts,
            "drop_copies": self.drop_copies,
            "seed": self.seed,
        }


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
        """int64: the rows of one split, in order."""
        return np.array([row for row, name in enumerate(self.split) if name == split], np.int64)
