"""Steps of the training path against the same steps written out by hand: loss, parts, SAM, clipping, averages."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from mien.data.store import Store
from mien.training.datasets import crop_dataset
from mien.training.loader import make_loader
from mien.training.module import FerModule
from mien.training.networks import build_network, recipe_preprocess
from mien.training.recipe import Recipe
from reference_training import Trace, length, reference_training
from tiny_networks import tiny_recipe
from tiny_runs import TrainTiny, close

SAM = {"sam": {"rho": 0.5}}


@pytest.fixture
def hand(small_store: Path, tiny_networks: None) -> Any:
    def trace(recipe: Recipe, **options: Any) -> Trace:
        return reference_training(recipe, Store.open(small_store), **options)

    return trace


def test_a_plain_step_and_momentum(train_tiny: TrainTiny, hand: Any) -> None:
    recipe = tiny_recipe(optimizer={"lr": 0.1, "momentum": 0.9}, batch_size=35, epochs=2, targets={"smoothing": 0.2})
    expected = hand(recipe)
    run = train_tiny(recipe)
    assert len(expected.states) == 8
    assert close(run.now, expected.states[-1])
    assert not close(run.now, hand(tiny_recipe(optimizer={"lr": 0.1}, batch_size=35, epochs=2)).states[-1], atol=1e-3)
    # A step's figures are those of the weights that it started from.
    assert run.column("train_loss") == pytest.approx(
        [sum(expected.losses[:4]) / 4, sum(expected.losses[4:]) / 4], abs=2e-5
    )


def test_a_step_with_sam_is_reported_once_and_at_the_weights_it_started_from(train_tiny: TrainTiny, hand: Any) -> None:
    recipe = tiny_recipe(optimizer=SAM)
    expected = hand(recipe)
    run = train_tiny(recipe)
    assert close(run.now, expected.states[-1])
    assert run.column("train_loss") == pytest.approx(expected.losses, abs=2e-5)
    assert expected.uphill[0] > expected.losses[0] + 1e-2  # the control: the second pass sees another loss


def test_a_networks_own_terms_are_trained_on_and_reported(train_tiny: TrainTiny, hand: Any) -> None:
    recipe = tiny_recipe(model="tiny_terms")
    expected, without = hand(recipe), hand(tiny_recipe())
    run = train_tiny(recipe)
    assert close(run.now, expected.states[-1])
    assert not close(run.now, without.states[-1], atol=1e-3)  # the control: same first weights, no terms
    (loss,), (size,), (pull,) = (run.column(f"train_{name}") for name in ("loss", "size", "pull"))
    assert loss == pytest.approx(expected.losses[0], abs=2e-5)
    assert size + pull == pytest.approx(expected.losses[0] - without.losses[0], abs=4e-5)
    assert min(size, pull) > 1e-3


def test_a_step_in_parts_is_that_of_the_whole(train_tiny: TrainTiny, hand: Any) -> None:
    """Where there is no batch norm."""
    recipe = tiny_recipe(accumulate=4, model="tiny_terms")
    run, expected = train_tiny(recipe), hand(recipe)
    assert close(run.now, expected.states[-1])
    assert run.column("train_loss") == pytest.approx(expected.losses, abs=2e-5)


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*number of training batches", "ignore:.*treespec"
)
def test_parts_weigh_as_much_as_they_have_rows(small_store: Path, hand: Any) -> None:
    """Parts of 13, 13, 13 and 11: a run makes its batches divisible, the step does not rely on it."""
    recipe = tiny_recipe(accumulate=4, batch_size=140, data={"limit": 50})
    preprocess = recipe_preprocess(recipe)
    splits = [Store.open(small_store).read(name) for name in ("training", "public_test")]
    data, valid = (crop_dataset(split, recipe, preprocess, train=i == 0) for i, split in enumerate(splits))
    torch.manual_seed(recipe.seed)
    module = FerModule(build_network(recipe), recipe, preprocess, steps_per_epoch=1)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, make_loader(data, 50, train=True), make_loader(valid, 50, train=False))
    expected = hand(recipe)
    assert len(expected.drawn[0]["images"]) == 50
    assert close(module.network.state_dict(), expected.states[-1])
    assert module.epoch_figures()["train_loss"] == pytest.approx(expected.losses[0], abs=1e-6)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("sam", [{}, SAM], ids=["plain", "sam"])
def test_the_whole_gradient_is_clipped(sam: dict[str, Any], accumulate: int, train_tiny: TrainTiny, hand: Any) -> None:
    """Under accumulation too, and with SAM the gradient that the base optimiser sees."""
    loose = tiny_recipe(optimizer=sam)
    recipe = tiny_recipe(optimizer=sam | {"clip_norm": 0.05}, accumulate=accumulate)
    start = hand(tiny_recipe(optimizer={"lr": 1e-12})).states[0]
    run = train_tiny(recipe)
    assert close(run.now, hand(recipe).states[-1])
    assert length([run.now[name] - start[name] for name in start]) == pytest.approx(0.5 * 0.05, rel=1e-3)
    assert length([hand(loose).states[-1][name] - start[name] for name in start]) > 2 * 0.5 * 0.05  # the control


def test_sam_in_bf16_in_parts_with_batch_norm_momentum_and_averages(train_tiny: TrainTiny, hand: Any) -> None:
    """Everything at once, for several steps."""
    settings: dict[str, Any] = {"args": {"norm": True}, "batch_size": 70, "epochs": 2, "ema": {"decay": 0.15}}
    everything = {"lr": 0.1, "momentum": 0.9, "clip_norm": 0.3} | SAM
    recipe = tiny_recipe(optimizer=everything, accumulate=2, precision="bf16", **settings)
    expected = hand(recipe, divide=2)
    run = train_tiny(recipe)
    assert len(expected.states) == 4
    assert close(run.now, expected.states[-1], atol=1e-5)
    assert close(run.saved, expected.average, atol=1e-5)
    assert int(run.now["norm.num_batches_tracked"]) == 8  # four steps of two parts, each seen once
    # Controls: each of the settings matters by more than what the comparison lets pass.
    for change in (
        {"precision": "fp32"},
        {"accumulate": 1, "divide": 1},
        {"optimizer": everything | {"sam": None}},
        {"optimizer": everything | {"clip_norm": None}},
        {"optimizer": everything | {"momentum": 0}},
        {"ema": {"decay": 0.5}},
    ):
        divide = change.pop("divide", 2)
        raw = {"optimizer": everything, "accumulate": 2, "precision": "bf16"} | settings | change
        other = hand(tiny_recipe(**raw), divide=divide)
        assert not close(run.saved, other.average, atol=1e-4), change
