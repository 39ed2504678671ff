"""What a SAM step costs beside a plain one: the project's own training step, both kinds in turn, in one process.

    python benchmarks/sam_overhead.py --store stores/fer2013 --out results/sam_overhead.json

For each network: blocks of steps, plain and SAM alternately, so that a busy or throttled machine slows both; the first
block of each is thrown away. The figure is the median SAM step over the median plain step.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

from mien.data.store import Store
from mien.training.device import choose_device
from steps import OwnLoop, StepTimer, device_name, recipe_from_scratch, training_pictures

#: Images in memory: a few batches of any recipe, since the content of a picture does not matter here.
LIMIT = 1024


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
    split, rows = Store.open(options.store).read("training").limited(LIMIT), []
    for name in options.recipes:
        times: dict[bool, list[float]] = {False: [], True: []}
        recipes = {sam: recipe_from_scratch(name, optimizer__sam="{rho: 0.05}" if sam else "null") for sam in times}
        data = training_pictures(recipes[False], split, device=device)
        loops = {sam: OwnLoop(recipe, data, device=device) for sam, recipe in recipes.items()}
        for number in range(options.blocks):
            for sam, loop in loops.items():
                timer = StepTimer()
                loop.run(options.steps, timer)
                times[sam] += timer.seconds[1:] if number else []  # the first step allocates
        plain, both = statistics.median(times[False]), statistics.median(times[True])
        rows.append({"recipe": name, "plain_s": plain, "sam_s": both, "ratio": both / plain, "steps": len(times[True])})
        print(f"{name:24} plain {plain:.3f} s  SAM {both:.3f} s  ratio {both / plain:.3f}")
    if options.out:
        about = {"device": device_name(device), "threads": options.threads, "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
