"""The contract that every registered network keeps, at each of its input sizes (DESIGN §4.10)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.errors import ExportError, RecipeError
from mien.export import export_onnx, parity
from mien.labels import SEVEN
from mien.models import registry
from mien.preprocess import Preprocess

SPECS = registry.all_specs()
CASES = [pytest.param(s, size, id=f"{s.name}-{size}") for s in SPECS for size in s.input_sizes]


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Batch norms with statistics that are not the trivial ones, so that a test sees what they do."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network


@pytest.mark.parametrize(("entry", "size"), CASES)
def test_shape_and_gradients(entry: registry.ModelSpec, size: int) -> None:
    network = entry.build(num_classes=7)
    logits = network(torch.randn(3, entry.channels, size, size))
    assert logits.shape == (3, 7)
    F.cross_entropy(logits, torch.tensor([0, 3, 6])).backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == set(entry.unused_parameters)


@pytest.mark.parametrize(("entry", "size"), CASES)
def test_in_eval_a_row_does_not_depend_on_its_batch(entry: registry.ModelSpec, size: int) -> None:
    network = randomised(entry.build(num_classes=7)).eval()
    batch = torch.randn(5, entry.channels, size, size)
    with torch.no_grad():
        together, alone = network(batch), torch.cat([network(row[None]) for row in batch])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("entry", "size"), CASES)
def test_in_training_a_row_does_depend_on_its_batch(entry: registry.ModelSpec, size: int) -> None:
    """The negative control of the test above: with batch statistics the same comparison fails."""
    network = entry.build(num_classes=7).train()
    batch = torch.randn(5, entry.channels, size, size)
    with torch.no_grad():
        assert not torch.allclose(network(batch)[:2], network(batch[:2]), atol=1e-3)


@pytest.mark.parametrize("entry", SPECS, ids=lambda s: s.name)
def test_state_round_trip(entry: registry.ModelSpec, tmp_path: Path) -> None:
    network = randomised(entry.build(num_classes=7)).eval()
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other = entry.build(num_classes=7).eval()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    x = torch.randn(2, entry.channels, entry.input_sizes[0], entry.input_sizes[0])
    with torch.no_grad():
        assert torch.equal(network(x), other(x))


@pytest.mark.parametrize("weights", ["fp32", "fp16"])
@pytest.mark.parametrize("entry", SPECS, ids=lambda s: s.name)
def test_export_parity(entry: registry.ModelSpec, weights: str, tmp_path: Path) -> None:
    network = randomised(entry.build(num_classes=7)).eval()
    preprocess = Preprocess(size=entry.input_sizes[0])
    file = tmp_path / "model.onnx"
    measured = export_onnx(
        network, file, name=entry.name, labels=SEVEN, preprocess=preprocess, temperature=1.5, weights=weights
    )
    parameters = sum(p.numel() for p in network.parameters())
    assert measured["bytes"] == file.stat().st_size < parameters * (4 if weights == "fp32" else 2) * 1.15
    assert [f.name for f in tmp_path.iterdir()] == ["model.onnx"]

    # The gate is able to fail: another network's weights, against this file.
    with pytest.raises(ExportError, match="parity gate"):
        parity(randomised(entry.build(num_classes=7)).eval(), file.read_bytes(), preprocess, tolerance=1e-4)


def test_a_failed_gate_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.export.TOLERANCE", {"fp32": -1.0})
    with pytest.raises(ExportError):
        export_onnx(registry.build("nano"), tmp_path / "m.onnx", name="n", labels=SEVEN, preprocess=Preprocess())
    assert list(tmp_path.iterdir()) == []


def test_counted_sizes() -> None:
    """Parameters and multiply-accumulates by hand: k² · in · out · H · W of each convolution, and the classifier."""
    conv = [(3, 1, 32, 48), (3, 32, 64, 24), *[(3, 64, 64, 24)] * 2]
    conv += [(3, 64, 128, 12), *[(3, 128, 128, 12)] * 3, (1, 64, 128, 12)]
    conv += [(3, 128, 256, 6), *[(3, 256, 256, 6)] * 3, (1, 128, 256, 6)]
    macs = sum(k * k * i * o * s * s for k, i, o, s in conv) + 256 * 7
    parameters = sum(k * k * i * o + 2 * o for k, i, o, _ in conv) + 257 * 7
    assert registry.measure(registry.spec("compact")) == (parameters, macs)


def test_unknown_network_and_argument() -> None:
    with pytest.raises(RecipeError, match=r"expected one of compact.*got 'compakt'"):
        registry.build("compakt")
    with pytest.raises(RecipeError, match=r"model\.args\.depht: nano takes .*depths"):
        registry.build("nano", {"depht": 3})


def test_grey_and_rgb_inputs_and_more_classes() -> None:
    network = registry.spec("nano").build(in_channels=3, num_classes=8)
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 8)
    assert np.isfinite(network(torch.zeros(2, 3, 48, 48)).detach().numpy()).all()
