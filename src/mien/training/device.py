"""How a run uses its device: which tensors are kept there, TF32, and dropout's random numbers.

A step never makes the host wait for the device. That is why its small numbers go up through ``augment.upload``, why
sums stay where they are until an epoch ends, and why the data set lies on the device where there is room for it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

from mien.errors import UsageError
from mien.training.loader import CropDataset

log = logging.getLogger(__name__)

#: The largest part of the device's free memory that data sets may take; the rest is the step's.
PART_OF_MEMORY = 0.25


def choose_device(accelerator: str) -> torch.device:
    """ "auto", "cpu" or "gpu" → the device. Raises UsageError for another word, or "gpu" without CUDA."""
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UsageError(f"--device: expected auto, cpu or gpu; got {accelerator!r}")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("--device gpu: torch finds no CUDA device here", hint="use --device cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def place(datasets: list[CropDataset], device: torch.device, *, free: int) -> None:
    """Move data sets to a device where they fit comfortably; otherwise log it and leave them where they are.

    free: the device's, in bytes.
    """
    needed = sum(data.nbytes for data in datasets)
    if needed > PART_OF_MEMORY * free:
        log.warning(
            f"note: {needed / 2**30:.1f} GiB of pictures stay in the host's memory, of {free / 2**30:.1f} GiB free on "
            f"{device}; each batch is uploaded"
        )
        return
    for data in datasets:
        data.move(device)


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Within, on CUDA: whether float32 products and convolutions may round their factors to ten bits.

    torch allows it in convolutions unless told otherwise. Elsewhere than on CUDA nothing changes.
    """
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what layers draw from. ``torch.manual_seed`` does the same for every kind of device there could be, and
    where one is missing takes 0.4 ms to note that down."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)


@lru_cache(maxsize=64)
def channels(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """One number per channel (mean, std or luma weights), float32 1×C×1×1, not to be changed.

    Kept, because an upload in each step would hold the device up.
    """
    with torch.inference_mode(False):  # training may use it, whoever asks first
        return torch.tensor(numbers, dtype=torch.float32, device=device).view(1, -1, 1, 1)
