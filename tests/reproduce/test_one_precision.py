"""``precision: auto`` is decided once in a study: its arms are computed alike, killed or not."""

import json
from pathlib import Path
from typing import Any

import pytest

from mien.data.store import Store
from mien.errors import OutputError, RecipeError
from mien.locks import DirectoryLock
from mien.reproduce import execute
from mien.reproduce.papers import PAPER_A
from mien.reproduce.plan import PRESETS, Splits
from mien.reproduce.study import reproduce
from mien.training.recipe import Recipe

SPLITS = Splits("training", "public_test", "private_test")


class Trainings:
    """Stands for ``train``: writes what a run leaves. A run that measures gets the other precision each time.

    at: what happens in the n-th call, after it began.
    """

    def __init__(self, first: str = "bf16", at: dict[int, BaseException] | None = None) -> None:
        self.measured, self.first, self.at = list[str](), first, at or {}
        self.calls = list[tuple[str, bool]]()

    def __call__(self, recipe: Recipe, store: Store, run: Path, *, resume: bool, precision: Any, **_: Any) -> Any:
        assert recipe.precision == "auto"
        self.calls.append((run.name, resume))
        file = run / "meta.json"
        meta = json.loads(file.read_text()) if resume else {}
        if "precision" not in meta:
            if precision is None:
                other = {"bf16": "fp32", "fp32": "bf16"}
                precision = other[self.measured[-1]] if self.measured else self.first
                self.measured.append(precision)
            meta = {"precision": precision}
        run.mkdir(parents=True, exist_ok=True)
        (run / "recipe.yaml").write_text(recipe.to_yaml())
        file.write_text(json.dumps(meta))
        if len(self.calls) in self.at:
            raise self.at[len(self.calls)]
        (run / "best.ckpt").touch()
        meta["result"] = {"best_valid_accuracy": 0.5}
        file.write_text(json.dumps(meta))
        return meta


@pytest.fixture
def study(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """study(trainings, home) → the precision of each run."""
    monkeypatch.setattr(execute, "_predict", lambda *_, **__: None)

    def run(trainings: Trainings, home: Path) -> dict[str, str]:
        monkeypatch.setattr(execute, "train", trainings)
        outcome = execute.execute(PAPER_A, PRESETS["smoke"], Store.open(small_store), SPLITS, home, sets={})
        return {run.run.directory.name: run.meta["precision"] for kept in outcome.kept.values() for run in kept}

    return run


def test_the_first_run_decides_for_all(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings()
    chosen = study(trainings, tmp_path / "a")
    assert len(chosen) == 8
    assert set(chosen.values()) == {"bf16"}
    assert trainings.measured == ["bf16"]
    # The control: without it arms of one study are computed differently.
    monkeypatch.setattr(execute, "_precision_of", lambda directory: None)
    assert set(study(Trainings(), tmp_path / "b").values()) == {"bf16", "fp32"}


@pytest.mark.parametrize("call", [1, 2, 5, 8])
def test_a_killed_study_goes_on_as_it_began(call: int, study: Any, tmp_path: Path) -> None:
    """Also where the first run had not ended its first epoch, and where another measurement would choose otherwise."""
    home = tmp_path / "study"
    with pytest.raises(KeyboardInterrupt):
        study(Trainings("bf16", at={call: KeyboardInterrupt()}), home)
    again = Trainings("fp32")
    assert set(study(again, home).values()) == {"bf16"}
    assert again.measured == []
    assert [resume for _, resume in again.calls] == [True] + [False] * (8 - call)


def test_a_run_that_failed_decided_too(study: Any, tmp_path: Path) -> None:
    home = tmp_path / "study"
    chosen = study(Trainings("bf16", at={1: RecipeError("the loss became nan")}), home)
    assert set(chosen.values()) == {"bf16"}
    assert study(Trainings("fp32"), home).items() >= chosen.items()


def test_one_study_at_a_time(small_store: Path, tmp_path: Path) -> None:
    home = tmp_path / "study"
    options: dict[str, Any] = {
        "preset_name": "smoke", "flavour": None, "arms": [], "seeds": None, "parts": (None, None, None), "sets": [],
    }  # fmt: skip
    with DirectoryLock(home), pytest.raises(OutputError, match="another mien reproduce is writing there"):
        reproduce("paper-a", Store.open(small_store), home, **options)
    assert [file.name for file in home.iterdir()] == [".lock"]
