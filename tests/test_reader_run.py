"""``scripts/reader_run.py``: a run that computes what a reader's ONNX file does, and can be trained further."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from called import run_script
from mien.data.store import Store
from mien.errors import MienError
from mien.reading.classifier import Classifier
from mien.training.datasets import as_inputs
from mien.training.networks import load_network

ROOT = Path(__file__).parents[1]
NANO = ROOT / "src/mien/weights/nano.onnx"


def test_the_run_computes_the_files_probabilities(small_store: Path, tmp_path: Path) -> None:
    assert run_script("reader_run", "nano", "--data", small_store, "-o", tmp_path / "nano")[0] == 0
    network, recipe, preprocess, meta = load_network(tmp_path / "nano")
    assert (recipe.model.name, meta["from_onnx"]) == ("nano", "nano")
    crops = as_inputs(Store.open(small_store).read("public_test").images, preprocess)
    there = Classifier.load(NANO).logits(crops.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(network(crops).numpy(), there, atol=1e-3)
        # the statistics are those of pictures: batches of them in training mode come close; mean 0, variance 1 do not
        loose = network.train()(crops).numpy()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_var is not None
                assert not torch.allclose(module.running_var, torch.ones_like(module.running_var))
    assert np.corrcoef(loose.ravel(), there.ravel())[0, 1] > 0.5


def test_a_file_of_another_network_is_refused(small_store: Path, tmp_path: Path) -> None:
    model = onnx.load(NANO)
    (conv,) = (t for t in model.graph.initializer if t.name.startswith("stem.0.0.weight") and "bias" not in t.name)
    conv.name = "stem.0.9.weight"
    for node in model.graph.node:
        node.input[:] = [conv.name if name.startswith("stem.0.0.weight") and "bias" not in name else name
                         for name in node.input]  # fmt: skip
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(MienError):
        run_script("reader_run", tmp_path / "other.onnx", "--data", small_store, "-o", tmp_path / "run")
    assert not (tmp_path / "run" / "best.ckpt").exists()
