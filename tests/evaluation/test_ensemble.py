"""Several files of predictions as one: the mean of their probabilities, whatever the order of their rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval_store import file_report
from mien.cli.app import app
from mien.cli.evaluate import notes
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.predictions_file import mean_of, read_predictions_file
from mien.evaluation.report import Report
from mien.labels import SEVEN

pytestmark = pytest.mark.usefixtures("without_figures")

P = np.array([[0.7, 0, 0, 0.1, 0.1, 0.1, 0], [0, 0, 0, 0.9, 0, 0.1, 0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4]])
Q = np.array([[0.1, 0, 0, 0.7, 0.1, 0.1, 0], [0, 0.2, 0, 0.1, 0.6, 0.1, 0], [0, 0, 0, 0, 0, 0, 1]])


def write(path: Path, names: list[str], p: np.ndarray) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *SEVEN])
        writer.writerows([name, *("" if np.isnan(v) else v for v in row)] for name, row in zip(names, p, strict=True))
    return path


def test_the_mean_is_by_image_not_by_row(tmp_path: Path) -> None:
    one = read_predictions_file(write(tmp_path / "one.csv", ["a", "b", "c"], P))
    other = read_predictions_file(write(tmp_path / "other.csv", ["c", "a", "b"], Q[[2, 0, 1]]))
    both = mean_of([one, other])
    assert both.paths == ["a", "b", "c"]
    np.testing.assert_allclose(both.probabilities, (P + Q) / 2, atol=1e-6)
    assert not np.allclose(both.probabilities, (P + Q[[2, 0, 1]]) / 2, atol=0.05), "rows as they lie would differ"


def test_who_has_no_answer_is_left_out_of_the_mean(tmp_path: Path) -> None:
    silent = Q.copy()
    silent[1] = np.nan
    nobody = P.copy()
    nobody[2] = np.nan
    silent[2] = np.nan
    members = [
        write(tmp_path / "one.csv", ["a", "b", "c"], nobody),
        write(tmp_path / "two.csv", ["a", "b", "c"], silent),
    ]
    both = mean_of([read_predictions_file(file) for file in members]).probabilities
    np.testing.assert_allclose(both[:2], [(P[0] + Q[0]) / 2, P[1]], atol=1e-6)
    assert np.isnan(both[2]).all()


def test_members_that_do_not_fit_are_named(tmp_path: Path) -> None:
    one = read_predictions_file(write(tmp_path / "one.csv", ["a", "b", "c"], P))
    with pytest.raises(DataError, match=r"the same images in .*one\.csv and .*two\.csv, only one of them has '[cd]'"):
        mean_of([one, read_predictions_file(write(tmp_path / "two.csv", ["a", "b", "d"], Q))])
    (tmp_path / "words.csv").write_text("path,answer\na,happy\nb,sad\nc,fear\n")
    with pytest.raises(
        DataError, match=r"expected probabilities in .*words\.csv to average, got a column 'answer' alone"
    ):
        mean_of([one, read_predictions_file(tmp_path / "words.csv")])
    (tmp_path / "eight.csv").write_text(f"path,{','.join(SEVEN)},contempt\n" + "a,1,0,0,0,0,0,0,0\n")
    with pytest.raises(DataError, match=r"expected the classes of .*one\.csv .* in .*eight\.csv, got .*contempt"):
        mean_of([one, read_predictions_file(tmp_path / "eight.csv")])


def test_an_ensemble_is_scored_and_says_of_what_it_is_made(small_store: Path, tmp_path: Path) -> None:
    split = Store.open(small_store).read("public_test")
    right = np.eye(7)[split.labels] * 0.6 + 0.4 / 7
    wrong = np.roll(np.eye(7)[split.labels], 1, axis=1) * 0.4 + 0.6 / 7
    files = [write(tmp_path / f"{name}.csv", split.paths, p) for name, p in (("sure", right), ("off", wrong))]
    out, options = tmp_path / "out", [part for file in files for part in ("--predictions", str(file))]
    where = ["--data", str(small_store), "--split", "public_test", "-o", str(out)]
    done = CliRunner().invoke(app, ["evaluate", *options, *where])
    assert done.exit_code == 0, done.output
    assert "the files differ in mean confidence (sure.csv 0.66, off.csv 0.49), and a more confident one" in done.stderr
    report = file_report([read_predictions_file(file) for file in files], Store.open(small_store), "public_test", out)
    assert report["model"]["name"] == "sure + off"
    assert [mark["file"] for mark in report["model"]["members"]] == ["sure.csv", "off.csv"]
    assert report["figures"]["all"]["accuracy"]["value"] == 1.0  # alone, the second would have none right
    assert [mark["mean_confidence"] for mark in report["model"]["members"]] == [0.6571, 0.4857]
    assert "the mean of 2 files" in (out / "report.html").read_text("utf-8")


def test_equals_and_members_without_any_answer_are_not_warned_of(small_store: Path, tmp_path: Path) -> None:
    split = Store.open(small_store).read("public_test")
    right = np.eye(7)[split.labels] * 0.6 + 0.4 / 7
    other = np.roll(np.eye(7)[split.labels], 1, axis=1) * 0.57 + 0.43 / 7
    nothing = np.full_like(right, np.nan)
    files = [
        write(tmp_path / f"{name}.csv", split.paths, p) for name, p in (("a", right), ("b", other), ("none", nothing))
    ]
    report = file_report(
        [read_predictions_file(f) for f in files], Store.open(small_store), "public_test", tmp_path / "o"
    )
    assert [mark["mean_confidence"] for mark in report["model"]["members"]] == [0.6571, 0.6314, None]
    lines = notes(Report.model_validate(report))
    assert not any("mean confidence" in line for line in lines)
    assert [mark["without_answer"] for mark in report["model"]["members"]] == [0, 0, 70]
    empty = "warning: 70 rows of none.csv have no answer: there the mean is that of the other files"
    assert [line for line in lines if "no answer" in line] == [empty]
