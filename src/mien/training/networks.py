"""The networks of a run: built from its recipe, initialised, and loaded from its checkpoints."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import DataError, MienError, RecipeError
from mien.labels import SEVEN
from mien.models import registry
from mien.models.compact import CompactNet
from mien.models.masked_image import MaskedImageModel, load_encoder
from mien.models.packaged.packages import backbone, start_from_package
from mien.models.widening import widen
from mien.preprocess import Preprocess
from mien.showable import one_line, short
from mien.training.exported import Exported, start_from_reader
from mien.training.recipe import Recipe, load_recipe

log = logging.getLogger(__name__)

MOST_LABELS = 1000


def recipe_preprocess(recipe: Recipe) -> Preprocess:
    """What the recipe's network is fed with. Raises RecipeError where the numbers do not fit it."""
    color = registry.spec(recipe.model.name).color
    try:
        return recipe.preprocess(color)
    except MienError as error:
        raise RecipeError(f"data: {error}", hint=f"{recipe.model.name} takes {color} pictures") from error


def build_network(recipe: Recipe, *, classes: int = len(SEVEN), pretrained: bool = False) -> nn.Module:
    """The recipe's network as it is before any of ``model.init`` but ImageNet weights. Raises RecipeError.

    classes: how many expressions the data set has.
    """
    model, side = recipe.model, recipe.data.window or recipe.data.size
    network = registry.build(model.name, model.args, num_classes=classes, image_size=side, pretrained=pretrained)
    if recipe.task != "masked_image":
        return network
    channels = registry.spec(model.name).channels
    try:
        return MaskedImageModel(network, in_channels=channels, patch=recipe.masking.patch, ratio=recipe.masking.ratio)
    except ValueError as error:
        raise RecipeError(f"task masked_image: {error}") from error


def starting_network(
    recipe: Recipe, *, labels: Sequence[str] = SEVEN, pictures: Callable[[], Tensor] | None = None
) -> nn.Module:
    """The recipe's network of these classes with the weights that ``model.init`` names.

    pictures: some of training's, as the network takes them; only ``init: package:`` and ``reader:`` may ask for them.
    Raises RecipeError where they do not fit, WeightsError where they cannot be fetched, DataError for no run.
    """
    kind, runs = recipe.model.start
    network = build_network(recipe, classes=len(labels), pretrained=kind == "imagenet")
    if kind in ("run", "mean"):
        states = [_weights_of_run(run, network, recipe, labels) for run in runs]
        shares = recipe.model.shares or [1.0]
        network.load_state_dict({name: _mean([state[name] for state in states], shares) for name in states[0]})
    elif kind == "widened":
        _start_from_narrower(runs[0], network, recipe, labels)
    elif kind == "ssl":
        _start_from_pretraining(runs[0], network, recipe)
    elif recipe.model.package:
        _start_from_package(recipe.model.package, network, recipe, pictures)
    elif recipe.model.reader:
        start_from_reader(network, recipe.model.reader, recipe=recipe, labels=labels, pictures=pictures)
    return network


#: What a run of a task is for, where a run of another one is expected.
_USE_OF = {
    "expression": "see mien evaluate",
    "masked_image": "start a recipe of {network} from it with model.init: ssl:{run}",
    "orientation": "measure it with benchmarks/turned_faces.py, export it with mien export {run} -o FILE.onnx",
}


def try_network(network: nn.Module, recipe: Recipe, *, classes: int = len(SEVEN)) -> None:
    """Show a network two pictures; its state stays as it was. Raises RecipeError where it cannot take them."""
    preprocess = recipe_preprocess(recipe)
    side = preprocess.input_size
    pictures = torch.zeros(2, preprocess.channels, side, side)
    try:
        with torch.no_grad():
            network.eval()
            if isinstance(network, MaskedImageModel):
                shape, expected = network(pictures, network.draw_mask(2, torch.Generator())).shape, pictures.shape
            else:
                shape, expected = network(pictures).shape, torch.Size([2, classes])
    except Exception as error:  # whatever a network of timm's may raise deep inside
        raise RecipeError(
            f"{recipe.model.name} cannot take pictures of {side}×{side}: {one_line(error, most=200)}",
            hint="choose another data.size",
        ) from error
    finally:
        network.train()
    if shape != expected:
        raise RecipeError(f"{recipe.model.name}: expected an output of {tuple(expected)}, got {tuple(shape)}")


