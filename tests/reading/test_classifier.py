"""A model file: numbers against a closed form, and a one-line refusal of whatever is not ours."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mien.errors import MienError, ModelError, UsageError
from mien.labels import EIGHT, SEVEN
from mien.preprocess import Preprocess
from mien.reading.classifier import SHIPPED, Classifier
from mien.reading.probabilities import Calibration, probabilities

MakeModel = Callable[..., Path]
Answer = Callable[..., np.ndarray]
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 1, 48, 48), dtype=np.uint8)


def test_probabilities_are_the_closed_form(tiny_model: Path, tiny_answer: Answer) -> None:
    classifier = Classifier.load(tiny_model, threads=1)
    got = classifier.probabilities(PIXELS)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, tiny_answer(PIXELS), atol=1e-5)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)
    # negative control: another temperature gives visibly other numbers
    assert np.abs(got - tiny_answer(PIXELS, temperature=1.0)).max() > 1e-3


@pytest.mark.parametrize("own", [None, "0.7"])
def test_tta_is_the_mean_over_ten_crops_by_hand(make_model: MakeModel, tiny_answer: Answer, own: str | None) -> None:
    """Five 44-pixel windows and their mirror images, each enlarged by a resize written here a second time."""
    classifier = Classifier.load(make_model(mien__temperature_tta=own), threads=1)
    temperature = {"temperature": float(own)} if own else {}

    def enlarge(rows: np.ndarray) -> np.ndarray:  # along the first axis, 44 → 48
        at = (np.arange(48) + 0.5) * 44 / 48 - 0.5
        return np.stack([np.interp(at, np.arange(44), column) for column in rows.T], axis=1)

    expected = np.zeros((len(PIXELS), 7))
    for n in range(len(PIXELS)):
        for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4)):
            view = enlarge(enlarge(PIXELS[n, 0, top : top + 44, left : left + 44]).T).T
            for crop in (view, view[:, ::-1]):
                expected[n] += tiny_answer(crop[None, None], **temperature)[0] / 10
    np.testing.assert_allclose(classifier.probabilities(PIXELS, tta=True), expected, atol=1e-5)
    assert np.abs(classifier.probabilities(PIXELS) - expected).max() > 1e-4  # it is not the single crop


@pytest.mark.parametrize("floor", [0.0, 0.02, 1e-200])
def test_large_logits(floor: float) -> None:
    row = probabilities(np.array([[1e4, 0.0, -1e4]], np.float32), Calibration(1.0, floor))
    np.testing.assert_allclose(row, [[1, 0, 0]], atol=1e-3)


def test_a_floor_is_what_label_smoothing_added() -> None:
    """(1 - 7 f) p + f, with the floor f: what comes back is p, where p is well above the bend; a temperature cannot."""
    p = np.array([[0.7, 0.24, 0.02, 0.01, 0.01, 0.01, 0.01], [0.05, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01]])
    smoothed = np.log((1 - 7 * 0.025) * p + 0.025).astype(np.float32)
    got = probabilities(smoothed, Calibration(1.0, 0.025))
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(got, p, atol=0.012)
    assert (got.argsort(1)[:, -2:] == p.argsort(1)[:, -2:]).all()
    controls = [probabilities(smoothed, Calibration(t)) for t in np.geomspace(0.3, 3, 200)]
    assert min(np.abs(one - p).max() for one in controls) > 0.025


def test_a_floor_in_the_file(make_model: MakeModel, tiny_answer: Answer) -> None:
    plain = tiny_answer(PIXELS, temperature=1.0)
    above = plain - 0.05
    powers = ((above + np.sqrt(above**2 + 0.0125**2)) / 2) ** 0.5
    expected = powers / powers.sum(1, keepdims=True)
    own = {"mien__format": "2", "mien__floor": "0.05"}
    got = Classifier.load(make_model(**own), threads=1).probabilities(PIXELS)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (got.argmax(1) == plain.argmax(1)).all()
    assert np.abs(got - tiny_answer(PIXELS)).max() > 1e-3  # the control: without it
    ten = Classifier.load(make_model(**own, mien__floor_tta="0.0"), threads=1).meta
    assert (ten.calibration, ten.calibration_tta) == (Calibration(2.0, 0.05), Calibration(2.0, 0.0))


def test_no_crops(tiny_model: Path) -> None:
    assert Classifier.load(tiny_model, threads=1).probabilities(PIXELS[:0]).shape == (0, 7)


def test_what_it_says_about_itself(make_model: MakeModel) -> None:
    classifier = Classifier.load(make_model(labels=EIGHT), threads=1)
    assert classifier.labels == EIGHT
    assert classifier.preprocess == Preprocess()
    assert classifier.meta.provenance == {"made": "by a test"}
    assert classifier.meta.calibration_tta == classifier.meta.calibration == Calibration(2.0)


def refusal(path: Path | str) -> MienError:
    with pytest.raises(MienError) as caught:
        Classifier.load(path, threads=1)
    assert "\n" not in str(caught.value)
    return caught.value


def test_unknown_name_lists_the_shipped_ones() -> None:
    error = refusal("compakt")
    assert isinstance(error, UsageError)
    assert all(name in str(error) for name in SHIPPED)
    assert isinstance(refusal("no/such.onnx"), UsageError)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x09" * 100])
def test_broken_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    error = refusal(path)
    assert isinstance(error, ModelError)
    assert "expected an ONNX model" in str(error)


def test_foreign_file(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "foreign.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    error = refusal(path)
    assert isinstance(error, ModelError)
    assert "mien.labels" in str(error)
    assert "got none" in str(error)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mien__format": "3"}, "format 1 or 2, got '3'"),
        ({"mien__format": "2"}, "mien.temperature, mien.floor; got"),
        ({"mien__floor": "0.2"}, "a floor from 0 to below 1/7, got 0.2"),
        ({"mien__floor": "nan"}, "a floor from 0"),
        ({"mien__floor_tta": "-0.1"}, "a floor from 0"),
        ({"mien__temperature": None}, "mien.temperature"),
        ({"mien__temperature": "0"}, "positive temperature"),
        ({"mien__temperature": "nan"}, "positive temperature"),
        ({"mien__temperature": "warm"}, "readable metadata"),
        ({"mien__labels": "not json"}, "readable metadata"),
        ({"mien__labels": '["a"]'}, "two or more distinct labels"),
        ({"mien__labels": '["a", "a"]'}, "two or more distinct labels"),
        ({"mien__labels": '["happy", "error"]'}, "two or more distinct labels"),
        ({"mien__labels": '["a", "b", "c"]'}, "logits [N, 3]"),
        ({"mien__preprocess": "{}"}, "preprocess"),
        ({"mien__preprocess": Preprocess(size=64).to_json()}, "[N, 1, 64, 64]"),
        ({"input": "image"}, "input crops"),
    ],
)
def test_metadata_that_does_not_fit(make_model: MakeModel, changes: dict[str, str], words: str) -> None:
    error = refusal(make_model(labels=SEVEN, **changes))
    assert isinstance(error, ModelError)
    assert words in str(error)


def test_not_a_number_is_refused(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = json.loads(Preprocess().to_json()) | {"mean": [float("nan")]}
    with pytest.raises(ModelError, match=r"tiny\.onnx: expected 1 mean and positive std values"):
        Classifier.load(make_model(mien__preprocess=json.dumps(preprocess)), threads=1)
    classifier = Classifier.load(make_model(), threads=1)
    normalise = Preprocess.normalise
    monkeypatch.setattr(Preprocess, "normalise", lambda self, pixels: normalise(self, pixels) * np.nan)
    with pytest.raises(ModelError, match="finite"):  # a network that overflows
        classifier.probabilities(PIXELS)


def test_labels_are_a_list_and_errors_name_the_file(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match="labels"):
        Classifier.load(make_model(mien__labels='"abcdefg"'))
    with pytest.raises(ModelError, match=r"tiny\.onnx: expected a preprocess"):
        Classifier.load(make_model(mien__preprocess="[]"))
