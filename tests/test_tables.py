"""One reader of tables for builds and for evaluation: what one of them reads, the other reads alike."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fake_datasets import save, split_items
from mien.data.sources import open_source
from mien.errors import DataError
from mien.labels import SEVEN
from mien.tables import csv_rows, read_table

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]
NAMES = ["Jürgen.png", "naïve.png", "b.png"]


def write(path: Path, delimiter: str, encoding: str) -> Path:
    """A table that a build and an evaluation can both use: paths, labels, probabilities."""
    rows = [[name, SEVEN[i], *np.eye(7)[i].astype(str)] for i, name in enumerate(NAMES)]
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([[" Path", "Label ", *SEVEN], *rows])
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_both_commands_read_the_same(tmp_path: Path, encoding: str, delimiter: str) -> None:
    from mien.evaluation.predictions_file import read_predictions_file

    for i, name in enumerate(NAMES):
        save(tmp_path / name, i)
    file = write(tmp_path / "table.csv", delimiter, encoding)
    samples, drops = split_items(open_source("csv", file))
    assert (drops, [s.path for s in samples], [s.label for s in samples]) == ([], NAMES, list(SEVEN[:3]))
    assert read_table(file).columns["path"] == NAMES
    predictions = read_predictions_file(file)
    assert predictions.paths == NAMES
    np.testing.assert_array_equal(predictions.probabilities, np.eye(7)[:3])


def test_another_encoding_than_the_files_gives_other_names(tmp_path: Path) -> None:
    """Negative control: taken as cp1252, which decodes any byte, UTF-8 would give names that nobody has."""
    wrong = write(tmp_path / "table.csv", ",", "utf-8").read_text("cp1252")
    assert "Jürgen" not in wrong
    assert read_table(tmp_path / "table.csv").columns["path"] == NAMES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('path,label\na.png,"sad\nb.png,happy\n', "cannot read line 2 of"),
        ("path,label\na.png,sad\nb.png\n", "expected 2 cells in line 3 of .*, got 1"),
        ("path,label\na.png,sad,1\n", "expected 2 cells in line 2 of .*, got 3"),
        ("path, Path\na.png,b.png\n", "each column of .* once, got 'path' twice"),
    ],
)
def test_a_row_that_is_wrong_is_an_error_there_and_a_counted_drop_here(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_table(tmp_path / "t.csv")
    if "label" in text:
        save(tmp_path / "a.png", 0)
        rows = text.splitlines()[1:]
        samples, drops = split_items(open_source("csv", tmp_path / "t.csv"))
        assert len(samples) + len(drops) == len(rows)


def test_the_limit_of_a_cell_is_put_back(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"path,label\n{'x' * 200_000},sad\nb,happy\n")
    before = csv.field_size_limit()
    rows = csv_rows(tmp_path / "t.csv")
    assert len(next(rows)[1][0]) == 200_000
    assert csv.field_size_limit() == before  # between two rows too
    assert next(rows) == (3, ["b", "happy"])
    with pytest.raises(DataError, match="field larger than field limit"):
        read_table(tmp_path / "t.csv")
    assert csv.field_size_limit() == before