def load_network(
    run: str | Path, *, checkpoint: str = "best", tasks: tuple[str, ...] = ("expression",)
) -> tuple[nn.Module, Recipe, Preprocess, dict[str, Any]]:
    """A finished run's network in eval mode, its recipe, preprocess and ``meta.json``. Raises DataError.

    checkpoint: "best" or "last". tasks: those that the caller can use.
    """
    run = Path(run)
    file = run / f"{checkpoint}.ckpt"
    if not file.is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"expected a run directory with recipe.yaml and {checkpoint}.ckpt, got {run}")
    recipe = load_recipe(run / "recipe.yaml")
    if recipe.task not in tasks:
        raise DataError(
            f"expected a run of task {' or '.join(tasks)}, got {run}, a run of task {recipe.task}",
            hint=_USE_OF[recipe.task].format(run=run, network=recipe.model.name),
        )
    meta = read_meta(run)
    network = build_network(recipe, classes=len(meta.get("labels", SEVEN)))
    state = _network_state(file)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"expected a checkpoint of {recipe.model.name} in {file}; {_misfit(network, state)}") from error
    return network.eval(), recipe, recipe_preprocess(recipe), meta


def read_meta(run: Path) -> dict[str, Any]:
    """A run's ``meta.json``, empty where there is none. Raises DataError, also where a key has another type."""
    file = run / "meta.json"
    if not file.is_file():
        return {}
    try:
        meta = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected JSON in {file}, got something else") from error
    if not isinstance(meta, dict):
        return {}
    for key, kind in (("data", dict), ("result", dict), ("labels", list), ("origins", list)):
        if not isinstance(meta.get(key, kind()), kind):
            raise DataError(f"expected {key} in {file} to be a {kind.__name__}, got {short(meta[key])}")
    labels = meta.get("labels", [])
    if len(labels) > MOST_LABELS or not all(isinstance(label, str) for label in labels):
        raise DataError(f"expected at most {MOST_LABELS} labels in {file}, got {short(labels)}")
    return meta


def _network_state(checkpoint: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    except Exception as error:  # zip, pickle, the file system, another content: no base in common
        raise DataError(
            f"expected a complete checkpoint of mien, cannot read {checkpoint}",
            hint="it is damaged or was cut off: copy it again, or train the run again",
        ) from error


def weights_digest(run: Path) -> str:
    """Of a finished run's best weights, 16 hexadecimal digits. Raises DataError."""
    state, digest = _network_state(run / "best.ckpt"), hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _misfit(network: nn.Module, state: dict[str, Tensor]) -> str:
    """The first thing in which weights differ from a network's own."""
    own = network.state_dict()
    for name in [*own, *state]:
        here, there = (tuple(d[name].shape) if name in d else "nothing" for d in (own, state))
        if here != there:
            return f"{name}: expected {here}, got {there}"
    return "the weights have other types"


def _mean(tensors: list[Tensor], shares: list[float]) -> Tensor:
    """Of weights and of batch-norm statistics; counts are the first one's."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    return sum((share * tensor for share, tensor in zip(shares, tensors, strict=True)), torch.zeros_like(tensors[0]))


def _weights_of_run(run: Path, network: nn.Module, recipe: Recipe, labels: Sequence[str]) -> dict[str, Tensor]:
    """A finished run's best weights, a masked one's decoder too. Raises RecipeError where they do not fit.

    labels: of this recipe's data, which a run of expressions must share.
    """
    its_recipe = _recipe_of_same_network(run, recipe)
    theirs = read_meta(run).get("labels", SEVEN)
    if recipe.task == "expression" and list(theirs) != list(labels):
        raise RecipeError(
            f"model.init: expected a run of {', '.join(labels)}, got {run}, of {', '.join(theirs)}",
            hint=f"export it, and start from the file with a new classifier: mien export {run} -o FILE.onnx, "
            "model.init: reader:FILE.onnx",
        )
    if recipe.model.logit_adjustment and (
        its_recipe.model.logit_adjustment
        or its_recipe.data.balance != "none"
        or its_recipe.targets.class_weights != "none"
    ):
        raise RecipeError(
            f"model.logit_adjustment: expected a run without data.balance, targets.class_weights and logit_adjustment, "
            f"got {run}: it does not predict rare classes less often, or no longer"
        )
    state = _network_state(run / "best.ckpt")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RecipeError(
            f"model.init: {run} does not fit this recipe's {recipe.model.name}; {_misfit(network, state)}",
            hint="give both recipes the same model.args, data.size and masking",
        ) from error
    return state


def _start_from_narrower(run: Path, network: nn.Module, recipe: Recipe, labels: Sequence[str]) -> None:
    """Give a wider and deeper network what a run's computes. Raises RecipeError where it is not one."""
    if not isinstance(network, CompactNet):
        raise RecipeError(f"model.init: widened: expected model.name compact, nano or pico, got {recipe.model.name}")
    its_args = _recipe_of_same_network(run, recipe).model.args
    small = build_network(
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"args": its_args})}), classes=len(labels)
    )
    _weights_of_run(run, small, recipe, labels)
    assert isinstance(small, CompactNet)
    try:
        widen(small, network)
    except ValueError as error:
        raise RecipeError(
            f"model.init: {run} cannot be widened to this recipe's model.args: {error}",
            hint=f"its own are {its_args or 'the defaults'}",
        ) from error


