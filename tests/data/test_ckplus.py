"""CK+ in each layout: labels by its own codes, frames by number, subjects as groups; what is wrong is counted."""

import os
from collections import Counter
from pathlib import Path

import pytest

import fake_datasets
from fake_datasets import ckplus_crops, ckplus_extended, ckplus_official, nothing, split_items, truth_of
from mien.data.sources import ckplus, open_source
from mien.errors import DataError, ImageError
from mien.imaging import load_rgb


@pytest.mark.parametrize("root", [".", "extended-cohn-kanade-images"])
def test_official_tree(tmp_path, root):
    true = ckplus_official(tmp_path)
    if root != ".":  # as the archives unpack
        (tmp_path / root).mkdir()
        (tmp_path / "cohn-kanade-images").rename(tmp_path / root / "cohn-kanade-images")
    source = open_source("ckplus", tmp_path)
    samples, drops = split_items(source)
    assert truth_of(samples) == true
    assert source.layout.startswith("official tree")
    assert [(d.where, d.reason) for d in drops] == [
        ("cohn-kanade-images/S010/001", "sequence without an emotion label")
    ]
    assert all(not s.is_crop and s.pixels is None and s.landmarks is None for s in samples)
    assert all(load_rgb(s.file).shape == (49, 64, 3) for s in samples)
    assert [s.path for s in samples] == [s.path for s in split_items(source)[0]]  # again, in the same order


def test_landmarks_are_read_where_they_are(tmp_path):
    ckplus_official(tmp_path, landmarks=True)
    (tmp_path / "Landmarks/S005/001/S005_001_00000006_landmarks.txt").write_text("1.0 x\n")
    samples, _ = split_items(open_source("ckplus", tmp_path))
    points = {s.path.rpartition("/")[2]: s.landmarks for s in samples}
    assert points["S010_002_00000005.png"] == tuple((2.0 + p, 5.0 + p) for p in range(68))
    assert points["S005_001_00000006.png"] is None


def test_a_wrong_code_order_is_noticed(tmp_path, monkeypatch):
    """Negative control: read in FER2013's order, the labels differ from what was written."""
    true = ckplus_official(tmp_path)
    monkeypatch.setattr(ckplus, "CODES", tuple(fake_datasets.FER2013))
    samples, _ = split_items(open_source("ckplus", tmp_path))
    assert truth_of(samples).keys() == true.keys()
    assert truth_of(samples) != true


def test_a_copy_that_broke_off_drops_frames_and_mislabels_none(tmp_path):
    """Without its last frames the three before them are not the peak; without its first, the next is not neutral."""
    true = ckplus_official(tmp_path)
    folder = tmp_path / "cohn-kanade-images/S502/001"
    for n in (1, 6, 7):
        (folder / f"S502_001_{n:08d}.png").unlink()
    for file in (tmp_path / "cohn-kanade-images/S999/001").iterdir():
        file.unlink()
    samples, drops = split_items(open_source("ckplus", tmp_path))
    assert {d.where.rpartition("/")[2] for d in drops if d.reason == "file missing"} == {
        *(f"S502_001_{n:08d}.png" for n in (1, 6, 7)),
        *(f"S999_001_{n:08d}.png" for n in (1, 4, 5, 6)),
    }
    assert truth_of(samples) == {path: t for path, t in true.items() if (tmp_path / path).is_file()}
    assert "cohn-kanade-images/S502/001/S502_001_00000005.png" in truth_of(samples)


def test_wrong_emotion_files_are_counted(tmp_path):
    ckplus_official(tmp_path)
    emotion = tmp_path / "Emotion"
    (emotion / "S005/001/S005_001_00000006_emotion.txt").write_text("   8.0000000e+00\n")
    (emotion / "S010/002/S010_002_00000005_emotion.txt").write_text("surprise\n")
    (emotion / "S010/004/S010_004_00000004_emotion.txt").write_text("1.5\n")
    (emotion / "S011/003/S011_003_00000002_emotion.txt").write_text("5\n")  # a second one
    (emotion / "S502/001/S502_001_00000007_emotion.txt").write_text("")
    (tmp_path / "cohn-kanade-images/S506/002/notes.txt").write_text("x")
    (tmp_path / "cohn-kanade-images/S506/002/frame7.png").write_bytes(b"")
    (tmp_path / "cohn-kanade-images/S506/002/.DS_Store").write_bytes(b"")
    samples, drops = split_items(open_source("ckplus", tmp_path))
    assert Counter(d.reason for d in drops) == {
        "label code out of range": 2,
        "unreadable annotation": 3,
        "sequence without an emotion label": 1,
        "not an image file": 1,
        "unknown file name": 1,
    }
    assert {s.group for s in samples} == {"S506", "S999"}


