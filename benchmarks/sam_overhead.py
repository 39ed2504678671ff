"""What a SAM step costs beside a plain one: the project's own training step, both kinds in turn, in one process.

    python benchmarks/sam_overhead.py --store stores/fer2013 --out results/sam_overhead.json

For each network: blocks of steps, plain and SAM alternately, so that a busy or throttled machine slows both; the first
block of each is thrown away. The figure is the median SAM step over the median plain step.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch

from mien.data.loader import make_loader
from mien.data.store import Store
from mien.training.module import FerModule
from mien.training.networks import build_network, recipe_preprocess
from mien.training.recipe import load_recipe
from mien.training.run import _quiet, choose_device, crop_dataset


class StepTimer(L.Callback):
    """Seconds of each training step, the device's queue emptied before the clock is read."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        _wait()
        self._started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        _wait()
        self.seconds.append(time.perf_counter() - self._started)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def block(recipe_name: str, store: Store, *, sam: bool, steps: int, accelerator: str) -> list[float]:
    """Step times of a freshly built network under the shipped recipe, with SAM or without."""
    changes = {"optimizer.sam": "{rho: 0.05}" if sam else "null", "model.init": "scratch", "distill": "null"}
    recipe = load_recipe(recipe_name, overrides=changes)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"limit": recipe.batch_size * 4})})
    preprocess = recipe_preprocess(recipe)
    data = crop_dataset(store.read(recipe.data.train), recipe, preprocess, train=True)
    module = FerModule(build_network(recipe), recipe, preprocess, steps_per_epoch=4)
    timer = StepTimer()
    with _quiet():
        warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
        trainer = L.Trainer(
            accelerator=accelerator, devices=1, max_steps=steps, max_epochs=-1, callbacks=[timer], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, make_loader(data, recipe.batch_size, train=True))
    return timer.seconds[1:]  # the first step allocates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--recipes", nargs="+", default=["compact", "nano-base", "dan/scratch"])
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device("auto")
    store, rows = Store.open(options.store), []
    for name in options.recipes:
        times: dict[bool, list[float]] = {False: [], True: []}
        for number in range(options.blocks):
            for sam in (False, True):
                seconds = block(
                    name, store, sam=sam, steps=options.steps, accelerator="gpu" if device.type == "cuda" else "cpu"
                )
                times[sam] += seconds if number else []
        plain, both = statistics.median(times[False]), statistics.median(times[True])
        rows.append({"recipe": name, "plain_s": plain, "sam_s": both, "ratio": both / plain, "steps": len(times[True])})
        print(f"{name:24} plain {plain:.3f} s  SAM {both:.3f} s  ratio {both / plain:.3f}")
    if options.out:
        machine = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu ({platform.machine()})"
        about = {"device": machine, "threads": options.threads, "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
