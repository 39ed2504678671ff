"""Landscape and sharpness: a quadratic in closed form, a small network's whole Hessian, what a killed call keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien.data.store import Store
from mien.errors import UsageError
from mien.evaluation.analysis import directions, landscape, sharpness
from mien.evaluation.analysis.inputs import Settings
from mien.models import registry


class Bowl(nn.Module):
    """Its output is ½ wᵀ A w for every image; w is one row of a matrix, as a filter is."""

    def __init__(self, curvature: list[float], start: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start], dtype=torch.float64))
        self.curvature = torch.tensor(curvature, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        return (0.5 * self.curvature * self.w[0] ** 2).sum().expand(len(images))


def first(output: Tensor, labels: Tensor) -> Tensor:
    return output


BATCHES = [(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)), (torch.zeros(2, 1), torch.zeros(2).long())]


def test_a_quadratics_landscape_is_the_quadratic() -> None:
    bowl = Bowl([1.0, 3.0, 8.0], [0.3, -0.4, 1.2])
    d, e = (directions.filter_normalised(bowl, seed=seed) for seed in (0, 1))
    steps = [(-1.0, 0.5), (0.0, 0.0), (0.7, 0.0), (1.0, -1.0)]
    got = directions.along(bowl, BATCHES, [d, e], steps, first)
    w, a = bowl.w.detach().numpy()[0], bowl.curvature.numpy()
    for (x, y), value in zip(steps, got, strict=True):
        there = w + x * d[0].numpy()[0] + y * e[0].numpy()[0]
        assert value == pytest.approx(0.5 * (a * there**2).sum())
    assert (bowl.w.detach().numpy()[0] == w).all()


@pytest.mark.parametrize(("curvature", "top", "negative"), [([1, 3, 8], 8, None), ([-9, 2, 5], 5, -9)])
def test_a_quadratics_top_eigenvalue(curvature: list[float], top: float, negative: float | None) -> None:
    bowl = Bowl(curvature, [1.0, 1.0, 1.0])
    found = sharpness.top_eigenvalue(
        lambda v: sharpness.hessian_times(bowl, BATCHES, v, first), list(bowl.parameters()), tolerance=1e-5
    )
    assert found["converged"]
    assert found["value"] == pytest.approx(top, rel=1e-4)
    assert found["most_negative"] == (None if negative is None else pytest.approx(negative, rel=1e-4))


def test_too_few_iterations_say_so() -> None:
    bowl = Bowl([7.9, 3.0, 8.0], [1.0, 1.0, 1.0])
    found = sharpness.top_eigenvalue(
        lambda v: sharpness.hessian_times(bowl, BATCHES, v, first), list(bowl.parameters()), iterations=3
    )
    assert not found["converged"]
    assert found["iterations"] == 3
    assert min(abs(found["value"] - x) for x in (7.9, 3, 8)) <= found["residual"]


def test_a_quadratics_sam_sharpness() -> None:
    """ε = ρ A w / ‖A w‖, so the rise is wᵀAε + ½ εᵀAε; adaptive: ε = ρ w² g / ‖w g‖."""
    bowl = Bowl([1.0, 3.0], [2.0, -1.0])
    w, a = np.array([2.0, -1.0]), np.array([1.0, 3.0])
    g = a * w
    for adaptive, e in ((False, 0.1 * g / np.linalg.norm(g)), (True, 0.1 * w**2 * g / np.linalg.norm(w * g))):
        got = sharpness.ascent_sharpness(bowl, BATCHES, rho=0.1, adaptive=adaptive, loss=first)
        assert got["value"] == pytest.approx((g * e).sum() + 0.5 * (a * e**2).sum())
    assert (bowl.w.detach().numpy() == w).all()
    assert bowl.w.grad is None


@pytest.fixture
def small() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randint(0, 3, (30,))
    return network, [(x[:20], y[:20]), (x[20:], y[20:])]


def test_against_the_whole_hessian(small: tuple[nn.Module, list[tuple[Tensor, Tensor]]]) -> None:
    network, batches = small
    names = [name for name, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(network, weights, (x,)), y)

    flat = torch.cat([p.detach().flatten() for p in network.parameters()])
    whole = torch.autograd.functional.hessian(loss, flat)
    v = [torch.randn(s, dtype=torch.float64) for s in shapes]
    product = sharpness.hessian_times(network, batches, v)
    expected = whole @ torch.cat([part.flatten() for part in v])
    torch.testing.assert_close(torch.cat([part.flatten() for part in product]), expected)
    found = sharpness.top_eigenvalue(
        lambda u: sharpness.hessian_times(network, batches, u), list(network.parameters()), iterations=500
    )
    assert found["value"] == pytest.approx(float(torch.linalg.eigvalsh(whole)[-1]), rel=1e-3)
    # negative control: half the images have another Hessian
    half = sharpness.hessian_times(network, batches[:1], v)
    assert not torch.allclose(torch.cat([part.flatten() for part in half]), expected, rtol=1e-2)


def test_sams_step_rises_more_than_a_random_one(small: tuple[nn.Module, list[tuple[Tensor, Tensor]]]) -> None:
    network, batches = small
    got = sharpness.ascent_sharpness(network, batches, rho=0.05, adaptive=False)
    assert got["low"] <= got["value"] <= got["high"]
    at = directions.mean_loss(network, batches)
    for seed in range(5):
        random = [
            torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).to(p) for p in network.parameters()
        ]
        length = sum(float((r**2).sum()) for r in random) ** 0.5
        (there,) = directions.along(network, batches, [random], [(0.05 / length,)])
        assert at is not None
        assert there is not None
        assert there - at < got["value"]


def test_directions_have_the_filters_lengths() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 2))
    conv, conv_bias, gain, shift, up, up_bias = directions.filter_normalised(network, seed=3)
    weight, turned = network[0].weight, network[2].weight
    torch.testing.assert_close(conv.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    torch.testing.assert_close(up.square().sum((0, 2, 3)), turned.square().sum((0, 2, 3)))
    for still in (conv_bias, gain, shift, up_bias):
        assert not still.any()
    again, other = (directions.filter_normalised(network, seed=seed)[0] for seed in (3, 4))
    assert torch.equal(conv, again)
    assert not torch.allclose(conv, other)


def test_scaling_weights_under_a_batch_norm_changes_nothing() -> None:
    """Why directions are normalised (Li et al., §3): the same function, ten times the weights, the same landscape."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.randn(40, 1, 4, 4), torch.randint(0, 3, (40,))
    network(x)
    network.eval()
    steps = [(-0.5,), (0.5,), (1.0,)]
    plain = directions.along(network, [(x, y)], [directions.filter_normalised(network, seed=0)], steps)
    raw = [torch.randn_like(p) for p in network.parameters()]
    plain_raw = directions.along(network, [(x, y)], [raw], steps)
    with torch.no_grad():
        network[0].weight.mul_(10)
        network[1].running_mean.mul_(10)
        network[1].running_var.mul_(100)
        network[1].eps *= 100
    scaled = directions.along(network, [(x, y)], [directions.filter_normalised(network, seed=0)], steps)
    assert scaled == pytest.approx(plain, rel=1e-4)
    assert directions.along(network, [(x, y)], [raw], steps) != pytest.approx(plain_raw, rel=1e-2)  # negative control


