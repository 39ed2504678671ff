"""Copies by comparing each image with each other: the reference for the searches for copies."""

import numpy as np

from mien.data.near_duplicates import block_averages


def correlations(query: np.ndarray, reference: np.ndarray, *, mirrored: bool = True) -> np.ndarray:
    """float64 N×M from block averages N×144 and M×144; −1 where an image is blank."""
    flipped = query.reshape(-1, 12, 12)[:, :, ::-1].reshape(-1, 144)
    found = unit(query) @ unit(reference).T
    found = np.maximum(found, unit(flipped) @ unit(reference).T) if mirrored else found
    blank = (np.ptp(query, axis=1) == 0)[:, None] | (np.ptp(reference, axis=1) == 0)
    return np.where(blank, -1, found)


def unit(averages: np.ndarray) -> np.ndarray:
    """float64 N×144: each row without its mean, of norm 1; zero where an image is blank."""
    centred = averages.astype(np.float64) - averages.mean(1, dtype=np.float64, keepdims=True)
    return np.divide(
        centred, norm := np.linalg.norm(centred, axis=1, keepdims=True), where=norm > 1e-3, out=np.zeros_like(centred)
    )


def pairs(averages: np.ndarray, *, threshold: float = 0.99, mirrored: bool = True) -> set[tuple[int, int]]:
    """The pairs i < j above the threshold: every image with all that come after it, 2048 rows at a time."""
    plain = unit(averages)
    plain[np.ptp(averages, axis=1) == 0] = 0
    flipped = plain.reshape(-1, 12, 12)[:, :, ::-1].reshape(-1, 144)
    found = set()
    for start in range(0, len(plain), 2048):
        rows, later = slice(start, start + 2048), plain[start:].T
        close = plain[rows] @ later > threshold
        if mirrored:
            close |= flipped[rows] @ later > threshold
        found |= {
            (i + start, j + start) for i, j in zip(*(k.tolist() for k in np.nonzero(close)), strict=True) if i < j
        }
    return found


def near_duplicates(query: np.ndarray, reference: np.ndarray, *, threshold: float = 0.99, **options) -> np.ndarray:
    """bool N: which pictures have a near-duplicate in ``reference``."""
    return (correlations(block_averages(query), block_averages(reference), **options) > threshold).any(1)


def exact_duplicates(query: np.ndarray, reference: np.ndarray, *, tolerance: float = 0) -> np.ndarray:
    """bool N: which pictures are in ``reference`` up to a mean absolute difference of the pixels, not mirrored."""
    signed = reference.astype(np.int16)
    return np.array([bool((np.abs(signed - image).mean((1, 2)) <= tolerance).any()) for image in query])
