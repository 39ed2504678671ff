"""mien compare: the table is of the same images, evaluations are kept and made again when they must be."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eval_store import hot, leaky_store, write_answers
from figure_texts import overlaps
from html_pages import Page
from mien.data.store import Store
from mien.errors import DataError, UsageError
from mien.evaluation import compare_table, metrics
from mien.evaluation.compare import Evaluated, collect, compare_models, is_current, read_evaluation
from mien.evaluation.comparisons import holm, mcnemar
from mien.evaluation.evaluate import evaluate, evaluate_file
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.predictors import load_predictor
from mien.evaluation.report import Report
from mien.labels import EIGHT, SEVEN
from mien.pages import format

pytestmark = pytest.mark.usefixtures("without_figures")


def skilled(y: np.ndarray, skill: float, seed: int, classes: int = 7) -> np.ndarray:
    random = np.random.default_rng(seed)
    return hot(np.where(random.random(len(y)) < skill, y, random.integers(0, classes, len(y))), classes, top=0.8)


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Path]]:
    """A store and three evaluations: poor, good, and the good one again."""
    folder = tmp_path_factory.mktemp("compare")
    store = leaky_store(folder / "store", labels=SEVEN, images=300, copied=60)
    split = store.read("test")
    outs = []
    for name, skill, seed in (("poor", 0.4, 1), ("good", 0.7, 2), ("again", 0.7, 2)):
        file = write_answers(folder / f"{name}.csv", split.paths, skilled(split.labels, skill, seed), SEVEN)
        evaluate_file(read_predictions_file(file), store, "test", folder / name)
        outs.append(folder / name)
    return store, outs


@pytest.fixture(scope="module")
def table(seven: tuple[Store, list[Path]]) -> dict:
    return compare_models(collect([str(out) for out in seven[1]]))


def test_the_table_is_made_of_the_reports_figures(seven: tuple[Store, list[Path]], table: dict) -> None:
    _, outs = seven
    assert (table["data"]["images"], table["data"]["leak_free"]) == (300, 240)
    for row, out in zip(table["rows"], outs, strict=True):
        report = json.loads((out / "report.json").read_text())
        everything, clean = report["figures"]["all"], report["figures"]["leak_free"]
        assert row["accuracy"] == everything["accuracy"]
        assert row["accuracy_leak_free"] == clean["accuracy"]
        for key in ("macro_f1", "weighted_precision", "weighted_recall", "weighted_f1"):
            assert row[key]["value"] == pytest.approx(everything[key]["value"])
        assert row["ece"]["value"] == pytest.approx(everything["ece"]["value"], abs=1e-5)


def test_each_is_tested_against_the_first(seven: tuple[Store, list[Path]], table: dict) -> None:
    store, outs = seven
    y = store.read("test").labels
    answers = [metrics.predicted(read_evaluation(out, "x").predictions.probabilities) for out in outs]
    first, good, again = table["rows"]
    assert first["against_first"] is None
    expected = [mcnemar(answers[0] == y, a == y) for a in answers[1:]]
    for row, test, p in zip((good, again), expected, holm([t["p"] for t in expected]), strict=True):
        assert row["against_first"]["mcnemar"] == test
        assert row["against_first"]["p_holm"] == p == pytest.approx(2 * test["p"])
        assert row["against_first"]["difference"]["accuracy"]["low"] > 0
    assert good["against_first_leak_free"]["n"] == 240
    alike = compare_models(collect([str(outs[1]), str(outs[2])]))["rows"][1]["against_first"]
    assert (alike["mcnemar"]["discordant"], alike["p_holm"]) == (0, 1)


def test_every_form_has_the_figures(table: dict) -> None:
    markdown = compare_table.markdown(table)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.count("|") for line in lines}) == 1
    page = compare_table.page(table)
    words = Page(page).words()
    for row in table["rows"]:
        for shown in (format.percent(row["accuracy"]), format.percent(row["macro_f1"]), format.number(row["ece"])):
            assert shown in markdown
            assert shown in words
    assert "https:" not in page
    rows = list(csv.DictReader(io.StringIO(compare_table.comma_separated(table))))
    assert [row["model"] for row in rows] == ["poor", "good", "again"]
    assert float(rows[1]["accuracy"]) == table["rows"][1]["accuracy"]["value"]
    assert float(rows[1]["p_holm"]) == table["rows"][1]["against_first"]["p_holm"]
    assert rows[0]["p_holm"] == ""
    assert json.loads(compare_table.as_json(table)) == table
    assert overlaps(compare_table.figure(table)) == []


def test_a_run_is_evaluated_once(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    store = Store.open(small_store)
    options: dict[str, object] = {"store": store, "split": "public_test"}
    said: list[str] = []
    options["say"] = said.append
    collect([str(run)], **options)  # type: ignore[arg-type]
    (kept,) = (run / "evaluation").iterdir()
    assert kept.name == f"public_test-{store.fingerprint}"
    assert is_current(kept, run, seed=0)
    before = (kept / "report.json").stat().st_mtime_ns
    (row,) = collect([str(run)], **options)  # type: ignore[arg-type]
    assert "evaluated before" in said[-1]
    assert (kept / "report.json").stat().st_mtime_ns == before
    assert (row.report.model.macs or 0) > 1e5
    # another checkpoint, another evaluation
    state = __import__("torch").load(run / "best.ckpt", weights_only=True)
    state["state_dict"] = {k: v * 0.5 if v.is_floating_point() else v for k, v in state["state_dict"].items()}
    __import__("torch").save(state, run / "best.ckpt")
    assert not is_current(kept, run, seed=0)
    collect([str(run)], **options)  # type: ignore[arg-type]
    assert (kept / "report.json").stat().st_mtime_ns > before
    # ten crops and fewer images are evaluations of their own
    collect([str(run)], tta=True, limit=20, **options)  # type: ignore[arg-type]
    assert {folder.name.split("-")[1] for folder in (run / "evaluation").iterdir()} == {store.fingerprint, "tta"}
    # one that was broken off has no report.json
    (kept / "report.json").unlink()
    assert not is_current(kept, run, seed=0)


def test_a_run_against_a_file_and_an_evaluation(
    trained_run: Path, make_model, small_store: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    run, model = tmp_path / "run", str(make_model())
    shutil.copytree(trained_run, run)
    store = Store.open(small_store)
    evaluate(load_predictor(model), store, "public_test", tmp_path / "tiny", tta=True)
    rows = collect([str(run), model, str(tmp_path / "tiny")], store=store, split="public_test")
    table = compare_models(rows)
    assert [row["kind"] for row in table["rows"]] == ["run", "onnx", "onnx"]
    assert [row["model"] for row in table["rows"]] == ["small", "tiny", "tiny, ten crops"]
    assert table["rows"][0]["ms_per_image"] > 0
    assert table["rows"][0]["ece_cross_fitted"]["value"] >= 0
    assert table["rows"][1]["macs"] is None  # the file does not say what it was made from


def test_a_readers_name_is_the_reader_also_beside_a_folder_of_that_name(
    seven: tuple[Store, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, outs = seven
    shutil.copytree(outs[0], tmp_path / "nano")
    monkeypatch.chdir(tmp_path)
    reader, folder = collect(["nano", "./nano"], store=store, split="test")
    assert (reader.report.model.kind, folder.report.model.kind) == ("onnx", "predictions")


def test_seven_and_eight_classes_meet_in_the_closed_reading(tmp_path: Path) -> None:
    store = leaky_store(tmp_path / "store", labels=EIGHT, images=200, copied=40)
    split = store.read("test")
    wide = skilled(split.labels, 0.8, 1, classes=8)
    narrow = skilled(np.minimum(split.labels, 6), 0.8, 2)
    for name, p, labels in (("wide", wide, EIGHT), ("narrow", narrow, SEVEN)):
        file = write_answers(tmp_path / f"{name}.csv", split.paths, p, labels)
        evaluate_file(read_predictions_file(file), store, "test", tmp_path / name)
    table = compare_models(collect([str(tmp_path / "wide"), str(tmp_path / "narrow")]))
    keep = split.labels != 7
    assert "closed" in table["reading"]
    assert table["data"]["images"] == keep.sum()
    shares = [(p[:, :7].argmax(1) == split.labels)[keep].mean() for p in (wide, narrow)]
    assert [row["accuracy"]["value"] for row in table["rows"]] == pytest.approx(shares)
    both = compare_models(collect([str(tmp_path / "wide"), str(tmp_path / "wide")]))
    assert (both["reading"], both["data"]["images"]) == ("as answered", 200)


def test_two_of_one_name_are_told_apart(seven: tuple[Store, list[Path]]) -> None:
    rows = collect([str(seven[1][0]), str(seven[1][1])])
    rows = [
        Evaluated(
            row.target, Report.model_validate(report | {"model": report["model"] | {"name": "net"}}), row.predictions
        )
        for row, report in ((row, row.report.as_dict()) for row in rows)
    ]
    names = [row["model"] for row in compare_models(rows)["rows"]]
    assert len(set(names)) == 2
    assert all(name.startswith("net (") for name in names)


def test_what_cannot_be_compared(seven: tuple[Store, list[Path]], make_model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store, outs = seven
    with pytest.raises(UsageError, match="two or more"):
        compare_models(collect([str(outs[0])]))
    with pytest.raises(DataError, match="absent, which does not exist"):
        collect([str(outs[0]), str(tmp_path / "absent")])
    with pytest.raises(UsageError, match="expected --data STORE and --split"):
        collect(["nano", str(outs[0])])
    model = load_predictor(str(make_model()))
    evaluate(model, store, "test", tmp_path / "few", limit=30)
    with pytest.raises(DataError, match=r"same images, got 300 .* 30 .*--limit"):
        compare_models(collect([str(outs[0]), str(tmp_path / "few")]))
    evaluate(model, store, "training", tmp_path / "training")
    with pytest.raises(DataError, match=r"same split, got test .* training"):
        compare_models(collect([str(outs[0]), str(tmp_path / "training")]))
    other = leaky_store(tmp_path / "other", labels=SEVEN, images=300, copied=60, seed=9)
    evaluate(model, other, "test", tmp_path / "elsewhere")
    with pytest.raises(DataError, match="same store"):
        compare_models(collect([str(outs[0]), str(tmp_path / "elsewhere")]))
    shutil.copytree(outs[0], tmp_path / "torn")
    (tmp_path / "torn/report.json").write_text("{")
    with pytest.raises(DataError, match=r"report\.json"):
        collect([str(tmp_path / "torn"), str(outs[0])])
    (tmp_path / "torn/predictions.parquet").write_bytes(b"PAR1")
    shutil.copy(outs[0] / "report.json", tmp_path / "torn/report.json")
    with pytest.raises(DataError, match="cannot read it"):
        collect([str(tmp_path / "torn"), str(outs[0])])
