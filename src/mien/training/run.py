"""The one way to train: recipe + store → run directory.

    RUN/recipe.yaml   the recipe as used         RUN/log.csv      one row an epoch
    RUN/meta.json     data, versions, result     RUN/tensorboard/ the same curves
    RUN/best.ckpt     best validated epoch       RUN/last.ckpt    where ``--resume`` goes on

Checkpoints hold the averaged weights under ``state_dict`` (that is what is evaluated and exported); ``last.ckpt`` also
has everything that a resumed run needs. They are read with ``weights_only=True``.
"""

import json
import logging
import os
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

import mien
from mien.atomic import write_text
from mien.commit import checkout_commit
from mien.data.build.parts import UNLABELLED
from mien.data.store import Split, Store
from mien.errors import DataError, OutputError, UsageError
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.training.averaging import MovingAverage
from mien.training.checkpoints import LastCheckpoint, PatientStop, RunCheckpoint, WholeCheckpointIO
from mien.training.compiling import as_written, check_compiler, compiler
from mien.training.device import choose_device, place
from mien.training.loader import CropDataset, make_loader
from mien.training.module import FerModule
from mien.training.networks import build_network, origins, read_meta, recipe_preprocess, starting_network, try_network
from mien.training.online_balance import balanced_order
from mien.training.orientation import orientation_dataset, task_labels
from mien.training.precision import as_begun, choose, precision_of_run
from mien.training.prerequisites import check_prerequisites
from mien.training.progress import EpochLog, progress_bar
from mien.training.recipe import Recipe, differences, load_recipe
from mien.training.signals import LeaveOnSigterm
from mien.training.targets import inverse_weights, one_hot, rows_to_learn_from, soft_targets, votes_that_are_there
from mien.training.teachers import load_teacher

log = logging.getLogger(__name__)

#: Training pictures on which a network's statistics are measured before it starts, where its weights come without.
SAMPLE = 512


