"""Predictions of other tools: all accepted forms, what is tolerated, what is refused, and the messages."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.errors import DataError
from mien.evaluation.predictions_file import match, read_predictions_file
from mien.labels import EIGHT, SEVEN
from mien.tables import read_table

P = np.array([[0.7, 0, 0, 0.1, 0.1, 0.1, 0], [0, 0, 0, 0.9, 0, 0.1, 0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4]])


def write(path: Path, header: list[str], rows: list[list[object]], *, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def with_probabilities(path: Path, header: list[str] | None = None, p: np.ndarray = P, **how: str) -> Path:
    return write(path, header or ["path", *SEVEN], [[f"{i}.png", *map(str, row)] for i, row in enumerate(p)], **how)


def test_csv_tsv_and_parquet_are_the_same(tmp_path: Path) -> None:
    comma = read_predictions_file(with_probabilities(tmp_path / "a.csv"))
    tab = read_predictions_file(with_probabilities(tmp_path / "a.tsv", delimiter="\t"))
    semicolon = read_predictions_file(with_probabilities(tmp_path / "b.csv", delimiter=";"))
    columns = {"path": [f"{i}.png" for i in range(3)], **{name: P[:, i] for i, name in enumerate(SEVEN)}}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    parquet = read_predictions_file(tmp_path / "a.parquet")
    for other in (tab, semicolon, parquet):
        assert (other.paths, other.labels, other.answers_only) == (comma.paths, SEVEN, False)
        np.testing.assert_allclose(other.probabilities, comma.probabilities, atol=1e-7)
    np.testing.assert_allclose(comma.probabilities, P, atol=1e-7)


def test_headers_are_forgiven_and_columns_come_by_name(tmp_path: Path) -> None:
    header = [" Path ", "Anger", "DISGUST", "Fear", "Happiness ", "Sadness", "Surprised", "neutral"]
    plain = read_predictions_file(with_probabilities(tmp_path / "a.csv"))
    named = read_predictions_file(with_probabilities(tmp_path / "b.csv", header))
    assert named.labels == plain.labels
    np.testing.assert_array_equal(named.probabilities, plain.probabilities)
    order = np.array([6, 2, 0, 1, 3, 5, 4])
    mixed = with_probabilities(tmp_path / "c.csv", ["path", *np.array(SEVEN)[order]], P[:, order])
    np.testing.assert_array_equal(read_predictions_file(mixed).probabilities, plain.probabilities)


def test_a_byte_order_mark_and_quoted_commas(tmp_path: Path) -> None:
    text = with_probabilities(tmp_path / "a.csv").read_text().replace("0.png", '"a, b.png"')
    (tmp_path / "b.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert read_predictions_file(tmp_path / "b.csv").paths[0] == "a, b.png"


def test_eight_columns_are_eight_classes(tmp_path: Path) -> None:
    p = np.column_stack([P * 0.5, np.full(3, 0.5)])
    found = read_predictions_file(with_probabilities(tmp_path / "a.csv", ["path", *EIGHT], p))
    assert found.labels == EIGHT
    np.testing.assert_allclose(found.probabilities[:, 7], 0.5)


def test_answers_alone(tmp_path: Path) -> None:
    rows = [["a.png", "Happiness"], ["b.png", ""], ["c.png", "no face"], ["d.png", " sad "]]
    found = read_predictions_file(write(tmp_path / "a.csv", ["path", "answer"], rows))
    assert (found.answers_only, found.labels) == (True, SEVEN)
    assert np.isnan(found.probabilities).any(1).tolist() == [False, True, True, False]
    assert found.probabilities[[0, 3]].argmax(1).tolist() == [3, 4]
    contempt = write(tmp_path / "b.csv", ["path", "answer"], [["a.png", "contempt"]])
    assert read_predictions_file(contempt).labels == EIGHT


def test_rounded_rows_are_brought_to_one_and_empty_ones_are_no_answer(tmp_path: Path) -> None:
    rows = [["a", *[0.14] * 7], ["b", *[""] * 7], ["c", *[0] * 7]]
    found = read_predictions_file(write(tmp_path / "a.csv", ["path", *SEVEN], rows)).probabilities
    np.testing.assert_allclose(found[0].sum(), 1, atol=1e-6)
    assert np.isnan(found[1:]).all()


def test_what_mien_read_writes_can_be_scored(tmp_path: Path) -> None:
    header = ["source", "time_s", "face", "expression", "confidence", *SEVEN, "track", "error"]
    rows = [
        ["0.png", "", 0, "angry", 0.7, *P[0], "", ""],
        ["0.png", "", 1, "happy", 0.9, *P[1], "", ""],  # a second, smaller face
        ["1.png", "", "", "", "", *[""] * 7, "", ""],  # no face
        ["2.png", "", "", "", "", *[""] * 7, "", "unreadable: …"],
        ["3.png", "", 0, "", 0.4, *P[2], "", ""],  # below --min-confidence: the probabilities still speak
    ]
    found = read_predictions_file(write(tmp_path / "a.csv", header, rows))
    assert found.paths == ["0.png", "1.png", "2.png", "3.png"]
    assert np.isnan(found.probabilities).any(1).tolist() == [False, True, True, False]
    assert found.probabilities[0].argmax() == 0


LOGITS = np.array([[2.0, -1, 0, 3, 0, 0, 1]] * 3)


@pytest.mark.parametrize(
    ("p", "hint"),
    [
        (LOGITS, "take a softmax"),
        (100 * P, "divide them by 100"),
        (np.log(np.full((3, 7), 1 / 7)), "take exp"),
        (np.full((3, 7), 0.5), "independent scores"),
        (np.full((3, 7), 0.05), "independent scores"),
    ],
)
def test_no_probabilities_are_explained(tmp_path: Path, p: np.ndarray, hint: str) -> None:
    with pytest.raises(DataError, match=rf"row 2: expected probabilities .* 3 of 3 rows; .*{hint}"):
        read_predictions_file(with_probabilities(tmp_path / "a.csv", p=p))


def refusals(tmp_path: Path) -> list[tuple[Path, str]]:
    half = [["0.png", 0.5, 0.5, 0, 0, 0, 0, ""]]
    word = [["0.png", "much", 0, 0, 0, 0, 0, 0]]
    twice = [["0.png", *P[0]], ["1.png", *P[1]], ["0.png", *P[0]]]
    swapped = [["0.png", "happy", *P[0]], ["1.png", "happy", *P[1]]]
    return [
        (tmp_path / "absent.csv", "which does not exist"),
        (write(tmp_path / "a.csv", ["file", *SEVEN], [["0.png", *P[0]]]), "expected a column 'path'"),
        (write(tmp_path / "b.csv", ["path", "score"], [["0.png", 1]]), "one probability column a label"),
        (write(tmp_path / "c.csv", ["path", *SEVEN[:6]], [["0.png", *P[0, :6]]]), "missing neutral"),
        (write(tmp_path / "d.csv", ["path", *SEVEN, "Joy"], [["0.png", *P[0], 0]]), "one column for happy"),
        (write(tmp_path / "e.csv", ["path", *SEVEN, "SAD "], [["0.png", *P[0], 0]]), "'sad' twice"),
        (write(tmp_path / "f.csv", ["path", *SEVEN], half), "row 2: expected a number for neutral"),
        (write(tmp_path / "g.csv", ["path", *SEVEN], word), "row 2: expected a probability, got 'much'"),
        (
            write(tmp_path / "h.csv", ["path", *SEVEN], twice),
            "row 4: expected each image once, got '0.png' as in row 2",
        ),
        (write(tmp_path / "i.csv", ["path", "answer"], [["0.png", "3"]]), "write names; the order of numbers differs"),
        (write(tmp_path / "j.csv", ["path", "answer"], [["0.png", "smug"]]), "expected an expression"),
        (write(tmp_path / "k.csv", ["path", *SEVEN], []), "at least one row"),
        (write(tmp_path / "l.csv", ["path", *SEVEN], [["0.png", 1]]), "expected 8 cells in line 2"),
        (write(tmp_path / "m.csv", ["path", "answer", *SEVEN], swapped), "got happy where angry has the largest"),
        (write(tmp_path / "n.csv", ["path", "answer"], [["", "sad"]]), "expected a path, got an empty cell"),
    ]


@pytest.mark.parametrize("number", range(15))
def test_refusals_name_the_row_and_the_reason(tmp_path: Path, number: int) -> None:
    path, message = refusals(tmp_path)[number]
    with pytest.raises(DataError) as caught:
        read_predictions_file(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_table(tmp_path: Path) -> None:
    for data, what in ((b"\x89PNG\r\n", "a PNG"), (b"path\0", "binary data"), (b"\xff\xfe\x00path", "a header")):
        (tmp_path / "a.csv").write_bytes(data)
        with pytest.raises(DataError, match=f"expected .*{what}"):
            read_table(tmp_path / "a.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot read"):
        read_table(tmp_path / "a.parquet")


def test_missing_extra_and_empty_rows_are_counted(tmp_path: Path) -> None:
    rows = [["1.png", *P[1]], ["0.png", *[""] * 7], ["train_7.png", *P[0]]]
    answers = read_predictions_file(write(tmp_path / "a.csv", ["path", *SEVEN], rows))
    found, facts = match(answers, ["0.png", "1.png", "2.png"], ["fer2013"] * 3)
    assert np.isnan(found).any(1).tolist() == [True, False, True]
    np.testing.assert_allclose(found[1], P[1], atol=1e-7)
    assert (facts["rows"], facts["matched"], facts["missing"]) == (3, 2, 1)
    assert (facts["without_answer"], facts["not_in_split"]) == (1, 1)
    assert (facts["first_missing"], facts["first_not_in_split"]) == (["2.png"], ["train_7.png"])


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("test/0.png", "only the folders differ"), ("0.jpg", "the endings differ"), ("x.png", "the right split")],
)
def test_no_path_in_common_is_refused_with_a_guess(tmp_path: Path, wanted: str, hint: str) -> None:
    answers = read_predictions_file(with_probabilities(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=hint):
        match(answers, [wanted], ["fer2013"])


def test_a_merged_store_tells_images_apart_by_source(tmp_path: Path) -> None:
    answers = read_predictions_file(with_probabilities(tmp_path / "a.csv"))
    paths, sources = ["0.png", "0.png"], ["fer2013", "ckplus"]
    with pytest.raises(DataError, match="column 'source' beside 'path'"):
        match(answers, paths, sources)
    rows = [["0.png", "ckplus", *P[1]], ["0.png", "fer2013", *P[0]]]
    answers = read_predictions_file(write(tmp_path / "b.csv", ["path", "source", *SEVEN], rows))
    np.testing.assert_allclose(match(answers, paths, sources)[0], P[:2], atol=1e-7)
    # a store of one of the two sources takes that source's row
    np.testing.assert_allclose(match(answers, ["0.png"], ["ckplus"])[0], P[1:2], atol=1e-7)


def test_reading_a_table_needs_no_heavy_import() -> None:
    import sys

    code = "import mien.tables, sys; print('pyarrow' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
