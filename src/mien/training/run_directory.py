"""A run directory: whether a run may start or resume there, and what its ``meta.json`` records."""

import json
import logging
import platform
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mien
from mien.atomic import remove_abandoned_in, write_text
from mien.commit import checkout_commit
from mien.data.store import Store
from mien.errors import DataError, OutputError, RecipeError, UsageError
from mien.locks import NAME as LOCK
from mien.locks import DirectoryLock
from mien.training.datasets import whole_batch
from mien.training.networks import read_meta, weights_digest
from mien.training.recipe import Recipe, differences, load_recipe
from mien.training.sam import climbs_locally

log = logging.getLogger(__name__)

#: What a run leaves that ended within its first epoch.
_BEFORE_THE_FIRST_EPOCH = {"recipe.yaml", "meta.json", "tensorboard"}


def contents(run: Path) -> dict[str, tuple[int, int]]:
    """The files of a run directory, each with its time in ns and its size; hidden ones and directories left out."""
    if not run.is_dir():
        return {}
    files = {file.name: file.stat() for file in run.iterdir() if file.is_file() and not file.name.startswith(".")}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in files.items()}


@contextmanager
def alone_in(run: Path, seen: Mapping[str, tuple[int, int]]) -> Iterator[None]:
    """Holds the run directory, which is made if need be, against other processes that would train there.

    seen: its ``contents`` when it was checked. Raises OutputError where another process holds it, or has changed it
    since then.
    """
    with DirectoryLock(run, what="training", needed=False, remove=True):
        if contents(run) != seen:
            raise OutputError(
                f"expected to be alone in {run}, another process has just written there",
                hint="call again, or elsewhere",
            )
        remove_abandoned_in(run)
        yield


def check_free(run: Path) -> None:
    """Raises UsageError where a new run would mix with something else."""
    if run.exists() and not run.is_dir():
        raise UsageError(f"expected a run directory, got the file {run}", hint="choose another")
    held = {file.name for file in run.iterdir()} - {LOCK} if run.is_dir() else set()
    if held and not ("meta.json" in held and held <= _BEFORE_THE_FIRST_EPOCH):
        raise UsageError(
            f"expected a new or empty run directory, got {run}", hint="add --resume to continue it, or choose another"
        )