def test_a_truncated_picture_is_left_to_the_decoder(tmp_path):
    ckplus_official(tmp_path)
    file = tmp_path / "cohn-kanade-images/S005/001/S005_001_00000006.png"
    file.write_bytes(file.read_bytes()[:200])
    samples, _ = split_items(open_source("ckplus", tmp_path))
    (sample,) = [s for s in samples if s.file == file]
    with pytest.raises(ImageError, match="ends before the picture does"):
        load_rgb(sample.file)


@pytest.mark.parametrize("inside", ["", "CK+48"])
def test_crops(tmp_path, inside):
    true = ckplus_crops(tmp_path / inside)
    source = open_source("ckplus", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops, source.layout) == (true, [], "CK+48 folders")
    assert all(s.is_crop for s in samples)
    assert "neutral" not in {s.label for s in samples}


def test_crops_without_a_subject_are_dropped(tmp_path):
    true = ckplus_crops(tmp_path)
    (tmp_path / "fear/S502_001_00000007.png").rename(tmp_path / "fear/im7.png")
    samples, drops = split_items(open_source("ckplus", tmp_path))
    assert [(d.where, d.reason) for d in drops] == [("fear/im7.png", "unknown file name")]
    assert len(samples) == len(true) - 1


def test_every_picture_of_the_crops_is_kept_or_counted(tmp_path):
    ckplus_crops(tmp_path)
    for place in ("bored/S010_004_00000017.png", "bored/deep/S010_004_00000018.png", "S011_001_00000001.png"):
        fake_datasets.save(tmp_path / place, 1)
    (tmp_path / "README.txt").write_text("no picture, and in no class")
    samples, drops = split_items(open_source("ckplus", tmp_path))
    assert [(d.where, d.reason) for d in drops] == [
        ("S011_001_00000001.png", "image outside of the class folders"),
        ("bored/S010_004_00000017.png", "image outside of the class folders"),
        ("bored/deep/S010_004_00000018.png", "image outside of the class folders"),
    ]
    assert len(samples) + len(drops) == len(list(tmp_path.rglob("*.png")))


def test_a_second_picture_of_one_frame_and_those_of_no_sequence_are_counted(tmp_path):
    true = ckplus_official(tmp_path)
    images = tmp_path / "cohn-kanade-images"
    for place in ("S005/001/S005_001_00000001.tiff", "S005/S005_001_00000001.png", "loose.png", "other/001/x.png"):
        fake_datasets.save(images / place, 1)
    before, _ = split_items(open_source("ckplus", tmp_path))
    fake_datasets.save(images / "S005/001/again/S005_001_00000001.png", 1)
    samples, drops = split_items(open_source("ckplus", tmp_path))
    assert truth_of(samples) == truth_of(before) == true
    assert [(d.where.partition("/")[2], d.reason) for d in drops if "label" not in d.reason] == [
        ("S005/001/S005_001_00000001.tiff", "duplicate name"),
        ("S005/001/again/S005_001_00000001.png", "duplicate name"),
        ("loose.png", "image outside of the sequences"),
        ("other/001/x.png", "image outside of the sequences"),
        ("S005/S005_001_00000001.png", "image outside of the sequences"),
    ]


# --- links and what is no file, as in every source of folders ------------------------------------------------------


def test_folders_behind_links_are_read_once_and_loops_are_told(tmp_path):
    root = tmp_path / "CK+48"
    true = ckplus_crops(root)
    fake_datasets.save(tmp_path / "elsewhere/more/S999_001_00000003.png", 1)
    for name, target in (
        ("linked", tmp_path / "elsewhere"), ("twice", tmp_path / "elsewhere/more"), ("up", tmp_path),
        ("around", root), ("self", root / "fear"),
    ):  # fmt: skip
        (root / "fear" / name).symlink_to(target)
    (tmp_path / "elsewhere/back").symlink_to(root / "fear")
    (root / "fear/knot").symlink_to(root / "fear/knot")
    (root / "round").symlink_to(tmp_path)
    samples, drops = split_items(open_source("ckplus", root))
    assert {s.path for s in samples} == {*true, "fear/linked/more/S999_001_00000003.png"}
    assert {d.where for d in drops if d.detail == "link to a folder, not followed"} == {
        "fear/around", "fear/linked/back", "fear/self", "fear/twice", "fear/up", "round",
    }  # fmt: skip
    assert [d.where for d in drops if "link to" not in d.detail] == ["fear/knot"]


