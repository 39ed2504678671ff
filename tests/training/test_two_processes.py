"""Two processes that share each batch: parts, clipping, averages, batch norm, random draws and a kill; one job."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from two_processes import BUSY, SHARED

from mien.data.build.run import build_store
from mien.data.sources import open_source
from mien.data.store import Store
from mien.training.networks import load_network
from reference_training import reference_training
from tiny_runs import Run, close, same

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_networks")]


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
