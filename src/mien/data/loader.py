"""From a store's split to training batches: decoded once, uint8 in memory, indexed in whole batches.

A data set of crops fits in memory (28,709 grey 48×48 crops: 66 MB), so there are no worker processes and no
decoding per epoch; whatever changes per step (augmentation) happens on the device, in batches.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = dict[str, Tensor]


class CropDataset(Dataset[Batch]):
    """Crops and targets, indexed by a list: ``dataset[[3, 1, 2]]`` is a batch.

    images: uint8 N×C×S×S. targets: float32 N×K (rows sum to 1). labels: int64 N. Items: ``images`` (uint8),
    ``targets``, ``labels``, ``index`` (int64).
    """

    def __init__(self, images: NDArray[np.uint8], targets: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if not len(images) == len(targets) == len(labels):
            raise ValueError(f"lengths differ: {len(images)} images, {len(targets)} targets, {len(labels)} labels")
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.targets = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))
        self.labels = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64)
        return {
            "images": self.images[index],
            "targets": self.targets[index],
            "labels": self.labels[index],
            "index": index,
        }


class BatchSampler(Sampler[list[int]]):
    """Lists of row numbers. Shuffled by (seed, epoch) alone, so that a resumed run draws the same order.

    Lightning calls ``set_epoch`` at the start of each epoch. drop_last: batch norm wants full batches.
    """

    def __init__(self, n: int, batch_size: int, *, shuffle: bool, seed: int = 0, drop_last: bool = False) -> None:
        self.n, self.batch_size, self.shuffle, self.seed = n, min(batch_size, n), shuffle, seed
        self.drop_last, self.epoch = drop_last, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()


def make_loader(dataset: CropDataset, batch_size: int, *, train: bool, seed: int = 0) -> DataLoader[Batch]:
    """A torch DataLoader whose items are whole batches; shuffled and full batches only for training."""
    sampler = BatchSampler(len(dataset), batch_size, shuffle=train, seed=seed, drop_last=train)
    return DataLoader(dataset, batch_size=None, sampler=sampler)
