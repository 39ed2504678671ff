"""Phase two of a build: what becomes of every picture, decided on the index in memory.

Joins the pure functions of ``splits.py`` and ``balance.py`` to a build: looks for near-duplicates where the plan needs
them, and finds the rows to be varied in their parts. Where every picture has an official split and nothing is asked
for, there is nothing to decide, and the official splits stand as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.audit.search import components, near_pairs
from mien.data.build.balance import BalancePlan, Variation, plan_balance
from mien.data.build.ingest import Wanted
from mien.data.build.parts import Facts, PartInfo, read_digests
from mien.data.build.split_settings import RowDrop, SplitSettings
from mien.data.build.splits import plan_splits
from mien.data.store import TRAINING_SPLITS


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSettings:
    """Training is brought to ``target`` images a class by variations of its originals; see ``balance.plan_balance``."""

    target: int | Mapping[str, int] | None = None
    variation: Variation = field(default_factory=Variation)
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``."""
        target = self.target if self.target is None or isinstance(self.target, int) else dict(self.target)
        strength = {name: getattr(self.variation, name) for name in self.variation.__slots__}
        return {"target": target, "variation": strength, "seed": self.seed}


@dataclass(frozen=True, slots=True, eq=False)
class BuildPlan:
    """split: the split of every row, "" where it is dropped. drops: why, in the order of the rows.

    varied: what is generated, None where Training is not balanced. warnings: one sentence each.
    """

    split: Sequence[str]
    drops: Sequence[RowDrop] = ()
    varied: BalancePlan | None = None
    warnings: tuple[str, ...] = ()


def make_plan(facts: Facts, splits: SplitSettings | None, balance: BalanceSettings | None) -> BuildPlan:
    """Splits, then balance. Raises DataError or UsageError where the settings do not fit the images."""
    index = facts.index
    told = crossing_groups(index.split, index.group) if splits is None or splits.crossing == "keep" else ()
    if splits in (None, SplitSettings()) and balance is None and all(index.split):
        return BuildPlan(index.split, warnings=told)
    index = replace(index, near=near_groups(facts.averages, facts.digest))
    plan = plan_splits(index, splits)
    if balance is None:
        return BuildPlan(plan.split, plan.drops, warnings=(*told, *plan.warnings))
    varied = plan_balance(index, plan, target=balance.target, seed=balance.seed, usable=facts.usable)
    return BuildPlan(plan.split, plan.drops, varied, (*told, *plan.warnings, *varied.warnings))


def crossing_groups(split: Sequence[str], group: Sequence[str | None]) -> tuple[str, ...]:
    """One sentence where subjects stand in several of the splits that their owner made; those are kept as they are."""
    homes: dict[str, set[str]] = {}
    for name, home in zip(group, split, strict=True):
        if name and home:
            homes.setdefault(name, set()).add(home)
    crossing = sum(len(splits) > 1 for splits in homes.values())
    if not crossing:
        return ()
    return (
        f"{crossing} of {len(homes)} groups (subjects) stand in several official splits, which are kept as they are; "
        "splits.crossing: drop-from-training in a build recipe takes them out of Training",
    )


def near_groups(averages: NDArray[np.float32], digest: NDArray[np.uint64]) -> NDArray[np.int64]:
    """int64 N: near-duplicates and equal images, directly or through others, share a number ≥ 0.

    averages: float32 N×144. digest: uint64 N, of the pixels: equal images are searched once.
    """
    _, first, copy_of = np.unique(digest, return_index=True, return_inverse=True)
    if len(first) == len(digest):  # no need for a second copy of all averages
        first = copy_of = np.arange(len(digest))
    pairs = list(near_pairs(averages if len(first) == len(digest) else averages[first]))
    roots = np.arange(len(first))
    if pairs:
        roots = components(roots, np.concatenate([p.first for p in pairs]), np.concatenate([p.second for p in pairs]))
    return roots[copy_of].astype(np.int64)


def leaks(facts: Facts, split: Sequence[str]) -> NDArray[np.int8]:
    """int8 N: whether Training holds a near-duplicate of a row outside of it, 0 or 1; −1 where that is not known.

    Not known: Training itself, dropped rows, and everything in a store without Training. Compared with the
    originals: whatever is generated comes from them.
    """
    known = np.array([bool(name) for name in split], bool)
    training = np.array([name in TRAINING_SPLITS for name in split], bool)
    found = np.full(len(facts), -1, np.int8)
    if training.any() and (known & ~training).any():
        found[known & ~training] = 0
        rows = np.flatnonzero(known)
        for pairs in near_pairs(facts.averages if known.all() else facts.averages[rows]):
            first, second = rows[pairs.first], rows[pairs.second]
            crossing = training[first] != training[second]
            found[np.where(training[first], second, first)[crossing]] = 1
    return found


def wanted_by_part(varied: BalancePlan, facts: Facts, parts: Sequence[PartInfo]) -> list[tuple[PartInfo, list[Wanted]]]:
    """The rows to be varied, by the part that holds them; parts without any are left out."""
    found: dict[int, list[Wanted]] = {}
    home = np.searchsorted(np.array(facts.first), varied.rows, side="right") - 1
    for row, copies, seed, part in zip(varied.rows, varied.copies, varied.seeds, home, strict=True):
        found.setdefault(int(part), []).append(Wanted(int(row) - facts.first[part], int(copies), int(seed)))
    return [(parts[part], rows) for part, rows in sorted(found.items())]


def new_images(facts: Facts, varied: Sequence[PartInfo]) -> list[NDArray[np.bool_]]:
    """For each part of generated images, which of them are new: equal to no original and to none generated before."""
    seen = set(facts.digest.tolist())
    found = []
    for part in varied:
        new = []
        for digest in read_digests(part).tolist():
            new.append(digest not in seen)
            seen.add(digest)
        found.append(np.array(new, bool))
    return found
