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
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mien.data.store import Store
from mien.training.datasets import crop_dataset
from mien.training.device import choose_device
from mien.training.loader import CropDataset, Order, make_loader
from mien.training.networks import recipe_preprocess
from mien.training.online_balance import balanced_order
from mien.training.recipe import load_recipe
from steps import OwnLoop, StepTimer, device_name, recipe_from_scratch, training_pictures


def drawn(data: CropDataset, batch_size: int, order: Order | None) -> float:
    """Images a second over one epoch of the training loader."""
    loader = make_loader(data, batch_size, train=True, order=order)
    started = time.perf_counter()
    images = sum(len(batch["index"]) for batch in loader)
    return images / (time.perf_counter() - started)


def trained(loop: OwnLoop, *, steps: int) -> float:
    """Images a second of the training step, each by itself."""
    timer = StepTimer()
    loop.run(steps, timer)
    return loop.batch / statistics.median(timer.seconds[2:])  # the first steps allocate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--recipes", nargs="+", default=["nano-base", "nano", "compact"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device("auto")
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
        recipe = recipe_from_scratch(name)
        loop = OwnLoop(recipe, training_pictures(recipe, split.limited(1024), device=device), device=device)
        work[f"training step, {name}"] = lambda loop=loop: trained(loop, steps=options.steps)
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
        about = {
            "what": "images a second: reading a store once, drawing batches from memory, training",
            "command": f"python benchmarks/loader_speed.py --store {options.store} --threads {options.threads} "
            f"--recipes {' '.join(options.recipes)} --out results/loader_speed.json",
            "device": device_name(device), "threads": options.threads, "torch": torch.__version__,
            "rounds": options.rounds, "batch_size": size, "rows": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
