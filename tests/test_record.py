"""``scripts/record.py``: what is kept of a run, and that nothing else is."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from called import run_script
from mien.labels import SEVEN
from mien.reading.classifier import Classifier


def record(*words: str | Path) -> tuple[int, str, str]:
    return run_script("record", *words)


@pytest.mark.long
def test_a_record_holds_what_a_figure_could_be_asked_about(
    trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    status, out, err = record(trained_run, "first", "--data", small_store, "--to", tmp_path, "--device", "cpu")
    assert status == 0, err
    assert "accuracy" in out
    kept = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    evaluations = {f"first/{ten}{file}" for ten in ("", "tta/") for file in ("report.json", "predictions.parquet")}
    of_run = {f"first/{file}" for file in ("recipe.yaml", "meta.json", "log.csv", "curves.png", "confusion.png")}
    assert kept == evaluations | of_run | {"private_test/first.parquet"}
    with Image.open(tmp_path / "first" / "confusion.png") as image:
        assert image.mode == "P"  # 256 colours, a third of the bytes
    single, ten = (json.loads((tmp_path / "first" / what / "report.json").read_text()) for what in ("", "tta"))
    best = json.loads((tmp_path / "first" / "meta.json").read_text())["result"]["best_valid_accuracy"]
    assert single["figures"]["all"]["accuracy"]["value"] == pytest.approx(best, abs=1e-5)
    assert (single["views"], ten["views"]) == (1, 10)
    blind = pq.read_table(tmp_path / "private_test" / "first.parquet")
    assert blind.schema.equals(pa.schema([("path", pa.string()), *((name, pa.float32()) for name in SEVEN)]))
    assert blind.num_rows == 35
    np.testing.assert_allclose(np.sum([blind.column(name).to_numpy() for name in SEVEN], axis=0), 1, atol=1e-4)


@pytest.mark.long
def test_an_arm_leaves_out_what_nobody_will_score(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    words = ("--data", small_store, "--to", tmp_path, "--device", "cpu", "--no-tta", "--no-blind", "--onnx")
    assert record(trained_run, "arm", *words)[0] == 0
    assert (tmp_path / "arm" / "report.json").is_file()
    assert Classifier.load(tmp_path / "arm" / "arm.onnx").meta.labels == SEVEN
    assert not (tmp_path / "arm" / "tta").exists()
    assert not (tmp_path / "private_test").exists()


def test_what_is_no_run_is_one_line(small_store: Path, tmp_path: Path) -> None:
    status, _, err = record(tmp_path, "first", "--data", small_store, "--to", tmp_path / "out")
    assert status == 2
    assert err.startswith("error: expected a run directory")
    assert not (tmp_path / "out").exists()
