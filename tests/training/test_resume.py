"""A run that was killed and resumed equals an uninterrupted one bit for bit, for every kind of state."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.errors import UsageError
from mien.training.recipe import Recipe, load_recipe
from small_run import small_recipe
from tiny_networks import tiny_recipe
from tiny_runs import Run, TrainTiny, same

BUSY = {"args": {"norm": True, "dropout": 0.2}, "augment": {}, "batch_size": 35, "ema": {"decay": 0.3}}
PLATEAU = {"name": "plateau", "patience": 2, "factor": 0.5}

RECIPES: dict[str, dict[str, Any]] = {
    "sam, momentum, averages": BUSY
    | {"epochs": 4, "optimizer": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "sam": {"rho": 0.2}}},
    "asam around radam, parts, clipping, bf16, cosine": BUSY
    | {
        "epochs": 4,
        "optimizer": {"name": "radam", "lr": 0.01, "clip_norm": 0.5, "sam": {"rho": 0.5, "adaptive": True}},
        "accumulate": 5,
        "precision": "bf16",
        "schedule": {"name": "cosine", "warmup": 0.3},
    },
    "plateau": BUSY | {"epochs": 6, "schedule": PLATEAU, "optimizer": {"lr": 1e-6, "momentum": 0.9}, "ema": None},
    "early stop, plateau": BUSY
    | {"epochs": 9, "schedule": PLATEAU, "early_stop": 3, "optimizer": {"lr": 1e-6}, "args": {}, "ema": None},
    "masked images": {
        "model": "tiny_m", "task": "masked_image", "masking": {"patch": 8}, "schedule": PLATEAU, "early_stop": 3,
        "epochs": 9, "optimizer": {"lr": 30.0, "sam": {"rho": 0.1}},
    },
}  # fmt: skip


def outcome(run: Run) -> tuple[Any, ...]:
    """What a run says of itself, but for the clock."""
    meta = json.loads((run.path / "meta.json").read_text())["result"]
    log = [{key: value for key, value in row.items() if key != "seconds"} for row in run.log]
    best = Run(run.path, checkpoint="best")
    return {k: v for k, v in meta.items() if "seconds" not in k}, log, best.checkpoint["epoch"]


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_equals_uninterrupted_to_the_bit(
    name: str, train_tiny: TrainTiny, keep_after: Callable[[int, Path, Path], None], tmp_path: Path
) -> None:
    recipe: Recipe = tiny_recipe(**RECIPES[name])
    keep_after(2, tmp_path / "whole", tmp_path / "cut")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    assert len(Run(tmp_path / "cut").log) == 2
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert same(resumed.everything(), whole.everything())
    assert outcome(resumed) == outcome(whole)
    same_best = Run(resumed.path, checkpoint="best").saved, Run(whole.path, checkpoint="best").saved
    assert same(*same_best)
    # The premises: what has to be remembered was there to be forgotten.
    if recipe.early_stop:
        assert len(whole.log) == 4  # the best epoch and three more: stopped by a count that began before the kill
    if recipe.schedule.name == "plateau":
        assert len(set(whole.column("lr")[:3])) == 1  # the rate falls after the kill, for an epoch before it
        assert whole.column("lr")[3] == pytest.approx(0.5 * whole.column("lr")[0])


OPEN_ENDED: dict[str, dict[str, Any]] = {
    "constant": {"schedule": {"name": "constant", "warmup": 0}},
    "step": {"schedule": {"name": "step", "every": 1, "factor": 0.5, "warmup": 0}, "optimizer": {"momentum": 0.9}},
    "plateau": {"schedule": PLATEAU, "optimizer": {"lr": 1e-6}, "early_stop": 5},
}


@pytest.mark.parametrize("name", OPEN_ENDED)
def test_a_finished_run_with_more_epochs_equals_one_that_was_begun_with_them(name: str, train_tiny: TrainTiny) -> None:
    changes = BUSY | OPEN_ENDED[name]
    whole = train_tiny(tiny_recipe(**changes, epochs=4))
    short = train_tiny(tiny_recipe(**changes, epochs=2))
    assert not same(short.everything(), whole.everything())
    longer = train_tiny(tiny_recipe(**changes, epochs=4), path=short.path, resume=True)
    assert same(longer.everything(), whole.everything())
    assert outcome(longer) == outcome(whole)
    assert same(Run(longer.path, checkpoint="best").saved, Run(whole.path, checkpoint="best").saved)
    assert load_recipe(longer.path / "recipe.yaml").epochs == 4
    with pytest.raises(UsageError, match="epochs was 4, is 3; resume with the same"):
        train_tiny(tiny_recipe(**changes, epochs=3), path=short.path, resume=True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"schedule": {"name": "cosine", "warmup": 0.1}},
            r"the schedule cosine with warmup 0\.1 is planned to end with epoch 2",
        ),
        ({"schedule": {"name": "linear", "warmup": 0}}, r"the schedule linear is planned"),
        ({"schedule": {"name": "constant", "warmup": 0.1}}, r"the schedule constant with warmup"),
        ({"optimizer": {"lr": 1e-9}, "early_stop": 1, "epochs": 3}, "early_stop ended it after 2 of 3 epochs"),
    ],
)
def test_more_epochs_of_what_would_have_been_another_run_name_the_way_to_train_on(
    changes: dict[str, Any], why: str, train_tiny: TrainTiny
) -> None:
    run = train_tiny(tiny_recipe(**{"epochs": 2} | changes))
    before = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    with pytest.raises(
        UsageError, match=rf"cannot get more epochs: {why}.* --set model\.init=run:.*run0 --set epochs=N"
    ):
        train_tiny(tiny_recipe(**changes | {"epochs": 5}), path=run.path, resume=True)
    assert {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()} == before
    with pytest.raises(UsageError, match="batch_size was 140, is 70"):  # not the epochs alone
        train_tiny(tiny_recipe(**changes | {"epochs": 5, "batch_size": 70}), path=run.path, resume=True)
    raw = tiny_recipe(**changes | {"epochs": 1}).model_dump(mode="json")
    on = small_recipe(**raw | {"model": {"name": "tiny", "init": f"run:{run.path}"}})
    assert len(train_tiny(on).log) == 1  # what the message says works
