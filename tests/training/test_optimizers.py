"""Which parameters are decayed, which optimiser a recipe gets, and the learning rate of each step."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mien.data.store import Store
from mien.models import registry
from mien.training.optimizers import build_optimizer, build_schedule, lr_factor
from mien.training.recipe import OptimizerSection, ScheduleSection
from mien.training.run import train
from mien.training.sam import SAM
from small_run import small_recipe


def built(network: nn.Module | None = None, **section: Any) -> torch.optim.Optimizer:
    from contextlib import nullcontext

    net = network if network is not None else registry.build("nano")
    return build_optimizer(OptimizerSection(**section), net, ascent_pass=nullcontext, descent_pass=nullcontext)


def test_cosine_closed_form() -> None:
    section = ScheduleSection(name="cosine", warmup=0.1, final=0.01)

    def factor(step: int) -> float:
        return lr_factor(section, step, total_steps=1000, steps_per_epoch=10)

    assert factor(0) == pytest.approx(1 / 101)
    assert factor(100) == pytest.approx(1)
    assert factor(550) == pytest.approx(0.01 + 0.99 * 0.5)
    assert factor(1000) == pytest.approx(0.01)


def test_step_falls_every_so_many_epochs_as_torchs_steplr() -> None:
    section = ScheduleSection(name="step", warmup=0, every=10, factor=0.1)
    reference = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.StepLR(reference, step_size=10, gamma=0.1)
    for epoch in range(25):
        for step in (epoch * 7, epoch * 7 + 6):  # first and last step of the epoch
            assert lr_factor(section, step, total_steps=175, steps_per_epoch=7) == pytest.approx(
                theirs.get_last_lr()[0]
            )
        reference.step()
        theirs.step()


def test_plateau_falls_after_so_many_epochs_without_improvement() -> None:
    optimizer = built(lr=1.0)
    schedule: Any = build_schedule(
        ScheduleSection(name="plateau", patience=2, factor=0.1, floor=0.05),
        optimizer,
        total_steps=1,
        steps_per_epoch=1,
        mode="max",
    )
    rates = []
    for accuracy in (0.5, 0.6, 0.6, 0.59, 0.61, 0.61, 0.6, 0.6, 0.6):
        schedule.step(accuracy)
        rates.append(round(optimizer.param_groups[0]["lr"], 6))
    # Falls at the second epoch that is no better than the best (equal is no better), and not below its floor.
    assert rates == [1, 1, 1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("radam", torch.optim.RAdam),
    ],
)
def test_the_optimiser_that_the_recipe_names(name: Any, kind: type) -> None:
    plain, sam = built(name=name, lr=0.01), built(name=name, lr=0.01, sam={"rho": 0.2, "adaptive": True})
    assert type(plain) is kind
    assert isinstance(sam, SAM)
    assert type(sam.base) is kind
    assert (sam.rho, sam.adaptive) == (0.2, True)


def test_biases_and_norms_are_not_decayed() -> None:
    decayed, plain = built(weight_decay=0.1).param_groups
    assert decayed["weight_decay"] > 0 == plain["weight_decay"]
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in plain["params"]} == {1}


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("timm/test_vit", {"pos_embed", "cls_token"}),
        ("vit_hybrid_se", {"pos_embed", "cls_token"}),
        ("swin_t_se", {"layers.0.blocks.0.attn.relative_position_bias_table"}),
    ],
)
def test_what_a_network_spares_is_not_decayed(name: str, spared: set[str]) -> None:
    network = registry.build(name, registry.spec(name).reduced)
    decayed, plain = built(network, name="adamw", weight_decay=0.1).param_groups
    named = dict(network.named_parameters())
    assert all(named[key].ndim > 1 for key in spared)
    assert {id(named[key]) for key in spared} <= {id(p) for p in plain["params"]}
    assert len(decayed["params"]) + len(plain["params"]) == len(named)


def test_frozen_parameters_are_left_out() -> None:
    network = registry.build("nano")
    network.classifier.weight.requires_grad_(False)  # type: ignore[operator,union-attr]
    held = sum(len(group["params"]) for group in built(network).param_groups)
    assert held == len(list(network.parameters())) - 1


def rates_of(run: Path) -> list[float]:
    return [float(row["lr"]) for row in csv.DictReader((run / "log.csv").read_text().splitlines())]


def test_plateau_and_early_stop_in_a_run(small_store: Path, tmp_path: Path) -> None:
    """A rate too small to improve anything: the rate falls, the run ends early, and does not go on when resumed."""
    recipe = small_recipe(
        optimizer={"name": "radam", "lr": 1e-7, "weight_decay": 0},
        schedule={"name": "plateau", "patience": 1, "factor": 0.5, "floor": 0.3e-7},
        augment={"flip": 0, "rotate": 0, "scale": [1, 1], "shift": 0, "erase": 0},
        model=small_recipe().model.model_dump() | {"name": "timm/test_convnext", "args": {}},
        data={"mean": [0.5] * 3, "std": [0.25] * 3},
        ema=None,
        early_stop=3,
        epochs=30,
    )
    run = tmp_path / "run"
    meta = train(recipe, Store.open(small_store), run, accelerator="cpu", threads=1)
    assert meta["result"]["epochs"] == 4
    assert meta["result"]["stopped_early"]
    # each epoch's own rate: the second one shows that nothing improves, and the third is the first to be slower
    assert rates_of(run) == pytest.approx([1e-7, 1e-7, 0.5e-7, 0.3e-7], rel=1e-3, abs=0)
    again = train(recipe, Store.open(small_store), run, accelerator="cpu", threads=1, resume=True)
    assert again["result"] == meta["result"]
    assert len(rates_of(run)) == 4
