"""The user's own pictures in class folders, and what their labels may be, with the slips that people make."""

from pathlib import Path

import pytest

from fake_datasets import FER2013, True_, save, split_items, truth_of
from mien.data.sources import open_source, own_labels
from mien.data.sources.base import LeftOut
from mien.errors import DataError, UsageError

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
    source = open_source("folder:photos", tmp_path)
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
    with pytest.raises(LeftOut) as left_out:
        own_labels.Labels().cell(cell)
    assert left_out.value.reason == reason
