"""The moving average in a run: its closed form over the steps that were really taken, and what is made of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mien.training.module import FerModule
from mien.training.networks import load_network
from reference_training import moving_average
from tiny_networks import tiny_recipe
from tiny_runs import Run, TrainTiny, close, same

DECAY = 0.5


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The network's state after each step of the runs that follow."""
    seen: list[dict[str, Tensor]] = []

    def remember(self: FerModule, *rest: object) -> None:
        seen.append({name: value.clone() for name, value in self.network.state_dict().items()})

    monkeypatch.setattr(FerModule, "on_train_batch_end", remember)
    return seen


RECIPE = {
    "args": {"norm": True, "dropout": 0.2}, "ema": {"decay": DECAY}, "batch_size": 35, "epochs": 3,
    "optimizer": {"lr": 0.2, "momentum": 0.9},
}  # fmt: skip


def test_it_is_the_closed_form_over_all_steps(states: list[dict[str, Tensor]], train_tiny: TrainTiny) -> None:
    """Weights, and batch norm's running statistics with them; validation in between does not disturb it."""
    run = train_tiny(tiny_recipe(**RECIPE))
    assert len(states) == 12
    assert same(run.now, states[-1])
    expected = moving_average(states, DECAY)
    assert {"norm.running_mean", "norm.running_var"} < expected.keys()
    assert close(run.saved, expected)
    assert run.saved["norm.num_batches_tracked"] == run.now["norm.num_batches_tracked"] == 12  # a count is a count
    # Controls: it is not the last state, of weights or statistics; nor are first steps lost, or their rate fixed.
    for name in ("first.weight", "norm.running_mean"):
        assert not torch.allclose(run.saved[name], run.now[name], atol=1e-3)
    assert not close(run.saved, moving_average(states, 0.999), atol=1e-4)
    assert not close(run.saved, moving_average(states[8:], DECAY), atol=1e-4)


def test_it_survives_a_kill(
    states: list[dict[str, Tensor]],
    train_tiny: TrainTiny,
    keep_after: Callable[[int, Path, Path], None],
    tmp_path: Path,
) -> None:
    recipe = tiny_recipe(**RECIPE)
    keep_after(2, tmp_path / "whole", tmp_path / "cut")
    whole = train_tiny(recipe, path=tmp_path / "whole")
    cut = Run(tmp_path / "cut")
    assert len(cut.log) == 2
    assert not close(cut.saved, {name: cut.now[name] for name in ("first.weight",)}, atol=1e-3)
    del states[8:]  # the resumed run adds its own
    resumed = train_tiny(recipe, path=tmp_path / "cut", resume=True)
    assert len(states) == 12
    assert close(resumed.saved, moving_average(states, DECAY))
    assert same(resumed.everything(), whole.everything())


def test_it_is_what_is_loaded(train_tiny: TrainTiny) -> None:
    run = train_tiny(tiny_recipe(**RECIPE))
    network = load_network(run.path, checkpoint="last")[0]
    assert same(network.state_dict(), run.saved)
    assert not torch.equal(run.saved["last.weight"], run.now["last.weight"])
