"""SAM: its closed form, somebody else's SAM, and every trap of running it in Lightning."""

import csv
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.store import Store
from mien.models import registry
from mien.preprocess import Preprocess
from mien.training.module import FerModule
from mien.training.run import train
from mien.training.sam import SAM, frozen_statistics
from small_run import small_recipe

A = torch.tensor([[3.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.3]])  # symmetric, positive


def quadratic(weights: nn.Parameter, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    """½ wᵀ A w, whose gradient is A w."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * weights @ A @ weights
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("rho", [0.05, 0.5])
@pytest.mark.parametrize("adaptive", [False, True])
def test_closed_form_on_a_quadratic(rho: float, adaptive: bool) -> None:
    start = torch.tensor([1.0, -2.0, 0.5])
    w = nn.Parameter(start.clone())
    optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=rho, adaptive=adaptive)
    loss = optimizer.step(quadratic(w, optimizer))
    g = A @ start
    up = rho * (start**2 * g) / (start.abs() * g).norm() if adaptive else rho * g / g.norm()
    torch.testing.assert_close(w.detach(), start - 0.1 * (A @ (start + up)))
    assert float(loss.detach()) == pytest.approx(float(0.5 * start @ A @ start))
    # Negative control: the other sign, or no ascent, gives something else.
    assert not torch.allclose(w.detach(), start - 0.1 * (A @ (start - up)), atol=1e-4)
    assert not torch.allclose(w.detach(), start - 0.1 * g, atol=1e-4)


def network(*, norm: bool = True) -> nn.Sequential:
    torch.manual_seed(3)
    middle: list[nn.Module] = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Linear(8, 3))


def batches(n: int = 6) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(5)
    return [(torch.randn(12, 5, generator=random), torch.randint(0, 3, (12,), generator=random)) for _ in range(n)]


def fit(net: nn.Module, optimizer: torch.optim.Optimizer, data: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    for x, y in data:

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("adaptive", [False, True])
def test_several_steps_equal_pytorch_optimizers_sam(adaptive: bool) -> None:
    from pytorch_optimizer import SAM as TheirSAM

    ours, theirs = network(norm=False), network(norm=False)
    mine = SAM(torch.optim.SGD(ours.parameters(), lr=0.2, momentum=0.9), rho=0.3, adaptive=adaptive)
    other: Any = TheirSAM(theirs.parameters(), torch.optim.SGD, rho=0.3, adaptive=adaptive, lr=0.2, momentum=0.9)
    got = fit(ours, mine, batches())
    for x, y in batches():
        F.cross_entropy(theirs(x), y).backward()
        other.first_step(zero_grad=True)
        F.cross_entropy(theirs(x), y).backward()
        other.second_step(zero_grad=True)
    for a, b in zip(got, theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b.detach(), atol=1e-6, rtol=1e-5)
    plain = network(norm=False)
    fit(plain, torch.optim.SGD(plain.parameters(), lr=0.2, momentum=0.9), batches())
    assert not torch.allclose(got[0], plain[0].weight.detach(), atol=1e-3)


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.AdamW])
def test_rho_zero_is_the_base_optimiser_to_the_bit(base: Callable[..., torch.optim.Optimizer]) -> None:
    one, two = network(norm=False), network(norm=False)
    plain = fit(one, base(one.parameters(), lr=0.1), batches())
    for rho, equal in ((0.0, True), (0.1, False)):
        two = network(norm=False)
        got = fit(two, SAM(base(two.parameters(), lr=0.1), rho=rho), batches())
        assert all(torch.equal(a, b) for a, b in zip(plain, got, strict=True)) == equal


def test_the_norm_is_over_all_parameters_of_all_groups() -> None:
    a, b = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))
    optimizer = SAM(torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.1), rho=0.5)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    _, before = optimizer.ascend()
    assert float(a.detach()) == pytest.approx(3 + 0.5 * 3 / 5)
    assert float(b.detach()) == pytest.approx(4 + 0.5 * 4 / 5)
    assert [float(value) for value in before] == [3, 4]


def test_parameters_without_gradient_and_zero_gradients_do_not_move() -> None:
    used, idle = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = SAM(torch.optim.SGD([used, idle], lr=0.1), rho=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (0 * used).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.equal(used.detach(), torch.ones(2))
    assert torch.equal(idle.detach(), torch.ones(2))


def test_weights_come_back_where_the_second_pass_fails() -> None:
    w = nn.Parameter(torch.ones(3))
    optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return quadratic(w, optimizer)()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert torch.equal(w.detach(), torch.ones(3))


def test_without_a_closure_it_refuses() -> None:
    with pytest.raises(RuntimeError, match=r"SAM\.step needs a closure"):
        SAM(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)).step()
    with pytest.raises(ValueError, match="expected rho"):
        SAM(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), rho=-0.1)


def test_the_state_is_the_base_optimisers_and_holds_no_weights() -> None:
    net = network()
    optimizer = SAM(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), rho=0.1)
    fit(net, optimizer, batches())
    state = optimizer.state_dict()
    assert state.keys() == {"state", "param_groups"}
    assert all(entry.keys() == {"momentum_buffer"} for entry in state["state"].values())

    again = SAM(torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9), rho=0.1)
    again.load_state_dict(state)
    assert again.param_groups is again.base.param_groups
    assert again.param_groups[0]["lr"] == 0.1
    first = next(iter(net.parameters()))
    assert torch.equal(again.base.state[first]["momentum_buffer"], optimizer.base.state[first]["momentum_buffer"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(again, lambda step: 0.5)
    assert again.base.param_groups[0]["lr"] == pytest.approx(0.05)
    assert scheduler.get_last_lr() == [pytest.approx(0.05)]


def test_batch_norm_statistics_are_those_of_plain_training() -> None:
    def statistics(optimize: Callable[[nn.Module], torch.optim.Optimizer]) -> tuple[Tensor, int]:
        net = network()
        fit(net, optimize(net), batches(1))
        assert isinstance(net[1], nn.BatchNorm1d)
        assert net[1].track_running_stats
        assert net[1].running_mean is not None
        assert net[1].num_batches_tracked is not None
        return net[1].running_mean, int(net[1].num_batches_tracked)

    def frozen(net: nn.Module) -> SAM:
        base = torch.optim.SGD(net.parameters(), lr=0.1)
        return SAM(base, rho=0.3, descent_pass=partial(frozen_statistics, net))

    plain = statistics(lambda net: torch.optim.SGD(net.parameters(), lr=0.1))
    stopped = statistics(frozen)
    twice = statistics(lambda net: SAM(torch.optim.SGD(net.parameters(), lr=0.1), rho=0.3))
    assert torch.equal(plain[0], stopped[0])
    assert (plain[1], stopped[1], twice[1]) == (1, 1, 2)
    assert not torch.equal(plain[0], twice[0])  # the control: unstopped, the second pass does change them


# ---- in the training path -------------------------------------------------------------------------------------------

SAM_SECTION = {"name": "sgd", "lr": 0.05, "sam": {"rho": 0.1}}


def sam_recipe(**changes: Any) -> Any:
    return small_recipe(**({"optimizer": SAM_SECTION, "epochs": 2} | changes))


def weights(run: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    named = checkpoint["state_dict"] | {f"now.{k}": v for k, v in checkpoint.get("current_model_state", {}).items()}
    states = checkpoint["optimizer_states"][0]["state"]
    return named | {f"momentum.{k}": v["momentum_buffer"] for k, v in states.items()}


def run_it(store: Path, run: Path, recipe: Any, **options: Any) -> dict[str, Tensor]:
    train(recipe, Store.open(store), run, accelerator="cpu", threads=1, **options)
    return weights(run)


def test_rho_zero_equals_plain_training_in_the_whole_path(small_store: Path, tmp_path: Path) -> None:
    """Dropout, augmentation, EMA, momentum, schedule, logs: all as if there were one pass."""
    plain = run_it(small_store, tmp_path / "plain", sam_recipe(optimizer={"name": "sgd", "lr": 0.05}))
    zero = run_it(small_store, tmp_path / "zero", sam_recipe(optimizer=SAM_SECTION | {"sam": {"rho": 0}}))
    real = run_it(small_store, tmp_path / "real", sam_recipe())
    assert all(torch.equal(plain[name], zero[name]) for name in plain)
    assert not all(torch.equal(plain[name], real[name]) for name in plain)

    def log(run: str) -> list[dict[str, str]]:
        rows = csv.DictReader((tmp_path / run / "log.csv").read_text().splitlines())
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert log("plain") == log("zero")
    assert [row["step"] for row in log("real")] == ["7", "14"]  # 140 pictures in batches of 20: steps, not passes


def test_resumed_equals_uninterrupted_to_the_bit(small_store: Path, tmp_path: Path) -> None:
    whole = run_it(small_store, tmp_path / "whole", sam_recipe(epochs=3))

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 10:  # in the second epoch
                raise KeyboardInterrupt

    from mien.training import run as run_module

    with pytest.MonkeyPatch.context() as patch:
        bar = run_module.progress_bar
        patch.setattr(run_module, "progress_bar", lambda: [*bar(), Stop()])
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(sam_recipe(epochs=3), Store.open(small_store), tmp_path / "cut", accelerator="cpu", threads=1)
    forgetful = tmp_path / "forgetful"
    shutil.copytree(tmp_path / "cut", forgetful)
    cut = run_it(small_store, tmp_path / "cut", sam_recipe(epochs=3), resume=True)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)

    # The control: with a wrapper that forgets the base's momentum, the same comparison fails.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SAM, "load_state_dict", lambda self, state: None)
        lost = run_it(small_store, forgetful, sam_recipe(epochs=3), resume=True)
    assert not all(torch.equal(whole[name], lost[name]) for name in whole)


def module_of(**changes: Any) -> tuple[FerModule, dict[str, Tensor]]:
    """A module as fit() would have it after one batch was drawn; no dropout, and batch norms without batches."""
    recipe = sam_recipe(**changes)
    torch.manual_seed(0)
    net = registry.build("nano", {"stem": [8], "widths": [16, 32], "depths": [1, 1]}).eval()
    module = FerModule(net, recipe, Preprocess(), steps_per_epoch=10)
    module._fabric = None
    images = torch.randint(0, 256, (20, 1, 48, 48), dtype=torch.uint8)
    drawn = module.objective.draw({"images": images, "expression": torch.eye(7)[torch.arange(20) % 7]}, step=0)
    module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
    module._unsynced = nullcontext  # type: ignore[method-assign,assignment]
    return module, drawn


def step_of(module: FerModule, drawn: dict[str, Tensor]) -> list[Tensor]:
    optimizer = module.configure_optimizers()["optimizer"]

    def closure() -> Tensor:
        optimizer.zero_grad()
        return module.backward_in_parts(drawn)[0]

    optimizer.step(closure)
    return [p.detach().clone() for p in module.network.parameters()]


def test_under_accumulation_the_ascent_follows_the_whole_batch() -> None:
    whole, parts = (step_of(*module_of(accumulate=n, precision="fp32")) for n in (1, 4))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    # The control: climbing along the last part's gradient alone, as a twice-called closure would, ends elsewhere.
    module, drawn = module_of(accumulate=1, precision="fp32")
    last = {name: rows[15:] for name, rows in drawn.items()}
    optimizer = module.configure_optimizers()["optimizer"]
    seen = iter((last, drawn))

    def closure() -> Tensor:
        optimizer.zero_grad()
        return module.backward_in_parts(next(seen))[0]

    optimizer.step(closure)
    wrong = [p.detach() for p in module.network.parameters()]
    assert any((a - b).abs().max() > 1e-5 for a, b in zip(whole, wrong, strict=True))


def test_in_bf16_the_second_pass_sees_the_moved_weights() -> None:
    """Autocast keeps bf16 copies of weights until its region ends; the two passes must not share one region."""

    def second_gradient(*, one_region: bool) -> Tensor:
        module, drawn = module_of(precision="bf16", optimizer=SAM_SECTION | {"sam": {"rho": 5.0}})
        optimizer = module.configure_optimizers()["optimizer"]
        region = torch.autocast("cpu", dtype=torch.bfloat16) if one_region else nullcontext()
        with region:
            module.backward_in_parts(drawn)
            optimizer.ascend()
            optimizer.zero_grad()
            module.backward_in_parts(drawn)
        gradient = module.network.classifier.weight.grad
        assert isinstance(gradient, Tensor)
        return gradient

    def expected() -> Tensor:
        module, drawn = module_of(precision="bf16", optimizer=SAM_SECTION | {"sam": {"rho": 5.0}})
        optimizer = module.configure_optimizers()["optimizer"]
        module.backward_in_parts(drawn)
        optimizer.ascend()
        fresh, _ = module_of(precision="bf16")
        fresh.network.load_state_dict(module.network.state_dict())
        fresh.backward_in_parts(drawn)
        gradient = fresh.network.classifier.weight.grad
        assert isinstance(gradient, Tensor)
        return gradient

    torch.testing.assert_close(second_gradient(one_region=False), expected())
    assert not torch.allclose(second_gradient(one_region=True), expected(), rtol=0.05)  # the trap is real
