"""The project's own training, a few steps at a time: what the speed benchmarks measure, set up in one place.

A step is what ``mien train`` takes: the loader's batch, augmentation, forward, backward, optimiser, moving average, all
under Lightning. Recipes are taken as shipped, but from fresh weights and without teachers, since none need be there.
"""

import platform
import time
import warnings
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch

from mien.data.store import Split
from mien.training.averaging import MovingAverage
from mien.training.compiling import Compiler, as_written
from mien.training.datasets import crop_dataset
from mien.training.device import place
from mien.training.loader import CropDataset, make_loader
from mien.training.module import FerModule
from mien.training.networks import build_network, recipe_preprocess
from mien.training.precision import choose, precision_of_run
from mien.training.recipe import Recipe, load_recipe
from mien.training.run import _quiet


def now() -> float:
    """Seconds, with nothing left in the device's queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})"


class StepTimer(L.Callback):
    """Seconds of each training step, the device's queue emptied before and after: what a step takes by itself."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = now()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(now() - self._started)


class BlockTimer(L.Callback):
    """Seconds of all steps after the first ``warmup`` together, nothing emptied in between: what training takes."""

    def __init__(self, *, warmup: int) -> None:
        self.warmup, self.steps, self.seconds = warmup, 0, 0.0

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1
        if self.steps == self.warmup:
            self._started = now()

    def on_train_end(self, *_: Any) -> None:
        self.seconds = now() - self._started


def recipe_from_scratch(name: str, **changes: str) -> Recipe:
    """A shipped recipe from fresh weights, without what a loop of timm's parts has not: teachers, votes, degradation.

    A recipe that trains nothing (``epochs: 0``) gets one epoch. changes: dotted keys with __ for the dot.
    """
    plain = {
        "model.init": "scratch",
        "distill": "null",
        "targets.votes": "0",
        "augment.degrade": "0",
        "accumulate": "1",
    }
    if not load_recipe(name).epochs:
        plain |= {"epochs": "1", "model.logit_adjustment": "0"}
    return load_recipe(name, overrides=plain | {key.replace("__", "."): value for key, value in changes.items()})


def decided(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with the precision in which ``mien train`` would begin it on that device."""
    preprocess, network = recipe_preprocess(recipe), build_network(recipe)
    shape = (recipe.batch_size, preprocess.channels, preprocess.input_size, preprocess.input_size)
    return precision_of_run(recipe, lambda: choose(device, network, shape))[0]


def training_pictures(recipe: Recipe, split: Split, *, device: torch.device) -> CropDataset:
    """A split as ``mien train`` holds it while it learns from it: on the device, where it fits."""
    data = crop_dataset(split, recipe, recipe_preprocess(recipe), train=True)
    if device.type == "cuda":
        place([data], torch.device("cuda", 0), free=torch.cuda.mem_get_info()[0])
    return data


class OwnLoop:
    """The project's training loop over one network that stays, compiled or not, from call to call."""

    def __init__(
        self,
        recipe: Recipe,
        data: CropDataset,
        *,
        device: torch.device,
        compiler: Compiler = as_written,
    ) -> None:
        recipe = decided(recipe, device)
        self.recipe, self.data, self.device = recipe, data, device
        self.batch = min(recipe.batch_size, len(data))
        self.module = FerModule(
            build_network(recipe),
            recipe,
            recipe_preprocess(recipe),
            steps_per_epoch=len(data) // self.batch,
            compiler=compiler,
        )

    def run(self, steps: int, *callbacks: L.Callback) -> None:
        averages: Sequence[L.Callback] = (
            [MovingAverage(decay=self.recipe.ema.decay, device=self.device)] if self.recipe.ema else []
        )
        with _quiet():
            warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
            trainer = L.Trainer(
                accelerator="gpu" if self.device.type == "cuda" else "cpu",
                devices=1,
                max_steps=steps,
                max_epochs=-1,
                callbacks=[*averages, *callbacks],
                benchmark=self.device.type == "cuda",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(self.module, make_loader(self.data, self.batch, train=True, seed=self.recipe.seed))

    def images_per_second(self, steps: int, *, warmup: int) -> float:
        """Over ``steps`` steps after the warm-up."""
        timer = BlockTimer(warmup=warmup)
        self.run(warmup + steps, timer)
        return self.batch * steps / timer.seconds
