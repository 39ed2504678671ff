"""The one way to train: recipe + store → run directory.

    RUN/recipe.yaml   the recipe as used         RUN/log.csv      one row an epoch
    RUN/meta.json     data, versions, result     RUN/tensorboard/ the same curves
    RUN/best.ckpt     best validated epoch       RUN/last.ckpt    what ``--resume`` reads

Checkpoints hold the averaged weights under ``state_dict`` (that is what is evaluated and exported); ``last.ckpt`` also
has everything that a resumed run needs. They are read with ``weights_only=True``.
"""

import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from mien.data.store import Store
from mien.training.averaging import MovingAverage
from mien.training.checkpoints import LastCheckpoint, PatientStop, RunCheckpoint, WholeCheckpointIO
from mien.training.compiling import as_written, check_compiler, compiler
from mien.training.datasets import as_inputs, check_splits, read_data, whole_batch
from mien.training.device import choose_device, place
from mien.training.exported import reader_origin
from mien.training.loader import make_loader
from mien.training.module import FerModule
from mien.training.networks import build_network, origins, read_meta, recipe_preprocess, starting_network, try_network
from mien.training.orientation import task_labels
from mien.training.precision import as_begun, choose, precision_of_run
from mien.training.progress import EpochLog, progress_bar
from mien.training.recipe import Recipe
from mien.training.run_directory import begin, check_free, check_prerequisites, check_same_run, run_meta, write_meta
from mien.training.signals import LeaveOnSigterm
from mien.training.targets import inverse_weights, votes_that_are_there
from mien.training.teachers import load_teacher