def train(
    recipe: Recipe,
    store: Store,
    run: Path,
    *,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    threads: int | None = None,
    compiled: bool = False,
    cuda_graphs: bool = False,
    save_seconds: float = 0.0,
) -> dict[str, Any]:
    """Train and return the run's ``meta.json``.

    resume: go on from ``last.ckpt``; with as many threads, the result equals an uninterrupted run. A run whose schedule
    does not depend on its end may then get more ``epochs`` than it began with. accelerator: "cpu",
    "gpu" (CUDA), or "auto": CUDA where there is one. devices: processes that share each batch (on one machine).
    compiled, cuda_graphs: see ``compiling.py``; the second includes the first, and a run may go on with or without.
    save_seconds: ``last.ckpt`` is written at most that often, and at the end; 0 for each epoch.
    Where the store holds no FER+ votes, ``targets.votes`` is taken as 0: a note on stderr and in ``meta.json`` says so.
    Nothing is written before everything has been checked.
    Raises UsageError where ``run`` holds another run (with ``resume``: none), RecipeError and DataError for what they
    name, KeyboardInterrupt for Ctrl-C.
    """
    run = Path(run)
    last = run / "last.ckpt"
    device = choose_device(accelerator)
    rank = int(os.environ.get("LOCAL_RANK", "0")) if devices > 1 else 0
    recipe, notes = votes_that_are_there(recipe, store)
    if rank == 0:  # Lightning starts the other processes once this one is past its checks
        if resume:
            _check_same_run(run, recipe, store)
            before = read_meta(run).get("devices", devices)
            if before != devices:
                log.warning(
                    f"note: {run} began on {before} devices and goes on with {devices}: batch norm sees other parts"
                )
        else:
            _check_free(run)
    if resume and read_meta(run).get("result", {}).get("stopped_early"):
        return read_meta(run)
    go_on = str(last) if resume and last.is_file() else None
    asked = as_begun(recipe, run) if resume else recipe
    if threads:
        torch.set_num_threads(threads)
    _check_splits(recipe, store)
    if compiled or cuda_graphs:
        check_compiler(recipe, device, cuda_graphs=cuda_graphs, devices=devices)
    preprocess, labels = recipe_preprocess(recipe), task_labels(recipe, store)
    classes = len(labels)
    check_prerequisites(recipe, store.path, resume=go_on is not None)
    train_split, missing = rows_to_learn_from(store.read(recipe.data.train).limited(recipe.data.limit), recipe)
    valid_split, missing_too = rows_to_learn_from(store.read(recipe.data.validation).limited(recipe.data.limit), recipe)
    notes += missing + missing_too
    for note in notes if rank == 0 else ():
        log.warning("note: %s", note)
    online = recipe.data.balance == "online"
    order = balanced_order(store, train_split, seed=recipe.seed) if online else None
    train_set = crop_dataset(train_split, recipe, preprocess, train=True, classes=classes)
    sample = train_split.limited(SAMPLE).images
    valid_set = crop_dataset(valid_split, recipe, preprocess, train=False, classes=classes)
    del train_split, valid_split
    if device.type == "cuda":
        place([train_set, valid_set], torch.device("cuda", rank), free=torch.cuda.mem_get_info(rank)[0])
    batch = _whole_batch(recipe, len(train_set), devices)
    train_loader = make_loader(train_set, batch, train=True, seed=recipe.seed, rank=rank, world=devices, order=order)
    # As many as a pass of training holds, twice: validation keeps nothing for a backward pass.
    shown = min(512, max(64, 2 * batch // recipe.accumulate))
    valid_loader = make_loader(valid_set, shown, train=False, rank=rank, world=devices)

    L.seed_everything(recipe.seed, verbose=False)
    if go_on:
        network = build_network(recipe, classes=classes)
    else:
        network = starting_network(recipe, classes=classes, pictures=lambda: _as_inputs(sample, preprocess))
    try_network(network, recipe, classes=classes)
    part = batch // (devices * recipe.accumulate)  # pictures that go through the network at once
    shape = (part, preprocess.channels, preprocess.input_size, preprocess.input_size)
    # The first process has decided by the time that the others start.
    begun = read_meta(run) if resume or rank > 0 else {}
    recipe, why = precision_of_run(asked, lambda: choose(device, network, shape), begun=begun)
    teachers = [load_teacher(path, preprocess, labels=labels) for path in recipe.distill.runs] if recipe.distill else []
    weights = None
    if recipe.task == "expression" and recipe.targets.class_weights == "inverse":
        weights = inverse_weights(train_set.columns["labels"].cpu().numpy(), classes)
    module = FerModule(
        network,
        recipe,
        preprocess,
        steps_per_epoch=len(train_loader),
        teachers=teachers,
        class_weights=weights,
        compiler=compiler(cuda_graphs=cuda_graphs) if compiled or cuda_graphs else as_written,
    )
    meta = _meta(recipe, store, network, labels=labels, images=len(train_set), device=device, devices=devices)
    meta |= {"precision": recipe.precision, "precision_because": why}
    meta |= {"origins": origins(recipe, run if go_on else None), "notes": notes}
    meta["compiled"] = "cuda graphs" if cuda_graphs else compiled
    if rank == 0:
        try:
            run.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"expected a writable run directory, got {run}: {error.strerror}") from error
        write_text(run / "recipe.yaml", asked.to_yaml())
        write_text(run / "meta.json", _as_json(meta))
    monitor: dict[str, Any] = {"monitor": module.objective.monitor, "mode": module.objective.mode}
    best = RunCheckpoint(dirpath=run, filename="best", enable_version_counter=False, **monitor)
    # A callback of its own: ``save_last`` writes only in epochs that are the best so far.
    each_epoch = LastCheckpoint(seconds=save_seconds, dirpath=run, filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [best, EpochLog(run / "log.csv"), each_epoch, LeaveOnSigterm(), *progress_bar()]
    if recipe.early_stop:
        callbacks.append(PatientStop(patience=recipe.early_stop, min_delta=0.0, check_finite=False, **monitor))
    if recipe.ema:
        callbacks.insert(0, MovingAverage(decay=recipe.ema.decay, device=device))
    with _quiet():
        trainer = L.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=devices,
            strategy=DDPStrategy() if devices > 1 else "auto",
            max_epochs=recipe.epochs,
            precision="32-true",  # the module opens autocast itself
            benchmark=device.type == "cuda",  # cuDNN tries its algorithms once for each shape, of which there are few
            callbacks=callbacks,
            plugins=[WholeCheckpointIO(weights_alone=run / "best.ckpt")],
            logger=TensorBoardLogger(str(run), name="tensorboard", version=""),
            default_root_dir=str(run),
            enable_progress_bar=any("Progress" in type(c).__name__ for c in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=50,
            use_distributed_sampler=False,
        )
        started = time.perf_counter()
        try:
            trainer.fit(module, train_loader, valid_loader, ckpt_path=go_on, weights_only=True if go_on else None)
        except SystemExit as end:  # Lightning's answer to Ctrl-C is an exit with status 1
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from end
            raise
    finished: Any = trainer.fit_loop.epoch_progress.current
    epochs = int(finished.processed)
    score = None if best.best_model_score is None else round(float(best.best_model_score), 6)
    meta["result"] = {
        f"best_{module.objective.monitor}": score,
        "epochs": epochs,
        "stopped_early": epochs < recipe.epochs,
        "seconds_of_last_start": round(time.perf_counter() - started, 1),
    }
    if rank == 0:
        write_text(run / "meta.json", _as_json(meta))
    return meta


def crop_dataset(
    split: Split, recipe: Recipe, preprocess: Preprocess, *, train: bool, classes: int = len(SEVEN)
) -> CropDataset:
    """A store's split as the loader wants it: sized, in the network's colour, with its targets over the classes."""
    split = split.limited(recipe.data.limit)
    if recipe.task == "orientation":
        return orientation_dataset(split, recipe, lambda images: _kept(images, preprocess, train=train))
    images, labels = split.images, np.asarray(split.labels)
    if not len(labels):
        raise DataError(f"expected images in split {split.name!r}, got none")
    if recipe.task == "expression" and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"expected labels 0-{classes - 1} in split {split.name!r}, got {labels.min()}…{labels.max()}",
            hint="choose a split whose labels are known: data.train, data.validation",
        )
    images = _kept(images, preprocess, train=train)
    affect = split.valence_arousal
    if recipe.task == "masked_image":
        nothing = np.zeros((len(labels), classes), np.float32)
        return CropDataset(images, nothing, labels)
    if not train:
        return CropDataset(images, one_hot(labels, classes), labels, affect)
    targets = soft_targets(
        labels,
        split.votes,
        classes=classes,
        smoothing=recipe.targets.smoothing,
        votes_weight=recipe.targets.votes,
    )
    return CropDataset(images, targets, labels, affect)


def _kept(images: np.ndarray, preprocess: Preprocess, *, train: bool) -> np.ndarray:
    """uint8 N×C×S×S as memory holds them: grey while the source is grey, and for training no larger than the source.

    The augmentation resizes small pictures on the device, in the one interpolation that it needs anyway.
    """
    color = "grey" if images.ndim == 3 else preprocess.color
    side = min(preprocess.size, max(images.shape[1:3])) if train else preprocess.size
    numbers = (0.5,) * (1 if color == "grey" else 3)
    return Preprocess(size=side, color=color, mean=numbers, std=numbers).stack(images)


def _as_inputs(images: np.ndarray, preprocess: Preprocess) -> torch.Tensor:
    """Pictures of a store, unchanged, as float32 N×C×S×S of the network."""
    return torch.from_numpy(preprocess.centre(preprocess.normalise(preprocess.stack(images))))


#: What a run that ended before its first whole epoch leaves behind.
_BEFORE_THE_FIRST_EPOCH = {"recipe.yaml", "meta.json", "tensorboard"}


def _check_free(run: Path) -> None:
    """Raises UsageError where a new run would mix with something else."""
    if run.exists() and not run.is_dir():
        raise UsageError(f"expected a run directory, got the file {run}", hint="choose another")
    held = {file.name for file in run.iterdir()} if run.is_dir() else set()
    if held and not ("meta.json" in held and held <= _BEFORE_THE_FIRST_EPOCH):
        raise UsageError(
            f"expected a new or empty run directory, got {run}", hint="add --resume to go on with it, or choose another"
        )


def _whole_batch(recipe: Recipe, images: int, devices: int) -> int:
    """Images of a step: the recipe's, or as many as there are, in equal parts. Raises UsageError, DataError."""
    parts = devices * recipe.accumulate
    if recipe.batch_size % parts or recipe.batch_size // parts < 2:
        raise UsageError(
            f"expected a batch_size of {parts} equal parts of 2 or more images ({devices} devices, accumulate "
            f"{recipe.accumulate}), got {recipe.batch_size}"
        )
    batch = min(recipe.batch_size, images // parts * parts)
    if batch < 2 * parts:
        raise DataError(f"expected {2 * parts} images to learn from, two for each part of a step; got {images}")
    return batch


def _check_splits(recipe: Recipe, store: Store) -> None:
    """Raises DataError that names the key and a split of the store that has labels."""
    for key, name in (("train", recipe.data.train), ("validation", recipe.data.validation)):
        if name not in store.splits:
            labelled = [s for s in store.splits if set(store.summary["splits"][s]["counts"]) - {UNLABELLED}]
            near = [s for s in labelled if s.startswith(("val", "public") if key == "validation" else "train")]
            others = [s for s in labelled if s not in (recipe.data.train, recipe.data.validation)]
            hint = f"--set data.{key}={(near or others)[0]}" if near or others else _CARVE
            raise DataError(
                f"data.{key}: expected a split of {store.path} ({', '.join(store.splits)}), got {name!r}", hint=hint
            )


_CARVE = (
    "no other split has labels: build the store by a recipe that says splits: {carve: true, shares: {validation: 0.1}} "
    "(docs/data.md), and --set data.validation=validation"
)


def _check_same_run(run: Path, recipe: Recipe, store: Store) -> None:
    """A run goes on under the recipe and with the data that it began with, from a checkpoint that is whole.

    More epochs are the same run only where nothing in it depends on their number.
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
        raise UsageError(
            f"--resume: {run} was started with another recipe: {'; '.join(changed)}",
            hint="resume with the same: repeat its --set options",
        )
    data = read_meta(run).get("data", {})
    for key, now in ({"store": store.fingerprint} | _other_store(recipe)).items():
        if data.get(key) not in (None, now):
            raise UsageError(f"--resume: {run} was started with {key} {data[key]}, got {now}")
    if last.is_file():
        try:
            torch.load(last, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(
                f"expected a whole checkpoint, cannot read {last}",
                hint="delete the run to start again; its best epoch, if whole, is in best.ckpt",
            ) from error


def _check_more_epochs(run: Path, recipe: Recipe) -> None:
    """Raises UsageError, with the other way to train on, where a longer run would have been another one from its start.

    recipe: that the run began with.
    """
    result = read_meta(run).get("result", {})
    why = None
    if not recipe.schedule.open_ended:
        warm = f" with warmup {recipe.schedule.warmup:g}" if recipe.schedule.warmup else ""
        why = f"the schedule {recipe.schedule.name}{warm} is laid out to end with epoch {recipe.epochs}"
    elif result.get("stopped_early"):
        why = f"early_stop ended it after {result['epochs']} of {recipe.epochs} epochs"
    if why:
        raise UsageError(
            f"--resume: {run} cannot get more epochs: {why}",
            hint=f"start another run at its best weights: without --resume, -o ANOTHER --set model.init=run:{run} "
            "--set epochs=N, with a smaller optimizer.lr",
        )


def _as_json(meta: dict[str, Any]) -> str:
    return json.dumps(meta, indent=2, ensure_ascii=False) + "\n"


def _meta(
    recipe: Recipe,
    store: Store,
    network: nn.Module,
    *,
    labels: tuple[str, ...],
    images: int,
    device: torch.device,
    devices: int,
) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "model": recipe.model.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "labels": list(labels),
        "data": {"store": store.fingerprint, "train": recipe.data.train, "images": images, "summary": store.summary}
        | _other_store(recipe),
        "mien": mien.__version__,
        "commit": checkout_commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})",
        "devices": devices,
    }


def _other_store(recipe: Recipe) -> dict[str, str]:
    """The fingerprint of the store that the recipe names beside the run's own."""
    return {} if recipe.data.non_faces is None else {"non_faces": Store.open(recipe.data.non_faces).fingerprint}


class _quiet(warnings.catch_warnings):
    """Lightning's advice that does not apply here (data in memory, one device) stays out of the way of ours."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*The number of training batches.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*is not a recognized.*")
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # figures are of all processes already
        for name in (
            "lightning.pytorch.utilities.rank_zero",
            "lightning.pytorch.accelerators.cuda",
            "lightning.pytorch",
            "lightning.fabric.utilities.distributed",
        ):
            logging.getLogger(name).setLevel(logging.ERROR)
