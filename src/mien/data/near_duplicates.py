"""Near-duplicate search: pairs, the groups they form, and which images have a copy in a given set.

FER2013's test sets repeat Training images, so each result is reported on all images and on those without a
near-duplicate in Training. The definition, everywhere in mien:

- An image is reduced to 12×12 block averages (48×48: the means of 4×4 blocks; RGB: of its ITU-R 601 luma), from
  which their mean is taken and which are divided by their Euclidean norm. Two images are *near-duplicates* where the
  product of these 144-vectors, their correlation, is above 0.99; so are an image and another's mirror image.
- A blank image (all block averages equal) has no correlation: it is nobody's near-duplicate. FER2013 has eleven in
  Training and one in PublicTest, which is therefore among the 280 byte-identical images but not among the 332
  near-duplicates; with any other choice the published figures do not come out.

The search is exact: it gives every pair that comparing each image with each other would give.

1. *Distance.* These vectors have norm 1, so correlation > t means distance < √(2 − 2t): 0.141 for t = 0.99, where two
   different faces are about 1.3 apart.
2. *Mirror.* x = (even, odd): the parts that a mirror keeps and negates. Both are rotated onto their own principal
   directions, and odd coordinates lose their sign. Then ‖(e, |o|) − (e′, |o′|)‖ is at most the distance of x to x′
   *and* to its mirror image, since ||o| − |o′|| ≤ |o ∓ o′| in each coordinate: one search serves both.
3. *Projection* onto the few directions that spread most shortens distances, never lengthens them.
4. *Blocks.* Points are halved at the median of their widest coordinate until a block is small enough for one matrix
   product of its points with those that are close to its bounding box. A k-d tree (SciPy's) visits more: in so many
   dimensions it took three times as long on 36,000 images and eight times on 360,000.
5. The pairs that are close in the projection are compared in full, in float64.

Memory is bounded: no more than ``_PAIRS`` pairs are compared at a time.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Float32, Float64, Int64, Uint8
from mien.errors import UsageError

#: (images searched, images in all)
OnProgress = Callable[[int, int], None]

BLOCKS = 12
DIRECTIONS = 12  # coordinates of the search: with fewer, more pairs are compared in full
_SAMPLE = 8192  # images from which the principal directions are taken; any directions would give the same pairs
_ROWS = 8192  # pairs that are verified at a time (9 MiB a side)
_BLOCK = 512  # points that are compared in one product rather than halved again
_PAIRS = 1 << 18  # pairs that are compared in one product; pairs that are handed out at a time
_SLACK = 1e-5  # added to each radius: more than float32 can err


class Pairs(NamedTuple):
    """M pairs of images, each once, ``first`` < ``second``.

    correlation: float32 M, of the closer of the two ways. mirrored: bool M, whether that is the mirror image.
    """

    first: Int64
    second: Int64
    correlation: Float32
    mirrored: Bool


def luma(images: Uint8) -> Uint8:
    """uint8 N×S×S×3 RGB → uint8 N×S×S, rounded as Pillow's ``convert("L")`` rounds it."""
    weighted = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighted + 0x8000) >> 16).astype(np.uint8)


def block_averages(images: Uint8) -> Float32:
    """uint8 N×S×S or N×S×S×3, S ≥ 12 → float32 N×144 block averages (0-255). Exact where 12 divides S."""
    if images.ndim == 4:
        images = luma(images)
    n, height, width = images.shape
    if min(height, width) < BLOCKS:
        raise ValueError(f"expected images of at least {BLOCKS}×{BLOCKS} pixels, got {height}×{width}")
    if height % BLOCKS == 0 and width % BLOCKS == 0:
        blocks = images.reshape(n, BLOCKS, height // BLOCKS, BLOCKS, width // BLOCKS).mean((2, 4), dtype=np.float32)
    else:
        rows, columns = _averaging_matrix(height), _averaging_matrix(width)
        blocks = rows @ images.astype(np.float32) @ columns.T
    averages: Float32 = blocks.reshape(n, BLOCKS * BLOCKS)
    return averages


def _averaging_matrix(size: int) -> Float32:
    """12×size matrix that averages over 12 equal stretches, border pixels by the part that lies inside."""
    edges = np.linspace(0, size, BLOCKS + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0, None) * BLOCKS / size).astype(np.float32)


