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
from mien.reading.classifier import SHIPPED, Classifier, softmax

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


def test_softmax_survives_large_logits() -> None:
    row = softmax(np.array([[1e4, 0.0, -1e4]], np.float32), temperature=1.0)
    assert row.tolist() == [[1.0, 0.0, 0.0]]


def test_no_crops(tiny_model: Path) -> None:
    assert Classifier.load(tiny_model, threads=1).probabilities(PIXELS[:0]).shape == (0, 7)


def test_what_it_says_about_itself(make_model: MakeModel) -> None:
    classifier = Classifier.load(make_model(labels=EIGHT), threads=1)
    assert classifier.labels == EIGHT
    assert classifier.preprocess == Preprocess()
    assert classifier.meta.provenance == {"made": "by a test"}
    assert classifier.meta.temperature_tta == classifier.meta.temperature == 2.0


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
        ({"mien__format": "2"}, "format 1, got '2'"),
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
