"""Runs of task "orientation": what they draw, what they refuse, and that they go through run, export and reading."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from mien.data.store import Store
from mien.errors import DataError, MienError, ModelError, RecipeError
from mien.export import export_run
from mien.faces.orientation import ORIENTATIONS
from mien.reading.classifier import Classifier
from mien.training.networks import load_network, recipe_preprocess
from mien.training.objectives import Orientation
from mien.training.orientation import NO_FACE, orientation_targets, turned
from mien.training.recipe import Recipe
from mien.training.run import train
from small_run import small_recipe

PLAIN: dict[str, Any] = {
    "flip": 0, "mixup": 0, "erase": 0, "brightness": 0, "contrast": 0, "rotate": 0, "scale": [1, 1], "shift": 0,
}  # fmt: skip


def orientation_recipe(non_faces: Path, **changes: Any) -> Recipe:
    defaults: dict[str, Any] = {
        "task": "orientation",
        "model": {"name": "pico"},
        "data": {"non_faces": str(non_faces), "limit": 40},
        "augment": PLAIN,
        "epochs": 1,
    }
    return small_recipe(**(defaults | changes))


def test_pictures_turn_as_numpy_turns_them() -> None:
    images = torch.rand(8, 2, 5, 5)
    turns = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    got = turned(images, turns)
    for picture, count, result in zip(images.numpy(), turns.tolist(), got.numpy(), strict=True):
        assert np.array_equal(result, np.rot90(picture, count, (1, 2)))
    assert not torch.equal(got, images)


def test_faces_have_their_turn_as_target_and_others_none() -> None:
    labels = torch.tensor([0, 0, NO_FACE, 0, NO_FACE])
    assert orientation_targets(labels, torch.tensor([0, 3, 2, 1, 0])).tolist() == [0, 3, NO_FACE, 1, NO_FACE]


def test_a_step_is_a_function_of_seed_and_step(tmp_path: Path) -> None:
    recipe = orientation_recipe(tmp_path)
    objective = Orientation(recipe, recipe_preprocess(recipe))
    batch = {
        "images": torch.randint(0, 256, (64, 1, 48, 48), dtype=torch.uint8),
        "labels": torch.zeros(64, dtype=torch.int64),
    }
    one, again, other = (objective.draw(batch, step=step) for step in (3, 3, 4))
    assert torch.equal(one["images"], again["images"])
    assert torch.equal(one["orientation"], again["orientation"])
    assert not torch.equal(one["orientation"], other["orientation"])
    assert set(one["orientation"].tolist()) == {0, 1, 2, 3}
    plain = objective.plain(batch)  # nothing but the turn was changed: turned back, it is the picture
    assert torch.allclose(turned(one["images"], -one["orientation"] % 4), plain, atol=1e-5)


def test_through_run_and_export(small_store: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", tmp_path / "orientation.onnx"
    recipe = orientation_recipe(small_store)
    meta = train(recipe, Store.open(small_store), run, accelerator="cpu", threads=1)
    assert meta["labels"] == list(ORIENTATIONS)
    assert meta["data"]["non_faces"] == Store.open(small_store).fingerprint
    train(recipe, Store.open(small_store), run, accelerator="cpu", threads=1, resume=True)
    export_run(run, file, name=None, half=True)
    told = ort.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert told["mien.task"] == "orientation"
    with pytest.raises(ModelError, match="expected a model that reads expressions, got one of task 'orientation'"):
        Classifier.load(file)
    with pytest.raises(DataError, match=r"expected a run of task expression, .* of task orientation; measure it with"):
        load_network(run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"limit": 40}}, "expected data.non_faces with task orientation"),
        ({"task": "expression"}, "expected data.non_faces with task orientation, and with no other task"),
        ({"augment": PLAIN | {"mixup": 0.2}}, "augment.mixup 0 with task orientation"),
        ({"data": {"non_faces": "x", "balance": "online"}}, "data.balance and targets.class_weights none with task"),
        ({"targets": {"class_weights": "inverse"}}, "data.balance and targets.class_weights none with task"),
        ({"distill": {"runs": ["x"]}}, "no distill section with task orientation"),
    ],
)
def test_what_does_not_fit_together_is_said(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said.replace(".", r"\.")):
        orientation_recipe(tmp_path, **changes)


def test_a_store_without_the_split_is_named(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(MienError, match="expected a store"):
        train(orientation_recipe(tmp_path / "none"), Store.open(small_store), tmp_path / "run", accelerator="cpu")
