"""Two trainings never share a directory, and what a killed one leaves is in nobody's way."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien.data.store import Store
from mien.errors import OutputError, UsageError
from mien.locks import DirectoryLock
from mien.training import run as run_module
from mien.training.recipe import Recipe
from mien.training.run import train
from mien.training.run_directory import alone_in, contents
from tiny_networks import tiny_recipe
from tiny_runs import TrainTiny, same

HOLD = """
import sys
from mien.locks import DirectoryLock
with DirectoryLock(sys.argv[1], what="training", needed=False, remove=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def other_process(run: Path) -> "subprocess.Popen[str]":
    """One that holds the directory until it is killed, as a training does from its start."""
    words = [sys.executable, "-c", HOLD, str(run)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_second_training_is_refused_until_the_first_ends_however_it_ends(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "run", tiny_recipe()
    with other_process(run) as other:
        with pytest.raises(OutputError, match=r"expected to be alone in .*run', another training is writing there"):
            train_tiny(recipe, path=run)
        assert [file.name for file in run.iterdir()] == [".lock"]  # nothing was written beside it
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (run / ".lock").is_file()  # the killed one's, which nobody holds
    whole = train_tiny(recipe, path=run)
    assert not (run / ".lock").exists()
    assert same(whole.everything(), train_tiny(recipe).everything())


def test_who_checked_too_early_does_not_write_over_a_run(
    train_tiny: TrainTiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one begins and ends between our check and our lock."""
    run, recipe = tmp_path / "run", tiny_recipe()
    real, before = run_module.alone_in, dict[str, Any]()

    def later(path: Path, seen: Any) -> Any:
        monkeypatch.setattr(run_module, "alone_in", real)
        train_tiny(recipe, path=path)
        before.update(contents(path))
        return real(path, seen)

    monkeypatch.setattr(run_module, "alone_in", later)
    with pytest.raises(OutputError, match="another process has just written there"):
        train_tiny(recipe, path=run)
    assert contents(run) == before
    with pytest.raises(UsageError, match="expected a new or empty run directory"):
        train_tiny(recipe, path=run)


def test_one_that_was_killed_within_its_first_epoch_begins_again(
    train_tiny: TrainTiny, keep_after: Callable[[int, Path, Path], None], tmp_path: Path
) -> None:
    recipe: Recipe = tiny_recipe()
    keep_after(0, tmp_path / "whole", tmp_path / "cut")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    cut = tmp_path / "cut"
    assert {"recipe.yaml", "meta.json", ".lock"} <= {file.name for file in cut.iterdir()}
    (cut / ".best.ckpt.0123abcd.tmp").write_bytes(b"half")
    (cut / ".mine.tmp").write_bytes(b"not ours")
    assert same(train_tiny(recipe, path=cut, resume=True).everything(), whole.everything())
    left = {file.name for file in cut.iterdir()} - {file.name for file in whole.path.iterdir()}
    assert left == {".mine.tmp"}


def test_a_directory_is_made_and_taken_away_again_where_nothing_came_of_it(tmp_path: Path, small_store: Path) -> None:
    with DirectoryLock(tmp_path / "a", remove=True):
        assert (tmp_path / "a" / ".lock").is_file()
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").mkdir()
    with alone_in(tmp_path / "b", {}):
        pass
    assert list((tmp_path / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="got the file"):
        train(tiny_recipe(model="nano"), Store.open(small_store), tmp_path / "file", accelerator="cpu")
