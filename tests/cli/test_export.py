"""``mien export``: what cannot work is said before the work, and so is what the work will take."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.data.store import Store
from mien.evaluation import predictors
from mien.evaluation.calibration import fit_temperature
from mien.evaluation.predict import fit_calibrations
from mien.evaluation.predictors import RunPredictor, all_logits
from mien.reading.classifier import Classifier
from mien.reading.probabilities import Calibration

runner = CliRunner()
CPU = ["--device", "cpu"]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a run was loaded before the target was checked")

    monkeypatch.setattr(predictors, "RunPredictor", never)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("m.onx", "expected a file name that ends in .onnx, got '{tmp}/m.onx'; for example {tmp}/m.onnx"),
        ("", "expected a file name that ends in .onnx, got '{tmp}'; for example {tmp}/model.onnx"),
        ("no/such/m.onnx", "does not exist; make it first"),
        ("folder.onnx", "it is a directory"),
        ("readme.onnx", "it is write-protected"),
    ],
)
def test_the_target_is_checked_before_anything_else(
    target: str, message: str, trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    if target == "readme.onnx" and os.geteuid() == 0:
        pytest.skip("root may write everything")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "readme.onnx").write_text("keep")
    (tmp_path / "readme.onnx").chmod(0o400)
    before = sorted(tmp_path.iterdir())
    result = runner.invoke(app, ["export", str(trained_run), "--data", str(small_store), "-o", str(tmp_path / target)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message.format(tmp=tmp_path) in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit", "9"], "--limit: expected --data STORE with it"),
        (["--data", "{store}", "--device", "tpu"], "--device: expected auto, cpu or gpu; got 'tpu'"),
    ],
)
def test_options_that_cannot_work(
    words: list[str], message: str, trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    words = [word.format(store=small_store) for word in words]
    result = runner.invoke(app, ["export", str(trained_run), "-o", str(tmp_path / "m.onnx"), *words])
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert message in result.stderr


def test_a_reader_is_not_replaced_by_its_int8_form(small_store: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.onnx"
    file.write_bytes(tiny_model.read_bytes())
    result = runner.invoke(app, ["export", str(file), "--int8", "--data", str(small_store), "-o", str(file)])
    assert result.exit_code == 2
    assert "expected an output beside the input" in result.stderr
    assert file.read_bytes() == tiny_model.read_bytes()


def test_it_says_what_fitting_will_take_and_fits_on_everything(
    trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "m.onnx"
    result = runner.invoke(app, ["export", str(trained_run), "--data", str(small_store), "-o", str(file), *CPU])
    assert result.exit_code == 0, result.stderr
    assert re.search(
        r"^fitting the calibration on public_test, 11 views of each, on the cpu: about \d+ s$", result.stderr, re.M
    )
    meta = Classifier.load(str(file), threads=1).meta
    assert meta.provenance["temperature_fitted_on"] == "public_test"
    predictor, split = RunPredictor(trained_run), Store.open(small_store).read("public_test")
    pixels = predictor.preprocess.stack(split.images)
    expected = [fit_temperature(all_logits(predictor, pixels, tta=tta), split.labels) for tta in (False, True)]
    assert [meta.calibration.temperature, meta.calibration_tta.temperature] == expected


def test_fewer_images_are_named_in_the_file(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    words = ["export", str(trained_run), "--data", str(small_store), "-o", str(file), "--limit", "21", "--no-tta", *CPU]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.stderr
    assert "fitting the calibration on public_test, 21 of 70 images, 1 view of each" in result.stderr
    assert re.search(r"temperature (\S+), floor 0.0000 \(ten crops temperature \1, floor 0.0000\)", result.stderr)
    meta = Classifier.load(str(file), threads=1).meta
    assert meta.provenance["temperature_fitted_on"] == "public_test, 21 of 70 images"
    assert meta.calibration_tta == meta.calibration
    predictor, split = RunPredictor(trained_run), Store.open(small_store).read("public_test")
    rows = np.linspace(0, 69, 21).round().astype(int)
    logits = all_logits(predictor, predictor.preprocess.stack(split.images[rows]), tta=False)
    assert meta.calibration == Calibration(fit_temperature(logits, split.labels[rows]))
    assert meta.calibration != fit_calibrations(predictor, split, tta=False)[0]


def test_a_limit_above_the_split_is_the_split(trained_run: Path, small_store: Path) -> None:
    predictor, split = RunPredictor(trained_run), Store.open(small_store).read("public_test")
    assert fit_calibrations(predictor, split, limit=1000) == fit_calibrations(predictor, split)


def test_progress_counts_every_view_once(trained_run: Path, small_store: Path) -> None:
    told: list[tuple[int, int]] = []
    predictor, split = RunPredictor(trained_run), Store.open(small_store).read("public_test")
    fit_calibrations(predictor, split, progress=lambda done, total: told.append((done, total)))
    assert told == [(70, 770), (390, 770), (710, 770), (770, 770)]