def check_same_run(run: Path, recipe: Recipe, store: Store, *, devices: int, synced_norms: bool = True) -> None:
    """Raises UsageError where a run would resume with another recipe or other data, DataError for a broken checkpoint.

    More epochs are the same run only where nothing in it depends on their number. Another number of processes is noted,
    with what it changes. devices: processes in all.
    """
    last = run / "last.ckpt"
    if not (run / "recipe.yaml").is_file():
        if last.is_file():
            raise UsageError(f"expected recipe.yaml beside last.ckpt in {run}", hint="this is no run directory of mien")
        raise UsageError(
            f"--resume: expected a run in {run}, got no recipe.yaml there", hint="leave out --resume to start one"
        )
    before = load_recipe(run / "recipe.yaml")
    changed = differences(before, recipe)
    if recipe.epochs > before.epochs and not differences(before, recipe.model_copy(update={"epochs": before.epochs})):
        _check_more_epochs(run, before)
    elif changed:
        if recipe.epochs > before.epochs:  # by itself that may be allowed: what else changed is what is wrong
            changed = [one for one in changed if not one.startswith("epochs ")]
        raise UsageError(
            f"--resume: {run} was started with another recipe: {'; '.join(changed)}",
            hint="resume with the same: repeat its --set options",
        )
    meta = read_meta(run)
    data, before_devices = meta.get("data", {}), meta.get("devices", devices)
    for key, now in ({"store": store.fingerprint} | _other_inputs(recipe)).items():
        if data.get(key) not in (None, now):
            raise UsageError(f"--resume: {run} was started with {key} {data[key]}, got {now}")
    if last.is_file():
        try:
            torch.load(last, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(
                f"expected a complete checkpoint, cannot read {last}",
                hint="delete the run to start again; its best epoch may be in best.ckpt",
            ) from error
    if before_devices != devices:
        log.warning(f"note: {run} began on {before_devices} processes and resumes on {devices}: {_changes(recipe)}")
    unsaid = "part of a process" if before_devices > 1 else "none"  # runs of before did not say it
    norms, now = meta.get("batch_norm", unsaid), "whole batch" if synced_norms or devices == 1 else "part of a process"
    if norms not in ("none", now):
        log.warning(f"note: {run} began with batch norms that see the {norms}, and resumes with {now}")


def _changes(recipe: Recipe) -> str:
    """What depends on the number of processes, in words."""
    if climbs_locally(recipe):
        return "SAM's local ascent sees other parts of a batch"
    return "dropout draws other numbers; without it the weights agree to rounding"


def check_same_batch(run: Path, recipe: Recipe, images: int, batch: int, *, devices: int) -> None:
    """Raises UsageError where a resumed run would have other batches: few pictures are shared out in equal parts."""
    before = read_meta(run).get("devices", devices)
    used = whole_batch(recipe, images, before)
    if used != batch:
        raise UsageError(
            f"--resume: {run} began with batches of {used} of {images} pictures on {before} processes; on {devices} "
            f"they would be of {batch}",
            hint=f"resume on {before} processes",
        )


def _check_more_epochs(run: Path, recipe: Recipe) -> None:
    """Raises UsageError, with the other way to train on, where a longer run would have been another one from its start.

    recipe: that the run began with.
    """
    result = read_meta(run).get("result", {})
    why = None
    if not recipe.schedule.open_ended:
        warm = f" with warmup {recipe.schedule.warmup:g}" if recipe.schedule.warmup else ""
        why = f"the schedule {recipe.schedule.name}{warm} is planned to end with epoch {recipe.epochs}"
    elif result.get("stopped_early"):
        why = f"early_stop ended it after {result['epochs']} of {recipe.epochs} epochs"
    if why:
        raise UsageError(
            f"--resume: {run} cannot get more epochs: {why}",
            hint=f"start another run at its best weights: without --resume, -o ANOTHER --set model.init=run:{run} "
            "--set epochs=N, with a smaller optimizer.lr",
        )


def check_prerequisites(recipe: Recipe, store: Path, *, resume: bool = False) -> None:
    """Raises RecipeError where a run that the recipe names is not finished: the key, the run, and how it is trained.

    store: where the command would find its data. resume: the first weights are no longer asked for.
    """
    named = [("model.init", run) for run in (() if resume else recipe.model.start[1])]
    named += [("distill.runs", run) for run in (recipe.distill.runs if recipe.distill else ())]
    for key, run in named:
        missing = [name for name in ("recipe.yaml", "best.ckpt") if not (run / name).is_file()]
        if not missing:
            continue
        state = f"without {' and '.join(missing)}" if run.exists() else "which does not exist"
        hint = f"train it first, or name another one with --set {key}=…"
        if run in recipe.needs:
            command = shlex.join(["mien", "train", recipe.needs[run], "--data", str(store), "-o", str(run)])
            hint = f"train it first: {command}"
        raise RecipeError(f"{key}: expected a finished run, got {run}, {state}", hint=hint)


def begin(run: Path, recipe: Recipe, meta: dict[str, Any]) -> None:
    """Write recipe.yaml and meta.json. Raises OutputError."""
    write_text(run / "recipe.yaml", recipe.to_yaml())
    write_meta(run, meta)


def write_meta(run: Path, meta: dict[str, Any]) -> None:
    """Write meta.json. Raises OutputError."""
    write_text(run / "meta.json", json.dumps(meta, indent=2, ensure_ascii=False) + "\n")


def run_meta(
    recipe: Recipe,
    store: Store,
    network: nn.Module,
    *,
    labels: tuple[str, ...],
    images: int,
    device: torch.device,
    devices: int,
) -> dict[str, Any]:
    """What is known of a run before it begins: data, versions, machine."""
    return {
        "name": recipe.name,
        "model": recipe.model.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "labels": list(labels),
        "data": {"store": store.fingerprint, "train": recipe.data.train, "images": images, "summary": store.summary}
        | _other_inputs(recipe),
        "mien": mien.__version__,
        "commit": checkout_commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})",
        "devices": devices,
    }


def _other_inputs(recipe: Recipe) -> dict[str, Any]:
    """Digests of what the recipe names beside the run's own store: another store, its teachers' weights."""
    found: dict[str, Any] = {}
    if recipe.data.non_faces is not None:
        found["non_faces"] = Store.open(recipe.data.non_faces).fingerprint
    if recipe.distill:
        found["teachers"] = [weights_digest(Path(teacher)) for teacher in recipe.distill.runs]
    return found
