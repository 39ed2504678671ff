"""Copies by comparing each image with each other: the reference for the searches for copies."""

import numpy as np

from mien.data.near_duplicates import block_averages


def correlations(query: np.ndarray, reference: np.ndarray, *, mirrored: bool = True) -> np.ndarray:
    """float64 N×M from block averages N×144 and M×144; −1 where an image is blank."""

    def unit(averages: np.ndarray) -> np.ndarray:
        centred = averages.astype(np.float64) - averages.mean(1, dtype=np.float64, keepdims=True)
        return np.divide(
            centred, norm := np.linalg.norm(centred, axis=1, keepdims=True), where=norm > 1e-3, out=centred
        )

    flipped = query.reshape(-1, 12, 12)[:, :, ::-1].reshape(-1, 144)
    found = unit(query) @ unit(reference).T
    found = np.maximum(found, unit(flipped) @ unit(reference).T) if mirrored else found
    blank = (np.ptp(query, axis=1) == 0)[:, None] | (np.ptp(reference, axis=1) == 0)
    return np.where(blank, -1, found)


def pairs(averages: np.ndarray, *, threshold: float = 0.99, mirrored: bool = True) -> set[tuple[int, int]]:
    """The pairs i < j above the threshold, 2048 rows at a time."""
    found = set()
    for start in range(0, len(averages), 2048):
        close = correlations(averages[start : start + 2048], averages, mirrored=mirrored) > threshold
        found |= {
            (i + start, j) for i, j in zip(*(k.tolist() for k in np.nonzero(close)), strict=True) if i + start < j
        }
    return found


def near_duplicates(query: np.ndarray, reference: np.ndarray, *, threshold: float = 0.99, **options) -> np.ndarray:
    """bool N: which pictures have a near-duplicate in ``reference``."""
    return (correlations(block_averages(query), block_averages(reference), **options) > threshold).any(1)


def exact_duplicates(query: np.ndarray, reference: np.ndarray, *, tolerance: float = 0) -> np.ndarray:
    """bool N: which pictures are in ``reference`` up to a mean absolute difference of the pixels, not mirrored."""
    signed = reference.astype(np.int16)
    return np.array([bool((np.abs(signed - image).mean((1, 2)) <= tolerance).any()) for image in query])
