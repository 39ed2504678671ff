"""Class balance during training: which rows an epoch shows (``data.balance: online`` of a recipe).

The store stays as it is; each epoch shows every class equally often and the loader's augmentation varies what is shown
again. What ``plan_balance`` never varies is never drawn here either: a picture of Training that is the same, or nearly,
as one of another split would otherwise be shown many times over, and that evaluation image with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from mien.data.near_duplicates import BLOCKS, block_averages, near_duplicates
from mien.data.pictures import Pictures, blocks
from mien.data.store import TRAINING_SPLITS, Split, Store
from mien.errors import DataError

Images = NDArray[np.uint8] | Pictures


@dataclass(frozen=True, slots=True, eq=False)
class BalancedOrder:
    """An epoch's rows, each class equally often: ``order(epoch)`` → int64, decided by (seed, epoch) alone.

    labels: int64 N; rows of label −1 never come. size: images an epoch, rounded to a multiple of the classes; None: N.
    Over the epochs the images of a class come equally often: none comes again before all others of it have come.
    Raises DataError where no image has a label.
    """

    labels: NDArray[np.int64]
    size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (np.asarray(self.labels) >= 0).any():
            raise DataError("expected labelled images to balance, got none")

    def __len__(self) -> int:
        classes = len(self._classes())
        return classes * self._images_a_class(classes)

    def __call__(self, epoch: int) -> NDArray[np.int64]:
        classes = self._classes()
        share = self._images_a_class(len(classes))
        drawn = [self._drawn(c, rows, epoch * share, (epoch + 1) * share) for c, rows in classes.items()]
        shuffled: NDArray[np.int64] = np.random.default_rng((self.seed, epoch)).permutation(np.concatenate(drawn))
        return shuffled

    def _classes(self) -> dict[int, NDArray[np.int64]]:
        labels = np.asarray(self.labels)
        return {c: np.flatnonzero(labels == c) for c in np.unique(labels[labels >= 0]).tolist()}

    def _images_a_class(self, classes: int) -> int:
        size = len(self.labels) if self.size is None else self.size
        return max(1, (size + classes // 2) // classes)

    def _drawn(self, c: int, rows: NDArray[np.int64], start: int, stop: int) -> NDArray[np.int64]:
        """Positions start … stop − 1 of an endless row of shuffled decks of the class's images."""
        first, last = start // len(rows), (stop - 1) // len(rows)
        decks = [np.random.default_rng((self.seed, c, deck)).permutation(rows) for deck in range(first, last + 1)]
        return np.concatenate(decks)[start - first * len(rows) : stop - first * len(rows)]


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
            f"{', '.join(split.label_set[c] for c in lost)} that is not nearly the same as an image of another split",
            hint="set data.balance to none",
        )
    return BalancedOrder(free, seed=seed)


def tied(store: Store, split: Split) -> NDArray[np.bool_]:
    """bool N: which rows of ``split`` equal an image of another split of the store, or are nearly the same.

    Near-duplicates are those of ``near_duplicates.py``, mirrored ones included.
    """
    same: set[bytes] = set()
    close = []
    for name in store.splits:
        if name == split.name or {name, split.name} <= set(TRAINING_SPLITS):
            continue
        other = store.read(name, stream=isinstance(split.images, Pictures))
        same |= set(_digests(other.images))
        leak = other.leak if split.name in TRAINING_SPLITS else None  # the store has looked already
        close.append(_averages(other.images if leak is None else other.images[np.flatnonzero(leak)]))
    count = len(split.images)
    found = np.fromiter((digest in same for digest in _digests(split.images)), bool, count)
    if close:
        averages = np.concatenate([_averages(split.images), *close])
        found |= near_duplicates(averages, np.arange(len(averages)) >= count)[:count]
    return found


def _digests(images: Images) -> Iterator[bytes]:
    """Of each picture's pixels."""
    for block in blocks(images):
        yield from (blake2b(image.tobytes(), digest_size=16).digest() for image in block)


def _averages(images: Images) -> NDArray[np.float32]:
    found = [block_averages(block) for block in blocks(images)]
    return np.concatenate(found) if found else np.empty((0, BLOCKS * BLOCKS), np.float32)
