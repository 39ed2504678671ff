"""mien compare: finished evaluations have to be what was asked for, and contempt is left out where no model has it."""

from pathlib import Path

import numpy as np
import pytest

from eval_store import file_report, hot, leaky_store, model_report, write_answers
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.compare import collect, compare_models
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.predictors import load_predictor
from mien.labels import EIGHT, SEVEN

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("asked") / "store", labels=EIGHT, images=80, copied=20)


def test_two_models_without_contempt_leave_its_images_out(store: Store, tmp_path: Path) -> None:
    split = store.read("test")
    for name, shift in (("good", 0), ("poor", 1)):
        answers = hot((np.minimum(split.labels, 6) + shift) % 7, 7)
        file = write_answers(tmp_path / f"{name}.csv", split.paths, answers, SEVEN)
        report = file_report(read_predictions_file(file), store, "test", tmp_path / name)
    table = compare_models(collect([str(tmp_path / "good"), str(tmp_path / "poor")]))
    kept = int((split.labels < 7).sum())
    assert table["data"]["images"] == kept == report["figures"]["all"]["n"] < 80
    assert [row["accuracy"]["value"] for row in table["rows"]] == [1, 0]
    assert "contempt images left out" in table["reading"]


def test_a_finished_evaluation_has_to_be_what_was_asked(make_model, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    model_report(load_predictor(str(make_model())), store, "test", out, limit=30)
    targets = [str(out), str(out)]
    other = leaky_store(tmp_path / "other", labels=SEVEN, images=40, copied=10, seed=5)
    assert len(collect(targets)) == len(collect(targets, store=store, split="test", limit=30)) == 2
    with pytest.raises(DataError, match=f"--split: expected an evaluation of training, got test in {out}; "):
        collect(targets, store=store, split="training")
    with pytest.raises(DataError, match=f"--data: expected an evaluation of store {other.fingerprint}, got"):
        collect(targets, store=other, split="test")
    with pytest.raises(DataError, match="--limit: expected an evaluation of images: 20, got 30"):
        collect(targets, store=store, split="test", limit=20)
    with pytest.raises(DataError, match="--tta: expected an evaluation with views: 10, got 1"):
        collect(targets, store=store, split="test", tta=True)
