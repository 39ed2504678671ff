"""What checkpoints hold, when they are written, and what a signal in the middle of one leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.atomic import AtomicFile
from mien.training import checkpoints
from mien.training.checkpoints import WholeCheckpointIO
from tiny_networks import tiny_recipe
from tiny_runs import Run, TrainTiny, same


class Torn:
    """A stream in whose second write a signal arrives."""

    def __init__(self, stream: Any, signal: BaseException) -> None:
        self.stream, self.signal, self.writes = stream, signal, 0

    def write(self, data: bytes) -> int:
        self.writes += 1
        if self.writes == 2:
            raise self.signal
        return self.stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@pytest.mark.parametrize("signal", [SystemExit(143), KeyboardInterrupt()], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_in_the_middle_of_a_checkpoint(
    signal: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(path: Path) -> AtomicFile:
        file = AtomicFile(path)
        file.stream = Torn(file.stream, signal)  # type: ignore[assignment]
        return file

    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"epoch": 1}, path)
    monkeypatch.setattr(checkpoints, "AtomicFile", torn)
    with pytest.raises(type(signal)) as caught:
        WholeCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(100_000)}, path)
    assert caught.value is signal
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["epoch"] == 1


ADAM = {"args": {"norm": True}, "optimizer": {"name": "adam", "lr": 0.01}, "ema": {"decay": 0.5}, "epochs": 4}


def test_the_best_epoch_keeps_its_weights_and_the_last_one_all(train_tiny: TrainTiny) -> None:
    run = train_tiny(tiny_recipe(**ADAM))
    best = Run(run.path, checkpoint="best").checkpoint
    assert set(best) == {"state_dict", "epoch", "global_step", "pytorch-lightning_version"}
    assert best["state_dict"].keys() == run.checkpoint["state_dict"].keys()
    assert {"optimizer_states", "lr_schedulers", "current_model_state", "callbacks"} <= set(run.checkpoint)


def test_saving_seldom_saves_the_end_and_resumes_from_what_there_is(
    train_tiny: TrainTiny, keep_after: Callable[[int, Path, Path], None], tmp_path: Path
) -> None:
    recipe = tiny_recipe(**ADAM)
    keep_after(3, tmp_path / "seldom", tmp_path / "cut")
    seldom = train_tiny(recipe, path=tmp_path / "seldom", save_seconds=1000)
    assert not (tmp_path / "cut" / "last.ckpt").exists()  # three epochs over, none of them saved
    assert seldom.checkpoint["epoch"] == 3
    each = train_tiny(recipe)
    assert same(seldom.everything(), each.everything())
    again = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert same(again.everything(), each.everything())
    assert [row["epoch"] for row in again.log] == ["1", "2", "3", "4"]
