"""Which image goes to which split, decided from an index of labels and names, without pixels.

The order is dedupe, split, then augment (``balance.py``), so that nothing that is made from a Training image can stand
on the other side of a boundary.

- Official splits are kept. Two rows that belong together (a subject, near-duplicates, identical pixels) and stand in
  different official splits are marked, or the Training one is dropped, as the settings say; neither is ever moved.
- Rows without an official split are placed by *units*: all that a subject, a near-duplicate or an identical image ties
  together, directly or through others. A unit never crosses splits: its free rows follow the official ones where these
  stand in one split that takes free rows, and are dropped where they do not.
- The placing is stratified by class, and decided by a hash of (seed, source, path): the order of the rows does not
  matter, and one more image moves few others.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Int64
from mien.data.build.index import Index, row_hash
from mien.data.build.stratify import apportion, distribute, take_most_balanced
from mien.data.near_duplicates import first_equal, first_rows, tied_rows
from mien.errors import DataError, UsageError

#: Which copies: none, those with identical pixels, or near-duplicates too.
Copies = Literal["none", "exact", "near"]
Crossing = Literal["keep", "drop-from-training"]

TRAINING = "training"

#: A tenth each for validation and test, where nothing else is asked for.
_SHARES = {"validation": 0.1, "test": 0.1}

CONFLICT = "duplicate with a conflicting label"
EXACT_COPY = "exact duplicate"
NEAR_COPY = "near-duplicate"
CROSSING_COPY = "near-duplicate of an evaluation image"
CROSSING_GROUP = "same group as an evaluation image"
BEYOND = "beyond the balanced count"


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
            raise UsageError(f"expected at_most to be a proportion above 0 and up to 1, got {self.at_most}")
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
        official = {source: dict(names) for source, names in sorted(self.official.items())}
        return asdict(self) | {"official": official, "shares": dict(self.free_shares)}


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
    unit: Int64
    crossing: Bool
    warnings: list[str]

    def rows(self, split: str) -> Int64:
        """int64: the rows of one split, in order."""
        return np.array([row for row, name in enumerate(self.split) if name == split], np.int64)


def plan_splits(index: Index, settings: SplitSettings | None = None) -> SplitPlan:
    """The split of every row. Pure, and independent of the order of the rows.

    Raises DataError where names are not unique, or a class has too few units or images for the splits that need it.
    """
    return _Planner(index, settings or SplitSettings()).plan()


class _Planner:
    """The steps of a plan, on rows sorted by (source, path): the result does not depend on their order."""

    def __init__(self, index: Index, settings: SplitSettings) -> None:
        self.settings = settings
        self.labels, self.k = index.labels, len(index.labels)  # column k of a table counts what has no label
        n = len(index)
        self.order = sorted(range(n), key=lambda row: (index.source[row], index.path[row]))
        self.names = [(index.source[row], index.path[row]) for row in self.order]
        for one, other in zip(self.names, self.names[1:], strict=False):
            if one == other:
                raise DataError(
                    f"expected every image of {one[0]} to have its own name, got {one[1]!r} twice",
                    hint="give each image a path of its own within its source",
                )
        order = np.array(self.order, np.int64)
        self.label = np.asarray(index.label, np.int64)[order]
        official = [self._official(index.source[row], index.split[row]) for row in self.order]
        self.split: NDArray[np.object_] = np.array(official, object)
        near, self.exact = (
            np.full(n, -1, np.int64) if column is None else np.asarray(column, np.int64)[order]
            for column in (index.near, index.exact)
        )
        self.copy = tied_rows(n, [near, self.exact])
        number: dict[tuple[str, str], int] = {}
        people = [(index.source[row], str(index.group[row] or "")) for row in self.order]
        subject = np.array([number.setdefault(p, len(number)) if p[1] else -1 for p in people], np.int64)
        self.unit = tied_rows(n, [subject, self.copy])
        self.key = np.array([row_hash(settings.seed, *name) for name in self.names], np.uint64)
        self.evaluation = np.array([name not in ("", TRAINING) for name in self.split], bool)
        self.kept = np.ones(n, bool)
        self.drops: list[RowDrop] = []
        self.warnings: list[str] = []

    def _official(self, source: str, split: str) -> str:
        name = self.settings.official.get(source, {}).get(split, split)
        return TRAINING if name == "train" else name

    def plan(self) -> SplitPlan:
        self._drop_conflicts()
        self._resolve_crossings()
        self._drop_copies()
        free = self.kept & (self.split == "")
        for split in self.settings.balanced:
            if (self.kept & (self.split == split)).any():
                self._trim(split)
        self._place(free)
        back = np.argsort(self.order)
        split = np.where(self.kept, self.split, "")[back].tolist()
        crossing = (self.kept & self._spanning()[self.unit])[back]
        return SplitPlan(split, sorted(self.drops, key=lambda drop: drop.row), self.unit[back], crossing, self.warnings)

    def _drop(self, i: int, reason: str, detail: str = "") -> None:
        self.kept[i] = False
        self.drops.append(RowDrop(self.order[i], reason, detail))

    def _name(self, i: int) -> str:
        return ": ".join(self.names[i])

    def _copies(self, which: Copies) -> Int64:
        """A number for each row, shared by what counts as a copy; −1 where there is none."""
        return {"none": np.full_like(self.copy, -1), "exact": self.exact, "near": self.copy}[which]

    def _drop_conflicts(self) -> None:
        number = self._copies(self.settings.drop_conflicts)
        rows = np.flatnonzero((number >= 0) & (self.label >= 0))
        first = rows[first_equal(number[rows])]
        other = first_rows(number, rows[self.label[rows] != self.label[first]])  # with another label than the first
        for i, one in zip(rows.tolist(), first.tolist(), strict=True):
            if number[i] in other and not self.evaluation[i]:
                against = one if self.label[one] != self.label[i] else other[int(number[i])]
                what = f"{self.labels[self.label[i]]}, but {self.labels[self.label[against]]} in {self._name(against)}"
                self._drop(i, CONFLICT, what)

    def _resolve_crossings(self) -> None:
        """Free rows tied to official ones follow them or go; Training rows tied to evaluation rows stay or go."""
        official = np.flatnonzero(self.evaluation)
        judges, copied = first_rows(self.unit, official), first_rows(self.copy, official)

        def drop(i: int) -> None:
            judge = copied.get(int(self.copy[i]))
            reason = CROSSING_GROUP if judge is None else CROSSING_COPY
            judge = judges[int(self.unit[i])] if judge is None else judge
            self._drop(i, reason, f"{self.split[judge]} of {self._name(judge)}")

        training = self.kept & (self.split == TRAINING)
        for i in np.flatnonzero(training).tolist():
            if int(self.unit[i]) in judges:
                if self.settings.crossing == "drop-from-training":
                    drop(i)
            elif self.settings.carve:
                self.split[i] = ""
        pins: dict[int, set[str]] = {}
        for i in np.flatnonzero(self.kept & (self.split != "")).tolist():
            pins.setdefault(int(self.unit[i]), set()).add(self.split[i])
        takes = {TRAINING, *self.settings.free_shares, *self.settings.balanced}
        for i in np.flatnonzero(self.kept & (self.split == "")).tolist():
            pinned = pins.get(int(self.unit[i]), set())
            if len(pinned) == 1 and pinned <= takes:
                self.split[i] = next(iter(pinned))
            elif pinned:
                drop(i)

    def _drop_copies(self) -> None:
        which = self.settings.drop_copies
        number, seen = self._copies(which), dict[tuple[int, int, str], int]()
        rows = np.flatnonzero(self.kept & (number >= 0))
        for i in rows[np.argsort(~self.evaluation[rows], kind="stable")].tolist():  # what is never dropped comes first
            one = seen.setdefault((int(number[i]), int(self.label[i]), self.split[i]), i)
            if one != i and not self.evaluation[i]:
                self._drop(i, EXACT_COPY if which == "exact" else NEAR_COPY, f"of {self._name(one)}")

    def _classes(self) -> list[int]:
        return np.unique(self.label[self.kept & (self.label >= 0)]).tolist()

    def _trim(self, split: str) -> None:
        """A balanced split with official rows: the same number of each class, official and untied rows first."""
        rows = np.flatnonzero(self.kept & (self.split == split))
        there = {c: int((self.label[rows] == c).sum()) for c in self._classes()}
        scarce = min(there, key=lambda c: there[c], default=0)
        k = there.get(scarce, 0)
        if k == 0:
            raise DataError(
                f"expected every class in {split}, which is to be balanced, found no {self.labels[scarce]}",
                hint="give its official split the name '' to fill it from the free images, or do not balance it",
            )
        asked = self.settings.balanced[split]
        if asked is not None and asked > k:
            self.warnings.append(
                f"{split}: {k} images per class instead of {asked}: it has only {k} of {self.labels[scarce]}"
            )
        k = k if asked is None else min(asked, k)
        crosses = self._spanning()[self.unit[rows]]
        rows = rows[np.lexsort((self.key[rows], crosses, ~self.evaluation[rows]))]
        self._drop_beyond(rows, k, f"{split} has {k} a class", f"no label, and {split} is balanced")

    def _drop_beyond(self, rows: Int64, k: int, why: str, why_unlabelled: str) -> None:
        """Of the rows of a balanced split keep the first ``k`` of each class."""
        for c in range(-1, self.k):
            for i in rows[self.label[rows] == c][k if c >= 0 else 0 :].tolist():
                self._drop(i, BEYOND, why if c >= 0 else why_unlabelled)

    def _spanning(self) -> Bool:
        """bool: which units stand in more than one split."""
        codes = np.unique(self.split.astype(str), return_inverse=True)[1]
        pairs = np.unique(np.stack([self.unit, codes], 1)[self.kept & (self.split != "")], axis=0)
        return np.bincount(pairs[:, 0], minlength=len(self.names)) > 1

    def _place(self, free: Bool) -> None:
        """Balanced splits first, then shares, then Training takes the rest."""
        rows = np.flatnonzero(free)
        fill = [split for split in self.settings.balanced if not (self.kept & (self.split == split)).any()]
        shared = self.settings.free_shares
        if not len(rows):
            if fill:
                raise DataError(
                    f"expected images without an official split to fill {', '.join(fill)} from, got none",
                    hint="carve them out of Training (carve), or give an official split the name ''",
                )
            return
        numbers, unit = np.unique(self.unit[rows], return_inverse=True)
        counts = np.zeros((len(numbers), self.k + 1), np.int64)
        np.add.at(counts, (unit, np.where(self.label[rows] < 0, self.k, self.label[rows])), 1)
        key = np.full(len(numbers), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(key, unit, self.key[rows])
        names = [TRAINING, *shared]
        # classes that a split has already, from official rows; what has no label is needed nowhere
        official = [self.label[self.kept & (self.split == split)] for split in names]
        covered = np.array([[*np.isin(np.arange(self.k), there), True] for there in official])
        available = np.ones(len(numbers), bool)
        for done, split in enumerate(fill):
            taken, k = self._fill(split, counts, key, available, reserve=(~covered).sum(0) + len(fill) - done - 1)
            available &= ~taken
            mine = rows[taken[unit]]
            self.split[mine] = split
            why = f"its group was needed in {split}, which has {k} a class"  # and it cannot go anywhere else
            self._drop_beyond(mine[np.argsort(self.key[mine], kind="stable")], k, why, why)
        left = counts[available]
        total, quotas = counts.sum(0), np.zeros((len(names), self.k + 1), np.int64)
        asked = sum(share for share in shared.values() if isinstance(share, int))
        if asked >= len(rows):
            raise DataError(f"expected shares below the {len(rows)} free images, got {asked}", hint="ask for fewer")
        for s, share in enumerate(shared.values(), start=1):
            number = share if isinstance(share, int) else round(share * int(total.sum()))
            quotas[s] = np.minimum(apportion(number, total), left.sum(0) - quotas.sum(0))
            quotas[s] = np.maximum(quotas[s], (total > 0) & ~covered[s] & (left.sum(0) > quotas.sum(0)))
        quotas[0] = left.sum(0) - quotas.sum(0)
        self._check_units(left, covered, names)
        place = distribute(left, key[available], quotas, covered | (left.sum(0) == 0))
        if len(place) and place.min() < 0:
            raise DataError(
                f"expected a unit of every class for each of {', '.join(names)}, found no way without dividing one",
                hint="ask for fewer splits, or for larger shares",
            )
        where = np.full(len(numbers), -1, np.int64)
        where[available] = place
        for s, split in enumerate(names):
            self.split[rows[(where == s)[unit]]] = split

    def _fill(
        self, split: str, counts: Int64, key: NDArray[np.uint64], available: Bool, *, reserve: Int64
    ) -> tuple[Bool, int]:
        """The units of a balanced split, and its number per class: what was asked for, or as many as there can be."""
        asked, classes = self.settings.balanced[split], self._classes()
        pool = counts.sum(0)
        scarce = min(classes, key=lambda c: pool[c], default=0)
        most = int(np.floor(self.settings.at_most * pool[scarce] + 1e-9))
        taken, k, scarce = take_most_balanced(
            counts, key, available, reserve, classes, most=most if asked is None else min(asked, most), scarce=scarce
        )
        if k and asked is not None and k < asked:
            others = "and every other split needs a group of them too"
            limit = f"of which it may take {self.settings.at_most:.0%}" if most == k else others
            self.warnings.append(
                f"{split}: {k} images per class instead of {asked}: there are only {pool[scarce]} free images "
                f"of {self.labels[scarce]}, {limit}"
            )
        if k:
            return taken, k
        raise DataError(
            f"expected free images of every class to fill {split} from, got {pool[scarce]} of {self.labels[scarce]} in "
            f"{int((counts[:, scarce] > 0).sum())} groups",
            hint="take more of them (at_most), leave the class out, or do not balance this split",
        )

    def _check_units(self, counts: Int64, covered: Bool, names: list[str]) -> None:
        """Raises DataError where a class has fewer units than splits that need one."""
        for c in np.flatnonzero(counts.sum(0)[: self.k]).tolist():
            need = [name for name, there in zip(names, covered[:, c], strict=True) if not there]
            have = int((counts[:, c] > 0).sum())
            if have < len(need):
                raise DataError(
                    f"expected at least {len(need)} groups with {self.labels[c]}, one each for {', '.join(need)}, "
                    f"got {have}",
                    hint="leave the class out, ask for fewer splits (shares), or add images of other people",
                )
