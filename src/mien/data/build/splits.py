"""Which image goes to which split, decided on an index of labels and names: no pixel is looked at.

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

import hashlib

import numpy as np
from numpy.typing import NDArray

from mien.data.build.split_settings import (
    BEYOND,
    CONFLICT,
    CROSSING_COPY,
    CROSSING_GROUP,
    EXACT_COPY,
    NEAR_COPY,
    TRAINING,
    Copies,
    Index,
    RowDrop,
    SplitPlan,
    SplitSettings,
)
from mien.data.build.stratify import Units, apportion, components, share_out, take_balanced
from mien.errors import DataError
from mien.labels import EIGHT

_OTHERS = ", and every other split needs a group of them too"
_K = len(EIGHT)  # the classes; column _K of a table counts what has no label


def plan_splits(index: Index, settings: SplitSettings | None = None) -> SplitPlan:
    """The split of every row. Pure, and independent of the order of the rows.

    Raises DataError where names are not unique, or a class has too few units or images for the splits that need it.
    """
    return _Planner(index, settings or SplitSettings()).plan()


class _Planner:
    """The steps of a plan, on rows sorted by (source, path): whatever order they came in, the result is the same."""

    def __init__(self, index: Index, settings: SplitSettings) -> None:
        self.settings = settings
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
        self.exact = _numbers(index.exact, order)
        self.copy = components(n, [_numbers(index.near, order), self.exact])
        subjects: dict[tuple[str, str], int] = {}
        subject = np.full(n, -1, np.int64)
        for i, row in enumerate(self.order):
            if index.group[row]:
                subject[i] = subjects.setdefault((index.source[row], str(index.group[row])), len(subjects))
        self.unit = components(n, [subject, self.copy])
        self.key = np.array([_hash(settings.seed, source, path) for source, path in self.names], np.uint64)
        self.evaluation = np.array([name not in ("", TRAINING) for name in self.split], bool)
        self.kept = np.ones(n, bool)
        self.drops: list[RowDrop] = []
        self.warnings: list[str] = []

    def _official(self, source: str, split: str) -> str:
        name = self.settings.official.get(source, {}).get(split, split)
        return TRAINING if name == "train" else name

    def plan(self) -> SplitPlan:
        self._drop_conflicts()
        self._settle_crossings()
        self._drop_copies()
        free = self.kept & (self.split == "")
        for split in self.settings.balanced:
            if (self.kept & (self.split == split)).any():
                self._trim(split)
        self._place(free)
        names = [""] * len(self.names)
        unit = np.empty(len(self.names), np.int64)
        crossing = np.zeros(len(self.names), bool)
        crosses = self._spanning()
        for i, row in enumerate(self.order):
            names[row] = str(self.split[i]) if self.kept[i] else ""
            unit[row] = self.unit[i]
            crossing[row] = self.kept[i] and crosses[self.unit[i]]
        return SplitPlan(names, sorted(self.drops, key=lambda drop: drop.row), unit, crossing, self.warnings)

    def _drop(self, i: int, reason: str, detail: str = "") -> None:
        self.kept[i] = False
        self.drops.append(RowDrop(self.order[i], reason, detail))

    def _name(self, i: int) -> str:
        return f"{self.names[i][0]}: {self.names[i][1]}"

    def _copies(self, which: Copies) -> NDArray[np.int64]:
        """A number for each row, shared by what counts as a copy; −1 where there is none."""
        return {"none": np.full(len(self.names), -1, np.int64), "exact": self.exact, "near": self.copy}[which]

    def _drop_conflicts(self) -> None:
        number = self._copies(self.settings.drop_conflicts)
        first: dict[int, int] = {}  # copies → the first row
        other: dict[int, int] = {}  # copies → the first row with another label
        labelled = np.flatnonzero((number >= 0) & (self.label >= 0)).tolist()
        for i in labelled:
            one = first.setdefault(int(number[i]), i)
            if self.label[i] != self.label[one]:
                other.setdefault(int(number[i]), i)
        for i in labelled:
            if int(number[i]) in other and not self.evaluation[i]:
                against = first[int(number[i])]
                against = against if self.label[against] != self.label[i] else other[int(number[i])]
                what = f"{EIGHT[self.label[i]]}, but {EIGHT[self.label[against]]} in {self._name(against)}"
                self._drop(i, CONFLICT, what)

    def _settle_crossings(self) -> None:
        """Free rows tied to official ones follow them or go; Training rows tied to evaluation rows stay or go."""
        judges: dict[int, int] = {}  # unit → its first official evaluation row
        copied: dict[int, int] = {}  # copies → the same
        for i in np.flatnonzero(self.evaluation).tolist():
            judges.setdefault(int(self.unit[i]), i)
            copied.setdefault(int(self.copy[i]), i)

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
                f"expected every class in {split}, which is to be balanced, found no {EIGHT[scarce]}",
                hint="give its official split the name '' to fill it from the free images, or do not balance it",
            )
        asked = self.settings.balanced[split]
        if asked is not None and asked > k:
            self._fewer(split, asked, k, f"it has only {k} of {EIGHT[scarce]}")
        k = k if asked is None else min(asked, k)
        crosses = self._spanning()[self.unit[rows]]
        rows = rows[np.lexsort((self.key[rows], crosses, ~self.evaluation[rows]))]
        for c in (-1, *there):
            for i in rows[self.label[rows] == c][k if c >= 0 else 0 :].tolist():
                self._drop(i, BEYOND, f"{split} has {k} a class" if c >= 0 else f"no label, and {split} is balanced")

    def _fewer(self, split: str, asked: int, k: int, why: str) -> None:
        self.warnings.append(f"{split}: {k} images per class instead of {asked}: {why}")

    def _spanning(self) -> NDArray[np.bool_]:
        """bool: which units stand in more than one split."""
        number: dict[str, int] = {}
        codes = np.array([number.setdefault(name, len(number)) for name in self.split], np.int64)
        pairs = np.unique(np.stack([self.unit, codes], 1)[self.kept & (self.split != "")], axis=0)
        return np.bincount(pairs[:, 0], minlength=len(self.names)) > 1

    def _place(self, free: NDArray[np.bool_]) -> None:
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
        counts = np.zeros((len(numbers), _K + 1), np.int64)
        np.add.at(counts, (unit, np.where(self.label[rows] < 0, _K, self.label[rows])), 1)
        key = np.full(len(numbers), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(key, unit, self.key[rows])
        units = Units(counts, key)
        names = [TRAINING, *shared]
        covered = np.array([self._covered(split) for split in names])
        available = np.ones(len(numbers), bool)
        for done, split in enumerate(fill):
            taken, k = self._fill(split, units, available, reserve=(~covered).sum(0) + len(fill) - done - 1)
            available &= ~taken
            self._settle(rows[taken[unit]], split, k)
        left = Units(counts[available], key[available])
        total, quotas = counts.sum(0), np.zeros((len(names), _K + 1), np.int64)
        asked = sum(share for share in shared.values() if isinstance(share, int))
        if asked >= len(rows):
            raise DataError(f"expected shares below the {len(rows)} free images, got {asked}", hint="ask for fewer")
        for s, share in enumerate(shared.values(), start=1):
            number = share if isinstance(share, int) else round(share * int(total.sum()))
            quotas[s] = np.minimum(apportion(number, total), left.counts.sum(0) - quotas.sum(0))
            quotas[s] = np.maximum(quotas[s], (total > 0) & ~covered[s] & (left.counts.sum(0) > quotas.sum(0)))
        quotas[0] = left.counts.sum(0) - quotas.sum(0)
        self._check_units(left, covered, names)
        place = share_out(left, quotas, covered | (left.counts.sum(0) == 0))
        if len(place) and place.min() < 0:
            raise DataError(
                f"expected a unit of every class for each of {', '.join(names)}, found no way without dividing one",
                hint="ask for fewer splits, or for larger shares",
            )
        where = np.full(len(numbers), -1, np.int64)
        where[available] = place
        for s, split in enumerate(names):
            self.split[rows[(where == s)[unit]]] = split

    def _covered(self, split: str) -> NDArray[np.bool_]:
        """bool K+1: the classes that a split has already, from official rows; what has no label is needed nowhere."""
        there = np.ones(_K + 1, bool)
        there[:_K] = np.isin(np.arange(_K), self.label[self.kept & (self.split == split)])
        return there

    def _fill(
        self, split: str, units: Units, available: NDArray[np.bool_], *, reserve: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], int]:
        """The units of a balanced split, and its number per class: what was asked for, or as many as there can be."""
        asked, classes = self.settings.balanced[split], self._classes()
        pool = units.counts.sum(0)
        scarce = min(classes, key=lambda c: pool[c], default=0)
        k = most = int(np.floor(self.settings.at_most * pool[scarce] + 1e-9))
        k = k if asked is None else min(asked, k)
        while k > 0:
            wanted = np.zeros(_K + 1, np.int64)
            wanted[classes] = k
            taken = take_balanced(units, available, wanted, reserve)
            attained = units.counts[taken].sum(0)[classes]
            if attained.min() >= k:
                if asked is not None and k < asked:
                    few = f"there are only {pool[scarce]} free images of {EIGHT[scarce]}"
                    rule = f", of which it may take {self.settings.at_most:.0%}" if most == k else _OTHERS
                    self._fewer(split, asked, k, few + rule)
                return taken, k
            scarce, k = classes[int(attained.argmin())], int(attained.min())
        raise DataError(
            f"expected free images of every class to fill {split} from, got {pool[scarce]} of {EIGHT[scarce]} in "
            f"{int((units.counts[:, scarce] > 0).sum())} groups",
            hint="take more of them (at_most), leave the class out, or do not balance this split",
        )

    def _settle(self, rows: NDArray[np.int64], split: str, k: int) -> None:
        """Put units into a balanced split; what goes over its count cannot go anywhere else, and is dropped."""
        self.split[rows] = split
        rows = rows[np.argsort(self.key[rows], kind="stable")]
        for c in range(-1, _K):
            for i in rows[self.label[rows] == c][k if c >= 0 else 0 :].tolist():
                self._drop(i, BEYOND, f"its group was needed in {split}, which has {k} a class")

    def _check_units(self, units: Units, covered: NDArray[np.bool_], names: list[str]) -> None:
        """Raises DataError where a class has fewer units than splits that need one."""
        for c in np.flatnonzero(units.counts.sum(0)[:_K]).tolist():
            need = [name for name, there in zip(names, covered[:, c], strict=True) if not there]
            have = int((units.counts[:, c] > 0).sum())
            if have < len(need):
                raise DataError(
                    f"expected at least {len(need)} groups with {EIGHT[c]}, one each for {', '.join(need)}, got {have}",
                    hint="leave the class out, ask for fewer splits (shares), or add images of other people",
                )


def _numbers(column: NDArray[np.int64] | None, order: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.full(len(order), -1, np.int64) if column is None else np.asarray(column, np.int64)[order]


def _hash(seed: int, source: str, path: str) -> int:
    """64 bits that (seed, source, path) alone decide, on any machine."""
    text = "\0".join((str(seed), source, path)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
