"""Pictures from the disk beside pictures in memory: what a streamed epoch costs, and how much memory it takes.

    python benchmarks/stream_speed.py --images 290000 --scratch /tmp/stream --audit --out results/stream_speed.json

A store of generated pictures is built once (224×224 RGB, JPEG 90, about 20 kB each) and audited. Then, for each
number of worker processes, a part of a shuffled epoch is drawn by the training's own loader: images a second by the
clock and per second of CPU, and the largest memory of all its processes together (Pss: shared pages count once).
``--as-many`` repeats the rows of a smaller store, for a loader of so many. In memory: the same of as many pictures as
``--memory-images``. Rounds alternate, so that other load on the machine slows all alike; the figure is the best of
them. Last, what a GPU would ask for: images a second of a Swin-T at 30 % of an H100's bf16 peak, from the
multiplications of a training step.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mien.data.audit.run import audit_store
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.sources import Sample
from mien.data.store import Store
from mien.labels import SEVEN
from mien.training.datasets import crop_dataset
from mien.training.loader import make_loader
from mien.training.networks import recipe_preprocess
from mien.training.recipe import load_recipe

#: An H100 SXM's dense bf16 peak (NVIDIA's data sheet), and multiply-adds of Swin-T at 224 (Liu et al. 2021, table 1).
PEAK, SWIN_T = 989e12, 4.5e9


class Generated:
    """A source of smooth random pictures of 224×224 in colour, each another one."""

    name, layout, files, warnings, licence = "generated", "in memory", (), (), "none"

    def __init__(self, images: int) -> None:
        self.images = images

    def total(self) -> int:
        return self.images

    def stream(self) -> Iterator[Sample]:
        random = np.random.default_rng(0)
        for i in range(self.images):
            cells = Image.fromarray(random.integers(0, 256, (14, 14, 3), dtype=np.uint8))
            pixels = np.asarray(cells.resize((224, 224), Image.Resampling.BICUBIC))
            grain = random.integers(0, 9, (224, 224, 1), dtype=np.uint8)
            split = "validation" if i % 50 == 0 else "training"
            yield Sample(f"{i:07d}.jpg", np.minimum(pixels, 246) + grain, SEVEN[i % 7], split)

    def differences(self, counts: object) -> list[str]:
        return []


def memory() -> float:
    """MiB of this process and its children."""
    total = 0
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for pid in [str(os.getpid()), *children]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def cpu() -> float:
    """Seconds of this process and of the children that have ended."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def drawn(data: Any, workers: int, images: int, batch: int) -> dict[str, float]:
    """Images a second of the first batches of an epoch."""
    loader = make_loader(data, batch, train=True, workers=workers)
    before, started, peak = cpu(), time.perf_counter(), 0.0
    count = 0
    for number, one in enumerate(islice(loader, images // batch)):
        count += len(one["index"])
        if number % 4 == 0:
            peak = max(peak, memory())
    took = time.perf_counter() - started
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        iterator._shutdown_workers()  # their time counts once they have ended
    return {"images_s": count / took, "images_cpu_s": count / (cpu() - before), "mib": peak}


def best(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The best rate of all, and the largest memory."""
    rates = {name: max(one[name] for one in rounds) for name in ("images_s", "images_cpu_s")}
    return {name: round(value, 1) for name, value in (rates | {"mib": max(one["mib"] for one in rounds)}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=29_000)
    parser.add_argument("--memory-images", type=int, default=4_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--build-workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=4_096, help="images of an epoch that are drawn in a round")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, required=True, help="where the store is kept for another call")
    parser.add_argument("--as-many", type=int)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    home = options.scratch / f"store-{options.images}"
    found: dict[str, Any] = {"images": options.images, "as_many": options.as_many or options.images}
    if not home.is_dir():
        before, started = cpu(), time.perf_counter()
        standard = Standard(size=224, color="rgb", jpeg=90)
        build_store([Generated(options.images)], home, standard=standard, workers=options.build_workers)
        found["build"] = {"seconds": time.perf_counter() - started, "cpu_s": cpu() - before}
    store = Store.open(home)
    size = sum(file.stat().st_size for file in home.rglob("*.parquet"))
    found |= {"mib_on_disk": round(size / 2**20), "kb_a_picture": round(size / 1000 / options.images, 1)}
    if options.audit:
        before, started = cpu(), time.perf_counter()
        audit_store(home)
        found["audit"] = {"seconds": time.perf_counter() - started, "cpu_s": cpu() - before}
    print(json.dumps(found), flush=True)  # hours of work: told before anything else can fail
    recipe = load_recipe("swin_t/paper", overrides={"data.size": "224", "data.window": "null"})
    preprocess = recipe_preprocess(recipe)

    def data(stream: bool, limit: int | None) -> Any:
        split = store.read("training", stream=True).limited(limit)  # all of it may not fit in memory
        if not stream:
            split = replace(split, images=split.images.decoded(np.arange(len(split))))
        elif options.as_many:
            split = split.rows(np.resize(np.arange(len(split)), options.as_many))
        return crop_dataset(split, recipe, preprocess, train=True)

    started = time.perf_counter()
    disk = data(True, None)
    found["seconds_to_find_the_pictures"] = round(time.perf_counter() - started, 1)
    rounds: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for workers in options.workers:
            part = min(options.part, len(disk))
            rounds.setdefault(f"disk, {workers} workers", []).append(drawn(disk, workers, part, options.batch_size))
    whole = data(False, options.memory_images)
    for _ in range(options.rounds):
        rounds.setdefault("memory", []).append(drawn(whole, 0, len(whole), options.batch_size))
    found["loaders"] = {name: best(each) for name, each in rounds.items()}
    # forward and backward are three times the forward's multiply-adds, each of two operations
    found["swin_t_at_30_percent_of_an_h100"] = round(0.3 * PEAK / (3 * 2 * SWIN_T))
    print(json.dumps(found, indent=2))
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
