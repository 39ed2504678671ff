"""The registry, and what is true of our own networks beyond the contract (``test_contract.py``)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mien.errors import ExportError, RecipeError, WeightsError
from mien.export import export_onnx
from mien.labels import SEVEN
from mien.models import registry
from mien.preprocess import Preprocess


@pytest.mark.parametrize("weights", ["fp32", "fp16"])
@pytest.mark.parametrize("name", [pytest.param("compact", marks=pytest.mark.long), "nano"])
def test_an_exported_reader_is_no_larger_than_its_weights(name: str, weights: str, tmp_path: Path) -> None:
    network, file = registry.build(name).eval(), tmp_path / "model.onnx"
    measured = export_onnx(network, file, name=name, labels=SEVEN, preprocess=Preprocess(), weights=weights)
    parameters = sum(p.numel() for p in network.parameters())
    assert measured["bytes"] == file.stat().st_size < parameters * (4 if weights == "fp32" else 2) * 1.15


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
    with pytest.raises(RecipeError, match=r"expected one of .*compact.*got 'compakt'"):
        registry.build("compakt")
    with pytest.raises(RecipeError, match=r"model\.args\.depht: nano takes .*depths"):
        registry.build("nano", {"depht": 3})


def test_wrong_values_are_told_in_one_short_line() -> None:
    with pytest.raises(RecipeError, match=r"^model\.args: emonext: expected depths to be four numbers"):
        registry.build("emonext", {"depths": [1, 2]})  # the network's own words, not the arguments once more
    with pytest.raises(RecipeError, match=r"values that nano can be built with, got widths: .* …: ") as caught:
        registry.build("nano", {"widths": 5, "dropout": [0.1] * 400})
    assert len(str(caught.value)) < 400


def test_grey_and_rgb_inputs_and_more_classes() -> None:
    network = registry.spec("nano").build(in_channels=3, num_classes=8)
    assert network(torch.zeros(2, 3, 48, 48)).shape == (2, 8)
    assert np.isfinite(network(torch.zeros(2, 3, 48, 48)).detach().numpy()).all()


def test_any_network_of_timms() -> None:
    import timm

    torch.manual_seed(0)
    ours = registry.build("timm/resnet18", {"drop_rate": 0.1}).eval()
    theirs = timm.create_model("resnet18", num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert registry.measure(registry.spec("timm/resnet34"))[0] == 21_288_263  # 21,797,672 − 993 · 513 of the classes
    with pytest.raises(RecipeError, match=r"expected a network that timm .* knows, got 'resnet33'.*resnet33"):
        registry.build("timm/resnet33")
    with pytest.raises(RecipeError, match=r"model\.args\.depth: timm/resnet18 takes drop_rate"):
        registry.build("timm/resnet18", {"depth": 3})


def test_imagenet_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model

    def offline(*args: object, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise ConnectionError("no route\nto host")
        return create(*args, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        WeightsError, match=r"model\.init: imagenet: .* resnet18, got ConnectionError; use .*scratch"
    ) as e:
        registry.build("timm/resnet18", pretrained=True)
    assert "\n" not in str(e.value)
    with pytest.raises(RecipeError, match=r"there are no ImageNet weights for nano; use model\.init: scratch"):
        registry.build("nano", pretrained=True)
    with pytest.raises(RecipeError, match=r"timm has no weights of efficientnet_b8; use model\.init: scratch"):
        registry.build("timm/efficientnet_b8", pretrained=True)
    with pytest.raises(RecipeError, match=r"timm .* knows no weights 'resnet50\.best'; known: a1_in1k"):
        registry.build("timm/resnet50.best", pretrained=True)
    with pytest.raises(RecipeError, match=r"expected values that timm/resnet18 can be built with"):  # not the network's
        registry.build("timm/resnet18", {"drop_path_rate": "much"}, pretrained=True)


def test_a_dead_proxy_is_found_out_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket
    import time

    from huggingface_hub import constants

    from mien.models.backbones import _cached_only_when_offline

    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        started = time.monotonic()
        with _cached_only_when_offline():
            assert constants.HF_HUB_OFFLINE
        assert time.monotonic() - started < 30  # it took minutes; the machine may be busy


def test_timms_networks_for_one_side_are_built_for_the_recipes() -> None:
    for name, side in (("timm/vit_tiny_patch16_224", 48), ("timm/swin_tiny_patch4_window7_224", 96)):
        with torch.device("meta"):
            network = registry.build(name, {}, image_size=side)
            assert network(torch.empty(2, 3, side, side)).shape == (2, 7)
            with pytest.raises(AssertionError):  # timm's own, for pictures of another side
                network(torch.empty(2, 3, side * 2, side * 2))


def test_the_gate_is_not_blind_where_probabilities_are_0_and_1() -> None:
    class Sure(torch.nn.Module):
        def __init__(self, lead: float) -> None:
            super().__init__()
            self.answer = torch.nn.Parameter(torch.tensor([lead, 0.0, 0, 0, 0, 0, 0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.answer + 0 * x.mean((1, 2, 3))[:, None]

    from mien.export import TOLERANCE, _to_onnx, parity

    content = _to_onnx(Sure(200.0).eval(), torch.zeros(2, 1, 48, 48)).SerializeToString()
    assert parity(Sure(200.0).eval(), content, Preprocess(), tolerance=TOLERANCE["fp32"])["max_logit_difference"] < 1e-3
    with pytest.raises(ExportError, match=r"logits within 0\.001 of their scale"):
        parity(Sure(201.0).eval(), content, Preprocess(), tolerance=TOLERANCE["fp32"])
