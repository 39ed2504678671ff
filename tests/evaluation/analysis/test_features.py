"""Features before and after the SE: they are what the network computes, and the verdict can come out either way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mien.data.store import Store
from mien.errors import DataError, UsageError
from mien.evaluation.analysis import clusters, hook_points
from mien.evaluation.analysis.features import compare, features, headline
from mien.evaluation.analysis.inputs import Settings, choose_device, open_networks, unique_names
from mien.models import registry
from mien.models.hook_points import HookPoint


def side_of(name: str) -> int:
    entry = registry.spec(name)
    return int(entry.reduced.get("image_size", min(entry.input_sizes)))


def small(name: str, **changes: object) -> nn.Module:
    entry = registry.spec(name)
    torch.manual_seed(0)
    arguments = dict(entry.reduced) | changes | ({"image_size": side_of(name)} if entry.takes("image_size") else {})
    return entry.build(num_classes=7, **arguments).eval()


def pictures(name: str) -> torch.Tensor:
    entry = registry.spec(name)
    side = side_of(name)
    return torch.randn(3, entry.channels, side, side, generator=torch.Generator().manual_seed(1))


def test_both_sides_of_a_head_se() -> None:
    network, x = small("swin_t_se"), pictures("swin_t_se")
    after = hook_points.se_layer(network)
    assert after == HookPoint("se_head", "output", "vector")
    with torch.no_grad(), hook_points.reading(network, [hook_points.other_side(after), after]) as found:
        logits = network(x)
        assert torch.equal(found[1], network.se_head(found[0]))  # type: ignore[operator]
        assert torch.allclose(network.head.fc(found[1]), logits)  # type: ignore[operator, union-attr]
        assert not torch.allclose(found[0], found[1])


def test_a_stem_se_gives_each_channels_mean() -> None:
    network, x = small("swin_t_se", se_position="stem"), pictures("swin_t_se")
    after = hook_points.se_layer(network)
    assert after is not None
    with torch.no_grad(), hook_points.reading(network, [after]) as found:
        network(x)
        expected = network.se_stem(network.patch_embed(x)).mean(dim=(1, 2))  # type: ignore[operator]
        assert torch.allclose(hook_points.as_vector(found[0], after), expected, atol=1e-6)


def test_networks_without_se_have_no_such_place() -> None:
    assert hook_points.se_layer(small("swin_t")) is None
    assert hook_points.se_layer(small("nano")) is None


@pytest.mark.parametrize("name", [entry.name for entry in registry.all_specs()])
def test_every_network_has_penultimate_features_and_a_map(name: str) -> None:
    network, x = small(name), pictures(name)
    vector = hook_points.penultimate(network, x, classes=7)
    where = hook_points.target_layer(network, x)
    with torch.no_grad(), hook_points.reading(network, [vector, where]) as found:
        network(x)
    assert found[0].shape[0] == 3
    assert found[0].dim() == 2
    grid = hook_points.as_map(found[1], where)
    assert grid.dim() == 4
    assert grid.shape[2] * grid.shape[3] > 1
    assert grid.shape[1] > 3  # no picture


def test_timms_transformers_too() -> None:
    vit = registry.build("timm/vit_tiny_patch16_224", image_size=32).eval()
    assert hook_points.target_layer(vit, torch.zeros(1, 3, 32, 32)) == HookPoint(
        "blocks.11.norm1", "output", "tokens", 1
    )
    with pytest.raises(UsageError, match="linear"):
        hook_points.penultimate(nn.Sequential(nn.Conv2d(3, 7, 3)), torch.zeros(1, 3, 8, 8), classes=7)
    with pytest.raises(UsageError, match="square grid"):
        hook_points.as_map(torch.zeros(1, 7, 4), HookPoint("x", "output", "tokens", 1))


def test_a_known_gate_gives_a_known_verdict() -> None:
    """A factor alone contradicts the claim on raw features and changes nothing on unit-norm ones; spreading supports
    it."""
    random = np.random.default_rng(0)
    labels = np.repeat(range(3), 60)
    x = random.normal(size=(180, 8)) + 4 * np.eye(8)[labels]
    weights = clusters.resample_weights(labels, resamples=200)
    halved = compare({"penultimate": x, "before": x, "after": x / 2}, labels, "abc", weights)
    assert halved["claim"]["raw"]["claim"] == "contradicted"
    assert halved["difference"]["unit"]["intra"]["value"] == pytest.approx(0, abs=1e-12)
    assert halved["difference"]["raw"]["ratio"]["value"] == pytest.approx(0, abs=1e-12)
    wider = compare({"before": x, "after": 3 * x}, labels, "abc", weights)
    assert wider["claim"]["raw"]["claim"] == "supported"


def test_the_report_of_a_run(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = Settings(
        [str(trained_run), str(trained_run)],
        Store.open(small_store),
        "public_test",
        tmp_path,
        device="cpu",
        progress=lambda done, total: seen.append((done, total)),
    )
    report = features(settings, resamples=50)
    assert json.loads((tmp_path / "features.json").read_text()) == report
    assert list(report["runs"]) == ["small", "small-2"]
    assert seen[-1] == (140, 140)
    measured = report["runs"]["small"]["places"]["penultimate"]["unit"]
    assert measured["silhouette"]["value"] > 0.2  # the bars are learnt
    for name in ("features-small.png", "features-small.svg", "features-small-2.png"):
        assert (tmp_path / name).stat().st_size > 1000
    text = "\n".join(headline(report))
    assert f"silhouette {measured['silhouette']['value']:.4g}" in text
    assert "no SE block" in text


def test_what_cannot_be_looked_into(tmp_path: Path, trained_run: Path, small_store: Path) -> None:
    store = Store.open(small_store)
    with pytest.raises(UsageError, match="run directory"):
        open_networks(Settings(["compact"], store, "public_test", tmp_path, device="cpu"))
    with pytest.raises(UsageError, match="one run"):
        open_networks(Settings([], store, "public_test", tmp_path, device="cpu"))
    with pytest.raises(UsageError, match="auto, cpu or gpu"):
        choose_device("tpu")
    with pytest.raises(DataError, match="split"):
        features(Settings([str(trained_run)], store, "nowhere", tmp_path))
    for few in (1, 2):
        with pytest.raises(DataError, match="two classes or more with two images or more each"):
            features(Settings([str(trained_run)], store, "public_test", tmp_path, limit=few, device="cpu"))
    assert unique_names(["a", "b", "a"]) == ["a", "b", "a-2"]
    assert unique_names(["a", "a", "a-2"]) == ["a", "a-3", "a-2"]
    assert unique_names(["a", "a-pairs"]) == ["a", "a-pairs-2"]  # errors-a-pairs.png is one of a's files
    assert unique_names(["a-masks", "a"]) == ["a-masks", "a-2"]
