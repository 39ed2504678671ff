"""RAF-DB in each layout: labels by its codes, zero-based copies told apart or asked about; what is wrong is counted."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

import fake_datasets
from fake_datasets import nothing, rafdb_folders, rafdb_official, split_items, truth_of
from mien.data.sources import open_source, rafdb
from mien.errors import DataError, ImageError, UsageError
from mien.imaging import load_rgb


def labels_file(root: Path) -> Path:
    return root / "EmoLabel/list_patition_label.txt"


@pytest.mark.parametrize("inside", ["", "basic"])
@pytest.mark.parametrize("first", [1, 0])
def test_official_with_aligned_images(tmp_path, inside, first):
    true = rafdb_official(tmp_path / inside, first=first)
    source = open_source("rafdb", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops) == (true, [])
    assert source.layout == "official, aligned images" + (", zero-based" if first == 0 else "")
    assert all(s.is_crop and s.box is None and s.landmarks is None for s in samples)


def test_official_with_both_kinds_of_images_takes_the_aligned(tmp_path):
    rafdb_official(tmp_path, images="original")
    shutil.rmtree(tmp_path / "EmoLabel")
    true = rafdb_official(tmp_path)
    assert truth_of(split_items(open_source("rafdb", tmp_path))[0]) == true


def test_official_with_originals_alone_gives_photos_with_boxes_and_points(tmp_path):
    true = rafdb_official(tmp_path, images="original")
    (tmp_path / "Annotation/boundingbox/train_00003_boundingbox.txt").write_text("1 2 3")
    (tmp_path / "Annotation/manual/train_00004_manu_attri.txt").unlink()
    source = open_source("rafdb", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops) == (true, [])
    assert source.layout == "official, original images with face boxes"
    assert not any(s.is_crop for s in samples)
    assert samples[1].box == (12.0, 20.5, 80.0, 90.0)  # left 12, top 20.5, right 92, bottom 110.5
    assert samples[1].landmarks == ((30.5, 40.0), (60.0, 41.0), (45.0, 60.0), (35.0, 80.0), (55.0, 81.0))
    assert samples[2].box is None
    assert samples[3].landmarks is None


def test_aligned_images_that_the_list_does_not_name_are_counted(tmp_path):
    true = rafdb_official(tmp_path)
    aligned = tmp_path / "Image/aligned"
    fake_datasets.save(aligned / "train_99999_aligned.jpg", 1)
    fake_datasets.save(aligned / "deep/train_00001_aligned.jpg", 1)
    (aligned / "notes.txt").write_text("x")
    samples, drops = split_items(open_source("rafdb", tmp_path))
    assert truth_of(samples) == true
    assert [(d.where, d.reason) for d in drops] == [
        ("Image/aligned/deep/train_00001_aligned.jpg", "image that no label names"),
        ("Image/aligned/notes.txt", "not an image file"),
        ("Image/aligned/train_99999_aligned.jpg", "image that no label names"),
    ]


def test_every_picture_of_the_folders_is_kept_or_counted(tmp_path):
    rafdb_folders(tmp_path)
    for place in ("extra/1/a.jpg", "loose.jpg", "test/loose.jpg", "train/bored/a.jpg"):
        fake_datasets.save(tmp_path / place, 1)
    (tmp_path / "train_labels.csv").write_text("image,label")
    samples, drops = split_items(open_source("rafdb", tmp_path))
    assert sorted(d.where for d in drops) == ["extra/1/a.jpg", "loose.jpg", "test/loose.jpg", "train/bored/a.jpg"]
    assert {d.reason for d in drops} == {"image outside of the class folders"}
    assert len(samples) + len(drops) == len([f for f in tmp_path.rglob("*") if f.suffix in (".jpg", ".png")])


def test_originals_without_boxes_are_warned_of(tmp_path):
    rafdb_official(tmp_path, images="original", boxes=False)
    source = open_source("rafdb", tmp_path)
    assert {s.box for s in split_items(source)[0]} == {None}
    assert "boundingbox" in source.warnings[0]


@pytest.mark.parametrize("inside", ["", "DATASET"])
@pytest.mark.parametrize(("first", "by_name"), [(1, False), (0, False), (1, True)])
def test_folders(tmp_path, inside, first, by_name):
    true = rafdb_folders(tmp_path / inside, first=first, by_name=by_name)
    source = open_source("rafdb", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops) == (true, [])
    assert source.layout == ("folders by name" if by_name else "folders by code" + ", zero-based" * (first == 0))
    assert all(s.is_crop for s in samples)


def test_a_wrong_code_order_is_noticed(tmp_path, monkeypatch):
    """Negative control: in another order, or counted from the wrong end, the labels differ from what was written."""
    for write in (rafdb_official, rafdb_folders):
        true = write(tmp_path / write.__name__)
        with monkeypatch.context() as patch:
            patch.setattr(rafdb, "CODES", tuple(fake_datasets.FER2013)[:7])
            assert truth_of(split_items(open_source("rafdb", tmp_path / write.__name__))[0]) != true
        with monkeypatch.context() as patch:
            patch.setattr(rafdb, "first_code", lambda codes, base, where: 0)
            try:
                shifted = truth_of(split_items(open_source("rafdb", tmp_path / write.__name__))[0])
            except DataError:
                continue  # the folder of the seventh class is missing, when counted from zero
            assert shifted != true


# --- zero-based or not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["official", "folders"])
def test_without_0_and_7_the_user_is_asked_and_the_answer_taken(tmp_path, layout):
    """A subset with codes 1-6 reads either way: neutral gone from a one-based copy, surprise from a zero-based one."""
    if layout == "official":
        true = rafdb_official(tmp_path)
        lines = [line for line in labels_file(tmp_path).read_text().splitlines() if not line.endswith(" 7")]
        labels_file(tmp_path).write_text("\n".join(lines))
    else:
        true = rafdb_folders(tmp_path)
        for split in ("train", "test"):
            shutil.rmtree(tmp_path / split / "7")
    with pytest.raises(
        DataError, match=r"found the codes 1, 2, 3, 4, 5, 6 in .*rafdb:one-based=PATH .*zero-based=PATH"
    ):
        open_source("rafdb", tmp_path)
    one = truth_of(split_items(open_source("rafdb:one-based", tmp_path))[0])
    assert one == {path: t for path, t in true.items() if t.label != "neutral"}
    zero = truth_of(split_items(open_source("rafdb:zero-based", tmp_path))[0])
    after = dict(zip(fake_datasets.RAFDB, list(fake_datasets.RAFDB)[1:], strict=False))
    assert {path: t.label for path, t in zero.items()} == {path: after[t.label] for path, t in one.items()}


def test_an_answer_that_the_codes_contradict_is_refused(tmp_path):
    rafdb_folders(tmp_path / "one")
    rafdb_folders(tmp_path / "zero", first=0)
    with pytest.raises(DataError, match="expected codes from 0 as the source's name says, found the codes 1, 2"):
        open_source("rafdb:zero-based", tmp_path / "one")
    with pytest.raises(DataError, match="expected codes from 1"):
        open_source("rafdb:one-based", tmp_path / "zero")
    with pytest.raises(UsageError, match=r"expected an option of rafdb \(rafdb:zero-based, rafdb:one-based\), got 'b'"):
        open_source("rafdb:b", tmp_path / "one")
    with pytest.raises(UsageError, match=r"expected an option of ckplus \(none\), got 'photos'"):
        open_source("ckplus:photos", tmp_path / "one")


def test_the_same_copy_in_train_and_test_decides_together(tmp_path):
    """train holds 0-6, test lacks 0: 7 occurs nowhere, so test counts from zero as well."""
    rafdb_folders(tmp_path, first=0)
    shutil.rmtree(tmp_path / "test/0")
    with pytest.raises(DataError, match=r"expected class folders 0, 1, 2, 3, 4, 5, 6 in .*test.*missing 0"):
        open_source("rafdb", tmp_path)
    (tmp_path / "test/0").mkdir()
    assert open_source("rafdb", tmp_path).layout == "folders by code, zero-based"


# --- wrong input -----------------------------------------------------------------------------------------------------


def test_wrong_lines_are_counted(tmp_path):
    true = rafdb_official(tmp_path)
    with labels_file(tmp_path).open("a") as file:
        file.write(
            "train_00001.jpg\nother_1.jpg 3\n../train_00002.jpg 2\ntrain_00003.jpg happy\ntrain_00003.jpg -1\n\n"
        )
        file.write("train_00009.jpg 3\ntrain_00004.jpg 4\n")
    samples, drops = split_items(open_source("rafdb", tmp_path))
    assert Counter(d.reason for d in drops) == {
        "malformed row": 2,
        "unknown split": 1,
        "label code out of range": 2,
        "file missing": 1,
    }
    assert [d.where for d in drops if d.reason == "file missing"] == ["Image/aligned/train_00009_aligned.jpg"]
    assert len(samples) == len(true) + 1  # train_00004 is listed twice, with the same label
    assert samples[-1].path == "Image/aligned/train_00004_aligned.jpg#2"


def test_an_interrupted_copy(tmp_path):
    true = rafdb_official(tmp_path)
    gone = sorted(true)[5:]
    for path in gone:
        (tmp_path / path).unlink()
    cut = tmp_path / sorted(true)[0]
    cut.write_bytes(cut.read_bytes()[:400])
    samples, drops = split_items(open_source("rafdb", tmp_path))
    assert sorted(d.where for d in drops if d.reason == "file missing") == gone
    assert len(samples) == 5
    with pytest.raises(ImageError, match="ends before the picture does"):
        load_rgb(cut)


def packed_images(path: Path) -> None:
    rafdb_official(path)
    shutil.rmtree(path / "Image/aligned")
    (path / "Image/aligned.zip").write_bytes(b"PK")


def no_images(path: Path) -> None:
    rafdb_official(path)
    shutil.rmtree(path / "Image")


def both_ends(path: Path) -> None:
    rafdb_folders(path)
    (path / "train/0").mkdir()


def compound(path: Path) -> None:
    rafdb_official(path)
    with labels_file(path).open("a") as file:
        file.write("train_00008.jpg 11\n")


def five_classes(path: Path) -> None:
    rafdb_folders(path)
    for name in ("2", "5"):
        shutil.rmtree(path / "test" / name)


def two_folders_of_a_split(path: Path) -> None:
    rafdb_folders(path)
    (path / "Training").mkdir()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, r"no RAF-DB: expected one of \[EmoLabel/list_patition_label\.txt.*1\.\.7.*found readme\.txt"),
        (packed_images, r"expected one of \[Image/aligned/; Image/original/\].*unpack Image/aligned\.zip into"),
        (no_images, "found Annotation/, EmoLabel/; the labels are there, the images are not"),
        (both_ends, "found the codes 0, 1, 2, 3, 4, 5, 6, 7 in .*; this mixes two copies"),
        (compound, "expected RAF-DB's basic codes 1-7, found the codes .* 11 in .*; compound expressions"),
        (five_classes, "expected class folders 1, 2, 3, 4, 5, 6, 7 in .*test, found .*; missing 2, 5; the copy looks"),
        (two_folders_of_a_split, "expected one folder for training in .*, found Training and train"),
    ],
)
def test_a_wrong_tree_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("rafdb", tmp_path)


def test_differences_from_the_published_counts(tmp_path):
    """12,271 training and 3,068 test images, as published."""
    assert [sum(classes.values()) for classes in rafdb.EXPECTED.values()] == [12271, 3068]
    rafdb_folders(tmp_path)
    source = open_source("rafdb", tmp_path)
    assert source.differences(rafdb.EXPECTED) == []
    short = {**rafdb.EXPECTED, "test": {**rafdb.EXPECTED["test"], "fear": 73}}
    assert source.differences(short) == ["test: 3067 images, expected 3068", "test: 73 fear, expected 74"]
