"""Recipes: every shipped one is valid, every slip is named."""

from pathlib import Path

import pytest

from mien.errors import RecipeError
from mien.models import registry
from mien.training.networks import recipe_preprocess
from mien.training.recipe import load_recipe, parse_overrides, parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
GOOD = {"name": "x", "model": {"name": "nano"}, "epochs": 1}


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_shipped_recipes_are_valid_and_documented(file: Path) -> None:
    recipe = load_recipe(file)
    registry.build(recipe.model.name, recipe.model.args)
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert any("mien train" in line for line in head)
    assert recipe == load_recipe(file.stem)  # by name as well


def test_a_recipe_survives_its_own_yaml() -> None:
    import yaml

    recipe = load_recipe("nano")
    copy = parse_recipe(yaml.safe_load(recipe.to_yaml()), origin="copy")
    assert copy == recipe.model_copy(update={"needs": {}})  # which is no part of a run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, r"epoch: no such key; expected one of name, task, model"),
        (
            {"optimizer": {"lr": 0.1, "moment": 1}},
            r"optimizer\.moment: no such key; expected one of name, lr, momentum",
        ),
        ({"ema": {"dekay": 0.9}}, r"ema\.dekay: no such key; expected one of decay"),
        ({"epochs": -1}, r"epochs: .*greater than or equal to 0, got -1"),
        ({"optimizer": {"name": "adagrad"}}, r"optimizer\.name: .*'sgd', 'adam', 'adamw' or 'radam', got 'adagrad'"),
        ({"optimizer": {"sam": {"rho": -1}}}, r"optimizer\.sam\.rho: .*greater than or equal to 0, got -1"),
        ({"optimizer": {"sam": {"radius": 1}}}, r"optimizer\.sam\.radius: no such key; expected one of rho, adaptive"),
        ({"schedule": {"name": "plateau", "warmup": 0.1}}, r"r\.yaml: schedule: expected no warmup with plateau"),
        ({"batch_size": 10, "accumulate": 3}, r"r\.yaml: expected a batch_size that accumulate divides, got 10/3"),
        ({"model": {"name": "nano", "init": "imagnet"}}, r"model\.init: .*expected scratch, imagenet, .*got 'imagnet'"),
        ({"model": {"name": "nano", "init": "mean:runs/a"}}, r"model\.init: .*scratch.*got 'mean:runs/a'"),
        ({"augment": {"flip": 2}}, r"augment\.flip: .*less than or equal to 1, got 2"),
        ({"augment": {"scale": [1.2, 0.8]}}, r"augment\.scale: .*the lower one first"),
        ({"optimizer": {"lr": float("inf")}}, r"optimizer\.lr: .*finite"),
        ({"name": "a b"}, r"name: .*got 'a b'"),
        (
            {"optimizer": {"sam": True}},
            r"r\.yaml: optimizer\.sam: expected settings such as \{rho: 0\.05\}.*, got True$",
        ),
        (
            {"distill": {"runs": "runs/a"}},
            r"r\.yaml: distill\.runs: expected a list .*, such as \[runs/a\], got 'runs/a'$",
        ),
        ({"augment": {"scale": [1.2, 0.8]}}, r"augment\.scale: expected two numbers above 0, .*, got \[1\.2, 0\.8\]"),
    ],
)
def test_a_wrong_key_or_value_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(GOOD | change, origin="r.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml: model: this key is required; epochs: this key is required"):
        parse_recipe({"name": "x"}, origin="r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n- 2\n", "expected keys and values, got list"), ("a: [1\n", "expected YAML"), ("", "got NoneType")],
)
def test_a_file_that_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(file)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("compakt", "did you mean compact, own-compact, compact-base? mien models lists them"),
        ("recipes/compakt.yaml", "did you mean compact, own-compact, compact-base? mien models lists them"),
        ("swin_t_se/scrath", "did you mean swin_t_se/scratch"),
        ("dan", "did you mean dan/paper, dan/scratch? mien models lists them"),
        ("zzz", "; mien models lists them"),
    ],
)
def test_an_unknown_recipe_gets_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    said = str(caught.value)
    assert said.startswith(f"expected a recipe file or the name of a shipped recipe, got {name!r}; ")
    assert hint in said
    assert len(said) < 200


def test_pictures_that_do_not_fit_the_network_are_told_with_its_colour() -> None:
    for data, message in (
        ({"window": 60}, r"^data: expected a window of 8-48 pixels, got 60; nano takes grey pictures$"),
        ({"mean": [0.5] * 3}, r"^data: expected 1 mean and positive std values, got .*; nano takes grey pictures$"),
    ):
        with pytest.raises(RecipeError, match=message):
            recipe_preprocess(parse_recipe(GOOD | {"data": data}, origin="r.yaml"))


def test_overrides() -> None:
    changed = load_recipe("compact-hints", overrides=parse_overrides(["epochs=3", "optimizer.lr=0.5", "ema=null"]))
    assert (changed.epochs, changed.optimizer.lr, changed.ema) == (3, 0.5, None)
    assert load_recipe("compact", overrides={"distill.runs": "[a, b]"}).distill is not None
    with pytest.raises(RecipeError, match=r"--set: expected key=value, got 'epochs'"):
        parse_overrides(["epochs"])
    with pytest.raises(RecipeError, match="epochs holds a value, not a section"):
        load_recipe("compact", overrides={"epochs.x": "1"})