# --- pairs ------------------------------------------------------------------------------------------------------------


def near_pairs(
    averages: Float32,
    *,
    threshold: float = 0.99,
    mirrored: bool = True,
    rows: Int64 | None = None,
    on_progress: OnProgress | None = None,
) -> Iterator[Pairs]:
    """Every pair of images whose correlation is above ``threshold``, in batches, in a fixed order.

    averages: float32 N×144 from :func:`block_averages`. A blank image is in no pair. mirrored: mirror images count
    too. rows: rising numbers of the images that take part (default: all); pairs are numbers of rows of ``averages``
    all the same. Raises UsageError for a threshold outside of 0-1.
    """
    if not 0 <= threshold < 1:
        raise UsageError(f"expected a threshold of 0 up to 1 (of a correlation), got {threshold}")
    kept = np.arange(len(averages)) if rows is None else rows
    kept = kept[~blank(averages)[kept]]
    if len(kept) < 2:
        return
    points = _unit_points(averages, kept, mirrored=mirrored)
    radius = float(np.sqrt(2 - 2 * threshold)) + _SLACK
    # Batches are joined until they are worth it: who takes them does work on all images for each.
    held, count = list[Pairs](), 0
    for first, second in _close(points, radius, on_progress=on_progress):
        first, second = kept[first], kept[second]
        straight, flipped = _correlations(averages, first, second, mirrored=mirrored)
        best = np.maximum(straight, flipped)
        keep = best > threshold
        found = int(keep.sum())
        if count and count + found > _PAIRS:
            yield _joined(held)
            held, count = [], 0
        held.append(Pairs(first[keep], second[keep], best[keep].astype(np.float32), (flipped > straight)[keep]))
        count += found
    if count:
        yield _joined(held)


def _joined(batches: list[Pairs]) -> Pairs:
    return Pairs(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))


def alike_pairs(averages: Float32, *, tolerance: float, rows: Int64 | None = None) -> Iterator[tuple[Int64, Int64]]:
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
    radius = tolerance + 0.01  # block averages are sums in float32
    for first, second in _close(points, radius, p=np.inf):
        first, second = kept[first], kept[second]
        keep = np.concatenate(
            [
                np.abs(averages[a] - averages[b]).mean(1) <= radius
                for a, b in zip(_parts(first), _parts(second), strict=True)
            ]
        )
        if keep.any():
            yield first[keep], second[keep]


def blank(averages: Float32) -> Bool:
    """bool N: images of one level, which have no correlation."""
    result: Bool = averages.max(1, initial=-1) == averages.min(1, initial=256)
    return result


# --- what pairs amount to ---------------------------------------------------------------------------------------------


def near_duplicates(averages: Float32, reference: Bool, *, threshold: float = 0.99, mirrored: bool = True) -> Bool:
    """bool N: which images have a near-duplicate among those that ``reference`` (bool N) marks; those too have one.

    averages: float32 N×144; averages of pictures of different sizes may stand beside each other.
    """
    first = first_equal(_digests(averages))  # a thousand copies cost as much as one
    there = np.zeros(len(averages), bool)
    there[first[reference]] = True
    found = there & ~blank(averages)
    for pairs in near_pairs(averages, threshold=threshold, mirrored=mirrored, rows=np.unique(first)):
        found[pairs.first[there[pairs.second]]] = True
        found[pairs.second[there[pairs.first]]] = True
    return found[first]


def near_groups(averages: Float32, identical: NDArray[Any], *, threshold: float = 0.99) -> Int64:
    """int64 N: images that are near-duplicates or identical, directly or through others, share a number.

    averages: float32 N×144. identical: N digests or numbers, equal for images of the same pixels; blank ones that are
    the same share a number too. Numbers run from 0 in order of first appearance.
    """
    every = np.arange(len(averages))
    first = np.where(blank(averages), every, first_equal(_digests(averages)))
    group = join_groups(join_groups(every, every, first), every, first_equal(identical))
    for pairs in near_pairs(averages, threshold=threshold, rows=np.unique(first)):
        group = join_groups(group, pairs.first, pairs.second)
    return group


