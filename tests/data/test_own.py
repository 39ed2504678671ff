"""The user's own pictures: class folders, CSV and Parquet, with every slip that people make in them."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalikes import FER2013, True_, encoded, face, save, split_items, truth_of
from mien.data.sources import open_source, own_labels, parse_source
from mien.errors import DataError, UsageError
from mien.imaging import load_rgb

CODES_WARNING = "the labels are codes; they were read as 0 angry, 1 disgust"


def reasons(drops) -> Counter:
    return Counter(d.reason for d in drops)


# --- folders -------------------------------------------------------------------------------------------------------


def test_class_folders_by_name_in_any_spelling(tmp_path):
    true = {}
    for i, (folder, label) in enumerate(
        {"Anger": "angry", "happiness": "happy", "joy": "happy", "neutral": "neutral", "Contempt": "contempt"}.items()
    ):
        for name in ("b.png", "a.jpg", "deep/er/c.webp"):
            save(tmp_path / folder / name, i)
            true[f"{folder}/{name}"] = True_(label)
    source = open_source("folder", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops, source.layout) == (true, [], "class folders")
    assert all(s.is_crop for s in samples)
    assert source.warnings == ("the pictures are taken for face crops; if they are photos, say folder:photos=PATH",)
    assert [s.path for s in samples] == [s.path for s in split_items(open_source("folder", tmp_path))[0]]


def test_split_folders_above(tmp_path):
    true = {}
    for folder, split in {"Train": "training", "val": "validation", "test": "test"}.items():
        for label in ("sad", "fear"):
            save(tmp_path / folder / label / "x.png", 1)
            true[f"{folder}/{label}/x.png"] = True_(label, split)
    source = parse_source(f"folder:photos={tmp_path}")
    samples, _ = split_items(source)
    assert truth_of(samples) == true
    assert not any(s.is_crop for s in samples)
    assert source.warnings == ()
    assert source.layout == "class folders below Train, test, val"


def test_files_in_folders_that_are_no_pictures(tmp_path):
    save(tmp_path / "sad/a.png", 1)
    save(tmp_path / "lost.png", 2)
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "sad/b.png.part").write_bytes(b"x")
    (tmp_path / "sad/.hidden.png").write_bytes(b"x")
    (tmp_path / "sad/loop").symlink_to(tmp_path)
    (tmp_path / "__MACOSX").mkdir()
    samples, drops = split_items(open_source("folder", tmp_path))
    assert [s.path for s in samples] == ["sad/a.png"]
    assert sorted((d.where, d.reason) for d in drops) == [
        ("lost.png", "image outside of the class folders"),
        ("sad/b.png.part", "not an image file"),
        ("sad/loop", "not an image file"),
    ]


def test_unknown_class_names_are_listed_and_can_be_explained(tmp_path):
    for name in ("sad", "scared", "sleepy", "3"):
        save(tmp_path / name / "a.png", 1)
    with pytest.raises(
        DataError, match=r"expressions \(angry, .*contempt\) in .*, found also 3, scared, sleepy; rename"
    ):
        open_source("folder", tmp_path)
    source = open_source("folder", tmp_path, names={"Scared": "fear", "sleepy": None, "3": "happiness"})
    samples, drops = split_items(source)
    assert {s.path: s.label for s in samples} == {"sad/a.png": "sad", "scared/a.png": "fear", "3/a.png": "happy"}
    assert [(d.where, d.reason) for d in drops] == [("sleepy/a.png", "label left out by the names")]
    with pytest.raises(DataError, match=r"expected an expression .*got 'terror'"):
        open_source("folder", tmp_path, names={"scared": "terror"})
    with pytest.raises(UsageError, match="expected names for the user's own data"):
        open_source("rafdb", tmp_path, names={"scared": "fear"})


def empty(path: Path) -> None:
    (path / "images").mkdir()


def mixed(path: Path) -> None:
    (path / "train/sad").mkdir(parents=True)
    (path / "happy").mkdir()


def beside_splits(path: Path) -> None:
    (path / "train/sad").mkdir(parents=True)
    (path / "extra").mkdir()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (empty, r"no folder of classes: expected one of \[<expression>/; .*\] in .*, found images/"),
        (mixed, "expected folders of splits or of classes in .*, found both: happy, train"),
        (beside_splits, "found also extra"),
    ],
)
def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("folder", tmp_path)


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "label"), [*((str(c), n) for n, c in FER2013.items()), ("3.0", "happy"), (4, "sad")])
def test_codes_are_those_of_mien(text, label):
    assert own_labels.Labels().cell(text) == label


def test_a_wrong_code_order_is_noticed(monkeypatch):
    """Negative control: with the alphabetical order, which image folders have, the codes mean something else."""
    monkeypatch.setattr(own_labels, "EIGHT", tuple(sorted(FER2013)))
    read = {name: own_labels.Labels().cell(code) for name, code in FER2013.items()}
    assert read != {name: name for name in FER2013}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("8", "label code out of range"),
        ("-1", "label code out of range"),
        ("1.5", "unknown label"),
        ("x", "unknown label"),
    ],
)
def test_labels_that_mean_nothing(cell, reason):
    assert own_labels.Labels().cell(cell).reason == reason


# --- CSV -------------------------------------------------------------------------------------------------------------


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
    assert reasons(drops) == {
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


# --- Parquet ---------------------------------------------------------------------------------------------------------


def images(kind: str, root: Path, n: int) -> pa.Array:
    if kind == "bytes":
        return pa.array([encoded(i) for i in range(n)])
    if kind == "struct":
        return pa.array([{"bytes": encoded(i), "path": f"p{i}.png"} for i in range(n)])
    for i in range(n):
        save(root / f"faces/p{i}.png", i)
    if kind == "struct of paths":
        return pa.array([{"bytes": None, "path": f"faces/p{i}.png"} for i in range(n)])
    return pa.array([f"faces/p{i}.png" for i in range(n)])


@pytest.mark.parametrize("kind", ["bytes", "struct", "struct of paths", "paths"])
def test_parquet(tmp_path, kind):
    table = {"image": images(kind, tmp_path, 5), "label": list(FER2013)[:5], "person": [7, 7, 8, None, 8]}
    table |= {"split": ["train"] * 4 + [None], "valence": [0.5, None, -1.0, 1.0, float("nan")]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=2)
    source = open_source("parquet", tmp_path / "a.parquet")
    samples, drops = split_items(source)
    assert drops == []
    assert [s.label for s in samples] == list(FER2013)[:5]
    assert [s.group for s in samples] == ["7", "7", "8", None, "8"]
    assert [s.split for s in samples] == ["training"] * 4 + [""]
    assert [s.valence for s in samples] == [0.5, None, -1.0, 1.0, None]
    assert [s.path for s in samples] == {
        "bytes": [f"a.parquet:{i}" for i in range(5)],
        "struct": [f"p{i}.png" for i in range(5)],
    }.get(kind, [f"faces/p{i}.png" for i in range(5)])
    for i, sample in enumerate(samples):
        pixels = sample.pixels if sample.file is None else load_rgb(sample.file)[..., 0]
        assert np.array_equal(pixels, np.asarray(face(i)))
    assert source.total() == 5
    assert "image: image, label: label, split: split, group: person, valence: valence, arousal: none" in source.layout


def test_parquet_in_colour(tmp_path):
    pq.write_table(pa.table({"img": [encoded(3, color=True)], "class": ["joy"]}), tmp_path / "a.parquet")
    (sample,), _ = split_items(open_source("parquet:photos", tmp_path))
    assert np.array_equal(sample.pixels, np.asarray(face(3, color=True)))
    assert (sample.label, sample.is_crop) == ("happy", False)


def hugging_face(file: Path, codes: list[int], names: list[str]) -> None:
    """As ``datasets`` writes a ClassLabel: codes, and the names that they mean in the schema's metadata."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table({"image": images("struct", file.parent, len(codes)), "label": pa.array(codes, pa.int64())})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def test_parquet_says_itself_what_its_codes_mean(tmp_path):
    """An alphabetical ClassLabel: 0 is anger, but 2 is happiness, which is fear among mien's codes."""
    names = ["anger", "fear", "happiness", "sadness"]
    hugging_face(tmp_path / "data/train-00000-of-00001.parquet", [0, 1, 2, 3, -1, 4], names)
    hugging_face(tmp_path / "data/test-00000-of-00001.parquet", [2], names)
    source = open_source("parquet", tmp_path)
    samples, drops = split_items(source)
    assert [s.label for s in samples] == ["happy", "angry", "fear", "happy", "sad", None]
    assert [s.split for s in samples] == ["test"] + ["training"] * 5
    assert reasons(drops) == {"label code out of range": 1}
    assert not any(w.startswith(CODES_WARNING) for w in source.warnings)
    assert len({s.path for s in samples}) == 6  # p0.png is in both files
    hugging_face(tmp_path / "other.parquet", [0], ["grumpy"])
    with pytest.raises(DataError, match="found also grumpy"):
        open_source("parquet", tmp_path / "other.parquet")
    explained = open_source("parquet", tmp_path / "other.parquet", names={"grumpy": "angry"})
    assert split_items(explained)[0][0].label == "angry"


