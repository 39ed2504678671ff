"""The one way to train: recipe + store → run directory.

    RUN/recipe.yaml   the recipe as used         RUN/log.csv      one row an epoch
    RUN/meta.json     data, versions, result     RUN/tensorboard/ the same curves
    RUN/best.ckpt     best validated epoch       RUN/last.ckpt    what ``--resume`` reads

Checkpoints hold the averaged weights under ``state_dict`` (that is what is evaluated and exported); ``last.ckpt`` also
has everything that a resumed run needs. They are read with ``weights_only=True``.
"""

import logging
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from mien.data.store import Store
from mien.errors import MienError
from mien.training.averaging import MovingAverage
from mien.training.batch_norm import batch_norms, synced
from mien.training.checkpoints import LastCheckpoint, PatientStop, Position, RunCheckpoint, WholeCheckpointIO
from mien.training.compiling import as_written, check_compiler, compiler
from mien.training.datasets import as_inputs, check_splits, read_data, whole_batch
from mien.training.device import choose_device, place
from mien.training.exported import reader_origin
from mien.training.loader import BatchSampler, CropDataset, make_loader
from mien.training.logit_adjustment import adjust_logits, class_proportions
from mien.training.module import FerModule
from mien.training.networks import build_network, origins, read_meta, recipe_preprocess, starting_network, try_network
from mien.training.orientation import task_labels
from mien.training.precision import Precision, as_begun, choose, precision_of_run
from mien.training.processes import Processes, Watch, check_strategy, processes_of
from mien.training.progress import EpochLog, progress_bar
from mien.training.recipe import Recipe
from mien.training.run_directory import (
    alone_in,
    begin,
    check_free,
    check_prerequisites,
    check_same_batch,
    check_same_run,
    contents,
    run_meta,
    write_meta,
)
from mien.training.sam import climbs_locally
from mien.training.signals import LeaveOnSigterm
from mien.training.stream import default_workers, of_a_worker, streams
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
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str = "ddp",
    sync_batch_norm: bool = True,
    threads: int | None = None,
    compiled: bool = False,
    cuda_graphs: bool = False,
    save_seconds: float = 0.0,
    save_steps: int | None = None,
    workers: int | None = None,
    precision: Precision | None = None,
) -> dict[str, Any]:
    """Train, and return the run's ``meta.json``. Nothing is written before everything has been checked.

    Where the store holds no FER+ votes, ``targets.votes`` is taken as 0: the log and ``meta.json`` say so.

    Args:
        recipe: from :func:`mien.training.recipe.load_recipe`.
        store: with the recipe's splits.
        run: the run directory; new, or with ``resume`` one that was begun.
        resume: continue from ``last.ckpt``; with the same number of threads the result equals an uninterrupted run. A
            run whose learning-rate schedule does not depend on its end may then get more ``epochs``.
        accelerator: "cpu", "gpu" (CUDA), or "auto": CUDA where there is one.
        devices: processes on each node that share each batch; None: as many as torchrun or srun started, or 1.
        nodes: machines; None: likewise.
        strategy: "ddp".
        sync_batch_norm: batch norms see the whole batch, not each process's part; not where SAM's ascent is local.
        threads: of torch on the CPU; None: torch's default.
        compiled: compile the network (``torch.compile``); a run may be resumed with or without.
        cuda_graphs: replay the steps as CUDA graphs; includes ``compiled``.
        save_seconds: ``last.ckpt`` is written at most that often, and at the end; 0: after each epoch.
        save_steps: write it within an epoch too, after every so many steps.
        workers: processes that decode pictures on the disk, for each of ``devices``; None: the cores, shared out.
        precision: what a new run takes where the recipe says ``auto``, instead of measuring.

    Raises:
        UsageError: ``run`` holds another run (with ``resume``: none), or a device that is not there.
        OutputError: another process trains there.
        RecipeError: a recipe that does not fit the store, or a run that it names is missing.
        DataError: a split that is missing or broken.
        WeightsError: pretrained weights that cannot be obtained.
        KeyboardInterrupt: Ctrl-C; the run can be resumed.
        ProcessLost: another process of the run has ended.

    Examples:
        >>> from pathlib import Path
        >>> from mien.data.store import Store
        >>> from mien.training.recipe import load_recipe
        >>> from mien.training.run import train
        >>> recipe = load_recipe("own", overrides={"epochs": "1", "precision": "fp32"})
        >>> meta = train(recipe, Store.open("store"), Path("run"), accelerator="cpu", threads=1)
        >>> meta["labels"], meta["result"]["epochs"]
        (['dark', 'light'], 1)
    """
    run, device = Path(run), choose_device(accelerator)
    processes = processes_of(devices, nodes)
    rank, world = processes.rank, processes.world
    check_strategy(strategy, world)
    synced_norms = world > 1 and sync_batch_norm and not climbs_locally(recipe)
    recipe, notes = votes_that_are_there(recipe, store)
    seen = contents(run)
    if rank == 0:  # Lightning starts the other processes once this one is past its checks
        if resume:
            check_same_run(run, recipe, store, devices=world, synced_norms=synced_norms)
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
        check_compiler(recipe, device, cuda_graphs=cuda_graphs, devices=world)
    preprocess, labels = recipe_preprocess(recipe), task_labels(recipe, store)
    check_prerequisites(recipe, store.path, resume=go_on is not None)
    stream, because = streams(recipe, store, processes=processes.devices)
    data = read_data(recipe, store, preprocess, classes=len(labels), stream=stream)
    notes += data.notes
    if stream:
        workers = default_workers(processes.devices) if workers is None else workers
        notes.append(f"pictures are decoded from the disk by {workers} processes ({because})")
    for note in notes if rank == 0 else ():
        log.warning("note: %s", note)
    if device.type == "cuda":
        here = torch.device("cuda", processes.local_rank)
        held = [split for split in (data.train, data.validation) if isinstance(split, CropDataset)]
        place(held, here, free=torch.cuda.mem_get_info(here)[0])
    batch = whole_batch(recipe, len(data.train), world)
    if go_on:
        check_same_batch(run, recipe, len(data.train), batch, devices=world)
    share: dict[str, Any] = {"rank": rank, "world": world, "workers": (workers or 0) if stream else 0}
    train_loader = make_loader(data.train, batch, train=True, seed=recipe.seed, order=data.order, **share)
    # Twice as many as a pass of training holds: validation keeps nothing for a backward pass.
    shown = min(512, max(64, 2 * batch // recipe.accumulate))
    valid_loader = make_loader(data.validation, shown, train=False, **share)

    L.seed_everything(recipe.seed, verbose=False)
    if go_on:
        network = build_network(recipe, classes=len(labels))
    else:
        network = starting_network(recipe, labels=labels, pictures=lambda: as_inputs(data.sample, preprocess))
        if recipe.model.logit_adjustment:
            proportions = class_proportions(data.train.columns["expression"], recipe.targets.smoothing)
            adjust_logits(network, proportions, recipe.model.logit_adjustment)
    try_network(network, recipe, classes=len(labels))
    part = batch // (world * recipe.accumulate)  # pictures that go through the network at once
    shape = (part, preprocess.channels, preprocess.input_size, preprocess.input_size)
    # The first process decides: before the others start, or when all have met.
    processes.join(device)
    begun = read_meta(run) if resume or (rank > 0 and not processes.all_run_already) else {}

    def measured() -> tuple[Precision, str]:
        return (precision, "chosen by the caller") if precision else choose(device, network, shape)

    def decide() -> tuple[Recipe, str]:
        return precision_of_run(asked, measured, begun=begun)

    recipe, why = processes.decided(decide) if processes.all_run_already else decide()
    if asked.precision == "auto" and not go_on and rank == 0:
        log.warning("note: computes in %s (%s)", recipe.precision, why)
    if synced_norms:
        network = synced(network, device)
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
    meta = run_meta(recipe, store, network, labels=labels, images=len(data.train), device=device, devices=world)
    meta |= {"nodes": processes.nodes, "batch_norm": batch_norms(network, synced_norms, world)}
    meta |= {"precision": recipe.precision, "precision_because": why}
    meta |= {"origins": origins(recipe, run if go_on else None), "notes": notes}
    if recipe.model.reader:
        meta["started_from"] = reader_origin(recipe.model.reader)
    meta["compiled"] = "cuda graphs" if cuda_graphs else compiled
    started = time.perf_counter()
    with alone_in(run, seen) if rank == 0 else nullcontext(), _quiet():
        if rank == 0:
            begin(run, asked, meta)
        watch = Watch(processes, resume="add --resume to the same command to go on from the last checkpoint")
        trainer = _trainer(
            run, module, watch, device=device, processes=processes, seconds=save_seconds, steps=save_steps
        )
        sampler = train_loader.sampler
        assert isinstance(sampler, BatchSampler)
        trainer.callbacks.insert(0, Position(sampler))  # type: ignore[attr-defined]
        try:
            if recipe.epochs:
                trainer.fit(module, train_loader, valid_loader, ckpt_path=go_on, weights_only=True if go_on else None)
            else:  # the run is its start, such as a mean of other runs' weights
                trainer.validate(module, valid_loader, verbose=False)
                trainer.save_checkpoint(run / "best.ckpt", weights_only=True)
        except SystemExit as end:  # Lightning's answer to Ctrl-C is an exit with status 1
            if isinstance(end.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from end
            raise
        except Exception as error:
            lost = watch.lost(error)
            if lost is not None:
                raise lost from error
            watch.failed()
            if isinstance(error, MienError):
                raise of_a_worker(error) from error
            raise
        finally:
            watch.over()
        meta["result"] = _result(trainer, module) | {"seconds_of_last_start": round(time.perf_counter() - started, 1)}
        if rank == 0:
            write_meta(run, meta)
    return meta


def _trainer(
    run: Path, module: FerModule, watch: Watch, *, device: torch.device, processes: Processes, **saving: Any
) -> L.Trainer:
    recipe = module.recipe
    monitor: dict[str, Any] = {"monitor": module.objective.monitor, "mode": module.objective.mode}
    best = RunCheckpoint(dirpath=run, filename="best", enable_version_counter=False, **monitor)
    # A callback of its own: ``save_last`` writes only in epochs that are the best so far.
    each_epoch = LastCheckpoint(**saving, dirpath=run, filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [best, EpochLog(run / "log.csv"), each_epoch, watch, LeaveOnSigterm(watch.over)]
    callbacks += progress_bar() if processes.first else []
    if recipe.early_stop:
        callbacks.append(PatientStop(patience=recipe.early_stop, min_delta=0.0, check_finite=False, **monitor))
    if recipe.ema and recipe.epochs:
        callbacks.insert(0, MovingAverage(decay=recipe.ema.decay, device=device))
    plugins: list[Any] = [WholeCheckpointIO(weights_alone=run / "best.ckpt")]
    if environment := processes.environment():
        plugins.append(environment)
    return L.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=processes.devices,
        num_nodes=processes.nodes,
        strategy=DDPStrategy() if processes.world > 1 else "auto",
        max_epochs=recipe.epochs,
        precision="32-true",  # the module opens autocast itself
        benchmark=device.type == "cuda",  # cuDNN tries its algorithms once for each shape, of which there are few
        callbacks=callbacks,
        plugins=plugins,
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
    if not module.recipe.epochs:
        best = trainer.callback_metrics[module.objective.monitor]
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
    "You're resuming from a checkpoint that ended before the epoch ended",
    "This process .* is multi-threaded, use of fork",
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
