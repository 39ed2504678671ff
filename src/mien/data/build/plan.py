"""Phase two of a build: where every picture goes, decided from the index in memory.

Joins the pure functions of ``splits.py`` and ``balance.py`` to a build: looks for near-duplicates where the plan needs
them, and finds the rows to be varied in their parts. Where every picture has an official split and nothing is asked
for, there is nothing to decide, and the official splits stand as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.data.build.balance import BalancePlan, BalanceSettings, plan_balance
from mien.data.build.index import Index
from mien.data.build.ingest import Wanted
from mien.data.build.parts import Facts, PartInfo, read_digests
from mien.data.build.splits import RowDrop, SplitSettings, plan_splits
from mien.data.near_duplicates import near_duplicates, near_groups
from mien.data.store import TRAINING_SPLITS


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
    told = crossing_groups(index) if splits is None or splits.crossing == "keep" else ()
    if splits in (None, SplitSettings()) and balance is None and all(index.split):
        return BuildPlan(index.split, warnings=told)
    index = replace(index, near=near_groups(facts.averages, facts.digest))
    plan = plan_splits(index, splits)
    if balance is None:
        return BuildPlan(plan.split, plan.drops, warnings=(*told, *plan.warnings))
    varied = plan_balance(index, plan, target=balance.target, seed=balance.seed, usable=facts.usable)
    return BuildPlan(plan.split, plan.drops, varied, (*told, *plan.warnings, *varied.warnings))


def crossing_groups(index: Index) -> tuple[str, ...]:
    """One sentence where subjects stand in several of the splits that their owner made; those are kept as they are."""
    homes: dict[tuple[str, str], set[str]] = {}
    for source, name, home in zip(index.source, index.group, index.split, strict=True):
        if name and home:
            homes.setdefault((source, name), set()).add(home)
    crossing = sum(len(splits) > 1 for splits in homes.values())
    if not crossing:
        return ()
    return (
        f"{crossing} of {len(homes)} groups (subjects) stand in several official splits, which are kept as they are; "
        "splits.crossing: drop-from-training in a build recipe takes them out of Training",
    )


def leaks(facts: Facts, split: Sequence[str]) -> NDArray[np.int8]:
    """int8 N: whether Training holds a near-duplicate of a row outside of it, 0 or 1; −1 where that is not known.

    Not known: Training itself, dropped rows, and everything in a store without Training. Compared with the
    originals: the images from which others are generated.
    """
    known = np.array([bool(name) for name in split], bool)
    training = np.array([name in TRAINING_SPLITS for name in split], bool)
    outside = known & ~training
    if not training.any() or not outside.any():
        return np.full(len(facts), -1, np.int8)
    return np.where(outside, near_duplicates(facts.averages, training), -1).astype(np.int8)


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
