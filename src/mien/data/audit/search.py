"""All near-duplicate pairs of a data set, exactly, without comparing every image with every other.

The definition is that of ``data/near_duplicates.py``: correlation of contrast-normalised block averages, mirror images
included. What is new is the cost. Brute force takes N²/2 products of 144 numbers; here most pairs are never looked at,
and none that belongs to the answer is lost:

1. *Distance.* Contrast-normalised averages are unit vectors, so correlation > t means distance < r = √(2 − 2t): 0.141
   for t = 0.99, where two different faces are about 1.3 apart.
2. *Mirror.* x = (even, odd): the parts that a mirror keeps and negates. Both are rotated onto their own principal
   directions, and odd coordinates lose their sign. Then ‖(e, |o|) − (e′, |o′|)‖ is at most the distance of x to x′
   *and* to its mirror image, since ||o| − |o′|| ≤ |o ∓ o′| in each coordinate: one search serves both.
3. *Projection* onto the few directions that spread most shortens distances, never lengthens them.
4. *Buckets* (:func:`_join`): points are halved at the median of the coordinate that spreads most, again and again;
   each half takes along the points of the other that lie within r of the cut. Two points closer than r therefore meet
   in one bucket. Within a bucket a point outside of the reach of the bucket's own bounding box is left out.
5. What is close in the projection is compared in full, in float64.

Rounding is on the safe side: r and the limits of 4 are widened by more than float32 can err. The same join, with
other coordinates, finds what could be the same picture up to a mean absolute difference (:func:`alike_pairs`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.near_duplicates import BLOCKS, _contrast_normalised
from mien.errors import UsageError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
#: (images settled, images in all)
OnProgress = Callable[[int, int], None]

DIRECTIONS = 16  # coordinates that take part in the join
_BUCKET = 128  # points that are compared with each other rather than halved again
_WORTH = 0.98  # halve only where that saves more than a fiftieth of the comparisons
_SAMPLE = 8192  # images from which the principal directions are taken; any directions would give the same pairs
_ROWS, _COLUMNS = 256, 16384  # of one matrix product: 16 MiB
_CHUNK = 8192  # pairs that are verified at a time, 9 MiB a side
_SLACK = 1e-4  # float32 coordinates of unit vectors err by less than 2e-5


class Pairs(NamedTuple):
    """M pairs of images, each once, ``first`` < ``second``.

    correlation: float32 M, of the closer of the two ways. mirrored: bool M, whether that is the mirror image.
    """

    first: Int64
    second: Int64
    correlation: Float32
    mirrored: NDArray[np.bool_]


def near_pairs(
    averages: Float32,
    *,
    threshold: float = 0.99,
    mirrored: bool = True,
    rows: Int64 | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Pairs]:
    """Every pair of images whose correlation is above ``threshold``, in batches of any length, in a fixed order.

    averages: float32 N×144 from ``duplicates.block_averages``. A blank image is in no pair. mirrored: mirror images
    count too. rows: rising numbers of the images that take part (default: all); pairs are numbers of rows of
    ``averages`` all the same. Raises UsageError for a threshold outside of 0-1.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"expected a threshold of 0 up to 1 (of a correlation), got {threshold}")
    kept = np.arange(len(averages)) if rows is None else rows
    kept = np.concatenate([kept[:0], *(part[np.ptp(averages[part], axis=1) != 0] for part in _parts(kept))])
    if len(kept) < 2:
        return
    radius = float(np.sqrt(2 - 2 * threshold)) + _SLACK
    points = _unit_points(averages, kept, mirrored=mirrored)
    for i, j in _join(points, radius=radius, reach=radius, on_progress=on_progress):
        for start in range(0, len(i), _CHUNK):
            first, second = kept[i[start : start + _CHUNK]], kept[j[start : start + _CHUNK]]
            a, b = _contrast_normalised(averages[first]), _contrast_normalised(averages[second])
            straight = np.einsum("nk,nk->n", a, b)
            flipped = np.einsum("nk,nk->n", _flip(a), b) if mirrored else np.full(len(a), -np.inf)
            best = np.maximum(straight, flipped)
            keep = best > threshold
            if keep.any():
                low, high = np.minimum(first, second)[keep], np.maximum(first, second)[keep]
                yield Pairs(low, high, best[keep].astype(np.float32), flipped[keep] > straight[keep])


