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
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

import mien
from mien.atomic import write_text
from mien.data.loader import CropDataset, make_loader
from mien.data.store import Split, Store
from mien.errors import DataError, OutputError, UsageError
from mien.labels import SEVEN
from mien.models import registry
from mien.preprocess import Preprocess
from mien.training.module import FerModule
from mien.training.progress import EpochLog, progress_bar
from mien.training.recipe import Recipe, parse_recipe
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

    resume: go on from ``last.ckpt``; the result equals an uninterrupted run. accelerator: Lightning's ("cpu", "gpu").
    Raises UsageError where ``run`` holds another run, RecipeError and DataError for what they name.
    """
    run = Path(run)
    last = run / "last.ckpt"
    if run.exists() and any(run.iterdir()) and not resume:
        raise UsageError(f"expected a new or empty run directory, got {run}", hint="add --resume, or choose another")
    if resume:
        _check_same_recipe(run, recipe)
    try:
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / "recipe.yaml", recipe.to_yaml())
    except OSError as error:
        raise OutputError(f"expected a writable run directory, got {run}: {error.strerror}") from error

    if threads:
        torch.set_num_threads(threads)
    spec = registry.spec(recipe.model.name)
    preprocess = recipe.preprocess(spec.color)
    train_set = crop_dataset(store.read(recipe.data.train), recipe, preprocess, train=True)
    valid_set = crop_dataset(store.read(recipe.data.validation), recipe, preprocess, train=False)
    train_loader = make_loader(train_set, recipe.batch_size, train=True, seed=recipe.seed)
    valid_loader = make_loader(valid_set, 512, train=False)

    L.seed_everything(recipe.seed, verbose=False)
    network = registry.build(recipe.model.name, recipe.model.args, num_classes=len(SEVEN))
    teachers = [load_network(path)[0] for path in recipe.distill.runs] if recipe.distill else []
    module = FerModule(network, recipe, preprocess, total_steps=recipe.epochs * len(train_loader), teachers=teachers)
    meta = _meta(recipe, store, network, images=len(train_set))
    checkpoints = ModelCheckpoint(
        dirpath=run, filename="best", monitor="valid_accuracy", mode="max", save_last=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [checkpoints, EpochLog(run / "log.csv"), *progress_bar()]
    if recipe.ema:
        callbacks.insert(0, EMAWeightAveraging(decay=recipe.ema.decay))
    with _quiet():
        trainer = L.Trainer(
            accelerator=accelerator,
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
    best = checkpoints.best_model_score
    meta["result"] = {
        "best_valid_accuracy": None if best is None else round(float(best), 6),
        "epochs": trainer.current_epoch,
        "seconds_of_last_start": round(time.perf_counter() - started, 1),
    }
    write_text(run / "meta.json", json.dumps(meta, indent=2, ensure_ascii=False) + "\n")
    return meta


def crop_dataset(split: Split, recipe: Recipe, preprocess: Preprocess, *, train: bool) -> CropDataset:
    """A store's split as the loader wants it: sized, in the network's colour, with its targets."""
    rows = slice(recipe.data.limit)
    images = stack_pixels(split.images[rows], preprocess)
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


def stack_pixels(images: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """uint8 N×S×S or N×S×S×3 → uint8 N×C×size×size; a copy-free view where nothing has to change."""
    if images.ndim == 3 and images.shape[1:] == (preprocess.size, preprocess.size) and preprocess.channels == 1:
        return images[:, None]
    return np.stack([preprocess.pixels(image) for image in images])


def load_network(run: str | Path, *, checkpoint: str = "best") -> tuple[nn.Module, Recipe, Preprocess, dict[str, Any]]:
    """A finished run's network in eval mode, its recipe, preprocess and ``meta.json``. Raises DataError.

    checkpoint: "best" or "last".
    """
    run = Path(run)
    file = run / f"{checkpoint}.ckpt"
    if not file.is_file() or not (run / "recipe.yaml").is_file():
        raise DataError(f"expected a run directory with recipe.yaml and {checkpoint}.ckpt, got {run}")
    import yaml

    recipe = parse_recipe(yaml.safe_load((run / "recipe.yaml").read_text("utf-8")), origin=str(run / "recipe.yaml"))
    network = registry.build(recipe.model.name, recipe.model.args, num_classes=len(SEVEN))
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict({k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    except Exception as error:
        raise DataError(f"expected a checkpoint of {recipe.model.name} in {file}, got: {error}") from error
    meta_file = run / "meta.json"
    meta = json.loads(meta_file.read_text("utf-8")) if meta_file.is_file() else {}
    return network.eval(), recipe, recipe.preprocess(registry.spec(recipe.model.name).color), meta


def _check_same_recipe(run: Path, recipe: Recipe) -> None:
    """A run goes on under the recipe it began with, or not at all."""
    file = run / "recipe.yaml"
    if not file.is_file():
        if (run / "last.ckpt").is_file():
            raise UsageError(f"expected recipe.yaml beside last.ckpt in {run}", hint="this is no run directory of mien")
        return
    import yaml

    before = parse_recipe(yaml.safe_load(file.read_text("utf-8")), origin=str(file)).model_dump()
    now = recipe.model_dump()
    changed = [key for key in now if now[key] != before[key]]
    if changed:
        raise UsageError(
            f"--resume: {run} was started with another recipe; {', '.join(changed)} differ", hint="resume with the same"
        )


def _meta(recipe: Recipe, store: Store, network: nn.Module, *, images: int) -> dict[str, Any]:
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
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})",
    }


def _commit() -> str | None:
    """The checkout's commit, "+" appended where files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=10, check=True,
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
