"""What validation decides (rate, end, best epoch), which way round, and that it sees what evaluation will see."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mien.data.store import Store
from mien.training.networks import load_network
from tiny_networks import tiny_recipe
from tiny_runs import Run, TrainTiny

JUDGED = {"schedule": {"name": "plateau", "patience": 1, "factor": 0.5}, "early_stop": 2, "epochs": 5}
MASKED = {"task": "masked_image", "masking": {"patch": 8, "ratio": 0.5}, "model": "tiny_m"}


def test_a_loss_that_falls_is_progress(train_tiny: TrainTiny) -> None:
    """Of a masked-image run the least loss is the best: while it falls, the rate stays and the run goes on."""
    run = train_tiny(tiny_recipe(**(JUDGED | MASKED), optimizer={"name": "adamw", "lr": 3e-3}))
    losses = run.column("valid_loss")
    assert losses == sorted(set(losses), reverse=True)  # the premise: each epoch is better than the one before
    assert len(losses) == 5
    assert run.column("lr") == [3e-3] * 5
    assert Run(run.path, checkpoint="best").checkpoint["epoch"] == 4


def test_a_loss_that_rises_is_none(train_tiny: TrainTiny) -> None:
    run = train_tiny(tiny_recipe(**(JUDGED | MASKED), optimizer={"lr": 30.0}))
    losses = run.column("valid_loss")
    assert losses == sorted(set(losses))  # the premise
    assert len(losses) == 3  # the first epoch, and two that are worse
    assert run.column("lr") == [30.0, 30.0, 15.0]  # of the epoch itself: what the second showed, the third feels
    assert Run(run.path, checkpoint="best").checkpoint["epoch"] == 0


def test_an_accuracy_that_rises_is_progress(train_tiny: TrainTiny) -> None:
    run = train_tiny(tiny_recipe(**JUDGED | {"epochs": 3, "early_stop": 1}, optimizer={"lr": 0.1}, batch_size=35))
    first, second, third = run.column("valid_accuracy")  # three: the second epoch did not end it
    assert first < second >= third  # the premise
    assert run.column("lr")[:2] == [0.1, 0.1]
    assert Run(run.path, checkpoint="best").checkpoint["epoch"] == 1


def test_validation_is_in_single_precision(train_tiny: TrainTiny, small_store: Path) -> None:
    """A bf16 run logs the loss that its best checkpoint has in fp32."""
    run = train_tiny(tiny_recipe(args={"norm": True}, precision="bf16", batch_size=35, ema={"decay": 0.5}, epochs=4))
    network, _, preprocess, _ = load_network(run.path, checkpoint="last")
    split = Store.open(small_store).read("public_test")
    images, labels = torch.from_numpy(preprocess.normalise(split.images[:, None])), torch.from_numpy(split.labels)
    with torch.no_grad():
        exact = float(F.cross_entropy(network(images), labels))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = float(F.cross_entropy(network(images).float(), labels))
    assert run.column("valid_loss")[-1] == pytest.approx(exact, abs=1e-5)
    assert abs(rounded - exact) > 3e-5  # the control
