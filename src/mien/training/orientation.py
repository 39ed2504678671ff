"""What a run of task "orientation" learns from: upright faces, rotated at random, and pictures without a face.

The store of the run holds upright faces, whose labels are not looked at; the one that ``data.non_faces`` names holds
pictures without a face. FER2013's own pictures that FER+'s voters call no face are counted among the second.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.arrays import Uint8
from mien.data.sources import VOTE_NAMES
from mien.data.store import Split, Store
from mien.errors import DataError
from mien.faces.orientation import ORIENTATIONS
from mien.training.loader import CropDataset
from mien.training.recipe import Recipe
from mien.training.targets import one_hot

FACE, NO_FACE = 0, ORIENTATIONS.index("no_face")


def task_labels(recipe: Recipe, store: Store) -> tuple[str, ...]:
    """The classes of the recipe's network: the store's expressions, or orientations."""
    return ORIENTATIONS if recipe.task == "orientation" else tuple(store.labels)


def orientation_dataset(split: Split, recipe: Recipe, prepare: Callable[[Uint8], Uint8]) -> CropDataset:
    """The faces of a split and the pictures of the same split of ``data.non_faces``; label 0 or NO_FACE.

    prepare: pictures N×H×W(×3) → N×C×S×S as the loader keeps them. Raises DataError where the other store lacks the
    split.
    """
    assert recipe.data.non_faces is not None
    other = Store.open(recipe.data.non_faces)
    if split.name not in other.splits:
        raise DataError(
            f"data.non_faces: expected a split {split.name!r} in {other.path}, got {', '.join(other.splits)}",
            hint="build both stores with splits of the same names",
        )
    without = other.read(split.name).limited(recipe.data.limit)
    images = np.concatenate([prepare(split.images), prepare(without.images)])
    labels = np.full(len(images), NO_FACE, np.int64)
    labels[: len(split)] = np.where(_voted_no_face(split), NO_FACE, FACE)
    return CropDataset(images, one_hot(labels, len(ORIENTATIONS)), labels)


def _voted_no_face(split: Split) -> NDArray[np.bool_]:
    """Which rows more than half of FER+'s voters call no face."""
    votes = np.nan_to_num(split.votes)
    return votes[:, VOTE_NAMES.index("not_face")] * 2 > votes.sum(axis=1)


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """N×C×S×S, each turned counter-clockwise by its number of quarter turns, as ``numpy.rot90`` does it."""
    quarters = torch.stack([torch.rot90(images, k, (2, 3)) for k in range(4)])  # 4×N×C×S×S
    return quarters[turns, torch.arange(len(images), device=images.device)]


def orientation_targets(labels: Tensor, turns: Tensor) -> Tensor:
    """Indices into ``ORIENTATIONS``: the quarter turns of faces, ``no_face`` of the others."""
    return torch.where(labels == FACE, turns.to(labels.device), NO_FACE)
