"""Started by ``test_two_processes.py`` as a script, and by Lightning once more as its second process: a few short runs.

two_processes.py STORE EQUAL_STORE OUT     EQUAL_STORE: one whose training pictures are all the same
"""

import logging
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mien.data.store import Store
from mien.training import processes
from mien.training.module import FerModule
from mien.training.processes import ProcessLost, Watch
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
#: Twenty steps of each, which one process computes as well: whatever is random but dropout.
CHANGED = {"augment": {"degrade": 0.5, "erase": 0.6}, "batch_size": 28, "epochs": 4}
ALIKE = {
    "sgd": tiny_recipe(**CHANGED, optimizer={"lr": 0.1, "momentum": 0.9, "clip_norm": 1.0}),
    "sam": tiny_recipe(
        **CHANGED, args={"norm": True}, ema={"decay": 0.5}, data={"balance": "online"},
        optimizer={"lr": 0.1, "momentum": 0.9, "sam": {"rho": 0.1}},
    ),
    "masked": tiny_recipe(
        **CHANGED, model="tiny_m", task="masked_image", masking={"patch": 8}, optimizer={"lr": 0.5},
    ),
    "local": tiny_recipe(batch_size=28, epochs=4, optimizer={"lr": 0.1, "sam": {"rho": 0.2, "ascent": "local"}}),
}  # fmt: skip
TAUGHT = {**CHANGED, "distill": {"weight": 0.5, "temperature": 2.0}}


def taught(teacher: Path) -> Recipe:
    """Learns from a run, too."""
    return tiny_recipe(**TAUGHT | {"distill": {"runs": [str(teacher)], "weight": 0.5, "temperature": 2.0}})


def main(store: Path, equal_store: Path, out: Path) -> None:
    def run(recipe: Recipe, name: str, *, data: Path = store, **options: Any) -> None:
        train(recipe, Store.open(data), out / name, accelerator="cpu", devices=2, threads=1, **options)

    children = keep_children()
    run(SHARED, "shared")
    for name, recipe in ALIKE.items():
        run(recipe, name)
    run(taught(out / "sgd"), "taught")
    run(ALIKE["sam"], "own-norms", sync_batch_norm=False)
    add_up_gradients(lambda: run(ALIKE["sgd"], "wrong"))
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
    Tiny.forward = forward  # type: ignore[method-assign]
    FerModule.on_train_epoch_start = start  # type: ignore[method-assign]
    disk = ALIKE["sgd"].model_copy(update={"data": ALIKE["sgd"].data.model_copy(update={"stream": "always"})})
    lose_a_process(lambda: run(disk, "lost", workers=1, save_steps=3), out, children)


def keep_children() -> list[Any]:
    """Lightning starts the other process in the first run; those that follow watch it as well."""
    kept: list[Any] = []
    setup = Watch.setup

    def with_children(self: Watch, *args: Any, **options: Any) -> None:
        setup(self, *args, **options)
        kept[:] = self._children or kept
        self._children = kept

    Watch.setup = with_children  # type: ignore[method-assign]
    return kept


def add_up_gradients(run: Any) -> None:
    """The control: a reduction that forgets to divide by the number of processes."""
    start = FerModule.on_train_start

    def added(state: Any, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
        work = torch.distributed.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda done: done.value()[0])

    def wrong(self: FerModule) -> None:
        self.trainer.strategy.model.register_comm_hook(None, added)  # type: ignore[union-attr, operator]
        start(self)

    FerModule.on_train_start = wrong  # type: ignore[method-assign]
    run()
    FerModule.on_train_start = start  # type: ignore[method-assign]


def lose_a_process(run: Any, out: Path, children: list[Any]) -> None:
    """The second one is killed within its third epoch; the first one notes what it says then, and when."""
    processes._GRACE = 120.0  # the way of an exception, on a busy machine too; the other one is in test_part.py
    step = FerModule.training_step

    def kill_or_step(self: FerModule, batch: Any, batch_idx: int) -> None:
        if self.global_step == 13 and self.global_rank == 1:
            (out / "killed").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, batch, batch_idx)

    FerModule.training_step = kill_or_step  # type: ignore[method-assign]
    try:
        run()
    except ProcessLost as lost:
        (out / "lost.txt").write_text(f"{time.time() - float((out / 'killed').read_text())} {lost}")
    assert [child.wait() for child in children] == [-signal.SIGKILL]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with known_to_recipes():
        main(*map(Path, sys.argv[1:]))
