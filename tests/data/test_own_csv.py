"""The user's own pictures by a CSV, with every slip that people make in one; see also ``test_own_tables``."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from fake_datasets import CODES_WARNING, FER2013, True_, save, split_items, truth_of
from mien.data.sources import open_source
from mien.errors import DataError
from mien.imaging import load_rgb


def write_csv(file: Path, rows: list[dict[str, object]], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding=encoding) as stream:
        table = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return file


def some_rows(root: Path, n: int = 6) -> list[dict[str, object]]:
    for i in range(n):
        save(root / f"faces/p{i}.png", i)
    names = list(FER2013)
    return [{"image": f"faces/p{i}.png", "label": names[i % 8]} for i in range(n)]


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_csv_with_everything(tmp_path, delimiter, encoding):
    rows = some_rows(tmp_path)
    splits = ["Train", "val", "TEST", "", "public_test", "dev"]
    for i, row in enumerate(rows):
        row |= {"Usage": splits[i], "Subject_ID": f"s{i % 2}", "valence": i / 10, "arousal": "" if i == 0 else -i / 10}
    source = open_source("csv", write_csv(tmp_path / "faces.csv", rows, delimiter=delimiter, encoding=encoding))
    samples, drops = split_items(source)
    assert drops == []
    ours = ["training", "validation", "test", "", "public_test", "validation"]
    assert truth_of(samples) == {
        str(row["image"]): True_(str(row["label"]), ours[i], f"s{i % 2}", i / 10, None if i == 0 else -i / 10)
        for i, row in enumerate(rows)
    }
    assert source.layout == (
        "table (image: image, label: label, split: usage, group: subject_id, valence: valence, arousal: arousal)"
    )
    assert all(load_rgb(s.file).shape == (48, 48, 3) for s in samples)


def test_csv_in_a_folder_with_paths_of_windows_and_codes(tmp_path):
    rows = [
        {"Path ": str(r["image"]).replace("/", "\\"), " Emotion": FER2013[str(r["label"])]} for r in some_rows(tmp_path)
    ]
    write_csv(tmp_path / "list.csv", rows)
    source = open_source("csv", tmp_path)
    samples, drops = split_items(source)
    assert drops == []
    assert [s.path for s in samples] == [f"faces/p{i}.png" for i in range(6)]
    assert [s.label for s in samples] == list(FER2013)[:6]
    assert any(w.startswith(CODES_WARNING) for w in source.warnings)
    swapped = open_source("csv", tmp_path, names={"0": "happy", "3": "angry"})
    assert [s.label for s in split_items(swapped)[0]][:4] == ["happy", "disgust", "fear", "angry"]


def test_csv_outside_of_the_pictures_folder_and_absolute_paths(tmp_path):
    rows = some_rows(tmp_path, 2)
    rows[0]["image"] = "../" + str(rows[0]["image"])
    rows[1]["image"] = str(tmp_path / str(rows[1]["image"]))
    samples, drops = split_items(open_source("csv", write_csv(tmp_path / "lists/a.csv", rows)))
    assert (len(samples), drops) == (2, [])


def test_wrong_rows_are_counted(tmp_path):
    rows = [row | {"split": "train", "valence": "0.5"} for row in some_rows(tmp_path)]
    good = rows[0]
    rows += [
        good | {"label": "8"},
        good | {"label": "grumpy"},
        good | {"image": "faces/absent.png"},
        good | {"image": "faces"},
        good | {"image": ""},
        good | {"image": "x" * 5000},
        good | {"split": "a/b"},
        good | {"valence": "5"},
        good | {"valence": "much"},
        good | {"label": ""},  # held back: kept, unlabelled
        good | {"valence": "nan"},  # missing: kept
    ]
    file = write_csv(tmp_path / "a.csv", rows)
    with file.open("a") as stream:
        stream.write("faces/p0.png\n\n")
        stream.write('"faces/p0.png')  # cut off
    samples, drops = split_items(open_source("csv", file))
    assert Counter(d.reason for d in drops) == {
        "label code out of range": 1,
        "unknown label": 1,
        "file missing": 3,
        "malformed row": 3,
        "unknown split": 1,
        "valence or arousal out of -1 to 1": 2,
    }
    assert drops[0].where == "a.csv:8"
    assert [(s.path, s.label, s.valence) for s in samples[6:]] == [
        ("faces/p0.png#2", None, 0.5),
        ("faces/p0.png#3", "angry", None),
    ]


def test_two_columns_that_could_be_the_label_are_told(tmp_path):
    rows = [row | {"emotion": "sad"} for row in some_rows(tmp_path)]
    source = open_source("csv", write_csv(tmp_path / "a.csv", rows))
    assert "the columns label, emotion could each be the label; label was taken" in source.warnings
    assert [s.label for s in split_items(source)[0]] == [row["label"] for row in rows]


def no_label(path: Path) -> None:
    (path / "a.csv").write_text("image,feeling\na.png,sad\n")


def no_columns(path: Path) -> None:
    (path / "a.csv").write_text("")


def header_alone(path: Path) -> None:
    (path / "a.csv").write_text("image,label\n")


def two_tables(path: Path) -> None:
    (path / "a.csv").write_text("image,label\n")
    (path / "b.csv").write_text("image,label\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            no_label,
            r"expected a column for the label \(label, expression, .*\) in .*a\.csv, found image, feeling; rename",
        ),
        (no_columns, "expected a column for the image .* and a column for the label .* found nothing"),
        (header_alone, r"expected rows in .*a\.csv, found the header alone"),
        (two_tables, r"no table: expected one of \[one \.csv file\] in .*, found a\.csv, b\.csv; give the file itself"),
    ],
)
def test_a_wrong_table_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("csv", tmp_path)


def test_two_sources_with_the_same_file_names(tmp_path):
    """Names are unique within a source; the build tells sources apart."""
    for name in ("one", "two"):
        save(tmp_path / name / "sad/a.png", len(name))
    write_csv(tmp_path / "one/list.csv", [{"image": "sad/a.png", "label": "sad"}])
    first, _ = split_items(open_source("csv", tmp_path / "one"))
    second, _ = split_items(open_source("folder", tmp_path / "two"))
    assert [s.path for s in first] == [s.path for s in second] == ["sad/a.png"]
    assert first[0].file != second[0].file
