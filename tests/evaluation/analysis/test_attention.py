"""Grad-CAM against CAM in closed form (and somebody else's, where it is installed), and what masks do at each place."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.store import Store
from mien.evaluation.analysis import attention, gradcam
from mien.evaluation.analysis.hook_points import target_layer
from mien.evaluation.analysis.inputs import Settings
from mien.models import registry
from mien.models.hook_points import HookPoint
from mien.models.resnet_unet_eca import MaskedResNet


def pooled(classes: int = 5) -> nn.Sequential:
    """A convolution, a global mean, a linear classifier: where Grad-CAM is CAM."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)
    ).eval()


def test_with_a_linear_head_it_is_cam() -> None:
    network, x, targets = pooled(), torch.randn(4, 1, 9, 9), torch.tensor([0, 3, 3, 4])
    place = target_layer(network, x)
    assert place == HookPoint("2", "input", "channels_first")
    got, logits = gradcam.grad_cam(network, x, targets, place)
    features = F.relu(network[0](x)).detach()
    weights = network[4].weight.detach()[targets]  # N×6
    expected = F.relu(torch.einsum("nc,nchw->nhw", weights, features)) / 81
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(logits, network(x).detach())
    other, _ = gradcam.grad_cam(network, x, (targets + 1) % 5, place)
    assert not torch.allclose(got, other)  # negative control: another class, another map
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_against_the_package_grad_cam() -> None:
    """Run once by hand in an environment of its own (docs/analysis.md says how); skipped where it is not installed."""
    package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    network, x = registry.build("compact").eval(), torch.randn(7, 1, 48, 48)
    with torch.no_grad():
        network.classifier.weight.abs_()  # type: ignore[union-attr, operator]
    targets = torch.arange(7)
    ours, _ = gradcam.grad_cam(network, x, targets, target_layer(network, x))
    ours = gradcam.enlarge(ours, 48)
    least = ours.amin((1, 2), keepdim=True)  # theirs lies between 0 and 1
    ours = (ours - least) / (ours.amax((1, 2), keepdim=True) - least)
    theirs = package.GradCAM(model=network, target_layers=[network.stages])(
        input_tensor=x, targets=[ClassifierOutputTarget(int(t)) for t in targets]
    )
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


class Corner(nn.Module):
    """Class k answers to brightness in the k-th quadrant of the picture alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 4, 1, bias=False)
        nn.init.ones_(self.features.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(images)
        half = x.shape[-1] // 2
        corners = [x[:, k, half * (k // 2) :, half * (k % 2) :][..., :half, :half].mean((1, 2)) for k in range(4)]
        return torch.stack(corners, 1)


def test_it_points_at_what_the_class_depends_on() -> None:
    """Grad-CAM weights whole channels, so it needs the picture itself to differ: one bright quadrant."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4, 4:] = 1
    got, _ = gradcam.grad_cam(Corner(), image, torch.tensor([1]), HookPoint("features", "output", "channels_first"))
    assert got[0, :4, 4:].min() > 0
    assert got.sum() == got[0, :4, 4:].sum()


@pytest.mark.parametrize("name", ["swin_t_se", "vit_hybrid_se", "resnet34_unet_eca", "dan", "emonext", "vggnet"])
def test_maps_of_all_kinds_of_networks(name: str) -> None:
    entry = registry.spec(name)
    torch.manual_seed(0)
    side = int(entry.reduced.get("image_size", min(entry.input_sizes)))
    size = {"image_size": side} if entry.takes("image_size") else {}
    network = entry.build(num_classes=7, **dict(entry.reduced) | size).eval()
    x = torch.randn(3, entry.channels, side, side)
    place, targets = target_layer(network, x), torch.tensor([0, 1, 2])
    maps, _ = gradcam.grad_cam(network, x, targets, place)
    assert maps.shape[0] == 3
    assert (maps >= 0).all()
    assert maps.max() > 0
    alone, _ = gradcam.grad_cam(network, x[:1], targets[:1], place)
    torch.testing.assert_close(maps[:1], alone, atol=1e-5, rtol=1e-3)


