"""How compact and how far apart the classes lie in a feature space: pure functions over arrays.

Conventions: features float N×D, labels int N, classes are those that occur (two or more, each with two images or more).
Distances are Euclidean.

- *intra*: the mean distance of a class's images to their centroid, averaged over classes. Small: compact clusters.
- *inter*: the mean distance between two classes' centroids, over all pairs. Large: clusters far apart.
- *ratio*: intra / inter, which no common factor changes. Small: classes are told apart easily.
- *silhouette* (Rousseeuw 1987; scikit-learn): mean over images, −1 … 1, 0 where classes lie over each other.
- *calinski_harabasz* (1974; larger: better) and *davies_bouldin* (1979; smaller: better), as scikit-learn has them.

Intervals: 2.5 and 97.5 percentiles of resamples of images within each class. All but the silhouette are computed anew
on every resample, and shifted so that the resamples' median is the measured value, because drawing an image twice by
itself tightens clusters and moves centroids apart. The silhouette's resamples are of the images' own values.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation.metrics import with_percentiles

Float = NDArray[np.float64]
Int = NDArray[np.int64]

RESAMPLES = 1000
MEASURES = ("intra", "inter", "ratio", "silhouette", "calinski_harabasz", "davies_bouldin")


def unit_norm(features: Float) -> Float:
    """Every row divided by its length, so that scale does not decide; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, length, out=np.zeros_like(features, dtype=np.float64), where=length > 0)


def measure(features: Float, labels: Int) -> dict[str, float]:
    """Every measure of :data:`MEASURES`. Raises DataError for fewer than two classes or a class of one image."""
    features = _checked(features, labels)
    figures = {key: float(value[0]) for key, value in _weighted(features, labels, np.ones((1, len(labels)))).items()}
    return {key: figures[key] if key in figures else float(silhouettes(features, labels).mean()) for key in MEASURES}


def per_class_intra(features: Float, labels: Int) -> dict[int, float]:
    """Mean distance to the own centroid, by class code."""
    result = {}
    for code in np.unique(labels):
        rows = features[labels == code]
        result[int(code)] = float(np.linalg.norm(rows - rows.mean(0), axis=1).mean())
    return result


def silhouettes(features: Float, labels: Int) -> Float:
    """Each image's silhouette, by scikit-learn."""
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(features, labels), np.float64)


def resample_weights(labels: Int, *, resamples: int = RESAMPLES, seed: int = 0) -> Float:
    """float R×N: how often each image is drawn; every class keeps its number of images."""
    random = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(labels)))
    for code in np.unique(labels):
        rows = np.flatnonzero(labels == code)
        weights[:, rows] = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=resamples)
    return weights


def with_intervals(features: Float, labels: Int, weights: Float) -> tuple[dict[str, Any], dict[str, Float]]:
    """Every measure as {"value", "low", "high"}, and its shifted resamples float R (for paired differences).

    weights: of :func:`resample_weights`; the same for all hook points that are compared.
    """
    features = _checked(features, labels)
    values = {key: float(value[0]) for key, value in _weighted(features, labels, np.ones((1, len(labels)))).items()}
    drawn = _weighted(features, labels, weights)
    own = silhouettes(features, labels)
    values["silhouette"], drawn["silhouette"] = float(own.mean()), weights @ own / len(own)
    shifted = {key: drawn[key] - np.median(drawn[key]) + values[key] for key in MEASURES}
    return {key: with_percentiles(values[key], shifted[key]) for key in MEASURES}, shifted


def check_classes(labels: Int) -> None:
    """Raises DataError for fewer than two classes, or one of a single image: nothing lies within or between them."""
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise DataError(
            f"expected two classes or more with two images or more each, got classes of {counts.tolist()}",
            hint="analyse more images: raise --limit",
        )


def _checked(features: Float, labels: Int) -> Float:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) != len(labels):
        raise DataError(f"expected N×D features and N labels, got {features.shape} and {len(labels)}")
    check_classes(labels)
    if not np.isfinite(features).all():
        raise DataError("expected finite features, got NaN or infinity")
    return features - features.mean(0)  # about the origin: differences of squares keep their digits


def _weighted(x: Float, labels: Int, weights: Float) -> dict[str, Float]:
    """All measures but the silhouette for R weightings at once: weights R×N → R each."""
    codes = np.unique(labels)
    r, k, n = len(weights), len(codes), weights.sum(1)
    centroids, spread, count = np.empty((r, k, x.shape[1])), np.empty((r, k)), np.empty((r, k))
    within = np.zeros(r)
    for i, code in enumerate(codes):
        rows, w = x[labels == code], weights[:, labels == code]
        count[:, i] = w.sum(1)
        c = w @ rows / count[:, i, None]  # R×D
        squared = np.maximum((rows**2).sum(1) - 2 * c @ rows.T + (c**2).sum(1)[:, None], 0)  # R×n
        spread[:, i] = (w * np.sqrt(squared)).sum(1) / count[:, i]
        within += (w * squared).sum(1)
        centroids[:, i] = c
    upper = np.triu_indices(k, 1)
    distance = np.zeros((r, k, k))
    for i, j in combinations(range(k), 2):
        distance[:, i, j] = distance[:, j, i] = np.linalg.norm(centroids[:, i] - centroids[:, j], axis=1)
    middle = (count[..., None] * centroids).sum(1) / n[:, None]
    between = (count * ((centroids - middle[:, None]) ** 2).sum(2)).sum(1)
    intra, inter = spread.mean(1), distance[:, upper[0], upper[1]].mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        likeness = (spread[:, :, None] + spread[:, None, :]) / distance  # the diagonal divides by 0
        likeness[:, range(k), range(k)] = 0
        return {
            "intra": intra,
            "inter": inter,
            "ratio": intra / inter,
            "calinski_harabasz": (between / (k - 1)) / (within / (n - k)),
            "davies_bouldin": likeness.max(2).mean(1),
        }
