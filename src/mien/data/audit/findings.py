"""What an audit checks besides copies: labels, votes, blank pictures, balance, brightness, groups.

Pure functions on arrays; ``figures.py``, ``examples.py`` and ``report.py`` call them. Codes of labels are −1 where
there is none. Votes are N×10 counts in the order of ``sources.VOTE_NAMES``; a row of zeros means that nobody voted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Float64, Int64
from mien.data.sources import VOTE_LABELS, VOTE_NAMES
from mien.errors import DataError

Ints = NDArray[np.integer[Any]]

NOT_FACE, UNKNOWN = VOTE_NAMES.index("not_face"), VOTE_NAMES.index("unknown")
TIE, NO_VOTES = -1, -2
#: What ``picture_kinds`` can say of an image, by code; 0 is nothing.
KINDS = ("", "blank", "near-blank", "flat")
NEAR_BLANK_SPREAD = 8  # levels of 255
FLAT_SHARE = 0.5
QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


# --- copies -----------------------------------------------------------------------------------------------------------


def overlap(has: Bool, cell: Ints, cells: Sequence[tuple[int, int]], *, by: int) -> Int64:
    """int64 A×B: how many images of one split (``by`` 0) or source (``by`` 1) have a copy in another, or in their own.

    has: bool N×C, whether an image has one in each cell. cell: int N. cells: the (split, source) of each of the C.
    A and B count the splits (or sources) up to the highest that occurs.
    """
    place = np.array([pair[by] for pair in cells], np.int64)
    size = int(place.max()) + 1 if len(place) else 0
    table = np.zeros((size, size), np.int64)
    for b in range(size):
        any_there = has[:, place == b].any(1)
        np.add.at(table[:, b], place[cell[any_there]], 1)
    return table


def mixed_groups(group: Ints, label: Ints) -> Int64:
    """The numbers of the groups whose labelled images carry more than one label, rising. group, label: int N."""
    known = label >= 0
    return crossing(group[known], label[known])


def label_clashes(group: Ints, label: Ints, classes: int) -> Int64:
    """int64 K×K, symmetric, 0 on the diagonal: in how many groups two labels stand beside each other."""
    table = np.zeros((classes, classes), np.int64)
    known = label >= 0
    pairs = np.unique(np.stack([group[known], label[known]], 1), axis=0)
    for labels in np.split(pairs[:, 1], np.flatnonzero(np.diff(pairs[:, 0])) + 1):
        if len(labels) > 1:
            table[np.ix_(labels, labels)] += 1
    np.fill_diagonal(table, 0)
    return table


def crossing(group: Ints, place: Ints) -> Int64:
    """The groups (≥ 0) that lie in more than one place (a split, a source), rising. −1 is no group."""
    known = group >= 0
    pairs = np.unique(np.stack([group[known], place[known]], 1), axis=0)
    numbers, count = np.unique(pairs[:, 0], return_counts=True)
    found: Int64 = numbers[count > 1].astype(np.int64)
    return found


# --- votes ------------------------------------------------------------------------------------------------------------


def voted(votes: Ints) -> Bool:
    """bool N: whether an image has votes at all."""
    some: Bool = votes.sum(1) > 0
    return some


def agreement(votes: Ints) -> Float64:
    """float64 N, 0-1: the proportion of the votes that the commonest choice got; NaN without votes."""
    total = votes.sum(1)
    proportion: Float64 = np.divide(votes.max(1), total, out=np.full(len(votes), np.nan), where=total > 0)
    return proportion


def majority(votes: Ints) -> Int64:
    """int64 N: the choice with the most votes, TIE where two have as many, NO_VOTES where nobody voted."""
    top = votes.max(1)
    choice = np.where((votes == top[:, None]).sum(1) > 1, TIE, votes.argmax(1))
    result: Int64 = np.where(votes.sum(1) > 0, choice, NO_VOTES).astype(np.int64)
    return result


def column_of_each_label(labels: Sequence[str]) -> list[int]:
    """The column of FER+ votes for each label, −1 where nobody could vote for it (a class of the user's own)."""
    return [VOTE_LABELS.index(name) if name in VOTE_LABELS else -1 for name in labels]


def support(votes: Ints, label: Ints, columns: Sequence[int]) -> Float64:
    """float64 N, 0-1: the proportion of the votes for the image's own label; NaN without votes or label.

    columns: from :func:`column_of_each_label`.
    """
    column = np.where(label >= 0, np.array([*columns, -1], np.int64)[label], -1)
    total = votes.sum(1)
    own = votes[np.arange(len(votes)), column.clip(0)]
    proportion: Float64 = np.divide(own, total, out=np.full(len(votes), np.nan), where=(total > 0) & (column >= 0))
    return proportion


def label_against_votes(votes: Ints, label: Ints, classes: int) -> Int64:
    """int64 K×11: labelled images with votes by label (row) and the voters' majority (column; the last: a tie)."""
    table = np.zeros((classes, len(VOTE_NAMES) + 1), np.int64)
    answer = majority(votes)
    use = (label >= 0) & (answer != NO_VOTES)
    np.add.at(table, (label[use], np.where(answer[use] == TIE, len(VOTE_NAMES), answer[use])), 1)
    return table


def tenths(proportion: Float64) -> Int64:
    """int64 11: how many of the proportions (0-1, NaN left out) lie at 0, in (0, 0.1], in (0.1, 0.2] … (0.9, 1]."""
    known = proportion[~np.isnan(proportion)]
    return np.bincount(np.ceil(np.round(known * 10, 6)).astype(np.int64), minlength=11)


# --- pictures ---------------------------------------------------------------------------------------------------------


def picture_kinds(
    std: NDArray[np.floating[Any]], spread: Ints, flat: NDArray[np.floating[Any]], readable: Bool
) -> NDArray[np.int8]:
    """int8 N, codes of KINDS: the first that holds. std, spread, flat, readable: N, see ``Index``.

    blank: one level of luma throughout. near-blank: nine tenths of its pixels within 8 levels. flat: at least half of
    its pixels within 5 levels, as placeholders, lettering, drawings and some cut-out faces have.
    """
    kinds = np.zeros(len(spread), np.int8)
    kinds[readable & (flat >= FLAT_SHARE)] = KINDS.index("flat")
    kinds[readable & (spread <= NEAR_BLANK_SPREAD)] = KINDS.index("near-blank")
    kinds[readable & (std == 0)] = KINDS.index("blank")
    return kinds


def quantiles(values: NDArray[np.floating[Any]], place: Ints, places: int) -> Float64:
    """float64 P×len(QUANTILES): of the values in each place; rows of NaN where there are none."""
    table = np.full((places, len(QUANTILES)), np.nan)
    for i in range(places):
        here = values[place == i]
        if len(here):
            table[i] = np.quantile(here, QUANTILES)
    return table


# --- balance ----------------------------------------------------------------------------------------------------------


def class_counts(place: Ints, label: Ints, places: int, classes: int) -> Int64:
    """int64 P×(K+1): images by place and label; the last column counts those without a label."""
    table = np.zeros((places, classes + 1), np.int64)
    np.add.at(table, (place, np.where(label >= 0, label, classes)), 1)
    return table


def imbalance(counts: Ints) -> float:
    """Largest class over smallest, of the classes that have images. NaN where there are none. counts: int K."""
    some = counts[counts > 0]
    return float(some.max() / some.min()) if len(some) else float("nan")


def shift(counts: Ints, reference: Ints) -> float:
    """Total variation distance, 0-1, of two class distributions: the part that would have to change class.

    NaN where either is empty.
    """
    if counts.shape != reference.shape:
        raise DataError(f"expected counts of the same classes, got {counts.shape} and {reference.shape}")
    if not counts.sum() or not reference.sum():
        return float("nan")
    return float(np.abs(counts / counts.sum() - reference / reference.sum()).sum() / 2)
