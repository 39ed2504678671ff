"""Is reading the data ever the bottleneck? Images a second from the store and from the loader, beside the networks'.

    python benchmarks/loader_speed.py --store stores/fer2013 --out results/loader_speed.json

Read once: the whole Training split from its Parquet shards into memory, decoded. Then, each epoch: whole batches drawn
by the training loader, in its shuffled and its balanced order. The last loader row draws 224×224 RGB pictures of
random pixels, as large as the papers' networks take them. Beside them: the project's own training step (augmentation,
forward, backward, optimiser) of the shipped recipes. Every figure is the median of several rounds; loader and steps
take turns, so that a busy machine slows both.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from mien.data.loader import CropDataset, Order, make_loader
from mien.data.online import balanced_order
from mien.data.store import Split, Store
from mien.training.module import FerModule
from mien.training.networks import build_network, recipe_preprocess
from mien.training.recipe import load_recipe
from mien.training.run import _quiet, choose_device, crop_dataset


class StepTimer(L.Callback):
    """Seconds of each training step, the device's queue emptied before the clock is read."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = _now()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds.append(_now() - self._started)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def drawn(data: CropDataset, batch_size: int, order: Order | None) -> float:
    """Images a second over one epoch of the training loader."""
    loader = make_loader(data, batch_size, train=True, order=order)
    started = time.perf_counter()
    images = sum(len(batch["index"]) for batch in loader)
    return images / (time.perf_counter() - started)


def trained(recipe_name: str, split: Split, *, steps: int, accelerator: str) -> float:
    """Images a second of the training step of a shipped recipe, from scratch and without a teacher."""
    recipe = load_recipe(recipe_name, overrides={"model.init": "scratch", "distill": "null"})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"limit": recipe.batch_size * 4})})
    preprocess = recipe_preprocess(recipe)
    data = crop_dataset(split, recipe, preprocess, train=True)
    module = FerModule(build_network(recipe), recipe, preprocess, steps_per_epoch=4)
    timer = StepTimer()
    with _quiet():
        warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
        trainer = L.Trainer(
            accelerator=accelerator, devices=1, max_steps=steps, max_epochs=-1, callbacks=[timer], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, make_loader(data, recipe.batch_size, train=True))
    return recipe.batch_size / statistics.median(timer.seconds[2:])  # the first steps allocate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--recipes", nargs="+", default=["nano", "compact"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    accelerator = "gpu" if choose_device("auto").type == "cuda" else "cpu"
    store = Store.open(options.store)
    started = time.perf_counter()
    split = store.read("training")
    read = len(split) / (time.perf_counter() - started)
    small = crop_dataset(split, load_recipe("nano"), recipe_preprocess(load_recipe("nano")), train=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 3, 224, 224), dtype=np.uint8)
    labels = np.arange(2048) % 7
    large = CropDataset(pixels, np.eye(7, dtype=np.float32)[labels], labels)
    balanced, size = balanced_order(store, split), options.batch_size
    side = "×".join(str(n) for n in split.images.shape[1:])
    work: dict[str, Callable[[], float]] = {
        f"loader, {side}, shuffled": lambda: drawn(small, size, None),
        f"loader, {side}, balanced": lambda: drawn(small, size, balanced),
        "loader, 224×224 RGB, shuffled": lambda: drawn(large, size, None),
    }
    for name in options.recipes:
        work[f"training step, {name}"] = lambda name=name: trained(
            name, split, steps=options.steps, accelerator=accelerator
        )
    rounds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(options.rounds):
        for name, measure in work.items():
            rounds[name].append(measure())
    rows = {f"store to memory, {side}": {"images": len(split), "images_per_second": round(read)}} | {
        name: {
            "images_per_second": round(statistics.median(seen)),
            "lowest": round(min(seen)),
            "highest": round(max(seen)),
        }
        for name, seen in rounds.items()
    }
    for name, row in rows.items():
        print(f"{name:36} {row['images_per_second']:>12,} images/s")
    if options.out:
        machine = torch.cuda.get_device_name() if accelerator == "gpu" else f"cpu ({platform.machine()})"
        about = {
            "what": "images a second: reading a store once, drawing batches from memory, training",
            "command": f"python benchmarks/loader_speed.py --store {options.store} --threads {options.threads}",
            "device": machine, "threads": options.threads, "torch": torch.__version__, "rounds": options.rounds,
            "batch_size": size, "rows": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
