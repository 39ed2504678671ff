"""From a store's split to training batches: decoded once, uint8 in memory, indexed in whole batches.

A data set of crops usually fits in memory (28,709 grey 48×48 crops: 66 MB), so there are no worker processes and no
decoding per epoch (``stream.py`` is for those that do not); what changes per step (augmentation) happens on the
device, in batches. Where it fits, the data set itself lies on the device, and a step takes its rows there: nothing is
uploaded but an epoch's row numbers.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

if TYPE_CHECKING:
    from mien.training.stream import StreamDataset

Batch = dict[str, Tensor]

#: Batches that each worker process decodes ahead of the step.
AHEAD = 2


class Order(Protocol):
    """Which rows an epoch shows: ``order(epoch)`` → int64, as many in each; see ``online_balance.BalancedOrder``."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int, /) -> NDArray[np.int64]: ...


def columns_of(rows: int, **arrays: NDArray[Any] | None) -> dict[str, Tensor]:
    """The arrays that are there as tensors. Raises ValueError where one has not that many rows."""
    columns = {name: array for name, array in arrays.items() if array is not None}
    if {len(array) for array in columns.values()} != {rows}:
        raise ValueError(f"lengths differ: { {name: len(array) for name, array in columns.items()} }, rows {rows}")
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in columns.items()}


class CropDataset(Dataset[Batch]):
    """Crops and targets, indexed by several rows at once: ``dataset[[3, 1, 2]]`` is a batch.

    images: uint8 N×C×S×S. expression: float32 N×K targets (rows sum to 1). labels: int64 N. valence_arousal: float32
    N×2, NaN where unknown. Items hold them by these names, and ``index`` (int64), all on ``device``.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        expression: NDArray[np.float32],
        labels: NDArray[np.int64],
        valence_arousal: NDArray[np.float32] | None = None,
    ) -> None:
        self.columns = columns_of(
            len(images), images=images, expression=expression, labels=labels, valence_arousal=valence_arousal
        )

    def __len__(self) -> int:
        return len(self.columns["images"])

    @property
    def device(self) -> torch.device:
        return self.columns["images"].device

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())

    def move(self, device: torch.device) -> None:
        """All columns to another device, on which batches are taken from then on."""
        self.columns = {name: column.to(device) for name, column in self.columns.items()}

    def __getitem__(self, rows: list[int] | Tensor) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64, device=self.device)
        return {name: column[index] for name, column in self.columns.items()} | {"index": index}


class BatchSampler(Sampler[Tensor]):
    """Row numbers of each batch, int64. Shuffled by (seed, epoch) alone, so that a resumed run draws the same order.

    Lightning calls ``set_epoch`` at the start of each epoch. drop_last: batch norm wants full batches. rank, world:
    with several processes each takes its own rows of every batch; together they take the rows that one alone would.
    order: draws the rows of an epoch in place of a permutation of all ``n``. device: where the data lie; the numbers of
    an epoch go there in one piece.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        order: Order | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.order, self.device = order, device or torch.device("cpu")
        n = n if order is None else len(order)
        self.n, self.batch_size, self.shuffle, self.seed = n, min(batch_size, n), shuffle, seed
        self.drop_last, self.epoch, self.rank, self.world = drop_last, 0, rank, world
        self._cut = (0, 0)

    def start_at(self, step: int) -> None:
        """Go on after so many steps of the run: the epoch that they end in begins at its next batch."""
        self._cut = divmod(step, len(self))
        self.epoch = self._cut[0]  # worker processes ask for batches before Lightning says which epoch it is

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = np.arange(self.n)
        if self.order is not None:
            order = self.order(self.epoch)
        elif self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        rows = torch.from_numpy(order).to(self.device)
        epoch, first = self._cut
        for batch in range(first if self.epoch == epoch else 0, len(self)):
            whole = rows[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield whole.tensor_split(self.world)[self.rank]


def make_loader(
    dataset: "CropDataset | StreamDataset",
    batch_size: int,
    *,
    train: bool,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    order: Order | None = None,
    workers: int = 0,
) -> DataLoader[Batch]:
    """A torch DataLoader whose items are whole batches; shuffled and full batches only for training.

    dataset: moved before, where it is to be on another device.
    order: the rows of each epoch, where that is not every row once (``seed`` then has no say). workers: processes that
    decode ahead, for pictures on the disk; 0: none.
    """
    sampler = BatchSampler(
        len(dataset),
        batch_size,
        shuffle=train,
        seed=seed,
        drop_last=train,
        rank=rank,
        world=world,
        order=order,
        device=dataset.device,
    )
    pinned = workers > 0 and torch.cuda.is_available()
    ahead: dict[str, Any] = {"prefetch_factor": AHEAD, "persistent_workers": True} if workers else {}
    return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers, pin_memory=pinned, **ahead)
