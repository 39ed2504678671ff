"""``precision: auto`` → "bf16" or "fp32", once, when a run begins.

bfloat16 saves time only where the processor has instructions for it; elsewhere torch widens every number first. And
even there depthwise convolutions are slower. Images a second of a training step,
fp32 and bf16 (on one core where marked, else on two):

    processor                        compact 48   nano 48        dlib_resnet 112   efficientnet_lite0 96
    Xeon with AMX                      –, 505        –, 2,543      –                  –
    EPYC with AVX512-BF16, no AMX    134, 246    1,339, 2,293     81, 149 (one)      66, 32 (one)
    AVX-512 and VNNI alone           127, 56       917, –        112, 58             82, –

So a processor without AMX-BF16 or AVX512-BF16 computes in fp32; on one that has it a few steps of the network itself
are measured both ways. On CUDA it is what torch says of the device, emulation left out. A run records its choice
(``meta.json``) and keeps it on any machine on which it is resumed.
"""

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from mien.models.masked_image import MaskedImageModel
from mien.training.recipe import Recipe, load_recipe

Precision = Literal["fp32", "bf16"]

#: Flags of a processor with bfloat16 products of its own, as Linux spells them.
_FLAGS = ("amx_bf16", "avx512_bf16")
_CPUINFO = Path("/proc/cpuinfo")
#: A measurement: the most pictures of a step, and the seconds after which no more steps are begun.
_PICTURES, _SECONDS = 32, 2.0
#: bf16 rounds coarsely: it has to be this much faster. A measurement alone would decide between equals by its noise.
_WORTH_IT = 1.1


def choose(device: torch.device, network: nn.Module, shape: tuple[int, int, int, int]) -> tuple[Precision, str]:
    """The precision for training a network on a device, and why, in words: bf16 where it is clearly faster.

    network: stays as it is, and so do torch's random numbers. shape: N×C×H×W of what goes through it at once.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU multiplies bfloat16"
        return "fp32", "the GPU has no bfloat16 of its own"
    flags = processor_flags()
    found = next((flag for flag in _FLAGS if flag in flags), None)
    if found is None:
        return "fp32", f"the processor has no {' or '.join(_FLAGS)}"
    rates = images_per_second(network, shape)
    shown = ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    faster: Precision = "bf16" if rates["bf16"] > _WORTH_IT * rates["fp32"] else "fp32"
    return faster, f"measured, the processor having {found}: {shown} images/s"


def images_per_second(network: nn.Module, shape: tuple[int, int, int, int]) -> dict[Precision, float]:
    """The best step each way, forwards and backwards, of a copy of the network on the CPU. shape: as for `choose`."""
    trial = copy.deepcopy(network).train().to(memory_format=torch.channels_last)
    count = min(shape[0], _PICTURES)
    pictures = torch.rand(count, *shape[1:], generator=torch.Generator().manual_seed(0))
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    best: dict[Precision, float] = {"fp32": float("inf"), "bf16": float("inf")}
    with torch.random.fork_rng(devices=[]):
        started, rounds = time.perf_counter(), 0
        while rounds < 2 or time.perf_counter() - started < _SECONDS:
            for precision in best:  # in turns: other load on the machine slows both alike
                took = _seconds_of_step(trial, pictures, bf16=precision == "bf16")
                if rounds:  # the first round allocates
                    best[precision] = min(best[precision], took)
            rounds += 1
    return {precision: count / seconds for precision, seconds in best.items()}


def _seconds_of_step(network: nn.Module, pictures: torch.Tensor, *, bf16: bool) -> float:
    mask = []
    if isinstance(network, MaskedImageModel):
        mask = [network.draw_mask(len(pictures), torch.Generator().manual_seed(0))]
    started = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = network(pictures, *mask)
    logits.float().square().mean().backward()
    return time.perf_counter() - started


def processor_flags(cpuinfo: Path = _CPUINFO) -> set[str]:
    """The first processor's flags, as Linux lists them; none where it does not (other systems, other architectures)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def as_begun(recipe: Recipe, run: Path) -> Recipe:
    """The recipe of a resumed run: where it says ``auto``, what the run's own recipe.yaml says."""
    if recipe.precision != "auto":
        return recipe
    return recipe.model_copy(update={"precision": load_recipe(run / "recipe.yaml").precision})


def precision_of_run(
    recipe: Recipe, chosen: Callable[[], tuple[Precision, str]], *, begun: Mapping[str, Any] | None = None
) -> tuple[Recipe, str]:
    """The recipe with its precision decided, and why it is that one.

    chosen: what this machine would choose. begun: ``meta.json`` of the resumed run, whose choice stays.
    """
    if recipe.precision != "auto":
        return recipe, "the recipe says so"
    before = (begun or {}).get("precision")
    if before in ("fp32", "bf16"):
        return recipe.model_copy(update={"precision": before}), (begun or {}).get("precision_because", "it began so")
    precision, why = chosen()
    return recipe.model_copy(update={"precision": precision}), why


def in_bf16(recipe: Recipe) -> bool:
    """Whether a step computes in bfloat16. ``auto`` must have been decided before: ValueError otherwise."""
    if recipe.precision == "auto":
        raise ValueError("expected a recipe whose precision is decided, got auto; see precision_of_run")
    return recipe.precision == "bf16"