def test_enlarging_and_scaling() -> None:
    maps = torch.tensor([[[0.0, 2.0], [4.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    unit = gradcam.to_unit(maps)
    assert unit[0].max() == 1
    assert not unit[1].any()
    big = gradcam.enlarge(maps, 8)
    assert big.shape == (2, 8, 8)
    assert big[0, -1, 0] == 4


def test_share_inside_a_band() -> None:
    flat = np.ones((5, 48, 48))
    got = attention.proportion_inside(flat, (0.25, 0.5))
    assert (got["value"], got["n"]) == (pytest.approx(0.25), 5)
    top = np.zeros((5, 48, 48))
    top[:4, :12] = 1  # the fifth is empty: left out
    got = attention.proportion_inside(top, (0.25, 0.5))
    assert (got["value"], got["n"]) == (0, 4)
    assert attention.proportion_inside(top, (0, 0.25))["value"] == 1
    assert attention.proportion_inside(np.zeros((2, 48, 48)), (0, 0.5))["value"] is None


def masked(mask: str = "softmax") -> MaskedResNet:
    torch.manual_seed(0)
    reduced = dict(registry.spec("resnet34_unet_eca").reduced)
    network = registry.build("resnet34_unet_eca", reduced | {"mask": mask}).eval()
    assert isinstance(network, MaskedResNet)
    return network


@pytest.mark.parametrize("mask", ["softmax", "sigmoid"])
def test_gains_of_masks(mask: str) -> None:
    network, x = masked(mask), torch.randn(2, 3, 48, 48)
    gains, means = attention.mask_gains(network, x)
    assert [tuple(g.shape) for g in gains] == [(2, 12, 12), (2, 6, 6), (2, 3, 3), (2, 2, 2)]
    assert means == pytest.approx([1] * 4, abs=1e-5) if mask == "softmax" else means != pytest.approx([1] * 4)
    assert any((gain - 1).abs().max() > 0.05 for gain in gains)


def test_a_uniform_mask_has_gain_one() -> None:
    network = masked()
    with torch.no_grad():
        for unet in network.unets:
            unet.last[-1].weight.zero_()  # type: ignore[index, operator, union-attr]
            unet.last[-1].bias.zero_()  # type: ignore[index, operator, union-attr]
    gains, means = attention.mask_gains(network, torch.randn(2, 3, 48, 48))
    for gain in gains:
        torch.testing.assert_close(gain, torch.ones_like(gain))
    assert means == pytest.approx([1] * 4)


def test_examples_are_a_draw() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    chosen = attention.draw_examples(labels, 4, examples=2, seed=0)
    assert [len(rows) for rows in chosen] == [2, 1, 2, 0]
    assert all((labels[rows] == code).all() for code, rows in enumerate(chosen))


def test_the_report_of_a_run(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    settings = Settings([str(trained_run)], Store.open(small_store), "public_test", tmp_path, device="cpu", limit=30)
    report = attention.attention(settings, examples=2)
    assert json.loads((tmp_path / "attention.json").read_text()) == report
    run = report["runs"]["small"]
    assert "masks" not in run
    assert run["map"]["module"] == "pool"
    assert np.array(run["averages"]["happy"]).shape == (48, 48)
    for file in run["figures"]:
        assert (tmp_path / file).stat().st_size > 1000
    assert set(run["figures"]) == {
        f"attention-small{part}.{kind}" for part in ("", "-average") for kind in ("png", "svg")
    }
    inside = run["inside"]["happy"]["mouth"]
    assert f"mouth {inside['value']:.1%}" in "\n".join(attention.headline(report))


def test_a_long_name_of_a_class_of_ones_own_keeps_its_distance() -> None:
    figure = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 4}
    run = {
        "map": {"grid": (6, 6)},
        "area": {"eyes": 0.3},
        "inside": {key: {"eyes": figure} for key in ("astonished", "x")},
    }
    report = {"data": {"images": 8, "split": "test"}, "runs": {"own": run}}
    *_, long, short = attention.headline(report)
    assert long.startswith("  astonished  eyes 25.0%")
    assert short.startswith("  x           eyes 25.0%")