def test_parquet_codes_without_names_are_warned_of(tmp_path):
    pq.write_table(pa.table({"image": images("bytes", tmp_path, 2), "label": [3, 6]}), tmp_path / "a.parquet")
    source = open_source("parquet", tmp_path / "a.parquet")
    assert [s.label for s in split_items(source)[0]] == ["happy", "neutral"]
    assert any(w.startswith(CODES_WARNING) for w in source.warnings)


def test_parquet_with_broken_pictures(tmp_path):
    good = encoded(1, "JPEG", color=True)
    table = {"image": pa.array([good[:300], b"no picture", None, b"", good]), "label": ["sad"] * 5}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    samples, drops = split_items(open_source("parquet", tmp_path / "a.parquet"))
    assert [d.reason for d in drops] == ["truncated image", "unreadable image", "malformed row", "unreadable image"]
    assert [d.where for d in drops] == [f"a.parquet:{i}" for i in range(4)]
    assert len(samples) == 1


def cut(path: Path) -> None:
    (path / "a.parquet").write_bytes(b"PAR1 and then nothing")


def numbers(path: Path) -> None:
    pq.write_table(pa.table({"image": [[1, 2]], "label": ["sad"]}), path / "a.parquet")


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"picture": [b"x"], "label": ["sad"]}), path / "a.parquet")


