"""Two processes that share each batch: parts, clipping, averages, batch norm, random draws and a kill; one job."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from two_processes import ALIKE, BUSY, SHARED, taught

from mien.data.build.run import build_store
from mien.data.sources import open_source
from mien.data.store import Store
from mien.errors import UsageError
from mien.training.datasets import crop_dataset
from mien.training.networks import build_network, load_network, recipe_preprocess
from mien.training.objectives import build_objective
from mien.training.run import train
from reference_training import reference_training
from tiny_runs import Run, close, same

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("tiny_networks")]


@pytest.fixture(scope="module")
def job(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``two_processes.py`` leaves behind."""
    out = tmp_path_factory.mktemp("two")
    picture = " ".join(str(v) for v in np.random.default_rng(3).integers(0, 256, 48 * 48))
    rows = [f"{i % 7},{picture},{usage}" for usage, n in (("Training", 20), ("PublicTest", 4)) for i in range(n)]
    (out / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    build_store([open_source("fer2013", out)], out / "equal")
    script = Path(__file__).with_name("two_processes.py")
    paths = [str(script.parents[1]), *(path for path in sys.path if path)]
    done = subprocess.run(
        [sys.executable, str(script), str(small_store), str(out / "equal"), str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1/3") == 1  # one process talks, once
    return out


def alone(job: Path, store: Path, name: str, out: Path, **options: Any) -> Run:
    """What one process makes of the recipe."""
    recipe = taught(job / "sgd") if name == "taught" else ALIKE[name]
    train(recipe, Store.open(store), out, accelerator="cpu", threads=1, **options)
    return Run(out)


@pytest.mark.parametrize("name", ["sgd", "sam", "masked", "taught"])
def test_two_processes_give_the_weights_of_one_after_twenty_steps(
    name: str, job: Path, small_store: Path, tmp_path: Path
) -> None:
    """SGD, SAM, averages, balanced sampling, batch norm, masks, teachers; augmented, degraded and mixed."""
    one, two = alone(job, small_store, name, tmp_path / "run"), Run(job / name)
    assert one.checkpoint["global_step"] == two.checkpoint["global_step"] == 20
    assert close(two.now, one.now, atol=1e-5)
    assert close(two.saved, one.saved, atol=1e-5)
    for column in {"train_loss", "valid_loss", "train_accuracy", "valid_accuracy"} & set(one.log[0]):
        assert two.column(column) == pytest.approx(one.column(column), abs=2e-5)
    if name == "sgd":  # the control: gradients that are added up and not averaged
        assert not close(Run(job / "wrong").now, one.now, atol=1e-2)
    if name == "sam":  # and each process's own batch norms
        assert not close(Run(job / "own-norms").now, one.now, atol=1e-3)


def test_local_ascent_is_that_of_each_half_after_twenty_steps(job: Path, small_store: Path) -> None:
    local = Run(job / "local").now
    assert close(local, by_hand(small_store, halves=2), atol=1e-5)
    assert not close(local, by_hand(small_store, halves=1), atol=1e-4)  # the control: a global ascent is another one


def by_hand(store: Path, *, halves: int) -> dict[str, Tensor]:
    """SAM in which each half of a batch climbs by itself, and the weights follow the mean of what both see there."""
    recipe = ALIKE["local"]
    preprocess = recipe_preprocess(recipe)
    data = crop_dataset(Store.open(store).read("training"), recipe, preprocess, train=True)
    torch.manual_seed(recipe.seed)
    network = build_network(recipe)
    objective = build_objective(recipe, preprocess, network)
    parameters = list(network.parameters())
    for step in range(20):
        order = torch.from_numpy(np.random.default_rng((0, step // 5)).permutation(140))
        total = [torch.zeros_like(p) for p in parameters]
        for rows in order[step % 5 * 28 : (step % 5 + 1) * 28].chunk(halves):
            half = objective.draw(data[rows.tolist()], step=step)
            up = torch.autograd.grad(objective.loss(network, half)[0], parameters)
            scale = 0.2 / float(torch.cat([g.flatten() for g in up]).norm())
            before = [p.detach().clone() for p in parameters]
            with torch.no_grad():
                for p, g in zip(parameters, up, strict=True):
                    p += scale * g
            for sum_, g in zip(total, torch.autograd.grad(objective.loss(network, half)[0], parameters), strict=True):
                sum_ += g / halves
            with torch.no_grad():
                for p, old in zip(parameters, before, strict=True):
                    p.copy_(old)
        with torch.no_grad():
            for p, g in zip(parameters, total, strict=True):
                p -= 0.1 * g
    return {name: p.detach() for name, p in network.named_parameters()}


def test_a_killed_process_ends_the_run_and_another_number_of_them_goes_on_in_mid_epoch(
    job: Path, small_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seconds, said = (job / "lost.txt").read_text().split(" ", 1)
    assert float(seconds) < 30  # seconds on a machine that does nothing else
    assert said.startswith("process 2 of 2 has ended (killed by SIGKILL); add --resume to the same command")
    assert len(Run(job / "lost").log) == 2
    assert Run(job / "lost").checkpoint["global_step"] == 12  # within the third epoch of five steps
    with pytest.raises(UsageError, match=r"batch_size of 3 equal parts"):
        alone(job, small_store, "sgd", job / "lost", resume=True, devices=3)
    resumed = alone(job, small_store, "sgd", job / "lost", resume=True)
    assert "began on 2 processes and resumes on 1: dropout draws other numbers" in caplog.text
    whole = alone(job, small_store, "sgd", tmp_path / "whole")
    assert close(resumed.now, whole.now, atol=1e-5)
    assert len(resumed.log) == len(whole.log) == 4
    for column in ("train_loss", "train_accuracy", "valid_loss"):  # of the whole epoch, its first steps by two
        assert resumed.column(column) == pytest.approx(whole.column(column), abs=2e-5)


def test_parts_clipping_momentum_sam_and_averages_are_those_of_the_whole_batch(job: Path, small_store: Path) -> None:
    run, store = Run(job / "shared"), Store.open(small_store)
    expected = reference_training(SHARED, store)
    assert len(expected.states) == 10
    assert close(run.now, expected.states[-1], atol=1e-5)
    assert close(run.saved, expected.average, atol=1e-5)
    assert run.column("train_loss") == pytest.approx(
        [np.mean(expected.losses[:5]), np.mean(expected.losses[5:])], abs=2e-5
    )
    # Controls: what is not the whole batch's is further away than the comparison lets pass.
    unclipped = SHARED.optimizer.model_copy(update={"clip_norm": None})
    for change in ({"optimizer": unclipped}, {"ema": None}):
        other = reference_training(SHARED.model_copy(update=change), store)
        assert not close(run.saved, other.average or other.states[-1], atol=1e-3)


@pytest.mark.parametrize(("name", "checkpoint"), [("shared", "best"), ("whole", "best"), ("whole", "last")])
def test_what_is_logged_is_what_the_checkpoint_scores(name: str, checkpoint: str, job: Path, small_store: Path) -> None:
    """With batch norm too, whose statistics each process gathers from its own rows, and unequal shares."""
    run = Run(job / name, checkpoint=checkpoint)
    network, recipe, preprocess, _ = load_network(job / name, checkpoint=checkpoint)
    split = Store.open(small_store).read("public_test").limited(recipe.data.limit)
    with torch.no_grad():
        logits = network(torch.from_numpy(preprocess.normalise(split.images[:, None])))
    labels, row = torch.from_numpy(split.labels), run.log[run.checkpoint["epoch"]]
    assert float(row["valid_loss"]) == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-5)
    assert float(row["valid_accuracy"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()), abs=1e-5)


def test_resumed_equals_uninterrupted_to_the_bit(job: Path) -> None:
    whole, cut = Run(job / "whole"), Run(job / "cut")
    assert len(whole.log) == BUSY.epochs
    assert same(cut.everything(), whole.everything())
    assert [row | {"seconds": ""} for row in cut.log] == [row | {"seconds": ""} for row in whole.log]


def test_each_process_draws_its_own_and_both_passes_of_it_alike(job: Path) -> None:
    """All pictures are the same, so that augmentation and dropout are all that tells two rows apart."""
    one, two = (torch.load(job / f"seen-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(one) == len(two) == 2  # one step, two passes of SAM
    for name in ("images", "dropout"):
        assert one[0][name].shape == two[0][name].shape
        assert not torch.equal(one[0][name], two[0][name])
        assert torch.equal(one[0][name], one[1][name])
        assert torch.equal(two[0][name], two[1][name])
    assert not torch.equal(one[0]["images"][0], two[0]["images"][0])
