"""Class balance during training: which rows an epoch shows (``data.balance: online`` of a recipe).

The store stays as it is; each epoch shows every class equally often and the loader's augmentation varies what is shown
again. What ``plan_balance`` never varies is never drawn here either: a picture of Training that is the same, or nearly,
as one of another split would otherwise be shown many times over, and that evaluation image with it.
"""

import numpy as np
from numpy.typing import NDArray

from mien.data.build.balance import BalancedOrder
from mien.data.near_duplicates import block_averages, near_duplicates_of_averages
from mien.data.store import TRAINING_SPLITS, Split, Store
from mien.errors import DataError
from mien.labels import EIGHT


def balanced_order(store: Store, split: Split, *, seed: int = 0) -> BalancedOrder:
    """The order of a run that learns from ``split``, a split of ``store`` in memory; its numbers are rows of ``split``.

    An epoch has as many images as the split, rounded to a multiple of the classes. Raises DataError where nothing is
    labelled, or where all images of a class are tied to another split.
    """
    labels = np.array(split.labels)
    free = np.where(tied(store, split), -1, labels)
    lost = sorted(set(labels[labels >= 0].tolist()) - set(free.tolist()))
    if lost:
        raise DataError(
            f"expected images to draw in every class of {split.name!r}, got none in "
            f"{', '.join(EIGHT[c] for c in lost)} that is not nearly the same as an image of another split",
            hint="set data.balance to none",
        )
    return BalancedOrder(free, seed=seed)


def tied(store: Store, split: Split) -> NDArray[np.bool_]:
    """bool N: which rows of ``split`` equal an image of another split of the store, or are nearly the same.

    Near-duplicates are those of ``duplicates.py``, mirrored ones included.
    """
    images = split.images
    same: set[bytes] = set()
    close = []
    for name in store.splits:
        if name == split.name or {name, split.name} <= set(TRAINING_SPLITS):
            continue
        other = store.read(name)
        same |= {image.tobytes() for image in other.images}
        known = other.leak is not None and split.name in TRAINING_SPLITS  # the store has looked already
        close.append(block_averages(other.images[other.leak] if known else other.images))
    found = np.fromiter((image.tobytes() in same for image in images), bool, len(images))
    if close:
        found |= near_duplicates_of_averages(block_averages(images), np.concatenate(close))
    return found
