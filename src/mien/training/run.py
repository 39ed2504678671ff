"""The one way to train: recipe + store → run directory.

    RUN/recipe.yaml   the recipe as used         RUN/log.csv      one row an epoch
    RUN/meta.json     data, versions, result     RUN/tensorboard/ the same curves
    RUN/best.ckpt     best validation accuracy   RUN/last.ckpt    where ``--resume`` goes on

Checkpoints hold the averaged weights under ``state_dict`` (that is what is evaluated and exported) beside everything
a resumed run needs. They are read with ``weights_only=True``.
"""

import json
import logging
import platform
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

import mien
from mien.atomic import write_text
from mien.data.loader import CropDataset, make_loader
from mien.data.store import Split, Store
from mien.errors import DataError, MienError, OutputError, RecipeError, UsageError
from mien.labels import SEVEN
from mien.models import registry
from mien.preprocess import Preprocess
from mien.training.averaging import MovingAverage
from mien.training.module import FerModule
from mien.training.progress import EpochLog, progress_bar
from mien.training.recipe import Recipe, load_recipe
from mien.training.targets import one_hot, soft_targets


def train(
    recipe: Recipe,
    store: Store,
    run: Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Train and return the run's ``meta.json``.

    resume: go on from ``last.ckpt``; with as many threads, the result equals an uninterrupted run. accelerator: "cpu",
    "gpu" (CUDA), or "auto": CUDA where there is one. Nothing is written before everything has been checked.
    Raises UsageError where ``run`` holds another run, RecipeError and DataError for what they name.
    """
    run = Path(run)
    last = run / "last.ckpt"
    device = choose_device(accelerator)
    if run.exists() and any(run.iterdir()) and not resume:
        raise UsageError(f"expected a new or empty run directory, got {run}", hint="add --resume, or choose another")
    if resume:
        _check_same_run(run, recipe, store)
    if threads:
        torch.set_num_threads(threads)
    preprocess = recipe_preprocess(recipe)
    train_set = crop_dataset(store.read(recipe.data.train), recipe, preprocess, train=True)
    valid_set = crop_dataset(store.read(recipe.data.validation), recipe, preprocess, train=False)
    train_loader = make_loader(train_set, recipe.batch_size, train=True, seed=recipe.seed)
    valid_loader = make_loader(valid_set, 512, train=False)

    L.seed_everything(recipe.seed, verbose=False)
    network = registry.build(recipe.model.name, recipe.model.args, num_classes=len(SEVEN))
    if recipe.model.init != "scratch":
        _start_from(Path(recipe.model.init.removeprefix("run:")), network, recipe)
    teachers = [_teacher(path, preprocess) for path in recipe.distill.runs] if recipe.distill else []
    module = FerModule(network, recipe, preprocess, total_steps=recipe.epochs * len(train_loader), teachers=teachers)
    meta = _meta(recipe, store, network, images=len(train_set), device=device)
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a writable run directory, got {run}: {error.strerror}") from error
    write_text(run / "recipe.yaml", recipe.to_yaml())
    write_text(run / "meta.json", _as_json(meta))
    best = ModelCheckpoint(
        dirpath=run, filename="best", monitor="valid_accuracy", mode="max", enable_version_counter=False
    )
    # A callback of its own: ``save_last`` writes only in epochs that are the best so far.
    each_epoch = ModelCheckpoint(
        dirpath=run, filename="last", monitor=None, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [best, EpochLog(run / "log.csv"), each_epoch, *progress_bar()]
    if recipe.ema:
        callbacks.insert(0, MovingAverage(decay=recipe.ema.decay, device=device))
    with _quiet():
        trainer = L.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=recipe.epochs,
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            gradient_clip_val=recipe.optimizer.clip_norm,
            callbacks=callbacks,
            logger=TensorBoardLogger(str(run), name="tensorboard", version=""),
            default_root_dir=str(run),
            enable_progress_bar=any("Progress" in type(c).__name__ for c in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
            use_distributed_sampler=False,
        )
        go_on = str(last) if resume and last.is_file() else None
        started = time.perf_counter()
        trainer.fit(module, train_loader, valid_loader, ckpt_path=go_on, weights_only=True if go_on else None)
    score = best.best_model_score
    meta["result"] = {
        "best_valid_accuracy": None if score is None else round(float(score), 6),
        "epochs": trainer.current_epoch,
        "seconds_of_last_start": round(time.perf_counter() - started, 1),
    }
    write_text(run / "meta.json", _as_json(meta))
    return meta


def choose_device(accelerator: str) -> torch.device:
    """ "auto", "cpu" or "gpu" → the device. Raises UsageError for another word, or "gpu" without CUDA."""
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UsageError(f"--device: expected auto, cpu or gpu; got {accelerator!r}")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UsageError("--device gpu: torch finds no CUDA device here", hint="use --device cpu")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def recipe_preprocess(recipe: Recipe) -> Preprocess:
    """What the recipe's network is fed with. Raises RecipeError where the numbers do not fit it."""
    try:
        return recipe.preprocess(registry.spec(recipe.model.name).color)
    except RecipeError:
        raise
    except MienError as error:
        raise RecipeError(f"data.size, data.mean or data.std: {error}") from error


def crop_dataset(split: Split, recipe: Recipe, preprocess: Preprocess, *, train: bool) -> CropDataset:
    """A store's split as the loader wants it: sized, in the network's colour, with its targets."""
    rows = slice(recipe.data.limit)
    images = preprocess.stack(split.images[rows])
    labels = np.asarray(split.labels[rows])
    if not len(labels):
        raise DataError(f"expected images in split {split.name!r}, got none")
    if not train:
        return CropDataset(images, one_hot(labels, len(SEVEN)), labels)
    targets = soft_targets(
        labels,
        split.votes[rows] if split.votes is not None else None,
        classes=len(SEVEN),
        smoothing=recipe.targets.smoothing,
        votes_weight=recipe.targets.votes,
    )
    return CropDataset(images, targets, labels)


def load_network(run: str | Path, *, checkpoint: str = "best") -> tuple[nn.Module, Recipe, Preprocess, dict[str, Any]]:
    """A finished run's network in eval mode, its recipe, preprocess and ``meta.json``. Raises DataError.

    checkpoint: "best" or "last".
    """
    run = Path(run)
    file = run / f"{checkpoint}.ckpt"
    if not file.is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"expected a run directory with recipe.yaml and {checkpoint}.ckpt, got {run}")
    recipe = load_recipe(run / "recipe.yaml")
    network = registry.build(recipe.model.name, recipe.model.args, num_classes=len(SEVEN))
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    except Exception as error:
        raise DataError(f"expected a checkpoint of {recipe.model.name} in {file}, got: {error}") from error
    return network.eval(), recipe, recipe_preprocess(recipe), _read_meta(run)


