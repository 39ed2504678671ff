"""One job of a stage, in a process of its own: measure, be told how many epochs, train, record.

All jobs of a round are measured at the same time, since they will train at the same time. Each says ``ready`` once its
kernels are made, measures when it is told to, says its pace, and is told its epochs by the stage that started it
(``running.py``); the words are files in a folder that both know. A job that was begun before goes on where it stopped.
"""

import gc
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from planning import Pace
from record import OF_RUN, record
from stages import COMPILED, EAGER, GRAPHS, Job, finished, recipe_of

from mien.atomic import write_text
from mien.data.store import Store
from mien.training.compiling import as_written, compiler
from mien.training.datasets import crop_dataset
from mien.training.device import choose_device, tf32
from mien.training.loader import make_loader
from mien.training.networks import read_meta, recipe_preprocess
from mien.training.recipe import Recipe, load_recipe
from mien.training.run import train
from mien.training.teachers import load_teacher
from steps import BlockTimer, OwnLoop, now, training_pictures

#: The faster, the more can go wrong: where one fails, the next is tried.
MODES = (GRAPHS, COMPILED, EAGER)
#: Seconds to record a job of 48-pixel grey crops: two evaluations with ten crops, blind predictions, drawing. Larger
#: and coloured ones take longer to cut.
RECORDING, RECORDING_LARGE = 50.0, 90.0
#: Seconds of steps that are measured; side by side they take longer.
MEASURED = 2.0
#: Of the seconds that starting took, what training will need to start once more: kernels are found in torch's cache.
AGAIN_FIRST, AGAIN = 0.4, 1.0


def work(job: Job, home: Path, talk: Path, *, after: str | None, tiny: bool, limit: int | None) -> int:
    """Exit status: 0 done, 3 too little time for its fewest epochs.

    after: the job that makes the same kernels first. limit: evaluate on that many images only, to
    try the machinery.
    """
    store, run = Store.open(home / "stores" / "fer2013"), home / "runs" / job.name
    resume = (run / "last.ckpt").is_file()
    if resume:
        write_text(talk / f"{job.name}.ready", "")
        recipe = load_recipe(run / "recipe.yaml")
        mode = {True: COMPILED, "cuda graphs": GRAPHS}.get(read_meta(run).get("compiled", False), EAGER)
    else:
        mode, epochs = _told(job, store, talk, after=after, tiny=tiny)
        if not epochs:
            print(f"{job.name}: too little time for its fewest epochs", flush=True)
            return 3
        recipe = recipe_of(job, epochs=epochs, tiny=tiny)
        shutil.rmtree(run, ignore_errors=True)  # of one that was ended before it had saved anything
    if not finished(run):
        print(f"{job.name}: {recipe.epochs} epochs, {mode}", flush=True)
        options: dict[str, Any] = {"compiled": mode == COMPILED, "cuda_graphs": mode == GRAPHS}
        train(recipe, store, run, resume=resume, save_seconds=45.0, **options)
    if recipe.task == "expression":
        record(run, job.name, store, home / "results", limit=limit)
    else:  # there is nothing to evaluate in a pretraining: how it went, and by what
        for file in OF_RUN:
            (home / "results" / job.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(run / file, home / "results" / job.name / file)
    return 0


def _told(job: Job, store: Store, talk: Path, *, after: str | None, tiny: bool) -> tuple[str, int]:
    """How to train, and how many epochs, after the round was measured. 0 epochs: too few to begin."""
    modes = MODES[MODES.index(job.mode) :] if choose_device("auto").type == "cuda" else (EAGER,)
    known = talk.parent / f"{job.group}.epochs"
    recipe = recipe_of(job, epochs=job.most, tiny=tiny)
    starting = 0.0
    for mode in modes:
        try:
            other = talk / f"{after}.ready" if after else None
            loop, starting = _ready(recipe, store, mode, other, tiny=tiny)
            write_text(talk / f"{job.name}.ready", "")
            _wait(talk / "measure")
            seconds = _seconds_an_epoch(loop, store, tiny=tiny)
            break
        except Exception as error:  # a compiler that fails on one network should not cost that network its turn
            if mode == modes[-1]:
                raise
            print(f"{job.name}: not {mode}: {type(error).__name__}: {str(error)[:500]}", flush=True)
    del loop
    gc.collect()
    torch.cuda.empty_cache()  # what was measured is gone, and its memory the others'
    shape = recipe_preprocess(recipe)
    recording = RECORDING if shape.channels == 1 and shape.input_size <= 48 else RECORDING_LARGE
    reserve = 0.0 if tiny else recording + starting * (AGAIN if after else AGAIN_FIRST)
    write_text(talk / f"{job.name}.pace", json.dumps(asdict(Pace(seconds, reserve))))
    _wait(known)
    return mode, int(known.read_text("utf-8"))


def _wait(file: Path) -> None:
    """Ends with the stage that should have answered."""
    stage = os.getppid()
    while not file.is_file():
        if os.getppid() != stage:
            sys.exit("the stage has ended")
        time.sleep(0.1)


def _ready(recipe: Recipe, store: Store, mode: str, other: Path | None, *, tiny: bool) -> tuple[OwnLoop, float]:
    """A loop whose kernels are made, and the seconds that it took. other: what to wait for before any are made, which
    is no part of them."""
    started, device, preprocess = time.time(), choose_device("auto"), recipe_preprocess(recipe)
    teachers = [load_teacher(run, preprocess) for run in recipe.distill.runs] if recipe.distill else []
    data = training_pictures(recipe, store.read(recipe.data.train), device=device)
    make = as_written if mode == EAGER else compiler(cuda_graphs=mode == GRAPHS)
    loop = OwnLoop(recipe, data, device=device, compiler=make, teachers=teachers)
    before = time.time()
    if other is not None:
        _wait(other)
    waited = time.time() - before
    loop.run(2 if tiny else 8)
    return loop, time.time() - started - waited


def _seconds_an_epoch(loop: OwnLoop, store: Store, *, tiny: bool) -> float:
    """Training, validation and checkpoint, measured beside the round's other jobs."""
    recipe = loop.recipe
    loop.run(2 if tiny else 7, warm := BlockTimer(warmup=1 if tiny else 2))
    a_step = warm.seconds / (warm.steps - warm.warmup)
    valid = crop_dataset(store.read(recipe.data.validation), recipe, recipe_preprocess(recipe), train=False)
    if loop.device.type == "cuda":
        valid.move(torch.device("cuda", 0))
    _validation(loop, valid)
    steps = 1 if tiny else max(10, round(MEASURED / a_step))
    loop.run(1 + steps, timer := BlockTimer(warmup=1))
    weights = sum(value.nbytes for value in loop.module.network.state_dict().values())
    checkpoint = 0.1 + weights / 5e8
    return timer.seconds / steps * (len(loop.data) // loop.batch) + _validation(loop, valid) + checkpoint


@torch.no_grad()
def _validation(loop: OwnLoop, valid: Any) -> float:
    """Seconds of one pass over the validation split."""
    network = loop.module.network.to(valid.device).eval()
    started = now()
    with tf32(False, valid.device):
        for batch in make_loader(valid, 256, train=False):
            loop.module.objective.validate(network, batch)
    network.train()
    return now() - started
