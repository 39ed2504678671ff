"""``mien train --compile``: the same training from other kernels, and nothing of it in what is written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.errors import UsageError
from mien.training import compiling
from mien.training.compiling import check_compiler
from mien.training.networks import load_network
from small_run import small_recipe
from tiny_networks import tiny_recipe
from tiny_runs import TrainTiny, close, same

CPU = torch.device("cpu")


@pytest.fixture
def can_compile() -> None:
    try:
        check_compiler(tiny_recipe(), CPU, cuda_graphs=False, devices=1)
    except UsageError as error:
        pytest.skip(str(error))


#: A network with a batch norm and losses of its own, SAM, averages, parts of a batch and a teacher-less mixture.
RECIPE: dict[str, Any] = {
    "model": "tiny_terms", "args": {"norm": True}, "augment": {}, "ema": {"decay": 0.3}, "batch_size": 35, "epochs": 4,
    "accumulate": 5, "optimizer": {"lr": 0.1, "momentum": 0.9, "clip_norm": 1.0, "sam": {"rho": 0.2}},
}  # fmt: skip


@pytest.mark.long
@pytest.mark.usefixtures("can_compile")
def test_compiled_training_is_the_same_training(
    train_tiny: TrainTiny,
    keep_after: Callable[[int, Path, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tiny_recipe(**RECIPE)
    asked: list[str] = []
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: asked.append(f.__name__) or compile_(f, **options))
    keep_after(2, tmp_path / "compiled", tmp_path / "cut")
    compiled = train_tiny(recipe, path=tmp_path / "compiled", compiled=True)
    assert "loss" in asked
    asked.clear()
    plain = train_tiny(recipe)
    assert asked == []  # the control: the other was compiled, this one is not
    for column in ("train_loss", "train_accuracy", "train_size", "valid_loss", "valid_accuracy"):
        assert compiled.column(column) == pytest.approx(plain.column(column), abs=1e-4)
    assert close(compiled.now, plain.now, atol=1e-4)
    assert close(compiled.saved, plain.saved, atol=1e-4)
    assert compiled.now.keys() == plain.now.keys()
    # What was trained one way goes on the other way, and is loaded by what compiles nothing.
    mixed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert close(mixed.saved, compiled.saved, atol=1e-4)
    network = load_network(compiled.path, checkpoint="last")[0]
    assert same(network.state_dict(), compiled.saved)
    said = [json.loads((run.path / "meta.json").read_text())["compiled"] for run in (compiled, plain)]
    assert said == [True, False]


@pytest.mark.long
@pytest.mark.usefixtures("can_compile", "tiny_networks")
def test_teachers_are_compiled_too(train_tiny: TrainTiny, small_store: Path) -> None:
    teacher = train_tiny(tiny_recipe(epochs=2))
    recipe = tiny_recipe(distill={"runs": [str(teacher.path)], "weight": 0.9}, epochs=2)
    compiled, plain = train_tiny(recipe, compiled=True), train_tiny(recipe)
    assert compiled.column("train_loss") == pytest.approx(plain.column("train_loss"), abs=1e-4)
    assert close(compiled.now, plain.now, atol=1e-4)


@pytest.mark.long
def test_without_a_compiler_it_is_one_line_before_anything_begins(small_store: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mien.cli.app", "train", "nano-base", "--data", str(small_store), "--compile"]
    command += ["-o", str(tmp_path / "run"), "--device", "cpu", "--set", "distill=null"]
    nowhere = {"CXX": str(tmp_path / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "--compile: torch cannot compile for cpu here" in said
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_cuda_graphs_are_refused_where_they_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected CUDA"):
        check_compiler(small_recipe(), CPU, cuda_graphs=True, devices=1)
    monkeypatch.setattr(compiling, "_one_line", lambda x: x)
    for recipe, devices in ((small_recipe(accumulate=2), 1), (small_recipe(), 2)):
        with pytest.raises(UsageError, match="whole batches on one device"):
            check_compiler(recipe, torch.device("cuda"), cuda_graphs=True, devices=devices)