def _start_from(run: Path, network: nn.Module, recipe: Recipe) -> None:
    """Copy a finished run's best weights. Raises RecipeError where that run's network is another one."""
    other, its_recipe, _, _ = load_network(run)
    if (its_recipe.model.name, its_recipe.model.args) != (recipe.model.name, recipe.model.args):
        raise RecipeError(f"model.init: {run} holds {its_recipe.model}, this recipe has {recipe.model}")
    network.load_state_dict(other.state_dict())


def _teacher(run: Path, preprocess: Preprocess) -> nn.Module:
    """A finished run as teacher. Raises RecipeError where it looks at pictures in another way than its student."""
    network, _, its_own, _ = load_network(run)
    if its_own != preprocess:
        raise RecipeError(f"distill.runs: {run} was trained with {its_own}, this recipe has {preprocess}")
    return network


def _check_same_run(run: Path, recipe: Recipe, store: Store) -> None:
    """A run goes on under the recipe and with the data that it began with, from a checkpoint that is whole."""
    last = run / "last.ckpt"
    if not (run / "recipe.yaml").is_file():
        if last.is_file():
            raise UsageError(f"expected recipe.yaml beside last.ckpt in {run}", hint="this is no run directory of mien")
        return
    before, now = load_recipe(run / "recipe.yaml").model_dump(), recipe.model_dump()
    changed = [key for key in now if now[key] != before[key]]
    if changed:
        raise UsageError(
            f"--resume: {run} was started with another recipe; {', '.join(changed)} differ", hint="resume with the same"
        )
    data = _read_meta(run).get("data", {}).get("store")
    if data not in (None, store.fingerprint):
        raise UsageError(f"--resume: {run} was started with store {data}, got {store.fingerprint} ({store.path})")
    if last.is_file():
        try:
            torch.load(last, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(
                f"expected a whole checkpoint, cannot read {last}", hint="delete it to start again"
            ) from error


def _read_meta(run: Path) -> dict[str, Any]:
    file = run / "meta.json"
    if not file.is_file():
        return {}
    try:
        meta = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"expected JSON in {file}, got something else") from error
    return meta if isinstance(meta, dict) else {}


def _as_json(meta: dict[str, Any]) -> str:
    return json.dumps(meta, indent=2, ensure_ascii=False) + "\n"


def _meta(recipe: Recipe, store: Store, network: nn.Module, *, images: int, device: torch.device) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "model": recipe.model.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "labels": list(SEVEN),
        "data": {"store": store.fingerprint, "train": recipe.data.train, "images": images, "summary": store.summary},
        "mien": mien.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})",
    }


def _commit() -> str | None:
    """The checkout's commit, "+" appended where files differ from it; None outside a checkout of mien."""
    here = Path(__file__)
    try:
        # An installed mien may lie in a virtual environment inside somebody's repository: that commit is not ours.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", here.name],
            cwd=here.parent,
            capture_output=True,
            timeout=10,
            check=True,
        )
        shown = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=here.parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None


class _quiet(warnings.catch_warnings):
    """Lightning's advice that does not apply here (data in memory, one device) stays out of the way of ours."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*is not a recognized.*")
        for name in (
            "lightning.pytorch.utilities.rank_zero",
            "lightning.pytorch.accelerators.cuda",
            "lightning.pytorch",
        ):
            logging.getLogger(name).setLevel(logging.ERROR)
