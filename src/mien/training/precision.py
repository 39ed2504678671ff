"""``precision: auto`` → "bf16" or "fp32", once, when a run begins.

bfloat16 halves memory traffic everywhere, but saves time only where the processor multiplies it by instructions of its
own; elsewhere torch widens every number first. Measured, images a second of a training step, fp32 / bf16:

    processor                         compact 48   nano 48         dlib_resnet 112
    Xeon with AMX                      – / 505      – / 2,543       –
    EPYC with AVX512-BF16, no AMX     134 / 246    1,339 / 2,293   166 / 345
    AVX-512 and VNNI alone            127 / 56     917 / –         112 / 58

So the flag that decides is AMX-BF16 or AVX512-BF16. On CUDA it is what torch says of the device, emulation left out.
A run notes what it was begun with (``meta.json``) and keeps it on whatever machine it goes on.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from mien.training.recipe import Recipe, load_recipe

Precision = Literal["fp32", "bf16"]

#: Flags of a processor with bfloat16 products of its own, as Linux spells them.
_FLAGS = ("amx_bf16", "avx512_bf16")
_CPUINFO = Path("/proc/cpuinfo")


def choose(device: torch.device) -> tuple[Precision, str]:
    """The faster precision of a device, and why, in words."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU multiplies bfloat16"
        return "fp32", "the GPU has no bfloat16 of its own"
    flags = processor_flags()
    found = next((flag for flag in _FLAGS if flag in flags), None)
    return ("bf16", f"the processor has {found}") if found else ("fp32", f"the processor has no {' or '.join(_FLAGS)}")


def processor_flags(cpuinfo: Path = _CPUINFO) -> set[str]:
    """The first processor's flags, as Linux lists them; none where it does not (other systems, other architectures)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())


def as_begun(recipe: Recipe, run: Path) -> Recipe:
    """The recipe of a run that goes on: where it says ``auto``, what the run's own recipe.yaml says."""
    if recipe.precision != "auto":
        return recipe
    return recipe.model_copy(update={"precision": load_recipe(run / "recipe.yaml").precision})


def precision_of_run(recipe: Recipe, device: torch.device, *, begun: Mapping[str, Any]) -> tuple[Recipe, str]:
    """The recipe with its precision decided, and why it is that one.

    begun: ``meta.json`` of the run that goes on, empty for a new one. What that run noted stays, on any machine.
    """
    if recipe.precision != "auto":
        return recipe, "the recipe says so"
    chosen, why = choose(device)
    before = begun.get("precision")
    if before in ("fp32", "bf16") and before != chosen:
        print(f"note: the run goes on in {before}, as it began; here {why}", file=sys.stderr)
        chosen, why = before, begun.get("precision_because", "the run began so")
    return recipe.model_copy(update={"precision": chosen}), why


def in_bf16(recipe: Recipe) -> bool:
    """Whether a step computes in bfloat16. ``auto`` must have been decided before: ValueError otherwise."""
    if recipe.precision == "auto":
        raise ValueError("expected a recipe whose precision is decided, got auto; see precision_of_run")
    return recipe.precision == "bf16"