def test_what_is_no_regular_file_is_not_called_missing(tmp_path):
    ckplus_crops(tmp_path)
    os.mkfifo(tmp_path / "fear/S010_004_00000021.png")
    (tmp_path / "fear/S010_004_00000022.png").symlink_to(tmp_path / "gone.png")
    _, drops = split_items(open_source("ckplus", tmp_path))
    assert [(d.reason, d.detail) for d in drops] == [
        ("not an image file", "not a regular file"),
        ("file missing", "dead link"),
    ]


@pytest.mark.parametrize("given", ["folder", "file"])
def test_extended_csv(tmp_path, given):
    rows = ckplus_extended(tmp_path / "ckextended.csv")
    source = open_source("ckplus", tmp_path if given == "folder" else tmp_path / "ckextended.csv")
    samples, drops = split_items(source)
    assert [s.label for s in samples] == [label for _, label in rows]
    assert all((s.pixels == pixels).all() for s, (pixels, _) in zip(samples, rows, strict=True))
    assert {(s.split, s.group) for s in samples} == {("", None)}
    assert drops == []
    assert "no subjects" in source.warnings[0]
    assert len({s.path for s in samples}) == len(rows)


def test_extended_csv_with_bad_rows(tmp_path):
    ckplus_extended(tmp_path / "ckextended.csv")
    with (tmp_path / "ckextended.csv").open("a") as file:
        file.write(f"8,{' '.join(['0'] * 2304)},Training\n-1,{' '.join(['0'] * 2304)},Training\n3,1 2 3,Training\n3")
    _, drops = split_items(open_source("ckplus", tmp_path))
    assert [d.reason for d in drops] == ["emotion out of 0-7"] * 2 + ["wrong number of pixels", "malformed row"]


def only_images(path: Path) -> None:
    (path / "cohn-kanade-images/S005/001").mkdir(parents=True)


def empty_images(path: Path) -> None:
    (path / "cohn-kanade-images").mkdir()
    (path / "Emotion").mkdir()


def half_of_the_classes(path: Path) -> None:
    for name in ("anger", "fear", "happy"):
        (path / name).mkdir()


def other_names(path: Path) -> None:
    for name in fake_datasets.CK48_NAMES.values():
        fake_datasets.save(path / name / "im1.png", 1)


def no_pixels(path: Path) -> None:
    (path / "ckextended.csv").write_text("emotion,Usage\n0,Training\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, r"no CK\+: expected one of \[cohn-kanade-images.*CK\+48.*ckextended\.csv\] in .*, found readme\.txt"),
        (only_images, "found cohn-kanade-images/; the images are there; unpack Emotion_labels.zip"),
        (empty_images, "found nothing; the copy looks incomplete"),
        (half_of_the_classes, "found anger, fear, happy; missing contempt, disgust, sadness, surprise; the copy looks"),
        (other_names, r"file names with a subject, .*, found im1\.png; if this is not CK\+, read it as folder=PATH"),
        (no_pixels, "expected the columns emotion, pixels in .* found emotion, usage; missing pixels"),
    ],
)
def test_a_wrong_tree_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("ckplus", tmp_path)


def test_differences_from_the_published_counts(tmp_path):
    """327 labelled sequences, 981 peaks: 135/54/177/75/207/84/249 as published."""
    assert (sum(ckplus.PEAKS.values()), sum(ckplus.OFFICIAL.values()), sum(ckplus.EXTENDED.values())) == (
        981,
        1308,
        920,
    )
    ckplus_crops(tmp_path)
    source = open_source("ckplus", tmp_path)
    published = {"angry": 135, "contempt": 54, "disgust": 177, "fear": 75, "happy": 207, "sad": 84, "surprise": 249}
    assert source.differences({"": published}) == []
    assert source.differences({"": {**published, "fear": 74}}) == ["980 images, expected 981", "74 fear, expected 75"]
    assert source.differences({}) == ["missing, expected 981 images"]
