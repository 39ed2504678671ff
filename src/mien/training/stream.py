"""Pictures that do not fit in memory: decoded step by step from the store's shards, by worker processes.

The order is the sampler's (``loader.py``), as for pictures in memory: a permutation of all rows by (seed, epoch), or a
balanced one, of which each process takes its part of every batch. So a streamed run has the very weights of one in
memory, resumes at any step, and may go on with another number of processes: nothing is remembered but the step.
A picture is read from its place in a shard (``data/pictures.py``); the disk sees reads of some 20 kB at random places.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mien.data.pictures import Pictures
from mien.data.store import Store
from mien.errors import MienError
from mien.onnx_runtime import default_threads
from mien.training.loader import Batch, columns_of
from mien.training.recipe import Recipe

#: "auto" streams pictures whose pixels would take more than this part of the memory that is free.
SHARE = 0.5


class StreamDataset(Dataset[Batch]):
    """As ``CropDataset``: ``dataset[[3, 1, 2]]`` is a batch, with the same names, on the CPU.

    pictures: on the disk. keep: what ``CropDataset`` would hold of decoded ones, uint8 n×… → uint8 n×C×S×S.
    """

    def __init__(
        self,
        pictures: Pictures,
        keep: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        expression: NDArray[np.float32],
        labels: NDArray[np.int64],
        valence_arousal: NDArray[np.float32] | None = None,
    ) -> None:
        self.pictures, self.keep = pictures, keep
        self.columns = columns_of(len(pictures), expression=expression, labels=labels, valence_arousal=valence_arousal)
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: list[int] | torch.Tensor) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64)
        batch = {"images": torch.from_numpy(self.keep(self.pictures.decoded(index.numpy())))}
        return batch | {name: column[index] for name, column in self.columns.items()} | {"index": index}


def streams(recipe: Recipe, store: Store, *, processes: int = 1, free: int | None = None) -> tuple[bool, str]:
    """Whether the pictures stay on the disk, and why. processes: on this machine. free: bytes; None: what is free."""
    if recipe.data.stream != "auto" or recipe.task == "orientation":
        return recipe.data.stream == "always", "the recipe says so"
    needed = sum(_bytes(store, name, recipe.data.limit) for name in (recipe.data.train, recipe.data.validation))
    free = available_memory() if free is None else free
    sizes = f"pixels of {needed / 2**30:.1f} GiB in each of {processes} processes, {free / 2**30:.1f} GiB free"
    return needed * processes > SHARE * free, sizes


def _bytes(store: Store, split: str, limit: int | None) -> int:
    rows = store.summary["splits"][split]["rows"]
    return round(store.pixels(split) * (1 if limit is None else min(1, limit / max(1, rows))))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take: what Linux says is available, or what is left of a container's limit."""
    found = [_meminfo(root / "proc/meminfo")]
    group = root / "sys/fs/cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        top, now = _number(group / limit), _number(group / used)
        found.append(None if top is None or now is None else max(0, top - now))
    return min((value for value in found if value is not None), default=_physical())


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # no POSIX
        return 8 << 30


def _meminfo(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration, IndexError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))  # "max": no limit
    except (OSError, ValueError):
        return None


def default_workers(processes: int = 1) -> int:
    """Worker processes for each of several processes on this machine: the cores, shared out; one is the step's."""
    return max(1, default_threads() // processes - 1)


def of_a_worker(error: MienError) -> MienError:
    """An error as a worker process raised it; torch puts its traceback into the message."""
    name = f"{type(error).__name__}: "
    text = str(error)
    if "Original Traceback" not in text or name not in text:
        return error
    return type(error)(text.rsplit(name, 1)[-1])
