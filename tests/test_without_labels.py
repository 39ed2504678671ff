"""Gaps in a column of labels: such pictures are left out where labels are needed, said, and stop nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eval_store import file_report, hot, picture, write_answers
from list_source import Listed
from mien.cli.evaluate import notes
from mien.data.build.run import build_store
from mien.data.sources import Sample
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.compare import compare_models, read_evaluation
from mien.evaluation.predict import fit_calibrations
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.predictors import RunPredictor
from mien.evaluation.report import Report
from mien.labels import SEVEN
from mien.training.run import train
from small_run import small_recipe

pytestmark = pytest.mark.usefixtures("without_figures")

GAPS = (3, 20, 41)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, Store]:
    """70 pictures of training and of test: labels with gaps, the same without these pictures, and no label at all."""

    def made(name: str, *, gaps: bool, without: bool = False, blind: bool = False) -> Store:
        samples = []
        for split, first in (("training", 0), ("test", 1000)):
            for i in range(70):
                if i in GAPS and without:
                    continue
                label = None if (i in GAPS and gaps) or (blind and split == "test") else SEVEN[i % 7]
                samples.append(Sample(f"{split}_{i}.png", picture(first + i), label, split))
        path = tmp_path_factory.mktemp("stores") / name
        build_store([Listed(samples)], path)
        return Store.open(path)

    return made("gaps", gaps=True), made("without", gaps=False, without=True), made("blind", gaps=False, blind=True)


def test_training_leaves_them_out_and_equals_a_store_without_them(
    stores: tuple[Store, Store, Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gaps, without, blind = stores
    recipe = small_recipe(data={"validation": "test"}, epochs=1)
    meta = train(recipe, gaps, tmp_path / "gaps", accelerator="cpu", threads=1)
    said = [f"3 of 70 images of {split} have no label and are left out" for split in ("training", "test")]
    assert meta["notes"] == said
    assert [line for line in caplog.messages if line.startswith("note: ")] == [f"note: {line}" for line in said]
    assert train(recipe, without, tmp_path / "without", accelerator="cpu", threads=1)["notes"] == []
    one, other = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("gaps", "without"))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    with pytest.raises(DataError, match="expected labels 0-6 in split 'test'"):  # held back is no gap
        train(recipe, blind, tmp_path / "blind", accelerator="cpu", threads=1)
    predictor = RunPredictor(tmp_path / "gaps", device="cpu")
    fitted = [fit_calibrations(predictor, store.read("test"), tta=False)[0] for store in (gaps, without)]
    assert fitted[0] == fitted[1]
    with pytest.raises(DataError, match="expected labelled rows"):
        fit_calibrations(predictor, blind.read("test"), tta=False)


def test_evaluation_and_comparison_leave_them_out_and_score_the_others(
    stores: tuple[Store, Store, Store], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    paths = stores[0].read("test").paths
    files = []
    for name in ("a", "b"):
        codes = np.where(random.random(70) < 0.7, np.arange(70) % 7, random.integers(0, 7, 70))
        files.append(write_answers(tmp_path / f"{name}.csv", paths, hot(codes, 7), SEVEN))
    reports, tables = [], []
    for store in stores[:2]:
        outs = []
        for file in files:
            outs.append(tmp_path / store.path.name / file.stem)
            reports.append(file_report(read_predictions_file(file), store, "test", outs[-1]))
        tables.append(compare_models([read_evaluation(out, str(out)) for out in outs]))
    for gaps, without in zip(reports[:2], reports[2:], strict=True):
        assert gaps["figures"] == without["figures"]
        assert gaps["figures"]["all"]["n"] == 67
        assert (gaps["data"]["left_out"], without["data"]["left_out"]) == ({"without a label": 3}, {})
        assert "note: 3 images without a label are left out" in notes(Report.model_validate(gaps))
    assert [row["against_first"] for row in tables[0]["rows"]] == [row["against_first"] for row in tables[1]["rows"]]
    page = (tmp_path / "gaps" / "a" / "report.html").read_text()
    assert "3 without a label" in page
    blind = file_report(read_predictions_file(files[0]), stores[2], "test", tmp_path / "blind")
    assert blind["figures"] is None
    assert json.loads((tmp_path / "blind" / "report.json").read_text())["data"].get("left_out") is None
