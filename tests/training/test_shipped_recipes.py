"""Every recipe that ships is a document that can be run: its head, its keys, its network, and a step of it for real."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mien.data.store import Store
from mien.models import registry
from mien.models.packaged.packages import all_backbones
from mien.training.networks import recipe_preprocess
from mien.training.recipe import Recipe, load_recipe, parse_recipe, recipes_by_network, shipped_recipes
from mien.training.run import train

RECIPES = shipped_recipes()
OURS = {"compact", "nano"}


@pytest.mark.parametrize("name", RECIPES)
def test_the_head_says_what_one_must_know(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert re.search(rf"mien train (recipes/)?{re.escape(name)}(\.yaml)? ", head), "the command"
    assert "Hardware" in head
    assert "Expected" in head
    assert re.search(r"not yet run|\d\d\.\d %|\.md|\d+ %", head), "a score, or that there is none"
    assert load_recipe(name).name == name.replace("/", "-")


BACKBONES = {backbone.network for backbone in all_backbones()}


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_each_packaged_backbone_has_a_recipe_that_starts_from_it(name: str) -> None:
    assert recipes_by_network()[name] == [f"{name}/finetune"]
    assert load_recipe(f"{name}/finetune").model.package == name


@pytest.mark.parametrize(
    "entry", [s for s in registry.all_specs() if s.name not in BACKBONES | {"pico"}], ids=lambda s: s.name
)
def test_each_network_has_its_authors_recipe_and_one_from_scratch(entry: registry.ModelSpec) -> None:
    names = recipes_by_network()[entry.name]
    assert entry.name in OURS or {f"{entry.name}/paper", f"{entry.name}/scratch"} <= set(names)
    assert load_recipe(f"{entry.name}-base" if entry.name in OURS else f"{entry.name}/scratch").model.init == "scratch"


def test_pico_has_the_recipe_of_its_task() -> None:
    assert recipes_by_network()["pico"] == ["orientation"]
    assert load_recipe("orientation").task == "orientation"


@pytest.mark.parametrize("name", RECIPES)
def test_its_network_can_be_built_and_fed(name: str) -> None:
    recipe = load_recipe(name)
    preprocess = recipe_preprocess(recipe)
    entry = registry.spec(recipe.model.name)
    side = {"image_size": preprocess.input_size} if entry.takes("image_size") else {}
    with torch.device("meta"):
        network = entry.build(**(recipe.model.args | side))
        logits = network.eval()(torch.empty(2, preprocess.channels, preprocess.input_size, preprocess.input_size))
    assert logits.shape == (2, 7)
    assert recipe.model.init != "imagenet" or entry.takes("pretrained")


def small(recipe: Recipe) -> Recipe:
    """The recipe with the network's reduced form, twenty pictures and one epoch: a step; everything else as it is."""
    entry = registry.spec(recipe.model.name)
    raw: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
    side = entry.reduced.get("image_size", min(entry.input_sizes))
    args = {key: value for key, value in entry.reduced.items() if key != "image_size"}
    raw["model"] |= {"args": recipe.model.args | args, "init": "scratch", "logit_adjustment": 0}
    raw["data"] |= {"size": side, "window": None, "limit": 20}
    raw["masking"] = {"patch": 8, "ratio": 0.5}
    raw["targets"]["votes"] = 0
    raw |= {"epochs": 1, "batch_size": 20, "accumulate": 1, "distill": None}
    return parse_recipe(raw, origin=recipe.name)


def kinds(recipe: Recipe) -> tuple[object, ...]:
    """What decides which code a small run passes through; recipes that differ in numbers alone share one."""
    parts = (recipe.model, recipe.data, recipe.masking)
    switches = (recipe.ema is None, recipe.optimizer.sam is None, recipe.optimizer.clip_norm is None)
    return (*map(str, parts), recipe.task, recipe.optimizer.name, recipe.schedule.name, recipe.precision, *switches)


RUNS = {kinds(recipe): recipe for recipe in (small(load_recipe(name)) for name in RECIPES)}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RUNS.values(), ids=lambda recipe: recipe.name)
def test_it_trains(recipe: Recipe, small_store: Path, tmp_path: Path) -> None:
    if recipe.task == "orientation":  # the small store's pictures stand for both of its stores
        data = recipe.data.model_copy(update={"validation": "public_test", "non_faces": small_store})
        recipe = recipe.model_copy(update={"data": data})
    if recipe.data.validation == "validation":  # of one's own classes: the small store has FER2013's splits
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": "public_test"})})
    meta = train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)
    assert meta["result"]["epochs"] == 1
    assert (tmp_path / "run" / "best.ckpt").is_file()