def test_attention_can_be_differentiated_twice() -> None:
    entry = registry.spec("vit_hybrid_se")
    network = entry.build(num_classes=7, image_size=64, **entry.reduced).eval()
    batch = [(torch.randn(2, 3, 64, 64), torch.tensor([0, 3]))]
    product = sharpness.hessian_times(network, batch, [torch.ones_like(p) for p in network.parameters()])
    assert all(torch.isfinite(part).all() for part in product)
    assert any(part.abs().max() > 0 for part in product)


@pytest.mark.long
def test_the_report_and_going_on(
    trained_run: Path, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = Store.open(small_store), list[tuple[int, int]]()

    def call(seed: int = 0) -> dict:
        settings = Settings(
            [str(trained_run)],
            store,
            "public_test",
            tmp_path,
            device="cpu",
            seed=seed,
            progress=lambda done, total: seen.append((done, total)),
        )
        return landscape.landscape(settings, points=5)

    real, calls = landscape.along, 0

    def killed(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(landscape, "along", killed)
    with pytest.raises(KeyboardInterrupt):
        call()
    calls = 10
    seen.clear()
    report = call()
    assert calls == 13  # the cut and two rows were there already
    assert [done for done, _ in seen[:3]] == [3, 4, 4]  # which the time that is left is told
    assert seen[-1] == (seen[-1][1], seen[-1][1])
    run = report["runs"]["small"]
    assert run["surface"][2][2] == pytest.approx(run["loss"], rel=1e-6)
    assert run["cut"][4] == run["loss"]
    assert run["cut"][0] == pytest.approx(run["surface"][2][0], rel=1e-6)
    assert run["cut"][0] > run["loss"]
    assert json.loads((tmp_path / "landscape.json").read_text()) == report
    assert (tmp_path / "landscape.svg").stat().st_size > 1000
    assert f"top eigenvalue {run['top_hessian_eigenvalue']['value']:.4g}" in "\n".join(landscape.headline(report))
    before = calls
    assert call()["runs"] == report["runs"]
    assert calls == before  # the same question: nothing is computed again
    call(seed=1)
    assert calls == before + 6


def test_an_even_grid_would_miss_the_weights(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="odd number"):
        landscape.landscape(Settings([str(trained_run)], Store.open(small_store), "public_test", tmp_path), points=4)


def test_a_loss_that_is_not_finite_is_none() -> None:
    bowl = Bowl([1.0], [1.0])
    far = [torch.full((1, 1), 1e200, dtype=torch.float64)]
    assert directions.along(bowl, BATCHES, [far], [(0.0,), (1e5,)], first) == [0.5, None]
    assert landscape._shown(None) == "not finite"
    assert landscape._shown(0.5) == "0.5"
