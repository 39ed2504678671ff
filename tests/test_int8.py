"""Readers in int8: which file is loaded, what is refused, and what quantisation leaves as it was."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mien import Reader, weights
from mien.errors import ModelError, UsageError
from mien.evaluation.analysis.int8 import Measured, ece_of_perfect, set_metadata
from mien.evaluation.metrics import ece
from mien.preprocess import Preprocess
from mien.quantise import fold_casts, quantised
from mien.reading import classifier
from mien.reading.classifier import SHIPPED, Classifier, model_bytes

Crops = np.ndarray


@pytest.fixture(scope="module")
def crops() -> Crops:
    """uint8 64×1×48×48: smooth blobs."""
    from mien.export import sample_crops

    return sample_crops(64, Preprocess())


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_int8_reads_as_fp32_does_and_says_what_it_is(
    name: str, crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: True)
    plain, small = (Classifier.load(name, threads=1, precision=precision) for precision in ("fp32", "int8"))
    assert (plain.meta.precision, small.meta.precision) == ("fp32", "int8")
    assert plain.labels == small.labels
    assert plain.preprocess == small.preprocess
    assert small.meta.calibration != plain.meta.calibration  # fitted anew
    distance = np.abs(plain.probabilities(crops) - small.probabilities(crops)).sum(1).mean() / 2
    assert 0 < distance < 0.1
    shuffled = np.abs(plain.probabilities(crops) - small.probabilities(crops[::-1])).sum(1).mean() / 2
    assert distance < shuffled / 2  # the control
    gate = small.meta.provenance["int8"]["gate"]
    assert Measured(**gate).failures() == []


@pytest.mark.parametrize(("exact", "taken"), [(True, "int8"), (False, "fp32")])
def test_auto_takes_what_the_processor_computes_exactly(
    exact: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: exact)
    assert Classifier.load("nano", threads=1, precision="auto").meta.precision == taken
    assert Classifier.load("nano", threads=1).meta.precision == "fp32"  # to which the published figures belong
    assert Reader("nano", threads=1)._classifier.meta.precision == taken


def test_without_its_int8_file_auto_takes_fp32_and_int8_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "nano.onnx").write_bytes(model_bytes("nano"))
    shutil.copy(Path(weights.__file__).with_name(weights.SUMS), tmp_path)
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: True)
    monkeypatch.setattr(classifier.resources, "files", lambda package: tmp_path)
    with caplog.at_level("DEBUG", "mien"):
        assert Classifier.load("nano", threads=1, precision="auto").meta.precision == "fp32"
    assert "nano: its int8 file is not in this installation; fp32 is used" in caplog.text
    with pytest.raises(ModelError, match=r"'nano' is not in this installation in int8 .*nano\.int8\.onnx.*fp32"):
        Classifier.load("nano", threads=1, precision="int8")
    (tmp_path / "nano.onnx").unlink()
    for precision in ("auto", "int8", "fp32", None):
        with pytest.raises(ModelError, match=r"'nano' is not in this installation \(.*--model FILE"):
            Classifier.load("nano", threads=1, precision=precision)


def test_int8_where_sums_would_saturate_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: True)
    small = model_bytes_of_int8()
    Classifier.load(small, threads=1)  # the control
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: False)
    for model in ("nano", small):
        with pytest.raises(UsageError, match=r"VNNI.*--precision fp32.*--reduce-range"):
            Classifier.load(model, threads=1, precision="int8")
    reduced = onnx.load_model_from_string(small)
    set_metadata(reduced, {"mien.precision": "int8-reduced"})
    assert Classifier.load(reduced.SerializeToString(), threads=1).meta.precision == "int8-reduced"


def model_bytes_of_int8() -> bytes:
    return Path(str(classifier._locate("nano", int8=True)[0])).read_bytes()


def test_a_file_of_another_precision_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "int8_is_exact", lambda: True)
    with pytest.raises(UsageError, match="expected a model in int8, got one in fp32"):
        Classifier.load(str(tiny_model), precision="int8")
    with pytest.raises(UsageError, match="expected a model in fp32, got one in int8"):
        Classifier.load(model_bytes_of_int8(), precision="fp32")
    with pytest.raises(UsageError, match="auto, fp32, int8, got 'int4'"):
        Classifier.load("nano", precision="int4")


def test_quantising_keeps_metadata_and_is_near(crops: Crops) -> None:
    source = model_bytes("nano")
    plain = Classifier.load(source, threads=1)
    batch = plain.preprocess.normalise(crops)
    made = quantised(source, batch)
    before, after = (onnx.load_model_from_string(content) for content in (source, made))
    assert {e.key: e.value for e in before.metadata_props} == {e.key: e.value for e in after.metadata_props}
    assert any(node.op_type == "QuantizeLinear" for node in after.graph.node)
    near = np.abs(plain.logits(batch) - Classifier.load(made, threads=1).logits(batch)).mean()
    wrong = quantised(source, batch * 0.05)  # the control: ranges from pictures without contrast
    assert near < np.abs(plain.logits(batch) - Classifier.load(wrong, threads=1).logits(batch)).mean() / 2


def test_folding_casts_changes_no_number() -> None:
    model = onnx.load_model_from_string(model_bytes("nano"))
    halves = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    assert halves  # the control: there is something to fold
    fold_casts(model)
    assert not [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16]
    folded = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, values in halves.items():
        assert np.array_equal(folded[name.removesuffix(".half")], values.astype(np.float32))


def test_the_gate_names_each_rule_that_fails() -> None:
    good = {
        "split": "public_test",
        "images": 100,
        "accuracy_fp32": 0.7,
        "accuracy_int8": 0.702,
        "agreement": 0.99,
        "ece_fp32": 0.03,
        "ece_int8": 0.03,
        "ece_higher_by": (-0.002, 0.004),
        "ece_of_perfect": 0.026,
        "nll_fp32": 0.81,
        "nll_int8": 0.811,
        "corrupted_images": 50,
        "corrupted_fp32": 0.6,
        "corrupted_int8": 0.604,
    }
    assert Measured(**good).failures() == []
    assert Measured(**(good | {"ece_fp32": 0.016, "ece_int8": 0.0196})).failures() == []  # below what chance makes
    for change, message in (
        ({"accuracy_int8": 0.696}, "accuracy within 0.3"),
        ({"accuracy_int8": 0.704}, "accuracy within 0.3"),  # by rule, not by score: a better one fails as well
        ({"agreement": 0.979}, "agreement of 98%"),
        ({"ece_int8": 0.0301}, "ECE not higher"),
        ({"ece_fp32": 0.016, "ece_int8": 0.0261}, "ECE not higher, or at most 0.0260"),
        ({"nll_int8": 0.8151}, "NLL at most 0.005 nats higher"),
        ({"corrupted_int8": 0.594}, "corrupted within 0.5"),
    ):
        (failure,) = Measured(**(good | change)).failures()
        assert message in failure
    json.dumps(good)


def test_the_ece_of_perfect_probabilities_falls_with_the_root_of_the_images() -> None:
    """Labels drawn from the probabilities exceed it one time in twenty, overconfident ones nearly always."""
    random = np.random.default_rng(1)
    p = random.dirichlet(np.full(7, 0.3), 4000).astype(np.float32)
    bound = ece_of_perfect(p, draws=200)
    assert ece_of_perfect(p[:250], draws=200) == pytest.approx(4 * bound, rel=0.3)

    def above(truth: np.ndarray) -> float:
        sums = truth.cumsum(1) / truth.sum(1, keepdims=True)
        drawn = [(sums < random.random((len(p), 1))).sum(1) for _ in range(100)]
        return float(np.mean([ece(labels, p) > bound for labels in drawn]))

    assert above(p) < 0.15
    assert above(p**0.7) > 0.9