def _recipe_of_same_network(run: Path, recipe: Recipe) -> Recipe:
    """Of a run to start from. Raises RecipeError where it has another task or network."""
    its_recipe = _recipe_of(run)
    if its_recipe.task != recipe.task:
        hint = f"use model.init: ssl:{run}" if its_recipe.task == "masked_image" else None
        raise RecipeError(
            f"model.init: expected a run of task {recipe.task}, {run} is one of {its_recipe.task}", hint=hint
        )
    if its_recipe.model.name != recipe.model.name:
        raise RecipeError(f"model.init: {run} holds a {its_recipe.model.name}, this recipe has {recipe.model.name}")
    return its_recipe


def _recipe_of(run: Path) -> Recipe:
    """Of a run to start from. Raises DataError."""
    if not (run / "best.ckpt").is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"model.init: expected a run directory with recipe.yaml and best.ckpt, got {run}")
    return load_recipe(run / "recipe.yaml")


def _start_from_pretraining(run: Path, network: nn.Module, recipe: Recipe) -> None:
    """Copy a masked-image run's encoder; logs which parameters are newly initialised."""
    if _recipe_of(run).task != "masked_image":
        raise RecipeError(f"model.init: expected a masked-image run, got {run}", hint=f"use model.init: run:{run}")
    state = _network_state(run / "best.ckpt")
    try:
        encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        fresh = load_encoder(network, encoder)
    except (ValueError, KeyError, RuntimeError) as error:
        raise RecipeError(
            f"model.init: {run} does not fit {recipe.model.name}: {error}",
            hint="give both recipes the same model.args and data.size",
        ) from error
    log.warning("%s: encoder from %s; fresh: %s", recipe.name, run, ", ".join(fresh))


def _start_from_package(name: str, network: nn.Module, recipe: Recipe, pictures: Callable[[], Tensor] | None) -> None:
    """Copy a packaged backbone's weights; logs which parameters are newly initialised."""
    if recipe.task != "expression":
        raise RecipeError("model.init: package: expected task expression", hint="use model.init: scratch")
    fresh = start_from_package(network, name, model=recipe.model.name, pictures=pictures)
    log.warning("%s: weights from %s; fresh: %s", recipe.name, backbone(name).package, ", ".join(fresh))


def origins(recipe: Recipe, run: Path | None = None) -> list[dict[str, str]]:
    """Which packages' weights a run descends from, each once: licence and where they come from, and ``role``.

    role: "start" of its own weights, through the runs that it began at too; "teacher" of a network it learns from.
    run: a resumed one, which has recorded them.
    """
    if run is not None:
        return list(read_meta(run).get("origins", []))
    found = [backbone(recipe.model.package).origin() | {"role": "start"}] if recipe.model.package else []
    for start in recipe.model.start[1]:
        found += read_meta(start).get("origins", [])
    if recipe.model.reader:
        found += Exported(recipe.model.reader).origins
    for teacher in recipe.distill.runs if recipe.distill else []:
        found += [origin | {"role": "teacher"} for origin in read_meta(Path(teacher)).get("origins", [])]
    return [origin for number, origin in enumerate(found) if origin not in found[:number]]
