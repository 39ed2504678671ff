"""Training for real, small: it learns, it resumes bit for bit, it refuses what cannot work."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.data.store import Store
from mien.errors import DataError, RecipeError, UsageError
from mien.models import registry
from mien.preprocess import Preprocess
from mien.training.averaging import move
from mien.training.module import FerModule
from mien.training.networks import load_network
from mien.training.optimizers import lr_factor
from mien.training.recipe import load_recipe
from mien.training.run import train
from mien.training.targets import votes_that_are_there
from small_run import small_recipe


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / f"{name}.ckpt", weights_only=True)
    return {**checkpoint["state_dict"], **{f"now.{k}": v for k, v in checkpoint["current_model_state"].items()}}


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "log.csv").read_text().splitlines()))


def test_a_run_learns_and_leaves_its_papers(trained_run: Path, small_store: Path) -> None:
    meta = json.loads((trained_run / "meta.json").read_text())
    rows = rows_of(trained_run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert meta["result"]["best_valid_accuracy"] == pytest.approx(
        max(float(r["valid_accuracy"]) for r in rows), abs=1e-5
    )
    assert meta["result"]["best_valid_accuracy"] > 0.5  # chance is 1/7
    assert meta["data"]["store"] == Store.open(small_store).fingerprint
    assert (trained_run / "recipe.yaml").is_file()
    assert any((trained_run / "tensorboard").iterdir())
    # The last checkpoint is of the last epoch, also where an earlier one was the best.
    assert torch.load(trained_run / "last.ckpt", weights_only=True)["epoch"] == 3


def test_the_logged_rate_is_that_of_the_epochs_last_step(trained_run: Path) -> None:
    recipe, rows = small_recipe(), rows_of(trained_run)
    steps = [int(row["step"]) for row in rows]
    assert steps == [7, 14, 21, 28]
    share = partial(lr_factor, recipe.schedule, total_steps=28, steps_per_epoch=7)
    used = [recipe.optimizer.lr * share(step - 1) for step in steps]
    assert [float(row["lr"]) for row in rows] == pytest.approx(used, rel=1e-5)
    assert used[-1] > 0 == share(28)  # the rate after the last step, which no step had


def test_a_loaded_network_gives_the_accuracy_that_the_log_says(trained_run: Path, small_store: Path) -> None:
    network, recipe, preprocess, meta = load_network(trained_run)
    split = Store.open(small_store).read(recipe.data.validation)
    with torch.no_grad():
        answers = network(torch.from_numpy(preprocess.normalise(split.images[:, None]))).argmax(1).numpy()
    assert (answers == split.labels).mean() == pytest.approx(meta["result"]["best_valid_accuracy"], abs=1e-6)


@pytest.mark.long  # a copy of what a kill leaves, for more kinds of runs: test_resume.py
def test_resumed_equals_uninterrupted_to_the_bit(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    """Killed for real (SIGKILL) in its third epoch, resumed, and compared with the run that was left alone."""
    run = tmp_path / "killed"
    code = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from small_run import small_recipe\n"
        "from mien.data.store import Store\n"
        "from mien.training.module import FerModule\n"
        "from mien.training.run import train\n"
        "step = FerModule.training_step\n"
        "def fatal(self, batch, batch_idx):\n"
        "    if self.current_epoch == 2 and batch_idx == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, batch, batch_idx)\n"
        "FerModule.training_step = fatal\n"
        "train(small_recipe(), Store.open(sys.argv[1]), Path(sys.argv[2]), accelerator='cpu', threads=1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(small_store), str(run), str(Path(__file__).parents[1])])
    assert done.returncode == -signal.SIGKILL
    assert [r["epoch"] for r in rows_of(run)] == ["1", "2"]
    train(small_recipe(), Store.open(small_store), run, resume=True, accelerator="cpu", threads=1)

    expected, got = weights(trained_run), weights(run)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert [r["epoch"] for r in rows_of(run)] == ["1", "2", "3", "4"]

    # The comparison can fail: another seed is another run.
    other = tmp_path / "other"
    train(small_recipe(seed=1), Store.open(small_store), other, accelerator="cpu", threads=1)
    assert not all(torch.equal(expected[name], weights(other)[name]) for name in expected)


def test_resume_under_another_recipe_and_a_full_directory_are_refused(trained_run: Path, small_store: Path) -> None:
    store = Store.open(small_store)
    with pytest.raises(UsageError, match=r"another recipe: optimizer\.lr was 0\.1, is 0\.10000001; resume"):
        train(small_recipe(optimizer={"lr": 0.10000001}), store, trained_run, resume=True)
    with pytest.raises(
        UsageError, match=r"recipe: model\.args\.stem was \[8\], is null; .*ema\.decay was 0\.8, is null"
    ):
        train(small_recipe(model={"name": "nano"}, ema=None), store, trained_run, resume=True)
    with pytest.raises(UsageError, match="expected a new or empty run directory"):
        train(small_recipe(), store, trained_run)


def test_votes_that_the_store_does_not_have_are_taken_as_none_with_a_note(
    trained_run: Path, small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run equals one that never asked for votes, says so, keeps no word of votes, and goes on under either."""
    store, run = Store.open(small_store), tmp_path / "run"
    asked = small_recipe(targets={"votes": 0.3})
    meta = train(asked, store, run, accelerator="cpu", threads=1)
    note = f"targets.votes was 0.3, is 0: {small_store} holds no FER+ votes for training, so the labels stand alone"
    assert f"note: {note}" in caplog.text
    (kept,) = json.loads((run / "meta.json").read_text())["notes"]
    assert kept.startswith(note)
    assert load_recipe(run / "recipe.yaml").targets.votes == 0
    expected, got = weights(trained_run), weights(run)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    again = train(asked, store, run, accelerator="cpu", threads=1, resume=True)
    assert again["result"]["best_valid_accuracy"] == meta["result"]["best_valid_accuracy"]
    assert json.loads((trained_run / "meta.json").read_text())["notes"] == []  # the control


