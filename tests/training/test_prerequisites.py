"""A run that a recipe needs and that is not there: the key that names it, and the command that makes it."""

import re
from pathlib import Path

import pytest

from mien.data.store import Store
from mien.errors import RecipeError
from mien.training.recipe import differences, load_recipe, shipped_recipes
from mien.training.run import train
from mien.training.run_directory import check_prerequisites
from small_run import small_recipe

STORE = Path("my stores/fer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "swin_t_se/scratch-ssl",
            "model.init: expected a finished run, got runs/swin_t-pretrain, which does not exist; train it first: "
            "mien train swin_t/pretrain --data 'my stores/fer' -o runs/swin_t-pretrain",
        ),
        ("lhcnet/paper-2", "train it first: mien train lhcnet/paper --data 'my stores/fer' -o runs/lhcnet-paper"),
        ("nano", "model.init: expected a finished run, got runs/nano-wide, which does not exist; train it first"),
        (
            "nano-base",
            "distill.runs: expected a finished run, got runs/compact-base, which does not exist; train it first: mien",
        ),
    ],
)
def test_a_shipped_recipe_says_what_comes_before_it(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=f"^.*{re.escape(message)}"):
        check_prerequisites(load_recipe(name), STORE)


def test_every_run_that_a_shipped_recipe_names_has_its_recipe() -> None:
    needed: dict[Path, str] = {}
    for name in shipped_recipes():
        recipe = load_recipe(name)
        named = {*recipe.model.start[1], *(recipe.distill.runs if recipe.distill else ())}
        assert set(recipe.needs) == named, name
        needed |= recipe.needs
    assert len(needed) >= 5
    assert set(needed.values()) <= set(shipped_recipes())


def test_what_a_recipe_needs_is_no_part_of_its_run(trained_run: Path) -> None:
    """recipe.yaml, exported files and the question whether a run may resume know nothing of it."""
    plain, documented = small_recipe(), small_recipe(needs={str(trained_run): "nano"})
    assert documented.to_yaml() == plain.to_yaml()
    assert "needs" not in documented.model_dump()
    assert differences(plain, documented) == []
    with pytest.raises(RecipeError, match=r"needs\.a"):
        small_recipe(needs={"a": 1})


def test_runs_of_ones_own(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "recipe.yaml").write_text("")
    recipe = small_recipe(distill={"runs": [str(trained_run), str(half)]})
    with pytest.raises(
        RecipeError, match=r"half, without best\.ckpt; train it first, or name another .*distill\.runs=…"
    ):
        train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()
    check_prerequisites(small_recipe(distill={"runs": [str(trained_run)]}), STORE)


def test_each_run_of_a_mean_is_asked_for(trained_run: Path, tmp_path: Path) -> None:
    twice = small_recipe(model={"name": "nano", "init": f"mean:{trained_run},{trained_run}"})
    check_prerequisites(twice, STORE)
    both = small_recipe(model={"name": "nano", "init": f"mean:{trained_run},{tmp_path / 'gone'}"})
    with pytest.raises(RecipeError, match=r"model\.init: expected a finished run, got .*gone, which does not exist"):
        check_prerequisites(both, STORE)


def test_a_resumed_run_has_its_weights(tmp_path: Path) -> None:
    recipe = small_recipe(model={"name": "nano", "init": f"run:{tmp_path / 'gone'}"})
    check_prerequisites(recipe, STORE, resume=True)
    with pytest.raises(RecipeError, match=r"model\.init"):
        check_prerequisites(recipe, STORE)