def unlike(path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "label": ["sad"]}), path / "a.parquet")
    pq.write_table(pa.table({"image": [b"x"], "emotion": ["sad"]}), path / "b.parquet")


def none(path: Path) -> None:
    (path / "a.csv").write_text("")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (cut, "expected a Parquet file, cannot read .*; the copy may be incomplete"),
        (numbers, r"expected column image of .* to hold bytes, paths or \{bytes, path\}, got list"),
        (other_columns, r"expected a column for the image \(image, .*\) in .*, found picture, label"),
        (
            unlike,
            r"expected the columns image: image, label: label, .* in every file, found image, emotion in .*b\.parquet",
        ),
        (none, r"no Parquet table: expected one of \[\*\.parquet\] in .*, found a\.csv"),
    ],
)
def test_a_wrong_parquet_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("parquet", tmp_path)


def test_two_sources_with_the_same_file_names(tmp_path):
    """Names are unique within a source; the build tells sources apart."""
    for name in ("one", "two"):
        save(tmp_path / name / "sad/a.png", len(name))
    write_csv(tmp_path / "one/list.csv", [{"image": "sad/a.png", "label": "sad"}])
    first, _ = split_items(open_source("csv", tmp_path / "one"))
    second, _ = split_items(open_source("folder", tmp_path / "two"))
    assert [s.path for s in first] == [s.path for s in second] == ["sad/a.png"]
    assert first[0].file != second[0].file