def test_votes_that_are_there_are_used(small_store: Path) -> None:
    store = Store.open(small_store)
    summary = json.loads(json.dumps(store.summary))
    summary["splits"]["training"]["with_votes"] = 100
    asked = small_recipe(targets={"votes": 0.3})
    assert votes_that_are_there(asked, Store(store.path, summary)) == (asked, [])
    assert votes_that_are_there(asked, store)[0] == small_recipe(targets={"votes": 0})
    assert votes_that_are_there(small_recipe(), store) == (small_recipe(), [])


def test_a_store_without_the_validation_split_names_one_with_labels_or_how_to_make_one(
    small_store: Path, tmp_path: Path
) -> None:
    store = Store.open(small_store)
    splits = store.summary["splits"]
    kaggle = {"training": splits["training"], "test": splits["private_test"] | {"counts": {"unlabelled": 35}}}
    mine = {"training": splits["training"], "dev": splits["public_test"], "test": kaggle["test"]}
    for have, hint in (
        (kaggle, "no other split has labels: build .*carve: true"),
        (mine, "--set data.validation=dev"),
    ):
        with pytest.raises(DataError, match=rf"data\.validation: expected a split .* got 'public_test'; {hint}"):
            train(small_recipe(), Store(store.path, store.summary | {"splits": have}), tmp_path / "run")