def alike_pairs(
    averages: Float32, *, tolerance: float, rows: Int64 | None = None, on_progress: OnProgress | None = None
) -> Iterator[tuple[Int64, Int64]]:
    """Every pair (i < j) of images whose block averages differ by at most ``tolerance`` (0-255) in the mean.

    averages, rows: as in :func:`near_pairs`. Two grey pictures of one size whose pixels differ by at most ``tolerance``
    in the mean are among them, because averaging cannot lengthen a difference; the pixels themselves are for the caller
    to compare. Coordinates: means of the blocks with signs ±1, taken from the principal directions, which such a
    difference moves by at most ``tolerance`` each.
    """
    kept = np.arange(len(averages)) if rows is None else rows
    if len(kept) < 2:
        return
    sample = averages[kept[:: max(1, len(kept) // _SAMPLE)]].astype(np.float64)
    directions = _principal(sample - sample.mean(0))[0][:, :DIRECTIONS]
    signs = np.where(directions >= 0, 1.0, -1.0) / (BLOCKS * BLOCKS)
    signs[:, 0] = 1 / (BLOCKS * BLOCKS)  # brightness, which spreads most
    points = np.concatenate([averages[part] @ signs for part in _parts(kept)])
    points -= points.mean(0)
    radius = tolerance + 0.01  # block averages are sums in float32
    reach = radius * float(np.sqrt(DIRECTIONS))
    for i, j in _join(points.astype(np.float32), radius=radius, reach=reach, on_progress=on_progress):
        for start in range(0, len(i), _CHUNK):
            first, second = kept[i[start : start + _CHUNK]], kept[j[start : start + _CHUNK]]
            keep = np.abs(averages[first] - averages[second]).mean(1) <= radius
            if keep.any():
                yield np.minimum(first, second)[keep], np.maximum(first, second)[keep]


def components(parent: Int64, first: Int64, second: Int64) -> Int64:
    """Join the groups of ``first`` and ``second`` in the forest ``parent`` (int64 N, roots point to themselves).

    Returns the forest with every tree flat: each image points to the first of its group. ``np.arange(N)`` is the start.
    """
    parent = parent.copy()
    while True:
        a, b = parent[first], parent[second]
        apart = a != b
        if not apart.any():
            return parent
        np.minimum.at(parent, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(shorter := parent[parent], parent):
            parent = shorter


def numbered(roots: Int64) -> Int64:
    """int64 N group numbers from 0 in order of first appearance, as ``duplicates.groups_within`` gives them."""
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def _join(
    points: Float32, *, radius: float, reach: float, on_progress: OnProgress | None = None
) -> Iterator[tuple[Int64, Int64]]:
    """Pairs of points that may be close: every one within ``radius`` in each coordinate and ``reach`` in all; once.

    points: float32 N×K, about centred on 0. Few pairs beyond the reach, by rounding alone, are given as well.
    """
    squares = np.einsum("nk,nk->n", points, points)
    one = np.ones_like(squares)
    left = np.column_stack([points, -squares / 2, one])  # left · right = −distance² / 2
    right = np.column_stack([points, one, -squares / 2])
    limit = -(reach**2) / 2 - 1e-5 * (float(squares.max()) + reach**2)
    settled = 0
    stack = [(np.arange(len(points)), np.zeros(0, np.int64))]  # own points, and others' that may be close to them
    while stack:
        own, others = stack.pop()
        halves = _halved(points, own, others, radius)
        if halves is not None:
            stack += halves
            continue
        others = others[_near_box(points[others], points[own], reach)]
        yield from _compared(left, right, own, others, limit)
        settled += len(own)
        if on_progress is not None:
            on_progress(settled, len(points))


def _halved(
    points: Float32, own: Int64, others: Int64, radius: float
) -> tuple[tuple[Int64, Int64], tuple[Int64, Int64]] | None:
    """Both halves of a bucket, or None where it is small, or where halving would save nothing."""
    if len(own) <= _BUCKET:
        return None
    axis = int(np.argmax(points[own].std(0)))
    x, y = points[own, axis], points[others, axis]
    cut = np.median(x)
    below = x < cut if (x < cut).any() else x <= cut  # many equal values: the cut may be the smallest
    low, high = own[below], own[~below]
    if not len(low) or not len(high):
        return None
    top, bottom = x[below].max() + radius, x[~below].min() - radius
    # a pair across the cut belongs to the lower half; those who are nobody's own here may be close to either
    beside_low = np.concatenate([others[y <= top], high[x[~below] <= top]])
    beside_high = others[y >= bottom]
    before, after = _cost(own, others), _cost(low, beside_low) + _cost(high, beside_high)
    return ((high, beside_high), (low, beside_low)) if after < _WORTH * before else None


def _cost(own: Int64, others: Int64) -> float:
    return len(own) * (len(own) / 2 + len(others))


def _near_box(candidates: Float32, own: Float32, reach: float) -> NDArray[np.bool_]:
    """Which candidates are within reach of the smallest box that holds all of ``own``."""
    low, high = own.min(0), own.max(0)
    outside = np.maximum(np.maximum(low - candidates, candidates - high), 0)
    near: NDArray[np.bool_] = np.einsum("nk,nk->n", outside, outside) <= reach**2 * (1 + _SLACK)
    return near


def _compared(left: Float32, right: Float32, own: Int64, others: Int64, limit: float) -> Iterator[tuple[Int64, Int64]]:
    """Own points with each other (once) and with the others: those whose product reaches the limit."""
    beside = np.concatenate([own, others])
    for column in range(0, len(beside), _COLUMNS):
        part = np.ascontiguousarray(right[beside[column : column + _COLUMNS]].T)
        for row in range(0, len(own), _ROWS):
            product = left[own[row : row + _ROWS]] @ part
            i, j = np.divmod(np.flatnonzero(product.ravel() >= limit), product.shape[1])
            i += row
            j += column
            once = j > i  # beside starts with own, in the same order
            if once.any():
                yield own[i[once]], beside[j[once]]


def _unit_points(averages: Float32, kept: Int64, *, mirrored: bool) -> Float32:
    """float32 M×DIRECTIONS coordinates of the kept images, as the module's points 1 to 3 say."""
    even, odd = _even_odd(_contrast_normalised(averages[kept[:: max(1, len(kept) // _SAMPLE)]]))
    centre = even.mean(0)  # odd parts are about 0 in the mean, and must stay so: a mirror negates them
    even_axes, even_spread = _principal(even - centre)
    odd_axes, odd_spread = _principal(odd)
    if mirrored:
        odd_spread = np.abs(odd @ odd_axes).std(0)
    chosen = np.sort(np.argsort(-np.concatenate([even_spread, odd_spread]), kind="stable")[:DIRECTIONS])
    even_axes, odd_axes = even_axes[:, chosen[chosen < 72]], odd_axes[:, chosen[chosen >= 72] - 72]
    parts = []
    for part in _parts(kept):
        even, odd = _even_odd(_contrast_normalised(averages[part]))
        sideways = odd @ odd_axes
        parts.append(np.concatenate([(even - centre) @ even_axes, np.abs(sideways) if mirrored else sideways], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _even_odd(units: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """N×144 → what a left-right mirror keeps and what it negates, N×72 each: a rotation of the 144 coordinates."""
    blocks = units.reshape(-1, BLOCKS, BLOCKS)
    near, far = blocks[:, :, : BLOCKS // 2], blocks[:, :, : BLOCKS // 2 - 1 : -1]
    even, odd = (near + far) / np.sqrt(2), (near - far) / np.sqrt(2)
    return even.reshape(len(units), -1), odd.reshape(len(units), -1)


def _flip(units: NDArray[np.float64]) -> NDArray[np.float64]:
    flipped: NDArray[np.float64] = units.reshape(-1, BLOCKS, BLOCKS)[:, :, ::-1].reshape(len(units), -1)
    return flipped


def _principal(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal columns in the order of falling spread, and the spread along each."""
    variance, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    return axes[:, ::-1], np.sqrt(np.maximum(variance[::-1], 0))


def _parts(rows: Int64) -> Iterator[Int64]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
