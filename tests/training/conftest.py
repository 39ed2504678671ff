"""What the training tests share: tiny networks by name, short runs of them, and what a kill would leave of a run."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.data.store import Store
from mien.training import precision
from mien.training.module import FerModule
from mien.training.recipe import Recipe
from mien.training.run import train
from tiny_networks import known_to_recipes
from tiny_runs import Run, TrainTiny


@pytest.fixture(autouse=True)
def _which_precision_is_faster_is_measured_by_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with ``precision: auto`` measures for two seconds first, where the processor has bf16."""
    monkeypatch.setattr(precision, "_SECONDS", 0.0)


@pytest.fixture
def tiny_networks() -> Iterator[None]:
    """Recipes may name the networks of ``tiny_networks.py``."""
    with known_to_recipes():
        yield


@pytest.fixture
def train_tiny(tiny_networks: None, small_store: Path, tmp_path: Path) -> TrainTiny:
    """train_tiny(recipe) trains it on the small store in a directory of its own: → Run."""
    count = iter(range(100))

    def run(recipe: Recipe, *, path: Path | None = None, **options: Any) -> Run:
        path = path or tmp_path / f"run{next(count)}"
        train(recipe, Store.open(small_store), path, accelerator="cpu", threads=1, **options)
        return Run(path)

    return run


@pytest.fixture
def keep_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Path, Path], None]:
    """keep_after(epochs, run, copy): ``copy`` becomes what a kill in the epoch that follows would leave of ``run``."""

    def arrange(epochs: int, run: Path, copy: Path) -> None:
        start = FerModule.on_train_epoch_start

        def copy_and_start(self: FerModule) -> None:
            if self.current_epoch == epochs and not copy.exists():
                shutil.copytree(run, copy)
            start(self)

        monkeypatch.setattr(FerModule, "on_train_epoch_start", copy_and_start)

    return arrange
