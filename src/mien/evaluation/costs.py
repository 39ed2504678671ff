"""What a model costs: parameters and multiply-accumulates of one picture, from its recipe; and which file it is."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def cost_of_recipe(recipe: Mapping[str, Any]) -> dict[str, int]:
    """``parameters`` and ``macs`` of a recipe's network at its input size, counted without computing anything.

    recipe: a recipe as a mapping, as ``meta.json`` and ONNX provenance have it. Empty where the network cannot be
    built here (no torch, another version of mien) or does not say.
    """
    model, data = recipe.get("model"), recipe.get("data")
    if not isinstance(model, Mapping) or not isinstance(data, Mapping) or "name" not in model:
        return {}
    if any(find_spec(package) is None for package in ("torch", "timm", "torchvision")):
        return {}
    from mien.errors import MienError

    try:
        parameters, macs = network_cost(
            model["name"], model.get("args") or {}, side=data.get("window") or data.get("size")
        )
    except (MienError, RuntimeError, TypeError, ValueError, NotImplementedError):
        return {}
    return {"parameters": parameters, "macs": macs}


def network_cost(name: str, args: Mapping[str, Any], *, side: int | None) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a registered network, as :func:`mien.models.registry.measure` counts them.

    Counted once in a process: a study evaluates each of its networks many times, and counting takes up to half a
    second. args: the builder's, as a recipe has them. side: in pixels. Raises RecipeError for an unknown network.
    """
    return _counted(name, json.dumps(args, sort_keys=True), side)


@cache
def _counted(name: str, args: str, side: int | None) -> tuple[int, int]:
    from mien.models.registry import measure, spec

    return measure(spec(name), json.loads(args), size=side)


def sha256(path: str | Path) -> str:
    """64 hex digits of a file's content."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
