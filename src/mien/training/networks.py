"""The networks of a run: built from its recipe, given their first weights, loaded back from its checkpoints."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import DataError, MienError, RecipeError
from mien.labels import SEVEN
from mien.models import registry
from mien.models.masked_image import MaskedImageModel, load_encoder
from mien.preprocess import Preprocess
from mien.training.recipe import Recipe, load_recipe


def recipe_preprocess(recipe: Recipe) -> Preprocess:
    """What the recipe's network is fed with. Raises RecipeError where the numbers do not fit it."""
    color = registry.spec(recipe.model.name).color
    try:
        return recipe.preprocess(color)
    except MienError as error:
        raise RecipeError(f"data: {error}", hint=f"{recipe.model.name} takes {color} pictures") from error


def build_network(recipe: Recipe, *, pretrained: bool = False) -> nn.Module:
    """The recipe's network as it is before any of ``model.init`` but ImageNet weights. Raises RecipeError."""
    model, side = recipe.model, recipe.data.window or recipe.data.size
    network = registry.build(model.name, model.args, num_classes=len(SEVEN), image_size=side, pretrained=pretrained)
    if recipe.task == "expression":
        return network
    channels = registry.spec(model.name).channels
    try:
        return MaskedImageModel(network, in_channels=channels, patch=recipe.masking.patch, ratio=recipe.masking.ratio)
    except ValueError as error:
        raise RecipeError(f"task masked_image: {error}") from error


def starting_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with the weights that ``model.init`` names.

    Raises RecipeError where they do not fit, WeightsError where they cannot be fetched, DataError for no run.
    """
    kind, _, where = recipe.model.init.partition(":")
    network = build_network(recipe, pretrained=kind == "imagenet")
    if kind == "run":
        _start_from_run(Path(where), network, recipe)
    elif kind == "ssl":
        _start_from_pretraining(Path(where), network, recipe)
    return network


def load_network(run: str | Path, *, checkpoint: str = "best") -> tuple[nn.Module, Recipe, Preprocess, dict[str, Any]]:
    """A finished run's network in eval mode, its recipe, preprocess and ``meta.json``. Raises DataError.

    checkpoint: "best" or "last".
    """
    run = Path(run)
    file = run / f"{checkpoint}.ckpt"
    if not file.is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"expected a run directory with recipe.yaml and {checkpoint}.ckpt, got {run}")
    recipe = load_recipe(run / "recipe.yaml")
    if recipe.task != "expression":
        raise DataError(
            f"expected a run that reads expressions, got {run}, a {recipe.task} run",
            hint=f"start a recipe of {recipe.model.name} from it with model.init: ssl:{run}",
        )
    network = build_network(recipe)
    try:
        network.load_state_dict(_network_state(file))
    except Exception as error:
        raise DataError(f"expected a checkpoint of {recipe.model.name} in {file}, got: {error}") from error
    return network.eval(), recipe, recipe_preprocess(recipe), read_meta(run)


def read_meta(run: Path) -> dict[str, Any]:
    """A run's ``meta.json``, empty where there is none. Raises DataError."""
    file = run / "meta.json"
    if not file.is_file():
        return {}
    try:
        meta = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"expected JSON in {file}, got something else") from error
    return meta if isinstance(meta, dict) else {}


def _network_state(checkpoint: Path) -> dict[str, Tensor]:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


def _start_from_run(run: Path, network: nn.Module, recipe: Recipe) -> None:
    """Copy a finished run's best weights. Raises RecipeError where that run's network is another one."""
    other, its_recipe, _, _ = load_network(run)
    if (its_recipe.model.name, its_recipe.model.args) != (recipe.model.name, recipe.model.args):
        raise RecipeError(f"model.init: {run} holds {its_recipe.model}, this recipe has {recipe.model}")
    network.load_state_dict(other.state_dict())


def _start_from_pretraining(run: Path, network: nn.Module, recipe: Recipe) -> None:
    """Copy a masked-image run's encoder; says which parameters start fresh."""
    file = run / "best.ckpt"
    if not file.is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"model.init: expected a masked-image run with recipe.yaml and best.ckpt, got {run}")
    if load_recipe(run / "recipe.yaml").task != "masked_image":
        raise RecipeError(f"model.init: expected a masked-image run, got {run}", hint=f"use model.init: run:{run}")
    try:
        state = _network_state(file)
        encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        fresh = load_encoder(network, encoder)
    except (ValueError, KeyError, RuntimeError) as error:
        raise RecipeError(
            f"model.init: {run} does not fit {recipe.model.name}: {error}",
            hint="give both recipes the same model.args and data.size",
        ) from error
    print(f"{recipe.name}: encoder from {run}; fresh: {', '.join(fresh)}", file=sys.stderr)
