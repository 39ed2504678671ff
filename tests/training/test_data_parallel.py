"""Two processes that share each batch compute what one computes with the whole of it; SAM included."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mien.data.store import Store
from mien.training.datasets import crop_dataset
from mien.training.networks import build_network, recipe_preprocess
from mien.training.objectives import build_objective
from mien.training.recipe import Recipe
from mien.training.run import train
from small_run import small_recipe

STILL = {
    "flip": 0, "rotate": 0, "scale": [1, 1], "shift": 0, "brightness": 0, "contrast": 0, "erase": 0, "mixup": 0,
}  # fmt: skip


def recipe(**sam: Any) -> Recipe:
    """A network without batch norm (whose statistics each process has of its own part), one step over all pictures."""
    return small_recipe(
        model={"name": "timm/test_convnext"},
        data={"mean": [0.5] * 3, "std": [0.25] * 3},
        augment=STILL,
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0, "sam": {"rho": 0.5} | sam},
        schedule={"name": "constant", "warmup": 0},
        ema=None,
        epochs=1,
        batch_size=140,
    )


def two_processes(store: Path, run: Path, chosen: Recipe) -> dict[str, Tensor]:
    run.parent.mkdir(parents=True, exist_ok=True)
    (run.parent / "recipe.yaml").write_text(chosen.to_yaml())
    mien = str(Path(sys.executable).with_name("mien"))
    command = [mien, "train", str(run.parent / "recipe.yaml"), "--data", str(store), "-o", str(run)]
    done = subprocess.run(
        [*command, "--device", "cpu", "--devices", "2", "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = (": timm/test_convnext, 1 epoch on ", "epoch 1/1", ": best_valid_accuracy ", "next: mien export ")
    assert [done.stderr.count(line) for line in said] == [1] * len(said), done.stderr  # one process talks
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.long
def test_the_local_ascent_of_sam_by_the_command(small_store: Path, tmp_path: Path) -> None:
    """``mien train --devices 2``. The global ascent, and much else: ``test_two_processes.py``."""
    store = Store.open(small_store)
    train(recipe(), store, tmp_path / "alone", accelerator="cpu", threads=1)
    alone = torch.load(tmp_path / "alone" / "last.ckpt", weights_only=True)["state_dict"]
    local = two_processes(small_store, tmp_path / "local" / "run", recipe(ascent="local"))
    expected = local_ascent(store)
    for name, value in expected.items():
        torch.testing.assert_close(local[f"network.{name}"], value, atol=2e-5, rtol=1e-4)
    # The control: the two kinds of ascent are not the same.
    assert any((local[name] - alone[name]).abs().max() > 1e-3 for name in alone)


def local_ascent(store: Store) -> dict[str, Tensor]:
    """One step by hand: each half climbs along its own gradient; the weights follow the mean of what both see there."""
    chosen = recipe()
    preprocess = recipe_preprocess(chosen)
    data = crop_dataset(store.read("training"), chosen, preprocess, train=True)
    order = torch.from_numpy(np.random.default_rng((0, 0)).permutation(140))  # as the sampler draws it
    torch.manual_seed(chosen.seed)
    network = build_network(chosen)
    objective = build_objective(chosen, preprocess, network)
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    total = {name: torch.zeros_like(p) for name, p in start.items()}

    def gradient(half: dict[str, Tensor]) -> dict[str, Tensor]:
        network.zero_grad()
        objective.loss(network, half)[0].backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    for rows in order.chunk(2):
        half = objective.draw(data[rows.tolist()], step=0)
        up = gradient(half)
        length = torch.sqrt(sum((g.square().sum() for g in up.values()), torch.zeros(())))
        network.load_state_dict({name: start[name] + 0.5 * up[name] / length for name in start})
        for name, g in gradient(half).items():
            total[name] += g / 2
        network.load_state_dict(start)
    return {name: start[name] - 0.1 * total[name] for name in start}
