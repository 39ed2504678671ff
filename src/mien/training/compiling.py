"""Training passes through torch.compile (``mien train --compile``): fewer, larger kernels for the same computation.

What is compiled is a function that training alone calls: the loss of a network on drawn inputs, and the teachers'
predictions. The network itself stays as it is: checkpoints, averages, SAM, validation and export are unaffected.
SAM's second pass, which leaves batch-norm statistics alone, becomes a second compiled function.

``cuda_graphs`` has each pass recorded once and then replayed as a whole, for networks so small that launching their
kernels takes longer than running them. A replay writes where the recording did, gradients included; so what one pass
leaves must be used up before the next one, which rules out gradients that add up over parts of a batch (``accumulate``)
or travel between processes.
"""

from collections.abc import Callable
from typing import Any

import torch

from mien.errors import UsageError
from mien.training.recipe import Recipe

#: Makes a function of the one it is given.
Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


def as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """The compiler that compiles nothing."""
    return function


def compiler(*, cuda_graphs: bool = False) -> Compiler:
    """torch's, for inputs of one shape."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, dynamic=False, mode="reduce-overhead" if cuda_graphs else None)

    return compiled


def check_compiler(recipe: Recipe, device: torch.device, *, cuda_graphs: bool, devices: int) -> None:
    """Compile one line on the device. Raises UsageError where that cannot be, nor CUDA graphs of such a training."""
    if cuda_graphs and device.type != "cuda":
        raise UsageError("--cuda-graphs: expected CUDA, training runs on the CPU", hint="use --compile")
    if cuda_graphs and (recipe.accumulate > 1 or devices > 1):
        raise UsageError(
            f"--cuda-graphs: expected whole batches on one device, got accumulate {recipe.accumulate} and {devices} "
            "devices: a replay overwrites the gradients of the one before",
            hint="use --compile",
        )
    torch.compiler.reset()  # of one function torch keeps few versions, and a study trains many networks in one process
    try:
        torch.compile(_one_line, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # a missing g++ or triton, one that fails: no base in common
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise UsageError(
            f"--compile: torch cannot compile for {device} here: {lines[0][:160]}",
            hint="leave it out, or install g++ (for a GPU: triton as well)",
        ) from error


def _one_line(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
