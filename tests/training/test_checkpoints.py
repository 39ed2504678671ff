"""A signal may come while a checkpoint is written: it is what ends the run, and the old checkpoint stays."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mien.atomic import AtomicFile
from mien.training import checkpoints
from mien.training.checkpoints import WholeCheckpointIO


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
