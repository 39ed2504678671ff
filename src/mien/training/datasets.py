"""What a run learns from: its splits read from a store, checked, sized and given their targets."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from mien.data.pictures import Pictures, blocks
from mien.data.store import Split, Store
from mien.data.summary import UNLABELLED
from mien.errors import DataError, UsageError
from mien.labels import SEVEN, is_own
from mien.preprocess import Preprocess
from mien.training.loader import CropDataset, Order
from mien.training.online_balance import balanced_order
from mien.training.orientation import orientation_dataset
from mien.training.recipe import Recipe
from mien.training.stream import StreamDataset
from mien.training.targets import one_hot, rows_to_learn_from, soft_targets

#: Pictures of each class of the user's own without which a network is not trained.
FEWEST = 5
#: Training pictures on which a network's statistics are measured before it starts, where its weights come without.
SAMPLE = 512


@dataclass(frozen=True, slots=True)
class RunData:
    """order: the rows of each epoch, None for a permutation. sample: some training pictures, as the store has them.

    notes: what was left out.
    """

    train: CropDataset | StreamDataset
    validation: CropDataset | StreamDataset
    order: Order | None
    sample: NDArray[np.uint8]
    notes: list[str] = field(default_factory=list)


def read_data(recipe: Recipe, store: Store, preprocess: Preprocess, *, classes: int, stream: bool = False) -> RunData:
    """The recipe's splits. stream: their pictures stay on the disk. Raises DataError where they do not serve."""
    read = (
        store.read(name, stream=stream).limited(recipe.data.limit)
        for name in (recipe.data.train, recipe.data.validation)
    )
    (train, missing), (validation, missing_too) = (
        rows_to_learn_from(split, recipe, hints=hints) for split, hints in zip(read, (True, False), strict=True)
    )
    if is_own(store.labels) and recipe.task == "expression":
        _require_enough(train, validation, store)
    order = balanced_order(store, train, seed=recipe.seed) if recipe.data.balance == "online" else None
    return RunData(
        crop_dataset(train, recipe, preprocess, train=True, classes=classes),
        crop_dataset(validation, recipe, preprocess, train=False, classes=classes),
        order,
        next(blocks(train.limited(SAMPLE).images)),
        missing + missing_too,
    )


def _require_enough(train: Split, validation: Split, store: Store) -> None:
    """Raises DataError where a class of the user's own has next to nothing to learn from or to be judged by."""
    for split, fewest in ((train, FEWEST), (validation, 1)):
        counts = np.bincount(split.labels[split.labels >= 0], minlength=len(store.labels))
        few = [f"{n} of {name}" for name, n in zip(store.labels, counts.tolist(), strict=True) if n < fewest]
        if few:
            raise DataError(
                f"expected at least {fewest} picture{'s' if fewest > 1 else ''} of each class in {split.name} of "
                f"{store.path}, got {', '.join(few)}",
                hint="add pictures, or leave the class out (move its folder away) and build the store again",
            )


def crop_dataset(
    split: Split, recipe: Recipe, preprocess: Preprocess, *, train: bool, classes: int = len(SEVEN)
) -> CropDataset | StreamDataset:
    """A store's split as the loader wants it: sized, in the network's colour, with its targets over the classes."""
    split = split.limited(recipe.data.limit)
    if recipe.task == "orientation":
        return orientation_dataset(split, recipe, lambda images: _kept(images, preprocess, train=train))
    images, labels = split.images, np.asarray(split.labels)
    if not len(labels):
        raise DataError(f"expected images in split {split.name!r}, got none")
    if recipe.task == "expression" and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"expected labels 0-{classes - 1} in split {split.name!r}, got {labels.min()}…{labels.max()}",
            hint="choose a split whose labels are known: data.train, data.validation",
        )
    affect = split.valence_arousal
    keep = partial(_kept, preprocess=preprocess, train=train)

    def dataset(expression: NDArray[np.float32], affect: NDArray[np.float32] | None) -> CropDataset | StreamDataset:
        if isinstance(images, Pictures):
            return StreamDataset(images, keep, expression, labels, affect)
        return CropDataset(keep(images), expression, labels, affect)

    if recipe.task == "masked_image":
        return dataset(np.zeros((len(labels), classes), np.float32), None)
    if not train:
        return dataset(one_hot(labels, classes), affect)
    targets = soft_targets(
        labels,
        split.votes,
        classes=classes,
        smoothing=recipe.targets.smoothing,
        votes_weight=recipe.targets.votes,
        hints=split.soft_labels,
    )
    return dataset(targets, affect)


def _kept(images: NDArray[np.uint8], preprocess: Preprocess, *, train: bool) -> NDArray[np.uint8]:
    """uint8 N×C×S×S as memory holds them: grey while the source is grey, and for training no larger than the source.

    The augmentation resizes small pictures on the device, in the one interpolation that it needs anyway.
    """
    color = "grey" if images.ndim == 3 else preprocess.color
    side = min(preprocess.size, max(images.shape[1:3])) if train else preprocess.size
    numbers = (0.5,) * (1 if color == "grey" else 3)
    return Preprocess(size=side, color=color, mean=numbers, std=numbers).stack(images)


def as_inputs(images: np.ndarray, preprocess: Preprocess) -> torch.Tensor:
    """Pictures of a store, unchanged, as float32 N×C×S×S of the network."""
    return torch.from_numpy(preprocess.centre(preprocess.normalise(preprocess.stack(images))))


def whole_batch(recipe: Recipe, images: int, devices: int) -> int:
    """Images of a step: the recipe's, or as many as there are, in equal parts. Raises UsageError, DataError."""
    parts = devices * recipe.accumulate
    if recipe.batch_size % parts or recipe.batch_size // parts < 2:
        raise UsageError(
            f"expected a batch_size of {parts} equal parts of 2 or more images ({devices} devices, accumulate "
            f"{recipe.accumulate}), got {recipe.batch_size}"
        )
    batch = min(recipe.batch_size, images // parts * parts)
    if batch < 2 * parts:
        raise DataError(f"expected {2 * parts} images to learn from, two for each part of a step; got {images}")
    return batch


def check_splits(recipe: Recipe, store: Store) -> None:
    """Raises DataError that names the key and a split of the store that has labels."""
    for key, name in (("train", recipe.data.train), ("validation", recipe.data.validation)):
        if name not in store.splits:
            labelled = [s for s in store.splits if set(store.summary["splits"][s]["counts"]) - {UNLABELLED}]
            near = [s for s in labelled if s.startswith(("val", "public") if key == "validation" else "train")]
            others = [s for s in labelled if s not in (recipe.data.train, recipe.data.validation)]
            hint = f"--set data.{key}={(near or others)[0]}" if near or others else _CARVE
            raise DataError(
                f"data.{key}: expected a split of {store.path} ({', '.join(store.splits)}), got {name!r}", hint=hint
            )


_CARVE = (
    "no other split has labels: build the store by a recipe that says splits: {carve: true, shares: {validation: 0.1}} "
    "(docs/data.md), and --set data.validation=validation"
)
