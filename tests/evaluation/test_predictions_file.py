"""mien evaluate --predictions: what is counted of a file, and what is said about it."""

from pathlib import Path

import numpy as np
import pytest

from eval_store import file_report, hot, leaky_store, write_answers
from mien.cli.evaluate import headline, notes
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.predictions_file import read_predictions_file
from mien.evaluation.report import Report
from mien.labels import EIGHT, SEVEN

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return leaky_store(tmp_path_factory.mktemp("file") / "store", labels=SEVEN, images=40, copied=10)


def test_counts_are_of_the_images_within_the_limit(store: Store, tmp_path: Path) -> None:
    """Of 40 images 10 are asked for (0, 4, 9, …): 9 have a row, 28 rows are of other images, 1 is of none."""
    split = store.read("test")
    paths = [path for number, path in enumerate(split.paths) if number not in (4, 20, 21)] + ["elsewhere.png"]
    file = write_answers(tmp_path / "a.csv", paths, hot(np.zeros(len(paths), int), 7), SEVEN)
    report = file_report(read_predictions_file(file), store, "test", tmp_path / "out", limit=10)
    facts = report["predictions"]
    assert (facts["rows"], facts["matched"], facts["missing"], facts["first_missing"]) == (38, 9, 1, [split.paths[4]])
    assert (facts["beyond_limit"], facts["not_in_split"], facts["without_answer"]) == (28, 1, 0)
    assert report["figures"]["all"]["failures"] == 1
    assert "beyond the limit" in (tmp_path / "out/report.html").read_text()
    whole = file_report(read_predictions_file(file), store, "test", tmp_path / "whole")
    assert (whole["predictions"]["matched"], whole["predictions"]["beyond_limit"]) == (37, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,answer\n0.png,"sad\n1.png,happy\n', "cannot read line"),
        ('path,answer,note\n0.png,sad,"left open\n1.png,happy,\n', "is a quote left open"),
        (f"path,answer\n0.png,{'x' * 200_000}\n", "field larger than field limit"),
        ("source,face,expression\n0.png,first,sad\n", "row 2: expected the number of a face, got 'first'"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_predictions_file(tmp_path / "a.csv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_two_decimals_are_probabilities(tmp_path: Path, sign: int) -> None:
    """Seven roundings of at most 0.005, all the same way; independent scores are still refused."""
    rows = np.array([[0.05] * 6 + [0.7 + sign * 0.035], [0.105] * 6 + [0.405]])
    rows[1, 6] += sign * 0.035 - (rows[1].sum() - 1)
    found = read_predictions_file(write_answers(tmp_path / "a.csv", ["0.png", "1.png"], rows, SEVEN)).probabilities
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    rows[0, 0] += sign * 0.02
    with pytest.raises(DataError, match="independent scores"):
        read_predictions_file(write_answers(tmp_path / "b.csv", ["0.png", "1.png"], rows, SEVEN))


@pytest.mark.usefixtures("with_figures")
def test_an_old_evaluation_leaves_nothing_behind(store: Store, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    split = store.read("test")
    file = write_answers(tmp_path / "a.csv", split.paths, hot(split.labels, 7), SEVEN)
    out = tmp_path / "out"
    file_report(read_predictions_file(file), store, "test", out, group_by=["group"])
    assert (out / "groups-group.svg").exists()
    (out / "mine.png").write_bytes(b"kept")
    (tmp_path / "b.csv").write_text("path,answer\n" + "".join(f"{path},sad\n" for path in split.paths))
    file_report(read_predictions_file(tmp_path / "b.csv"), store, "test", out)
    left = {found.name for found in out.iterdir()}
    assert not {name for name in left if name.startswith(("groups", "reliability"))}
    assert {"mine.png", "confusion.png", "recall.svg", "report.json"} <= left

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.evaluation.predictions.Predictions.write", killed)
    with pytest.raises(KeyboardInterrupt):
        file_report(read_predictions_file(file), store, "test", out)
    assert not (out / "report.json").exists()
    assert not (out / "confusion.png").exists()


def test_answers_that_never_say_contempt_may_be_of_eight_classes(tmp_path: Path) -> None:
    store = leaky_store(tmp_path / "store", labels=EIGHT, images=60, copied=10)
    split = store.read("test")
    contempt = int((split.labels == 7).sum())
    file = tmp_path / "a.csv"
    lines = [f"{path},{EIGHT[code % 7]}" for path, code in zip(split.paths, split.labels, strict=True)]
    file.write_text("\n".join(["path,answer", *lines]))
    report = file_report(read_predictions_file(file), store, "test", tmp_path / "seven")
    assert report["figures"]["all"]["accuracy"]["value"] == 1
    said = "\n".join(notes(Report.model_validate(report)))
    assert "taken for one of seven classes" in said
    assert f"note: {contempt} images of contempt are left out" in said
    assert "--labels eight" in (tmp_path / "seven/report.html").read_text()
    told = file_report(read_predictions_file(file, labels=SEVEN), store, "test", tmp_path / "told")
    assert told["warnings"] == []
    wide = file_report(read_predictions_file(file, labels=EIGHT), store, "test", tmp_path / "eight")
    assert wide["figures"]["all"]["accuracy"]["value"] == pytest.approx(1 - contempt / 60)
    assert (wide["data"]["left_out"], wide["warnings"]) == ({}, [])
    (tmp_path / "b.csv").write_text("path,answer\n0.png,sad\n1.png,contempt\n")
    with pytest.raises(DataError, match="row 3: expected an answer among seven, got contempt"):
        read_predictions_file(tmp_path / "b.csv", labels=SEVEN)
    columns = write_answers(tmp_path / "c.csv", ["0.png"], hot(np.zeros(1, int), 7), SEVEN)
    with pytest.raises(DataError, match="--labels is for files without probabilities"):
        read_predictions_file(columns, labels=EIGHT)


@pytest.mark.usefixtures("with_figures")
def test_images_without_a_row_have_no_prediction_rather_than_no_face(store: Store, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    names: list[str] = []
    from mien.evaluation import figures

    drawn = figures.confusion_figure

    def spied(matrix, labels, **options):  # type: ignore[no-untyped-def]
        figure = drawn(matrix, labels, **options)
        names.extend(tick.get_text() for tick in figure.axes[0].get_xticklabels())
        return figure

    monkeypatch.setattr(figures, "confusion_figure", spied)
    split = store.read("test")
    file = write_answers(tmp_path / "a.csv", split.paths[:30], hot(split.labels[:30], 7), SEVEN)
    file_report(read_predictions_file(file), store, "test", tmp_path / "out")
    assert "no prediction" in names
    assert "no face" not in names


def test_a_class_without_images_has_no_recall(store: Store, tmp_path: Path) -> None:
    split = store.read("test")
    file = write_answers(tmp_path / "a.csv", split.paths, hot(split.labels, 7), SEVEN)
    report = file_report(read_predictions_file(file), store, "test", tmp_path / "out", limit=2)
    absent = next(name for name in SEVEN if name not in {SEVEN[code] for code in split.labels[:2]})
    (line,) = (line for line in headline(Report.model_validate(report)) if line.startswith(f"recall {absent}"))
    assert line.split()[2] == "–"
    assert "<td>0.0 % [0.0, 100.0]" not in (tmp_path / "out/report.html").read_text()


def test_an_own_class_may_have_a_name_that_elsewhere_means_no_answer(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("path,answer\na.png,none\nb.png,None\nc.png,\nd.png,smile\n")
    found = read_predictions_file(file, label_set=("none", "smile"))
    np.testing.assert_array_equal(found.probabilities, [[1, 0], [1, 0], [np.nan, np.nan], [0, 1]])
    assert np.isnan(
        read_predictions_file(_with(file, "smile", "sad")).probabilities[:3]
    ).all()  # of expressions it is one


def _with(file: Path, old: str, new: str) -> Path:
    file.write_text(file.read_text().replace(old, new))
    return file