def groups_within(images: Uint8, *, threshold: float = 0.99) -> Int64:
    """:func:`near_groups` of pictures, uint8 N×S×S or N×S×S×3. For folds that duplicates must not cross."""
    if not len(images):
        return np.zeros(0, np.int64)
    return near_groups(block_averages(images), _digests(images), threshold=threshold)


def join_groups(group: Int64, first: Int64, second: Int64) -> Int64:
    """int64 N group numbers after the groups of the images ``first`` and ``second`` (M pairs) became one.

    group: int64 N numbers from 0 in order of first appearance (``np.arange(N)``: each image for itself); so is what
    is returned.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), bool), (group[first], group[second])), shape=(len(group), len(group)))
    joined = connected_components(links, directed=False)[1][group]
    return np.unique(first_equal(joined), return_inverse=True)[1].astype(np.int64)


def first_equal(values: NDArray[Any]) -> Int64:
    """int64 N: for each value the first row that has the same."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def tied_rows(n: int, relations: Sequence[Int64]) -> Int64:
    """int64 n: rows that share a number ≥ 0 in any relation, directly or through others, get one number.

    Numbers run from 0 in the order of the first row.
    """
    group = np.arange(n)
    for relation in relations:
        rows = np.flatnonzero(relation >= 0)
        group = join_groups(group, rows, rows[first_equal(relation[rows])])
    return group


def first_rows(number: Int64, rows: Int64) -> dict[int, int]:
    """Of these (rising) rows the first of each number."""
    return dict(zip(number[rows[::-1]].tolist(), rows[::-1].tolist(), strict=True))


def _digests(rows: NDArray[Any]) -> NDArray[Any]:
    """V16 N: a hash of each row's bytes, because 16 bytes sort faster than a picture."""
    rows = np.ascontiguousarray(rows)
    return np.array([hashlib.blake2b(row, digest_size=16).digest() for row in rows], "V16")


# --- the search -------------------------------------------------------------------------------------------------------