log = logging.getLogger(__name__)


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

    resume: continue from ``last.ckpt``; with the same number of threads, the result equals an uninterrupted run. A run
    whose learning-rate schedule does not depend on its end may then get more ``epochs``. accelerator: "cpu",
    "gpu" (CUDA), or "auto": CUDA where there is one. devices: processes that share each batch (on one machine).
    compiled, cuda_graphs: see ``compiling.py``; the second includes the first; a run may be resumed with or without.
    save_seconds: ``last.ckpt`` is written at most that often, and at the end; 0 for each epoch.
    Where the store holds no FER+ votes, ``targets.votes`` is taken as 0: the log and ``meta.json`` say so.
    Nothing is written before everything has been checked.
    Raises UsageError where ``run`` holds another run (with ``resume``: none), RecipeError and DataError for what they
    name, KeyboardInterrupt for Ctrl-C.
    """
    run, device = Path(run), choose_device(accelerator)
    rank = int(os.environ.get("LOCAL_RANK", "0")) if devices > 1 else 0
    recipe, notes = votes_that_are_there(recipe, store)
    if rank == 0:  # Lightning starts the other processes once this one is past its checks
        if resume:
            check_same_run(run, recipe, store, devices=devices)
        else:
            check_free(run)
    if resume and read_meta(run).get("result", {}).get("stopped_early"):
        return read_meta(run)
    last = run / "last.ckpt"
    go_on = str(last) if resume and last.is_file() else None
    asked = as_begun(recipe, run) if resume else recipe
    if threads:
        torch.set_num_threads(threads)
    check_splits(recipe, store)
    if compiled or cuda_graphs:
        check_compiler(recipe, device, cuda_graphs=cuda_graphs, devices=devices)
    preprocess, labels = recipe_preprocess(recipe), task_labels(recipe, store)
    check_prerequisites(recipe, store.path, resume=go_on is not None)
    data = read_data(recipe, store, preprocess, classes=len(labels))
    notes += data.notes
    for note in notes if rank == 0 else ():
        log.warning("note: %s", note)
    if device.type == "cuda":
        place([data.train, data.validation], torch.device("cuda", rank), free=torch.cuda.mem_get_info(rank)[0])
    batch = whole_batch(recipe, len(data.train), devices)
    train_loader = make_loader(
        data.train, batch, train=True, seed=recipe.seed, rank=rank, world=devices, order=data.order
    )
    # Twice as many as a pass of training holds: validation keeps nothing for a backward pass.
    shown = min(512, max(64, 2 * batch // recipe.accumulate))
    valid_loader = make_loader(data.validation, shown, train=False, rank=rank, world=devices)

    L.seed_everything(recipe.seed, verbose=False)
    if go_on:
        network = build_network(recipe, classes=len(labels))
    else:
        network = starting_network(recipe, labels=labels, pictures=lambda: as_inputs(data.sample, preprocess))
    try_network(network, recipe, classes=len(labels))
    part = batch // (devices * recipe.accumulate)  # pictures that go through the network at once
    shape = (part, preprocess.channels, preprocess.input_size, preprocess.input_size)
    # The first process has decided by the time that the others start.
    begun = read_meta(run) if resume or rank > 0 else {}
    recipe, why = precision_of_run(asked, lambda: choose(device, network, shape), begun=begun)
    teachers = [load_teacher(path, preprocess, labels=labels) for path in recipe.distill.runs] if recipe.distill else []
    weights = None
    if recipe.task == "expression" and recipe.targets.class_weights == "inverse":
        weights = inverse_weights(data.train.columns["labels"].cpu().numpy(), len(labels))
    module = FerModule(
        network,
        recipe,
        preprocess,
        steps_per_epoch=len(train_loader),
        teachers=teachers,
        class_weights=weights,
        compiler=compiler(cuda_graphs=cuda_graphs) if compiled or cuda_graphs else as_written,
    )
    meta = run_meta(recipe, store, network, labels=labels, images=len(data.train), device=device, devices=devices)
    meta |= {"precision": recipe.precision, "precision_because": why}
    meta |= {"origins": origins(recipe, run if go_on else None), "notes": notes}
    if recipe.model.reader:
        meta["started_from"] = reader_origin(recipe.model.reader)
    meta["compiled"] = "cuda graphs" if cuda_graphs else compiled
    if rank == 0:
        begin(run, asked, meta)
    started = time.perf_counter()
    with _quiet():
        trainer = _trainer(run, module, device=device, devices=devices, save_seconds=save_seconds)
        try:
            trainer.fit(module, train_loader, valid_loader, ckpt_path=go_on, weights_only=True if go_on else None)
        except SystemExit as end:  # Lightning's answer to Ctrl-C is an exit with status 1
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from end
            raise
    meta["result"] = _result(trainer, module) | {"seconds_of_last_start": round(time.perf_counter() - started, 1)}
    if rank == 0:
        write_meta(run, meta)
    return meta


def _trainer(run: Path, module: FerModule, *, device: torch.device, devices: int, save_seconds: float) -> L.Trainer:
    recipe = module.recipe
    monitor: dict[str, Any] = {"monitor": module.objective.monitor, "mode": module.objective.mode}
    best = RunCheckpoint(dirpath=run, filename="best", enable_version_counter=False, **monitor)
    # A callback of its own: ``save_last`` writes only in epochs that are the best so far.
    each_epoch = LastCheckpoint(seconds=save_seconds, dirpath=run, filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [best, EpochLog(run / "log.csv"), each_epoch, LeaveOnSigterm(), *progress_bar()]
    if recipe.early_stop:
        callbacks.append(PatientStop(patience=recipe.early_stop, min_delta=0.0, check_finite=False, **monitor))
    if recipe.ema:
        callbacks.insert(0, MovingAverage(decay=recipe.ema.decay, device=device))
    return L.Trainer(
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


def _result(trainer: L.Trainer, module: FerModule) -> dict[str, Any]:
    """The best validated figure, the epochs that were trained, and whether they ended early."""
    checkpoints: list[Any] = trainer.checkpoint_callbacks
    best = next(checkpoint.best_model_score for checkpoint in checkpoints if checkpoint.monitor)
    finished: Any = trainer.fit_loop.epoch_progress.current
    epochs = int(finished.processed)
    return {
        f"best_{module.objective.monitor}": None if best is None else round(float(best), 6),
        "epochs": epochs,
        "stopped_early": epochs < module.recipe.epochs,
    }


#: Lightning's advice that does not apply: data are in memory, on one device, and figures are of all processes already.
_ADVICE = (
    "does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "The number of training batches",
    "isinstance.treespec, LeafSpec",
    "is not a recognized",
    "sync_dist=True",
)
_LOGGERS = ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "pytorch", "fabric.utilities.distributed")


class _quiet(warnings.catch_warnings):
    """Within, Lightning does not give its advice."""

    def __enter__(self) -> None:
        super().__enter__()
        for message in _ADVICE:
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        for name in _LOGGERS:
            logging.getLogger(f"lightning.{name}").setLevel(logging.ERROR)
