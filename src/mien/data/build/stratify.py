"""Placing whole units (subjects, copies: what must stay together) into splits, class by class.

Pure integer arithmetic on a table of units × classes; ``splits.py`` makes that table and names the results. Two tasks:
``take_balanced`` picks units for a split that is to have the same number of every class, and ``share_out`` divides the
rest by quotas. Both go by a given random key, so that they depend neither on the order of the units nor on a generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """counts: int64 U×K, images of each class in each unit. key: uint64 U, what decides between equals."""

    counts: Ints
    key: NDArray[np.uint64]

    @property
    def single(self) -> Bools:
        """bool U: units of one image, which can be placed freely."""
        return self.counts.sum(1) == 1


def take_balanced(units: Units, available: Bools, wanted: Ints, reserve: Ints) -> Bools:
    """bool U: units of ``available`` that together have ``wanted`` images of each class, as nearly as whole units can.

    wanted: int64 K. reserve: int64 K, units of each class that must be left over. The result may have more of a class
    than wanted (the rest of a unit that was needed for another class) and has less where there is no more to take.

    First, in random order, every unit that fits as a whole; then, class by class, the unit that wastes least.
    """
    taken = np.zeros(len(units.key), bool)
    need = wanted.copy()
    spare = (units.counts[available] > 0).sum(0) - reserve
    single, first = units.single, units.counts.argmax(1)
    for u in np.argsort(units.key, kind="stable").tolist():
        if not available[u]:
            continue
        if single[u]:
            c = first[u]
            fits = need[c] > 0 and spare[c] > 0
        else:
            fits = bool((units.counts[u] <= need).all()) and bool((spare[units.counts[u] > 0] > 0).all())
        if fits:
            taken[u] = True
            need -= units.counts[u]
            spare -= units.counts[u] > 0
            if not (need > 0).any():
                return taken
    held = units.counts > 0
    for c in np.argsort(spare, kind="stable").tolist():
        while need[c] > 0:
            candidates = np.flatnonzero(available & ~taken & held[:, c] & ~(held & (spare <= 0)).any(1))
            if not len(candidates):
                break
            waste = np.clip(units.counts[candidates] - np.clip(need, 0, None), 0, None).sum(1)
            u = candidates[np.lexsort((units.key[candidates], waste))[0]]
            taken[u] = True
            need -= units.counts[u]
            spare -= held[u]
    return taken


def share_out(units: Units, quotas: Ints, covered: Bools) -> Ints:
    """int64 U: the split of each unit, 0 … S−1, so that split s has about ``quotas[s, k]`` images of class k.

    quotas: int64 S×K, whose sum over s is the number of images of class k; single images meet them exactly. covered:
    bool S×K, True where a split needs no unit of the class. Every other pair gets a unit, whatever its quota, or −1
    is returned for all: no unit could be moved without taking a class away from another split.

    Units of several images first, the rarest class first and the largest unit first, each to the split that still wants
    most of that class (iterative stratification, Sechidis et al. 2011); then the single images fill up.
    """
    place = np.full(len(units.key), -1, np.int64)
    want = quotas.astype(np.int64).copy()
    single, sizes = units.single, units.counts.sum(1)
    holders = (units.counts > 0).sum(0)
    for c in np.argsort(holders, kind="stable").tolist():
        group = np.flatnonzero((place < 0) & ~single & (units.counts[:, c] > 0))
        for u in group[np.lexsort((units.key[group], -sizes[group]))].tolist():
            s = int(np.lexsort((-want.sum(1), -want[:, c]))[0])
            place[u] = s
            want[s] -= units.counts[u]
    for c in range(units.counts.shape[1]):
        group = np.flatnonzero(single & (units.counts[:, c] > 0))
        group = group[np.argsort(units.key[group], kind="stable")]
        ends = np.cumsum(apportion(len(group), np.clip(want[:, c], 0, None)))
        place[group] = np.searchsorted(ends, np.arange(len(group)), side="right")
    return place if _cover(units, place, covered) else np.full(len(place), -1, np.int64)


def _cover(units: Units, place: Ints, covered: Bools) -> bool:
    """Move units, the smallest first, to splits that lack a class. False where that would only move the gap."""
    splits, classes = covered.shape
    held = units.counts > 0
    holding = np.zeros((splits, classes), np.int64)  # units of each class in each split
    np.add.at(holding, place, held)
    sizes = units.counts.sum(1)
    for c in np.argsort(held.sum(0), kind="stable").tolist():
        for s in np.flatnonzero(~covered[:, c] & (holding[:, c] == 0)).tolist():
            spare = covered | (holding >= 2)
            candidates = np.flatnonzero(held[:, c] & (place != s) & (~held | spare[place]).all(1))
            if not len(candidates):
                return False
            u = candidates[np.lexsort((units.key[candidates], sizes[candidates]))[0]]
            holding[place[u]] -= held[u]
            holding[s] += held[u]
            place[u] = s
    return True


def apportion(total: int, weights: Sequence[float] | Ints) -> Ints:
    """int64: ``total`` divided in proportion to the weights, by largest remainders; the sum is exact.

    Equal remainders go to the first. Weights of 0 alone leave everything to the first.
    """
    share = np.asarray(weights, np.float64)
    if not share.sum() > 0:
        share = np.eye(1, len(share))[0]
    exact = total * share / share.sum()
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.lexsort((np.arange(len(share)), np.round(whole - exact, 9)))
    whole[order[: total - int(whole.sum())]] += 1
    return whole


def components(n: int, relations: Sequence[Ints]) -> Ints:
    """int64 n: rows that share a number ≥ 0 in any relation, directly or through others, get one number.

    Numbers run from 0 in the order of the first row. Each pass halves the chains, so a few passes are enough.
    """
    lowest = np.arange(n)
    ties = [(rows, np.unique(relation[rows], return_inverse=True)[1]) for relation in relations
            if len(rows := np.flatnonzero(relation >= 0))]  # fmt: skip
    while True:
        before = lowest.copy()
        for rows, number in ties:
            least = np.full(number.max() + 1, n, np.int64)
            np.minimum.at(least, number, lowest[rows])
            np.minimum.at(lowest, lowest[rows], least[number])  # the representatives learn it too: chains halve
            lowest[rows] = np.minimum(lowest[rows], least[number])
        lowest = lowest[lowest]
        if (lowest == before).all():
            return np.unique(lowest, return_inverse=True)[1].astype(np.int64)