def _close(
    points: Float64, radius: float, *, p: float = 2.0, on_progress: OnProgress | None = None
) -> Iterator[tuple[Int64, Int64]]:
    """The pairs (i < j) of points N×K within ``radius`` of each other in the norm ``p``, each once, in batches."""
    centred = (points - points.mean(0)).astype(np.float32)
    squares = np.einsum("nk,nk->n", centred, centred)
    ones = np.ones_like(squares)
    left = np.column_stack([centred, -squares / 2, ones])  # left · right = −distance² / 2
    right = np.column_stack([centred, ones, -squares / 2])
    reach = radius if p == 2 else radius * np.sqrt(points.shape[1])
    limit = -(reach**2) / 2 - 1e-5 * (float(squares.max()) + reach**2)
    done = 0
    for own, beside in _blocks(centred, radius + _SLACK, p=p):
        columns = max(1, _PAIRS // len(own))
        for start in range(0, len(beside), columns):
            part = beside[start : start + columns]
            hits = np.flatnonzero(left[own] @ right[part].T >= limit)
            i, j = own[hits // len(part)], part[hits % len(part)]
            once = hits // len(part) < hits % len(part) + start  # beside starts with own, in the same order
            once[once] = np.linalg.norm(points[i[once]] - points[j[once]], p, axis=1) <= radius
            if once.any():
                yield np.minimum(i[once], j[once]), np.maximum(i[once], j[once])
        done += len(own)
        if on_progress is not None:
            on_progress(done, len(points))


def _blocks(points: Float32, radius: float, *, p: float) -> Iterator[tuple[Int64, Int64]]:
    """Blocks of points, and beside each its own points and then those of other blocks within ``radius`` of its box.

    Each point is in one block. Two points that are close meet in the block of one of them, not in both.
    """
    stack = [(np.arange(len(points)), np.zeros(0, np.int64))]
    while stack:
        own, others = stack.pop()
        if len(own) <= _BLOCK:
            box, near = points[own], points[others]
            outside = np.maximum(np.maximum(box.min(0) - near, near - box.max(0)), 0)
            yield own, np.concatenate([own, others[np.linalg.norm(outside, p, axis=1) <= radius]])
            continue
        axis = int(np.argmax(points[own].std(0)))
        x, half = points[own, axis], len(own) // 2
        order = np.argpartition(x, half)
        low, high, cut = own[order[:half]], own[order[half:]], x[order[half]]
        beside = np.concatenate([others, high])  # a pair across the cut belongs to the lower half
        stack.append((high, others[points[others, axis] >= cut - radius]))
        stack.append((low, beside[points[beside, axis] <= cut + radius]))


def _correlations(averages: Float32, first: Int64, second: Int64, *, mirrored: bool) -> tuple[Float64, Float64]:
    """float64 M of each pair as it is, and with one of them mirrored (−∞ where that does not count)."""
    straight, flipped = np.empty(len(first)), np.full(len(first), -np.inf)
    for part in _parts(np.arange(len(first))):
        a, b = _contrast_normalised(averages[first[part]]), _contrast_normalised(averages[second[part]])
        straight[part] = np.einsum("nk,nk->n", a, b)
        if mirrored:
            flipped[part] = np.einsum("nk,nk->n", _flip(a), b)
    return straight, flipped


def _contrast_normalised(averages: Float32) -> Float64:
    """N×144, none of them blank → float64 N×144 of mean 0 and norm 1."""
    centred = averages.astype(np.float64)
    centred -= centred.mean(1, keepdims=True)
    unit: Float64 = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit


def _unit_points(averages: Float32, kept: Int64, *, mirrored: bool) -> Float64:
    """float64 M×DIRECTIONS coordinates of the kept images, as the module's points 1 to 3 say."""
    even, odd = _even_odd(_contrast_normalised(averages[kept[:: max(1, len(kept) // _SAMPLE)]]))
    centre = even.mean(0)  # odd parts are about 0 in the mean, and must stay so: a mirror negates them
    even_axes, even_spread = _principal(even - centre)
    odd_axes, odd_spread = _principal(odd)
    if mirrored:
        odd_spread = np.abs(odd @ odd_axes).std(0)
    chosen = np.sort(np.argsort(-np.concatenate([even_spread, odd_spread]), kind="stable")[:DIRECTIONS])
    even_axes, odd_axes = even_axes[:, chosen[chosen < 72]], odd_axes[:, chosen[chosen >= 72] - 72]
    points = np.empty((len(kept), len(chosen)))
    for part in _parts(np.arange(len(kept))):
        even, odd = _even_odd(_contrast_normalised(averages[kept[part]]))
        sideways = odd @ odd_axes
        points[part] = np.concatenate([(even - centre) @ even_axes, np.abs(sideways) if mirrored else sideways], axis=1)
    return points


def _even_odd(units: Float64) -> tuple[Float64, Float64]:
    """N×144 → what a left-right mirror keeps and what it negates, N×72 each: a rotation of the 144 coordinates."""
    blocks = units.reshape(-1, BLOCKS, BLOCKS)
    near, far = blocks[:, :, : BLOCKS // 2], blocks[:, :, : BLOCKS // 2 - 1 : -1]
    even, odd = (near + far) / np.sqrt(2), (near - far) / np.sqrt(2)
    return even.reshape(len(units), -1), odd.reshape(len(units), -1)


def _flip(units: Float64) -> Float64:
    flipped: Float64 = units.reshape(-1, BLOCKS, BLOCKS)[:, :, ::-1].reshape(len(units), -1)
    return flipped


def _principal(rows: Float64) -> tuple[Float64, Float64]:
    """Orthonormal columns in the order of falling spread, and the spread along each."""
    variance, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    return axes[:, ::-1], np.sqrt(np.maximum(variance[::-1], 0))


def _parts(rows: Int64) -> Iterator[Int64]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]
