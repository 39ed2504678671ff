"""What a network learns: soft targets from the data set's label and, where asked for, the FER+ votes.

FER+ (Barsoum et al. 2016, arXiv 1608.01041) asked ten people about each FER2013 image. Their votes are less noisy
than FER2013's single label but follow another convention (more *neutral*), so that copying them would teach the
wrong question. We ask instead what the votes say *about FER2013's label*: a multinomial regression P(label | votes),
fitted on the training split, and mix it with the label itself.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.arrays import Float32
from mien.data.store import Split, Store
from mien.errors import DataError
from mien.training.recipe import Recipe


def one_hot(labels: NDArray[np.int64], classes: int) -> Float32:
    """int64 N in 0…classes−1 → float32 N×classes. Raises DataError for a label out of range (held back, say)."""
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"expected labels 0-{classes - 1} to learn from, got {int(labels.min())}…{int(labels.max())}",
            hint="choose a split whose labels are known"
            if labels.min() < 0
            else f"build the store with --labels seven or own: the network has {classes} classes",
        )
    return np.eye(classes, dtype=np.float32)[labels]


def inverse_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """float32 K: what an image of each class counts in the loss, N / (classes that occur · images of the class).

    The mean over the images is 1. A class that does not occur has 1.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.from_numpy(np.where(counts > 0, weights, 1.0).astype(np.float32))


def votes_that_are_there(recipe: Recipe, store: Store) -> tuple[Recipe, list[str]]:
    """The recipe as the store allows it: ``targets.votes`` 0 where no picture to learn from has votes; and notes of it.

    So the recipe that a run keeps, its card and its exports never speak of votes that were not there.
    """
    split: dict[str, Any] = store.summary["splits"].get(recipe.data.train, {})
    if not recipe.targets.votes or recipe.task != "expression" or split.get("with_votes", 1):
        return recipe, []
    targets = recipe.targets.model_copy(update={"votes": 0.0})
    note = (
        f"targets.votes was {recipe.targets.votes:g}, is 0: {store.path} holds no FER+ votes for {recipe.data.train}, "
        "so the labels stand alone (fer2013new.csv beside fer2013.csv brings the votes into a store)"
    )
    return recipe.model_copy(update={"targets": targets}), [note]


def rows_to_learn_from(split: Split, recipe: Recipe, *, hints: bool = False) -> tuple[Split, list[str]]:
    """A split without the rows that have no label, where others have one (a gap in a table); and notes of it.

    hints: take rows of which a soft label is known as well; their label is its likeliest expression.
    """
    if hints and split.soft_labels is not None and recipe.task == "expression":
        likeliest = np.where(np.isnan(split.soft_labels).any(1), -1, split.soft_labels.argmax(1))
        split = replace(split, labels=np.where(split.labels < 0, likeliest, split.labels))
    found = split.labelled() if recipe.task == "expression" else split
    lost = len(split) - len(found)
    return found, [f"{lost:,} of {len(split):,} images of {split.name} have no label and are left out"] if lost else []


def soft_targets(
    labels: NDArray[np.int64],
    votes: Float32 | None,
    *,
    classes: int,
    smoothing: float,
    votes_weight: float,
    hints: Float32 | None = None,
) -> Float32:
    """float32 N×classes, rows sum to 1.

    votes: float32 N×10 counts, NaN rows where an image has none (its label then stands alone).
    smoothing: proportion that is spread evenly over the classes. hints: float32 N×classes soft labels, NaN rows where
    an image has none; they stand in for its label and votes.
    """
    targets = one_hot(labels, classes)
    if votes_weight > 0:
        if votes is None or np.isnan(votes).all():
            raise DataError(
                f"targets.votes: none of these {len(labels)} pictures has FER+ votes", hint="say --set targets.votes=0"
            )
        known = ~np.isnan(votes).any(axis=1)
        posterior = label_given_votes(labels[known], votes[known], classes=classes)
        targets[known] = (1 - votes_weight) * targets[known] + votes_weight * posterior
    if hints is not None:
        given = ~np.isnan(hints).any(axis=1)
        targets[given] = hints[given]
    return (1 - smoothing) * targets + np.float32(smoothing / classes)


def label_given_votes(labels: NDArray[np.int64], votes: Float32, *, classes: int) -> Float32:
    """P(label | votes) float32 N×classes: multinomial logistic regression on vote proportions and their roots."""
    if len(np.unique(labels)) < 2:
        return one_hot(labels, classes)
    from sklearn.linear_model import LogisticRegression

    proportions = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    features = np.concatenate([proportions, np.sqrt(proportions)], axis=1)
    model = LogisticRegression(C=10.0, max_iter=2000).fit(features, labels)
    posterior = np.zeros((len(labels), classes), np.float32)
    posterior[:, model.classes_] = model.predict_proba(features)
    return posterior
