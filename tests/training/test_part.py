"""What a row is given at random does not depend on the process that holds it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from mien.errors import UsageError
from mien.training import processes
from mien.training.augment import mixup, step_generator
from mien.training.networks import build_network, recipe_preprocess
from mien.training.objectives import build_objective
from mien.training.part import Part
from mien.training.processes import Processes, Watch, check_strategy, processes_of
from small_run import small_recipe
from tiny_networks import tiny_recipe

EVERYTHING = {"mixup": 0, "degrade": 0.9, "erase": 0.7}
TASKS: dict[str, dict[str, Any]] = {
    "expression": {},
    "masked images": {"model": "tiny_m", "task": "masked_image", "masking": {"patch": 8}},
    "orientation": {"task": "orientation", "data": {"non_faces": "x"}},
    "window": {"data": {"size": 48, "window": 40}},
}


@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("world", [2, 3])
def test_parts_together_are_what_one_process_draws(task: str, world: int) -> None:
    changes = TASKS[task]
    recipe = small_recipe(**changes) if task == "window" else tiny_recipe(augment=EVERYTHING, **changes)
    if task == "window":
        recipe = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"mixup": 0.0})})
    objective = build_objective(recipe, recipe_preprocess(recipe), build_network(recipe))
    images = torch.randint(0, 256, (24, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    batch = {"images": images, "expression": torch.eye(7)[torch.arange(24) % 7], "labels": torch.arange(24) % 2}
    whole = objective.draw(batch, step=5)
    parts = [
        objective.draw({k: v.chunk(world)[rank] for k, v in batch.items()}, step=5, part=Part(rank, world))
        for rank in range(world)
    ]
    for name, values in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), values, atol=1e-6, rtol=1e-5)
    # The control: rows that did not know their place would be drawn as those of the first process.
    wrong = objective.draw({k: v.chunk(world)[1] for k, v in batch.items()}, step=5, part=Part(0, world))
    assert (wrong["images"] - parts[1]["images"]).abs().max() > 0.1


@contextmanager
def exchange_in_turn(batches: list[Tensor], rank: int) -> Iterator[None]:
    """all_to_all_single as ``rank`` of several processes would see it, of which each holds one of the batches."""

    def exchange(received: Tensor, out: Tensor, incoming: list[int], outgoing: list[int]) -> None:
        order = exchange.order.view(len(batches), -1)  # type: ignore[attr-defined]
        count = order.shape[1]
        mine, place = order[rank], 0
        for source, rows in enumerate(batches):
            asked = mine[mine // count == source] - source * count
            assert len(asked) == incoming[source]
            received[place : place + len(asked)] = rows[asked]
            place += len(asked)
        sent = torch.cat([order[to][order[to] // count == rank] for to in range(len(batches))]) - rank * count
        assert torch.equal(out, batches[rank][sent])
        assert sum(outgoing) == len(out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "all_to_all_single", exchange)
        exchange.order = torch.randperm(24, generator=torch.Generator().manual_seed(9))  # type: ignore[attr-defined]
        yield


@pytest.mark.parametrize("world", [1, 2, 4])
def test_fetched_rows_are_those_asked_for_wherever_they_lie(world: int) -> None:
    rows = torch.randn(24, 3)
    batches = list(rows.chunk(world))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(9))
    for rank in range(world):
        with exchange_in_turn(batches, rank):
            got = Part(rank, world).fetch(batches[rank], order)
        assert torch.equal(got, rows[order].chunk(world)[rank])
    generator = step_generator(0, 3)
    mixed = mixup({"a": rows}, 0.5, generator)["a"]
    assert not torch.equal(mixed, rows)


def test_who_started_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (processes_of().world, processes_of().starter) == (1, "mien")
    assert processes_of(3).world == 3
    with pytest.raises(
        UsageError, match=r"--nodes 2: expected .* torchrun or srun, found neither; on each node: torch"
    ):
        processes_of(4, 2)
    with pytest.raises(UsageError, match=r"--strategy fsdp: expected ddp for 8 processes"):
        check_strategy("fsdp", 8)

    def started(**names: str) -> None:
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    slurm = {"STEP_ID": "0", "NTASKS": "8", "NNODES": "2", "PROCID": "5", "LOCALID": "1"}
    started(**{f"SLURM_{name}": value for name, value in slurm.items()})
    found = processes_of()
    assert (found.devices, found.nodes, found.rank, found.local_rank, found.starter) == (4, 2, 5, 1, "slurm")
    with pytest.raises(UsageError, match="--devices 3: srun started 4; leave it out, or --ntasks-per-node 3"):
        processes_of(3)
    started(TORCHELASTIC_RUN_ID="x", LOCAL_WORLD_SIZE="2", WORLD_SIZE="6", RANK="4", LOCAL_RANK="0")
    found = processes_of(2, 3)
    assert (found.devices, found.nodes, found.rank, found.local_rank, found.first) == (2, 3, 4, 0, False)
    with pytest.raises(UsageError, match="--nodes 2: torchrun started 3"):
        processes_of(2, 2)


class Child:
    """A process that has ended with that status, or runs."""

    def __init__(self, status: int | None) -> None:
        self.status, self.killed = status, False

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed = True


def test_a_hanging_collective_does_not_keep_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As NCCL may hang: the main thread says nothing, so the watching one does, and ends all of this machine."""

    def left(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(processes, "_LOOK", 0.01)
    monkeypatch.setattr(processes, "_GRACE", 0.02)
    monkeypatch.setattr(os, "_exit", left)
    watch = Watch(Processes(devices=3), resume="go on")
    watch._children = [running, ended] = [Child(None), Child(-9)]
    with pytest.raises(SystemExit) as caught:
        watch._look()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: process 3 of 3 has ended (killed by SIGKILL); go on\n"
    assert (running.killed, ended.killed) == (True, False)
    # Its own error, or one that is over by then, is left to the main thread.
    watch.over()
    watch._look()
    assert watch.lost(ValueError("x")) is None
    said = Watch(Processes(devices=2, starter="torchrun"), resume="go on").lost(RuntimeError("gloo: Connection closed"))
    assert str(said) == "a process of this run of 2 has ended; go on"
    other = Watch(Processes(devices=2, rank=1, local_rank=1, starter="torchrun"), resume="")
    assert isinstance(other.lost(RuntimeError("gloo: Connection closed by peer")), SystemExit)