def test_resume_where_there_is_no_run_is_refused(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    (tmp_path / "empty").mkdir()
    for place in ("nowhere", "empty"):
        with pytest.raises(
            UsageError, match=rf"--resume: expected a run in .*{place}, got no recipe\.yaml there; leave"
        ):
            train(small_recipe(), store, tmp_path / place, resume=True, accelerator="cpu")
    assert not (tmp_path / "nowhere").exists()
    assert not list((tmp_path / "empty").iterdir())


def test_resume_with_other_data_or_a_torn_checkpoint_is_refused(
    trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    store = Store.open(small_store)
    meta = json.loads((run / "meta.json").read_text())
    meta["data"]["store"] = "another"
    (run / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UsageError, match="was started with store another"):
        train(small_recipe(), store, run, resume=True)
    taught, teacher = tmp_path / "taught", tmp_path / "teacher"
    shutil.copytree(trained_run, teacher)
    recipe = small_recipe(distill={"runs": [str(teacher)]}, epochs=1)
    train(recipe, store, taught, accelerator="cpu", threads=1)
    train(recipe, store, taught, resume=True, accelerator="cpu", threads=1)  # the control: the same teacher
    checkpoint = torch.load(teacher / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["network.classifier.bias"] += 1
    torch.save(checkpoint, teacher / "best.ckpt")
    with pytest.raises(UsageError, match=r"taught was started with teachers \['[0-9a-f]{16}'\], got \['"):
        train(recipe, store, taught, resume=True)
    (run / "meta.json").unlink()
    (run / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:5000])
    with pytest.raises(DataError, match="expected a complete checkpoint"):
        train(small_recipe(), store, run, resume=True)


def test_a_start_that_fails_leaves_nothing_in_the_way(small_store: Path, tmp_path: Path) -> None:
    store, run = Store.open(small_store), tmp_path / "run"
    for broken in (
        {"data": {"train": "trainig"}},
        {"data": {"mean": [0.5, 0.5, 0.5]}},
        {"model": {"name": "nano", "args": {"widths": 5}}},
        {"model": {"name": "nano", "args": {"dropout": 2}}},
        {"distill": {"runs": [str(tmp_path / "nowhere")]}},
    ):
        with pytest.raises((RecipeError, DataError)):
            train(small_recipe(**broken), store, run, accelerator="cpu")
        assert not run.exists()
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch finds no CUDA device"):
            train(small_recipe(), store, run, accelerator="gpu")


def test_a_loss_that_explodes_ends_the_run_with_advice(small_store: Path, tmp_path: Path) -> None:
    recipe = small_recipe(
        optimizer={"lr": 1e30, "weight_decay": 0}, schedule={"name": "constant", "warmup": 0}, ema=None
    )
    with pytest.raises(RecipeError, match=r"the training loss became .* lower optimizer\.lr"):
        train(recipe, Store.open(small_store), tmp_path / "run", accelerator="cpu", threads=1)


def test_the_moving_average_closed_form() -> None:
    averaged = torch.zeros(1)
    expected, seen = 0.0, [1.0, 5.0, -2.0, 7.0, 3.0, 4.0, 9.0, 1.0, 0.0, 2.0, 6.0]
    for n, value in enumerate(seen):
        move([averaged], [torch.tensor([value])], updates=n, decay=0.5)
        share = 1 - min(0.5, (1 + n) / (10 + n))
        expected = value if n == 0 else expected + share * (value - expected)
    assert float(averaged) == pytest.approx(expected, rel=1e-6)


def test_a_split_without_labels_cannot_be_learnt_from(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a split"):
        train(small_recipe(data={"train": "nothing"}), Store.open(small_store), tmp_path / "r")


def test_loading_what_is_no_run(tmp_path: Path, trained_run: Path) -> None:
    with pytest.raises(DataError, match=r"expected a run directory with recipe\.yaml and best\.ckpt"):
        load_network(tmp_path)
    (tmp_path / "recipe.yaml").write_text((trained_run / "recipe.yaml").read_text())
    (tmp_path / "best.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="expected a complete checkpoint of mien"):
        load_network(tmp_path)


def test_a_run_can_start_from_another_ones_weights(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    model = small_recipe().model.model_dump() | {"init": f"run:{trained_run}"}
    gentle = {"optimizer": {"lr": 1e-9, "weight_decay": 0}, "epochs": 1, "ema": None}
    train(small_recipe(model=model, **gentle), Store.open(small_store), tmp_path / "on", accelerator="cpu", threads=1)
    before, after = load_network(trained_run)[0], load_network(tmp_path / "on")[0]
    torch.testing.assert_close(before.classifier.weight, after.classifier.weight, atol=1e-6, rtol=0)
    other = {"name": "nano", "args": {"stem": [8]}, "init": f"run:{trained_run}"}
    with pytest.raises(RecipeError, match=r"model\.init: .* does not fit this recipe's nano; .*expected \("):
        train(small_recipe(model=other), Store.open(small_store), tmp_path / "no", accelerator="cpu")


def test_distillation_from_a_run(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    recipe = small_recipe(distill={"runs": [str(trained_run)], "weight": 1.0, "temperature": 2.0}, epochs=1)
    train(recipe, Store.open(small_store), tmp_path / "student", accelerator="cpu", threads=1)
    student = torch.load(tmp_path / "student" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("teacher" in name for name in student)


def test_the_distillation_loss_is_zero_for_equal_networks_and_positive_otherwise() -> None:
    recipe = small_recipe(distill={"runs": ["unused"], "weight": 0.5, "temperature": 2.0})
    network = registry.build("nano").eval()
    module = FerModule(network, recipe, Preprocess(), steps_per_epoch=10, teachers=[network, network])
    batch = {"images": torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8), "expression": torch.eye(7)[:4]}
    drawn = module.objective.draw(batch, step=0)

    def without_labels(student: torch.nn.Module) -> float:
        whole = float(module.objective.loss(student, drawn)[0])
        labels = float(F.cross_entropy(student(drawn["images"]), drawn["expression"]))
        return (whole - 0.5 * labels) / 0.5

    other = registry.build("nano").eval()
    with torch.no_grad():
        p = F.softmax(network(drawn["images"]) / 2, dim=1)
        q = F.softmax(other(drawn["images"]) / 2, dim=1)
        assert without_labels(network) == pytest.approx(0, abs=1e-5)
        assert without_labels(other) == pytest.approx(4 * float((p * (p / q).log()).sum(1).mean()), rel=1e-3)
        assert without_labels(other) > 1e-4


def test_both_passes_over_a_step_see_the_same_batch_and_training_equals_reading() -> None:
    module = FerModule(registry.build("nano"), small_recipe(), Preprocess(), steps_per_epoch=10)
    images = torch.randint(0, 256, (6, 1, 48, 48), dtype=torch.uint8)
    batch = {"images": images, "expression": torch.eye(7)[:6]}
    first, second, other = (module.objective.draw(batch, step=step) for step in (5, 5, 6))
    assert torch.equal(first["images"], second["images"])
    assert torch.equal(first["expression"], second["expression"])
    assert not torch.equal(first["images"], other["images"])
    np.testing.assert_allclose(module.objective.plain(batch).numpy(), Preprocess().normalise(images.numpy()), atol=1e-6)


def test_a_run_that_was_moved_still_knows_its_best(small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    first = train(small_recipe(epochs=3), store, tmp_path / "here", accelerator="cpu", threads=1)
    (tmp_path / "here").rename(tmp_path / "there")
    again = train(small_recipe(epochs=3), store, tmp_path / "there", accelerator="cpu", threads=1, resume=True)
    assert again["result"]["best_valid_accuracy"] == first["result"]["best_valid_accuracy"]
