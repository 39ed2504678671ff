"""The path from a run to a report: run = file, leak-free is what it says, a held-out split is not scored."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from eval_store import model_report
from mien.data.store import Store
from mien.errors import DataError, ModelError, UsageError
from mien.evaluation.predict import fit_calibrations, predict_crops
from mien.evaluation.predictors import RunPredictor, all_logits, load_predictor
from mien.export import export_run
from mien.reading.classifier import Classifier
from mien.reading.probabilities import Calibration


@pytest.fixture(scope="module")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "small.onnx"
    export_run(trained_run, file, name=None, calibration=Calibration(0.7, 0.01), calibration_tta=Calibration(0.6))
    return file


def test_the_file_carries_its_meaning(exported: Path, trained_run: Path) -> None:
    meta = Classifier.load(exported).meta
    run = RunPredictor(trained_run)
    assert (meta.labels, meta.preprocess, meta.name) == (run.labels, run.preprocess, "small")
    assert (meta.calibration, meta.calibration_tta) == (Calibration(0.7, 0.01), Calibration(0.6))
    assert meta.provenance["recipe"]["model"]["name"] == "nano"
    assert meta.provenance["valid_accuracy"] > 0.5
    assert onnx.load(exported).graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_run_and_file_give_the_same_report(
    exported: Path, trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    store = Store.open(small_store)
    by_run = model_report(load_predictor(str(trained_run)), store, "public_test", tmp_path / "run")
    by_file = model_report(load_predictor(str(exported)), store, "public_test", tmp_path / "file")
    same = ("accuracy", "macro_f1", "per_class", "confusion")
    assert {k: by_run["figures"]["all"][k] for k in same} == {k: by_file["figures"]["all"][k] for k in same}
    assert by_run["calibration"]["temperatures"] == pytest.approx(by_file["calibration"]["temperatures"], rel=1e-3)
    for name in ("predictions.parquet", "predictions.csv", "report.json", "confusion.png", "reliability.png"):
        assert (tmp_path / "file" / name).stat().st_size > 0
    assert json.loads((tmp_path / "file" / "report.json").read_text()) == by_file


def test_the_report_agrees_with_its_own_predictions(exported: Path, small_store: Path, tmp_path: Path) -> None:
    report = model_report(load_predictor(str(exported)), Store.open(small_store), "public_test", tmp_path)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    right = table["label"] == table["answer"]
    assert report["figures"]["all"]["accuracy"]["value"] == pytest.approx(right.mean())
    clean = ~table["near_duplicate"].astype(bool)
    assert report["figures"]["leak_free"]["n"] == clean.sum()
    assert report["figures"]["leak_free"]["accuracy"]["value"] == pytest.approx(right[clean].mean())


def test_a_single_image_is_scored_without_a_cross_fit(exported: Path, small_store: Path, tmp_path: Path) -> None:
    report = model_report(load_predictor(str(exported)), Store.open(small_store), "public_test", tmp_path, limit=1)
    assert report["figures"]["all"]["n"] == 1
    assert "calibration" not in report


def test_ten_crops_are_ten_views(exported: Path, small_store: Path) -> None:
    predictor = load_predictor(str(exported))
    split = Store.open(small_store).read("public_test")
    found = predict_crops(predictor, split.rows(np.arange(5)), tta=True)
    assert found.logits is not None
    assert found.logits.shape == (5, 10, 7)
    classifier = Classifier.load(exported)
    np.testing.assert_allclose(
        found.probabilities, classifier.probabilities(split.images[:5, None], tta=True), atol=1e-6
    )


def test_held_back_labels_are_predicted_and_not_scored(make_model, small_store: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """As with the real PrivateTest: a store whose split has no labels."""
    import pyarrow as pa

    from mien.data.build.run import build_store
    from mien.data.sources import open_source

    source = tmp_path / "source"
    source.mkdir()
    table = pq.read_table(Store.open(small_store).shards("private_test")[0]).select(["image"])
    pq.write_table(
        table.append_column("usage", pa.array(["PrivateTest"] * len(table))), source / "private_test.parquet"
    )
    train = pq.read_table(Store.open(small_store).shards("training")[0])
    train = train.select(["image"]).append_column("emotion", train["label_code"])
    pq.write_table(train.append_column("usage", pa.array(["Training"] * len(train))), source / "training.parquet")
    pq.write_table(train.append_column("usage", pa.array(["PublicTest"] * len(train))), source / "public_test.parquet")
    build_store([open_source("fer2013", source)], tmp_path / "store")

    out = tmp_path / "out"
    report = model_report(load_predictor(str(make_model())), Store.open(tmp_path / "store"), "private_test", out)
    assert report["figures"] is None
    rows = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert len(rows) == 35
    assert sum(float(v) for k, v in rows[0].items() if k != "path") == pytest.approx(1, abs=1e-5)
    assert not (out / "confusion.png").exists()


def test_a_picture_without_a_face_counts_as_wrong(exported: Path, small_store: Path, tmp_path: Path) -> None:
    """Bars are no faces: the whole pipeline finds none and scores 0, with every image in the denominator."""
    report = model_report(
        load_predictor(str(exported)), Store.open(small_store), "public_test", tmp_path, detector="centerface", limit=8
    )
    figures = report["figures"]["all"]
    assert (figures["n"], figures["failures"]) == (8, 8)
    assert figures["accuracy"]["value"] == 0


def test_calibrations_of_a_run(trained_run: Path, small_store: Path) -> None:
    split = Store.open(small_store).read("public_test")
    eighth = replace(split, labels=np.where(np.arange(70) == 3, 7, split.labels))
    with pytest.raises(
        DataError, match=r"expected images of angry, .* alone in public_test, got some of contempt; build"
    ):
        fit_calibrations(RunPredictor(trained_run), eighth)
    single, ten = fit_calibrations(RunPredictor(trained_run), split)
    assert ten is not None
    assert 0.05 <= single.temperature <= 20
    assert 0.05 <= ten.temperature <= 20
    assert single.floor == ten.floor == 0  # 70 images are too few for one


def test_what_cannot_be_evaluated(tmp_path: Path, trained_run: Path, small_store: Path) -> None:
    with pytest.raises(DataError, match="expected a run directory"):
        load_predictor(str(tmp_path))
    with pytest.raises(UsageError, match="expected a run directory or an ONNX file"):
        load_predictor(str(trained_run / "best.ckpt"))
    (tmp_path / "broken.onnx").write_bytes(b"\x00broken")
    with pytest.raises(ModelError):
        load_predictor(str(tmp_path / "broken.onnx"))
    with pytest.raises(UsageError, match="export it first"):
        model_report(
            RunPredictor(trained_run), Store.open(small_store), "public_test", tmp_path / "o", detector="centerface"
        )


def test_no_rows_no_logits(exported: Path) -> None:
    assert all_logits(load_predictor(str(exported)), np.zeros((0, 1, 48, 48), np.uint8), tta=False).shape == (0, 1, 7)
