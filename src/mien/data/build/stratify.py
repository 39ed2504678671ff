"""Placing whole units (subjects, copies: what must stay together) into splits, class by class.

Integer arithmetic on a table of units × classes, ``counts`` (int64 U×K); ``splits.py`` makes it and names the results.
Ties are decided by ``key`` (uint64 U, random), so that neither the order of the units nor a generator matters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Int64

Keys = NDArray[np.uint64]


def take_balanced(counts: Int64, key: Keys, available: Bool, wanted: Int64, reserve: Int64) -> Bool:
    """bool U: units of ``available`` that together have ``wanted`` images of each class, as nearly as whole units can.

    wanted: int64 K. reserve: int64 K, units of each class that must be left over. The result may have more of a class
    than wanted (the rest of a unit that was needed for another class) and has less where there is no more to take.

    First, in random order, every unit that fits as a whole; then, class by class, the unit that wastes least.
    """
    held, need = counts > 0, wanted.copy()
    taken = np.zeros(len(key), bool)
    spare = held[available].sum(0) - reserve
    single, first = counts.sum(1) == 1, counts.argmax(1)
    for u in np.argsort(key, kind="stable").tolist():
        if not available[u]:
            continue
        if single[u]:  # most units are, and this is quick
            fits = need[first[u]] > 0 and spare[first[u]] > 0
        else:
            fits = bool((counts[u] <= need).all()) and bool((spare[held[u]] > 0).all())
        if fits:
            taken[u] = True
            need -= counts[u]
            spare -= held[u]
            if not (need > 0).any():
                return taken
    for c in np.argsort(spare, kind="stable").tolist():
        while need[c] > 0:
            candidates = np.flatnonzero(available & ~taken & held[:, c] & ~(held & (spare <= 0)).any(1))
            if not len(candidates):
                break
            waste = np.clip(counts[candidates] - np.clip(need, 0, None), 0, None).sum(1)
            u = candidates[np.lexsort((key[candidates], waste))[0]]
            taken[u] = True
            need -= counts[u]
            spare -= held[u]
    return taken


def take_most_balanced(
    counts: Int64, key: Keys, available: Bool, reserve: Int64, classes: list[int], *, most: int, scarce: int
) -> tuple[Bool, int, int]:
    """:func:`take_balanced` for as many images of each of ``classes`` as there can be, at most ``most``.

    Returns the units, the number (0: there is no such choice), and the class that limits it, ``scarce`` at first.
    """
    k = most
    while k > 0:
        wanted = np.zeros(counts.shape[1], np.int64)
        wanted[classes] = k
        taken = take_balanced(counts, key, available, wanted, reserve)
        attained = counts[taken].sum(0)[classes]
        if attained.min() >= k:
            return taken, k, scarce
        scarce, k = classes[int(attained.argmin())], int(attained.min())
    return np.zeros(len(key), bool), 0, scarce


def distribute(counts: Int64, key: Keys, quotas: Int64, covered: Bool) -> Int64:
    """int64 U: the split of each unit, 0 … S−1, so that split s has about ``quotas[s, k]`` images of class k.

    quotas: int64 S×K, whose sum over s is the number of images of class k; single images meet them exactly. covered:
    bool S×K, True where a split needs no unit of the class. Every other pair gets a unit, whatever its quota, or −1
    is returned for all: no unit could be moved without taking a class away from another split.

    Units of several images first, the rarest class first and the largest unit first, each to the split that still wants
    most of that class (iterative stratification, Sechidis et al. 2011); then the single images fill up.
    """
    place, want = np.full(len(key), -1, np.int64), quotas.copy()
    held, sizes = counts > 0, counts.sum(1)
    for c in np.argsort(held.sum(0), kind="stable").tolist():
        group = np.flatnonzero((place < 0) & (sizes > 1) & held[:, c])
        for u in group[np.lexsort((key[group], -sizes[group]))].tolist():
            place[u] = np.lexsort((-want.sum(1), -want[:, c]))[0]
            want[place[u]] -= counts[u]
    for c in range(counts.shape[1]):
        group = np.flatnonzero((sizes == 1) & held[:, c])
        group = group[np.argsort(key[group], kind="stable")]
        ends = np.cumsum(apportion(len(group), np.clip(want[:, c], 0, None)))
        place[group] = np.searchsorted(ends, np.arange(len(group)), side="right")
    return place if _cover(counts, key, place, covered) else np.full(len(place), -1, np.int64)


def _cover(counts: Int64, key: Keys, place: Int64, covered: Bool) -> bool:
    """Move units, the smallest first, to splits that lack a class. False where that would only move the gap."""
    held, sizes = counts > 0, counts.sum(1)
    holding = np.zeros(covered.shape, np.int64)  # units of each class in each split
    np.add.at(holding, place, held)
    for c in np.argsort(held.sum(0), kind="stable").tolist():
        for s in np.flatnonzero(~covered[:, c] & (holding[:, c] == 0)).tolist():
            spare = covered | (holding >= 2)
            candidates = np.flatnonzero(held[:, c] & (place != s) & (~held | spare[place]).all(1))
            if not len(candidates):
                return False
            u = candidates[np.lexsort((key[candidates], sizes[candidates]))[0]]
            holding[place[u]] -= held[u]
            holding[s] += held[u]
            place[u] = s
    return True


def apportion(total: int, weights: Sequence[float] | Int64) -> Int64:
    """int64: ``total`` divided in proportion to the weights, by largest remainders; the sum is exact.

    Equal remainders go to the first. Weights of 0 alone leave everything to the first.
    """
    weight = np.asarray(weights, np.float64)
    if not weight.sum() > 0:
        weight = np.eye(1, len(weight))[0]
    exact = total * weight / weight.sum()
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(np.round(whole - exact, 9), kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return whole
