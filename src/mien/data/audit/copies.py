"""From near-duplicate pairs to groups: which image has a copy in which split, with which label.

Four degrees of being the same picture, each with its own column in every table:

    identical    the same pixels
    within       identical, or not more than ``tolerance`` (of 255) apart in the mean; grey or RGB, same size
    near         near-duplicates (``mien.data.near_duplicates``): correlation > 0.99, mirror images included
    strict       the same at 0.995

Copies are first folded into one *distinct* picture each, so that a thousand of them cost as much as one; what is
known of a distinct picture's neighbours is one 64-bit word a split and source (which labels are there), filled while
the pairs stream by. Pairs themselves are handed on, not kept, save for the first few. Images that were generated from
others of the store, and those that cannot be read, take no part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Int64
from mien.data.audit.index import Index, Picture, Progress
from mien.data.near_duplicates import Pairs, alike_pairs, blank, first_equal, join_groups, near_pairs
from mien.errors import DataError
from mien.imaging import plain

Words = NDArray[np.uint64]
Fetch = Callable[[Int64], Iterator[Picture]]

LISTED = 200_000  # pairs that stay in memory to be shown
_LOW = np.uint64(0xFFFFFFFF)
_THERE = np.uint64(1) << np.uint64(63)  # an image is there, whatever its label; bit k: one of label k
_BATCH = 65536  # pairs that are taken in at a time
_PIXELS = 256 << 20  # bytes of pictures that are compared at a time


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """What was found, for N images and C cells (a cell is a source in a split, see ``cells``).

    first_identical: int64 N, the first image with the same pixels (itself where it is that one). group: int64 N, equal
    for images that are near-duplicates or identical, directly or through others, numbered as ``near_groups`` does.
    has: degree → bool N×C, whether the image has another such image in the cell. other: ``near`` and ``strict`` →
    bool N×C, whether one of those carries another label. keys: uint64 N×C, the closest near-duplicate in each cell, for
    ``closest``. pairs: near-duplicates among distinct pictures, the first LISTED of ``pair_count``, of which
    ``mirrored_count`` are closer to the other's mirror image.
    """

    cells: tuple[tuple[int, int], ...]
    cell: NDArray[np.int64]
    first_identical: Int64
    group: Int64
    has: dict[str, Bool]
    other: dict[str, Bool]
    keys: Words
    pairs: Pairs
    pair_count: int
    mirrored_count: int

    def closest(self, split: int) -> tuple[Int64, NDArray[np.float64]]:
        """int64 N, float64 N: each image's closest near-duplicate in that split (−1 for none) and their correlation.

        Of those that are equally close, to a millionth, the first in the store counts.
        """
        keys = self.keys[:, [cell[0] == split for cell in self.cells]].max(1, initial=0)
        image = len(keys) - 1 - (keys & _LOW).astype(np.int64)
        return np.where(keys > 0, image, -1), ((keys >> np.uint64(32)).astype(np.float64) - 1).clip(0) / 1e6


def find_copies(
    index: Index,
    fetch: Fetch,
    *,
    threshold: float,
    strict: float,
    tolerance: float,
    on_pairs: Callable[[Pairs], None],
    progress: Progress,
) -> Copies:
    """Search the whole index. fetch: gives pictures by number, for the comparison of pixels. on_pairs: gets every
    batch of near-duplicate pairs of distinct pictures. Raises UsageError for a wrong threshold.
    """
    if len(index.labels) > 60:
        raise DataError(f"expected at most 60 labels, got {len(index.labels)}")
    distinct = _Distinct(index)
    n = len(distinct.first)
    table = _Table(distinct, strict=strict)
    for pairs in near_pairs(
        index.averages,
        threshold=threshold,
        rows=distinct.first,
        on_progress=lambda done, _: progress(done, n, "looking for near-duplicates"),
    ):
        on_pairs(pairs)
        table.add(pairs)
    within = distinct.own * np.uint64(0)
    done = 0
    for rows in _same_shape(index, distinct.first):
        for first, second in _within(index, fetch, rows, tolerance=tolerance):
            _exchange(within, distinct.own, distinct.of[first], distinct.of[second])
        done += len(rows)
        progress(done, n, f"looking for copies within {tolerance:g} of 255")
    return table.finish(index, within)


class _Distinct:
    """The distinct pictures of an index, D of them, in the order in which they first appear.

    of: int64 N, each image's distinct picture, −1 for those that take no part. first: int64 D. own: uint64 D×C, the
    labels of its images in each cell. count: int64 D×C, how many these are. early: int64 D×C×2, the first two of them
    (N where there is none).
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        part = np.flatnonzero(index.readable & ~index.generated)
        _, first, inverse = np.unique(index.digest[part], return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self.of = np.full(len(index), -1, np.int64)
        self.of[part] = rank[inverse]
        self.first = part[first[order]]
        places = index.split.astype(np.int64) * len(index.sources) + index.source
        there, self.cell = np.unique(places, return_inverse=True)
        self.cells = tuple((int(p) // len(index.sources), int(p) % len(index.sources)) for p in there)
        self.part = part
        shape = (len(self.first), len(self.cells))
        self.own = np.zeros(shape, np.uint64)
        self.count = np.zeros(shape, np.int64)
        self.early = np.full((*shape, 2), len(index), np.int64)
        at = self.of[part], self.cell[part]
        self.bit = np.where(index.label >= 0, np.uint64(1) << index.label.clip(0).astype(np.uint64), np.uint64(0))
        np.bitwise_or.at(self.own, at, self.bit[part] | _THERE)
        np.add.at(self.count, at, 1)
        np.minimum.at(self.early[..., 0], at, part)
        later = part[self.early[..., 0][at] != part]
        np.minimum.at(self.early[..., 1], (self.of[later], self.cell[later]), later)


@dataclass(slots=True, eq=False)
class _Table:
    """What is known of each distinct picture's neighbours, filled while pairs come in."""

    distinct: _Distinct
    strict: float
    words: dict[str, Words] = field(init=False)
    closest: Words = field(init=False)
    group: Int64 = field(init=False)
    listed: list[Pairs] = field(default_factory=list)
    count: int = 0
    mirrored: int = 0

    def __post_init__(self) -> None:
        self.words = {name: np.zeros_like(self.distinct.own) for name in ("near", "strict")}
        self.closest = np.zeros_like(self.distinct.own)  # correlation in millionths, then how early the image is
        self.group = np.arange(len(self.distinct.first))

    def add(self, pairs: Pairs) -> None:
        if self.count < LISTED:
            self.listed.append(pairs)
        self.count += len(pairs.first)
        self.mirrored += int(pairs.mirrored.sum())
        distinct = self.distinct
        a, b = distinct.of[pairs.first], distinct.of[pairs.second]
        close = pairs.correlation > self.strict
        _exchange(self.words["near"], distinct.own, a, b)
        _exchange(self.words["strict"], distinct.own, a[close], b[close])
        for here, there in ((a, b), (b, a)):
            images = distinct.early[there, :, 0]
            np.maximum.at(self.closest, here, _key(pairs.correlation[:, None], images, len(distinct.of)))
        self.group = join_groups(self.group, a, b)

    def finish(self, index: Index, within: Words) -> Copies:
        distinct, rows = self.distinct, self.distinct.part
        shape = (len(index), len(distinct.cells))
        of, cell = distinct.of[rows], distinct.cell[rows]
        others = distinct.count[of] - (np.arange(shape[1]) == cell[:, None])  # of the same pixels, without itself
        identical = others > 0
        alive = (
            identical & ~blank(index.averages[distinct.first])[of][:, None]
        )  # a blank image is nobody's near-duplicate, not even another blank one's

        def whole(values: NDArray[Any]) -> NDArray[Any]:
            result = np.zeros(shape, values.dtype)
            result[rows] = values
            return result

        has = {"identical": whole(identical), "within": whole(identical | _present(within[of]))}
        other = {}
        known = distinct.bit[rows][:, None]
        for name, words in self.words.items():
            has[name] = whole(alive | _present(words[of]))
            labels = (words[of] | np.where(alive, distinct.own[of], 0)) & ~_THERE
            other[name] = whole((labels & ~known != 0) & (known != 0))
        first_identical = np.arange(len(index))
        first_identical[rows] = distinct.first[of]
        root = np.arange(len(index))
        root[rows] = distinct.first[first_equal(self.group)[of]]
        return Copies(
            cells=distinct.cells,
            cell=distinct.cell,
            first_identical=first_identical,
            group=np.unique(root, return_inverse=True)[1],
            has=has,
            other=other,
            keys=whole(self._closest(rows, alive)),
            pairs=_shortened(self.listed),
            pair_count=self.count,
            mirrored_count=self.mirrored,
        )

    def _closest(self, rows: Int64, alive: Bool) -> Words:
        """uint64 len(rows)×C: the key of the closest near-duplicate in each cell. An identical image is at 1."""
        distinct, n = self.distinct, len(self.distinct.of)
        early = distinct.early[distinct.of[rows]]
        nearest = np.where(early[..., 0] == rows[:, None], early[..., 1], early[..., 0])
        keys = np.where(alive, _key(np.ones((1, 1), np.float32), nearest, n), 0)
        return np.maximum(keys, self.closest[distinct.of[rows]])


def _key(correlation: NDArray[np.float32], images: Int64, n: int) -> Words:
    """A word that is larger for the closer image and, where they are equally close, for the earlier; 0 for none.

    images: numbers below n, or n for none. Differences in correlation below a millionth are rounding.
    """
    millionths = np.round(np.asarray(correlation, np.float64) * 1e6).astype(np.uint64) + np.uint64(1)
    early = (n - 1 - np.minimum(images, n - 1)).astype(np.uint64)
    return np.where(images < n, (millionths << np.uint64(32)) | early, np.uint64(0))


def _exchange(words: Words, own: Words, a: Int64, b: Int64) -> None:
    """Each of a pair learns which labels the other has, cell by cell."""
    np.bitwise_or.at(words, a, own[b])
    np.bitwise_or.at(words, b, own[a])


def _present(words: Words) -> Bool:
    there: Bool = (words & _THERE) != 0
    return there


def _shortened(batches: list[Pairs]) -> Pairs:
    none = np.zeros(0, np.int64)
    batches = [Pairs(none, none, none.astype(np.float32), none.astype(bool)), *batches]
    return Pairs(*(np.concatenate(column)[:LISTED] for column in zip(*batches, strict=True)))


def _same_shape(index: Index, rows: Int64) -> Iterator[Int64]:
    """The rows by size and by grey or RGB: pictures of other shapes have no difference by pixel."""
    shape = (index.width[rows].astype(np.int64) << 32) + (index.height[rows].astype(np.int64) << 1) + index.grey[rows]
    order = np.argsort(shape, kind="stable")
    yield from np.split(rows[order], np.flatnonzero(np.diff(shape[order])) + 1)


def _within(index: Index, fetch: Fetch, rows: Int64, *, tolerance: float) -> Iterator[tuple[Int64, Int64]]:
    """The pairs among rows, all of one shape, whose pixels differ by at most ``tolerance`` in the mean."""
    if not len(rows):
        return
    width, height, grey = index.width[rows[0]], index.height[rows[0]], index.grey[rows[0]]
    if min(width, height) < 12:  # no block averages
        return
    # luma moves by at most 0.587 of a channel's difference, which is a third of the mean over three; and it is rounded
    bound = tolerance if grey else 3 * 0.587 * tolerance + 1
    fits = max(2, _PIXELS // int(width * height * (1 if grey else 3)))
    waiting: list[tuple[Int64, Int64]] = []
    for pair in alike_pairs(index.averages, tolerance=bound, rows=np.sort(rows)):
        waiting.append(pair)
        if 2 * sum(len(first) for first, _ in waiting) >= min(fits, 2 * _BATCH):
            yield from _compared(fetch, waiting, tolerance)
            waiting = []
    yield from _compared(fetch, waiting, tolerance)


def _compared(fetch: Fetch, waiting: list[tuple[Int64, Int64]], tolerance: float) -> Iterator[tuple[Int64, Int64]]:
    if not waiting:
        return
    first, second = (np.concatenate(column) for column in zip(*waiting, strict=True))
    pixels = {p.number: plain(p.pixels) for p in fetch(np.union1d(first, second)) if p.pixels is not None}
    difference = [
        float(np.abs(pixels[int(i)].astype(np.int16) - pixels[int(j)]).mean())
        for i, j in zip(first, second, strict=True)
    ]
    keep = np.array(difference) <= tolerance
    yield first[keep], second[keep]
