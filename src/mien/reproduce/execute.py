"""Run a study: train what is missing, choose, repeat, predict. Interrupted and called again, it resumes.

What is on the disk decides what is missing: a run whose ``meta.json`` has a result is done, one with ``last.ckpt`` is
resumed, and predictions are made again only where the weights changed. A run that fails is reported and left out; the
others continue.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mien.atomic import write_text
from mien.data.store import Store
from mien.errors import DataError, MienError, UsageError
from mien.evaluation.compare import is_current
from mien.evaluation.evaluate import evaluate
from mien.evaluation.predictors import RunPredictor
from mien.locks import NAME as LOCK
from mien.reproduce.papers import Study
from mien.reproduce.plan import Preset, Run, Splits, first_round, second_round
from mien.training.networks import read_meta
from mien.training.precision import Precision
from mien.training.recipe import differences, load_recipe
from mien.training.run import train
from mien.training.targets import votes_that_are_there


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run. valid: its best validated accuracy, 0-1. predictions: by split, the evaluation's directory."""

    run: Run
    valid: float
    meta: dict[str, Any]
    predictions: dict[str, Path]


@dataclass(frozen=True, slots=True)
class Outcome:
    """first: the grid's runs. kept: by arm, the runs at its chosen rate, one a seed. failed: run → what went wrong."""

    first: list[Done]
    kept: dict[str, list[Done]]
    failed: dict[str, str]


def execute(
    study: Study,
    preset: Preset,
    store: Store,
    splits: Splits,
    home: Path,
    *,
    sets: Mapping[str, Any],
    arms: Sequence[str] = (),
    accelerator: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """All runs of the study under ``home``. arms: only these, where given. say: is told what begins and what fails.

    Raises UsageError where ``home`` is another study's, RecipeError where an arm's recipe cannot work.
    """
    unknown = set(arms) - {arm.key for arm in study.arms}
    if unknown:
        raise UsageError(f"--arms: expected some of {', '.join(a.key for a in study.arms)}, got {', '.join(unknown)}")
    wanted = [run for run in first_round(study, preset, splits, home, sets=sets) if not arms or run.arm.key in arms]
    _claim(home, {"study": study.key, "store": store.fingerprint})
    later = len({run.arm.key for run in wanted}) * (len(preset.seeds) - 1)
    clock = _Clock(len(wanted) + later, say)
    failed: dict[str, str] = {}
    options: dict[str, Any] = {"accelerator": accelerator, "threads": threads, "precision": _decided(home, wanted)}
    first = _train_all(wanted, store, clock, failed, options)
    chosen: dict[str, Done] = {}
    for done in first:
        best = chosen.get(done.run.arm.key)
        if best is None or done.valid > best.valid:
            chosen[done.run.arm.key] = done
    repeats = second_round({key: done.run for key, done in chosen.items()}, preset, splits, home, sets=sets)
    more = _train_all(repeats, store, clock, failed, options)
    kept = {key: [done, *(other for other in more if other.run.arm.key == key)] for key, done in chosen.items()}
    for runs in kept.values():
        for done in runs:
            _predict(done, store, splits, say, device=accelerator, threads=threads)
    return Outcome(first, kept, failed)


def _decided(home: Path, wanted: Sequence[Run]) -> Precision | None:
    """What ``precision: auto`` means in this study: what its first run that began has chosen; None where none has.

    Each run measures which is faster, and two that are alike may choose differently: arms would differ by more than
    what the study compares, and a study that was killed from one that was not.
    """
    others = sorted(home.glob("runs/*/meta.json"), key=lambda file: file.stat().st_mtime_ns)
    directories = [*(run.directory for run in wanted), *(file.parent for file in others)]
    return next(filter(None, map(_precision_of, directories)), None)


def _precision_of(directory: Path) -> Precision | None:
    """With which a run began, be it finished or not."""
    try:
        found = read_meta(directory).get("precision")
    except DataError:
        return None
    return cast(Precision, found) if found in ("fp32", "bf16") else None


def _train_all(
    runs: list[Run], store: Store, clock: "_Clock", failed: dict[str, str], options: dict[str, Any]
) -> list[Done]:
    """options: of ``train``; the precision of the first run becomes that of the others."""
    finished = []
    for run in runs:
        clock.announce(str(run))
        try:
            meta = _trained(run, store, clock.say, options)
        except MienError as error:
            failed[str(run)] = str(error)
            clock.say(f"warning: {run} failed: {error}")
            continue
        finally:
            options["precision"] = options["precision"] or _precision_of(run.directory)
        finished.append(Done(run, float(meta["result"]["best_valid_accuracy"]), meta, {}))
    return finished


def _trained(run: Run, store: Store, say: Callable[[str], None], options: Mapping[str, Any]) -> dict[str, Any]:
    """The run's meta, trained now where it is not done. A run under another recipe is set aside, never overwritten."""
    before = run.directory / "recipe.yaml"
    recipe, _ = votes_that_are_there(run.recipe, store)
    if before.is_file() and differences(load_recipe(before), recipe):
        aside = run.directory.with_name(f"{run.directory.name}.other-recipe")
        if aside.exists():
            raise UsageError(
                f"expected {run.directory} to hold this study's recipe, it holds another", hint="move it away"
            )
        shutil.move(run.directory, aside)
        say(f"note: {run.directory} was trained by another recipe; kept as {aside}")
    meta = read_meta(run.directory)
    if "result" in meta and (run.directory / "best.ckpt").is_file():
        return meta
    # A run that was killed within its first epoch begins again, with the precision that its meta.json has.
    return train(run.recipe, store, run.directory, resume=before.is_file(), **options)


def _predict(
    done: Done, store: Store, splits: Splits, say: Callable[[str], None], *, device: str, threads: int | None
) -> None:
    for split in filter(None, (splits.validation, splits.test)):
        out = done.run.directory / "evaluation" / split
        if not is_current(out, done.run.directory, seed=0):
            say(f"predicting {split}: {done.run}")
            command = f"mien evaluate {done.run.directory} --data {store.path} --split {split} -o {out}"
            predictor, limit = RunPredictor(done.run.directory, device=device), done.run.recipe.data.limit
            evaluate(predictor, store, split, out, limit=limit, threads=threads, command=command)
        done.predictions[split] = out


def _claim(home: Path, about: dict[str, str]) -> None:
    """One directory, one study on one store."""
    file = home / "study.json"
    if file.is_file():
        before = json.loads(file.read_text("utf-8"))
        if {key: before.get(key) for key in about} != about:
            raise UsageError(
                f"expected a new directory or one of {about['study']} on store {about['store']}, {home} holds "
                f"{before.get('study')} on {before.get('store')}",
                hint="choose another with -o",
            )
        return
    if home.exists() and (not home.is_dir() or any(file.name != LOCK for file in home.iterdir())):
        raise UsageError(f"expected a new or empty directory, got {home}", hint="choose another with -o")
    home.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(about, indent=2) + "\n")


class _Clock:
    """Says which run begins, and about how long the others will take, judged by those that this call trained."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.number, self.started, self.say = total, 0, time.monotonic(), say

    def announce(self, what: str) -> None:
        passed, left = time.monotonic() - self.started, self.total - self.number
        guess = ""
        if self.number and passed > 1:
            minutes = passed / self.number * left / 60
            guess = f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"
        self.number += 1
        self.say(f"run {self.number} of {self.total}: {what}{guess}")
