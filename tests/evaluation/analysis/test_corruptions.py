"""Accuracy under corruption, by the one prediction path; and the gallery of errors."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mien.data.store import Store
from mien.evaluation.analysis import corruptions, errors
from mien.evaluation.analysis.common_corruptions import KINDS, SEVERITIES
from mien.evaluation.analysis.inputs import Settings, labelled
from mien.evaluation.analysis.outputs import Rows
from mien.evaluation.evaluate import evaluate
from mien.evaluation.metrics import wilson
from mien.evaluation.predictors import load_predictor
from mien.labels import SEVEN


def test_the_summary_in_closed_form() -> None:
    """Clean 80 of 100; every corruption right on the first 40 but one, which is never right."""
    n = 100
    right = {(kind, s): np.arange(n) < 40 for kind in KINDS for s in SEVERITIES}
    right |= {("jpeg", s): np.zeros(n, bool) for s in SEVERITIES} | {("clean", 0): np.arange(n) < 80}
    got = corruptions.summarise(right)
    assert got["clean"]["value"] == 0.8
    assert (got["clean"]["low"], got["clean"]["high"]) == wilson(80, 100)
    mean = got["mean_corruption_accuracy"]
    assert mean["value"] == pytest.approx(0.4 * 8 / 9)
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["high"] - mean["low"] == pytest.approx(2 * 1.96 * (8 / 9) * np.sqrt(0.4 * 0.6 / n), rel=0.1)
    assert got["kept"]["value"] == pytest.approx(0.4 * 8 / 9 / 0.8)
    assert got["corruptions"]["jpeg"]["mean"] == 0
    assert got["corruptions"]["eyes"]["severities"][2]["value"] == 0.4
    right["clean", 0] = np.zeros(n, bool)
    assert corruptions.summarise(right)["kept"]["value"] == 0  # nothing to keep


def test_bits_survive_the_file() -> None:
    bits = np.random.default_rng(0).random(77) < 0.5
    assert (corruptions._unpacked(np.packbits(bits).tobytes().hex(), 77) == bits).all()


@pytest.mark.long
def test_the_report_of_a_run_and_a_file(
    trained_run: Path, tiny_model: Path, small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = Store.open(small_store), list[tuple[int, int]]()

    def call() -> dict:
        return corruptions.corruptions(
            Settings(
                [str(trained_run), str(tiny_model)],
                store,
                "public_test",
                tmp_path,
                device="cpu",
                progress=lambda done, total: seen.append((done, total)),
            )
        )

    report = call()
    assert json.loads((tmp_path / "corruptions.json").read_text()) == report
    assert (seen[0], seen[-1]) == ((0, 92), (92, 92))
    run, tiny = report["runs"]["small"], report["runs"]["tiny"]
    plain = evaluate(load_predictor(str(trained_run)), store, "public_test", tmp_path / "e").as_dict()["figures"]["all"]
    assert run["clean"]["value"] == pytest.approx(plain["accuracy"]["value"])
    assert run["clean"]["value"] > run["corruptions"]["low_resolution"]["severities"][4]["value"]
    assert abs(tiny["clean"]["value"] - 1 / 7) < 0.15  # it never learnt the bars: chance
    assert (tmp_path / "corruptions.svg").stat().st_size > 1000
    text = "\n".join(corruptions.headline(report))
    assert f"{run['mean_corruption_accuracy']['value']:.2%}" in text
    file = tmp_path / "corruptions-tiny.rows.json"
    kept = json.loads(file.read_text())
    file.unlink()
    short = Rows(file, kept["question"])
    for key, value in list(kept["rows"].items())[:44]:
        short.get(key, lambda value=value: value)
    seen.clear()
    assert call()["runs"] == report["runs"]
    assert [done for done, _ in seen] == [90, 91, 91, 92]  # what was there is no progress: it took no time
    whole = file.read_bytes()
    for damaged in (None, [], "", whole[30:].hex()):  # found by the fuzz suite: rows that were changed were taken
        file.write_text(json.dumps(json.loads(whole) | {"rows": kept["rows"] | {"clean 0": damaged}}))
        assert not Rows(file, kept["question"]).known
    file.write_bytes(whole)
    assert Rows(file, kept["question"]).known == kept["rows"]  # negative control
    monkeypatch.setattr(corruptions, "rightness", None)  # another call computes nothing
    assert call()["runs"] == report["runs"]


def test_shuffled_labels_are_chance(trained_run: Path, small_store: Path) -> None:
    split = labelled(Store.open(small_store), "training", limit=None, labels=SEVEN)
    predictor = load_predictor(str(trained_run))
    assert corruptions.rightness(predictor, split, "clean", 0, 0).mean() > 0.5
    split.labels[:] = np.random.default_rng(0).permutation(split.labels)
    assert corruptions.rightness(predictor, split, "clean", 0, 0).mean() < 0.3


def test_a_file_with_its_classes_in_another_order_is_as_right(trained_run: Path, small_store: Path) -> None:
    split = labelled(Store.open(small_store), "training", limit=None, labels=SEVEN)
    predictor = load_predictor(str(trained_run))
    order = np.argsort(SEVEN)

    class Alphabetical:
        labels = tuple(SEVEN[i] for i in order)
        preprocess = predictor.preprocess

        def run(self, batch: np.ndarray) -> np.ndarray:
            return predictor.run(batch)[:, order]

    other = Alphabetical()
    assert other.labels != predictor.labels
    expected = corruptions.rightness(predictor, split, "clean", 0, 0)
    np.testing.assert_array_equal(corruptions.rightness(other, split, "clean", 0, 0), expected)  # type: ignore[arg-type]


def test_errors_are_the_wrong_answers_by_confidence(trained_run: Path, small_store: Path, tmp_path: Path) -> None:
    store = Store.open(small_store)
    report = errors.errors(Settings([str(trained_run)], store, "training", tmp_path, device="cpu"), examples=5)
    assert json.loads((tmp_path / "errors.json").read_text()) == report
    run = report["runs"]["small"]
    plain = evaluate(load_predictor(str(trained_run)), store, "training", tmp_path / "e").as_dict()["figures"]["all"]
    matrix = np.array(plain["confusion"])
    assert run["errors"] == plain["n"] - np.trace(matrix[:, :7])
    rows = list(csv.DictReader((tmp_path / "errors-small.csv").read_text().splitlines()))
    assert len(rows) == run["errors"]
    assert all(row["label"] != row["answer"] for row in rows)
    confidence = [float(row["confidence"]) for row in rows]
    assert confidence == sorted(confidence, reverse=True)
    assert all(float(row["p_label"]) <= float(row["confidence"]) for row in rows)
    names = plain["labels"]
    for pair in run["pairs"]:
        assert pair["images"] == matrix[names.index(pair["label"]), names.index(pair["answer"])]
    assert sum(pair["images"] for pair in run["pairs"]) == run["errors"]
    for file in run["figures"]:
        assert (tmp_path / file).stat().st_size > 1000
    assert f"{run['errors']:,} errors" in "\n".join(errors.headline(report))


def test_no_errors_is_an_empty_gallery(small_store: Path, tmp_path: Path) -> None:
    split = labelled(Store.open(small_store), "public_test", limit=10, labels=SEVEN)
    probabilities = np.eye(7, dtype=np.float32)[split.labels]
    names = tuple("abcdefg")
    assert errors.table(probabilities, split, names) == []
    assert errors.confused_pairs(probabilities.argmax(1), split.labels, names) == []
    errors.gallery([], split, 0, tmp_path / "none", title="a perfect one")
    errors.pairs_figure([], tmp_path / "pairs", title="a perfect one")
    assert (tmp_path / "none.png").is_file()
    assert (tmp_path / "pairs.svg").is_file()
