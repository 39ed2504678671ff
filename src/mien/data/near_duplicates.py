"""Which images are copies of which: the data leak of FER2013, measured.

FER2013's test sets repeat Training images (SPEC §5), so each result is reported on all images and on
those without a near-duplicate in Training. The definition, everywhere in mien:

- An image is reduced to 12×12 block averages (48×48: the means of 4×4 blocks; RGB: of its ITU-R 601 luma), from
  which their mean is taken and which are divided by their Euclidean norm. Two images are *near-duplicates* where the
  product of these 144-vectors, their correlation, is above 0.99; so are an image and another's mirror image.
- A blank image (all block averages equal) has no correlation: it is nobody's near-duplicate. FER2013 has
  eleven in Training and one in PublicTest, which is therefore among the 280 byte-identical images but not
  among the 332 near-duplicates; with any other choice the figures of SPEC §5 do not come out.
- Products are taken in float32; those within 1e-4 of the threshold are decided in float64.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

BLOCKS = 12
#: Reference rows per matrix product: 2048 × 2048 float32 is 16 MiB.
_CHUNK = 2048
_CLOSE_CALL = 1e-4


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


def near_duplicates(
    query: Uint8, reference: Uint8, *, threshold: float = 0.99, mirrored: bool = True
) -> NDArray[np.bool_]:
    """bool N: which images of ``query`` have a near-duplicate in ``reference``.

    query: uint8 N×S×S (or N×S×S×3); reference: uint8 M×R×R; the sizes may differ. mirrored: mirror images count too.
    """
    return near_duplicates_of_averages(
        block_averages(query), block_averages(reference), threshold=threshold, mirrored=mirrored
    )


def near_duplicates_of_averages(
    query: Float32, reference: Float32, *, threshold: float = 0.99, mirrored: bool = True
) -> NDArray[np.bool_]:
    """As :func:`near_duplicates`, from block averages (N×144, M×144): 576 bytes an image instead of its pixels."""
    found = np.zeros(len(query), bool)
    for i, _ in _close_pairs(query, reference, threshold=threshold, mirrored=mirrored):
        found[i] = True
    return found


def exact_duplicates(query: Uint8, reference: Uint8, *, tolerance: float = 0) -> NDArray[np.bool_]:
    """bool N: which images of ``query`` are in ``reference``, pixel by pixel, not mirrored.

    tolerance: the largest mean absolute difference (0-255) that still counts as the same. Above 0, near-duplicates by
    correlation > 0.9 are the candidates whose pixels are compared, and blank images are compared with blank ones.
    """
    known = {image.tobytes() for image in reference}
    found = np.fromiter((image.tobytes() in known for image in query), bool, len(query))
    if tolerance <= 0 or not len(query) or not len(reference):
        return found
    a, b = block_averages(query), block_averages(reference)
    blank = np.ptp(a, axis=1) == 0, np.ptp(b, axis=1) == 0
    both_blank = np.repeat(np.flatnonzero(blank[0]), blank[1].sum()), np.tile(np.flatnonzero(blank[1]), blank[0].sum())
    for rows, columns in (both_blank, *_close_pairs(a, b, threshold=0.9, mirrored=False)):
        for i, j in zip(rows, columns, strict=True):
            if not found[i]:
                found[i] = np.abs(query[i].astype(np.int16) - reference[j]).mean() <= tolerance
    return found


def groups_within(images: Uint8, *, threshold: float = 0.99) -> NDArray[np.int64]:
    """int64 N: images that are near-duplicates or byte-identical, directly or through others, share a number.

    Numbers run from 0 in order of first appearance. For folds that duplicates must not cross.
    """
    parent = np.arange(len(images))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    def join(i: int, j: int) -> None:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)

    first: dict[bytes, int] = {}
    for i, image in enumerate(images):  # also joins equal blank images, which have no correlation
        join(i, first.setdefault(image.tobytes(), i))
    if len(images):
        averages = block_averages(images)
        for rows, columns in _close_pairs(averages, averages, threshold=threshold, mirrored=True):
            for i, j in zip(rows, columns, strict=True):
                join(int(i), int(j))
    roots = np.array([root(i) for i in range(len(images))], np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def luma(images: Uint8) -> Uint8:
    """uint8 N×S×S×3 RGB → uint8 N×S×S, rounded as Pillow's ``convert("L")`` rounds it."""
    weighted = images.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((weighted + 0x8000) >> 16).astype(np.uint8)


def _close_pairs(
    query: Float32, reference: Float32, *, threshold: float, mirrored: bool
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(i, j) index arrays of the pairs whose correlation is above the threshold, one chunk after another."""
    flipped = query.reshape(-1, BLOCKS, BLOCKS)[:, :, ::-1].reshape(-1, BLOCKS * BLOCKS)
    for view in (query, flipped) if mirrored else (query,):
        view64 = _contrast_normalised(view)
        view32 = view64.astype(np.float32)
        for column in range(0, len(reference), _CHUNK):
            part64 = _contrast_normalised(reference[column : column + _CHUNK])
            part32 = part64.astype(np.float32)
            for row in range(0, len(view), _CHUNK):
                product = view32[row : row + _CHUNK] @ part32.T
                i, j = np.nonzero(product > threshold - _CLOSE_CALL)
                i += row
                doubtful = np.flatnonzero(np.abs(product[i - row, j] - threshold) <= _CLOSE_CALL)
                keep = np.ones(len(i), bool)
                keep[doubtful] = np.einsum("nk,nk->n", view64[i[doubtful]], part64[j[doubtful]]) > threshold
                yield i[keep], j[keep] + column


def _contrast_normalised(averages: Float32) -> NDArray[np.float64]:
    """N×144 → float64 N×144 of mean 0 and norm 1; zeros where an image is blank."""
    centred = averages.astype(np.float64)
    blank = np.ptp(centred, axis=1) == 0 if len(centred) else np.zeros(0, bool)
    centred -= centred.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    norm[blank] = np.inf
    return centred / norm


def _averaging_matrix(size: int) -> Float32:
    """12×size matrix that averages over 12 equal stretches, border pixels by the share that lies inside."""
    edges = np.linspace(0, size, BLOCKS + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(overlap, 0, None) * BLOCKS / size).astype(np.float32)
