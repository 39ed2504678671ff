"""Started by ``test_two_processes.py`` as a script, and by Lightning once more as its second process: a few short runs.

two_processes.py STORE EQUAL_STORE OUT     EQUAL_STORE: one whose training pictures are all the same
"""

import logging
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor

from mien.data.store import Store
from mien.training.module import FerModule
from mien.training.recipe import Recipe
from mien.training.run import train
from tiny_networks import Tiny, known_to_recipes, tiny_recipe

#: No batch norm and nothing random: what one process computes with the whole of each batch.
SHARED = tiny_recipe(
    optimizer={"lr": 0.2, "momentum": 0.9, "clip_norm": 0.3, "sam": {"rho": 0.5}},
    accumulate=2, ema={"decay": 0.15}, batch_size=28, epochs=2,
)  # fmt: skip
#: Everything that is random or remembered. 65 pictures to validate: of the last batch one process gets nothing.
BUSY = tiny_recipe(
    args={"norm": True, "dropout": 0.2}, augment={}, ema={"decay": 0.3}, batch_size=28, epochs=3, accumulate=2,
    optimizer={"lr": 0.1, "momentum": 0.9, "clip_norm": 1.0, "sam": {"rho": 0.2}},
    schedule={"name": "plateau", "patience": 1}, data={"limit": 65},
)  # fmt: skip
DRAWS = tiny_recipe(args={"dropout": 0.5}, augment={}, batch_size=20, optimizer={"sam": {"rho": 0.1}})


def main(store: Path, equal_store: Path, out: Path) -> None:
    def run(recipe: Recipe, name: str, *, data: Path = store, resume: bool = False) -> None:
        train(recipe, Store.open(data), out / name, accelerator="cpu", devices=2, threads=1, resume=resume)

    run(SHARED, "shared")
    start = FerModule.on_train_epoch_start

    def copy_and_start(self: FerModule) -> None:
        if self.current_epoch == 1 and self.global_rank == 0 and not (out / "cut").exists():
            shutil.copytree(out / "whole", out / "cut")  # what a kill in the second epoch would leave
        start(self)

    FerModule.on_train_epoch_start = copy_and_start  # type: ignore[method-assign]
    run(BUSY, "whole")
    run(BUSY, "cut", resume=True)

    seen: list[dict[str, Tensor]] = []
    forward = Tiny.forward

    def remember(self: Tiny, images: Tensor) -> Tensor:
        if self.training:
            seen.append({"images": images.clone(), "dropout": self.dropout(torch.ones(len(images), 16))})
        return forward(self, images)

    Tiny.forward = remember  # type: ignore[method-assign]
    run(DRAWS, "draws", data=equal_store)
    rank = torch.distributed.get_rank()
    torch.save(seen, out / f"seen-{rank}.pt")
    torch.distributed.barrier()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with known_to_recipes():
        main(*map(Path, sys.argv[1:]))
