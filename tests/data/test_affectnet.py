"""AffectNet in each layout: labels by its own codes, boxes, landmarks, valence, arousal; what is wrong is counted."""

import csv
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import fake_datasets
from fake_datasets import (
    affectnet_csv,
    affectnet_folders,
    affectnet_npy,
    affectnet_rows,
    nothing,
    split_items,
    truth_of,
)
from mien.data.sources import affectnet, affectnet_readers, open_source
from mien.errors import DataError, ImageError
from mien.imaging import load_rgb

NOT_SAID = {"label none": 2, "label uncertain": 2, "label no face": 2}


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def write_rows(file: Path, rows: list[list[str]]) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


# --- csv -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("windows", "prefix"),
    [
        (False, ""),
        (True, ""),
        (True, "Manually_Annotated_Images/"),
        (True, "C:/data/AffectNet/Manually_Annotated_Images/"),
        (True, "D:/faces/"),
        (False, "/home/someone/faces/"),
    ],
)
def test_csv(tmp_path, header, windows, prefix):
    true = affectnet_csv(tmp_path, header=header, windows=windows, prefix=prefix)
    source = open_source("affectnet", tmp_path)
    samples, drops = split_items(source)
    assert truth_of(samples) == true
    assert Counter(d.reason for d in drops) == NOT_SAID
    assert source.layout == ("csv" if header else "csv (training.csv, validation.csv without a header)")
    assert not any(s.is_crop for s in samples)
    assert {s.split for s in samples} == {"training", "validation"}


def test_boxes_and_landmarks(tmp_path):
    affectnet_csv(tmp_path)
    samples, _ = split_items(open_source("affectnet", tmp_path))
    for row, sample in zip([r for r in affectnet_rows("training") if r["label"]], samples, strict=False):
        assert sample.box == row["box"]
        assert np.array_equal(np.ravel(sample.landmarks), row["points"])
        assert len(sample.landmarks) == 68


def test_a_wrong_code_order_is_noticed(tmp_path, monkeypatch):
    """Negative control: in FER2013's order the labels differ from what was written, in every layout."""
    for write in (affectnet_csv, affectnet_npy, affectnet_folders):
        (tmp_path / write.__name__).mkdir()
        true = write(tmp_path / write.__name__)
        assert truth_of(split_items(open_source("affectnet", tmp_path / write.__name__))[0]) == true
        with monkeypatch.context() as patch:
            for module in (affectnet, affectnet_readers):
                patch.setattr(module, "CODES", tuple(fake_datasets.FER2013))
            wrong = truth_of(split_items(open_source("affectnet", tmp_path / write.__name__))[0])
        assert wrong.keys() == true.keys()
        assert wrong != true


def test_the_official_folders_and_a_single_table(tmp_path):
    """As the archives unpack: lists in a folder of their own, images two levels deep; validation without a header."""
    true = affectnet_csv(tmp_path)
    (tmp_path / "Manually_Annotated_file_lists").mkdir()
    (tmp_path / "Manually_Annotated").mkdir()
    (tmp_path / "Manually_Annotated_Images").rename(tmp_path / "Manually_Annotated/Manually_Annotated_Images")
    for name in ("training.csv", "validation.csv"):
        rows = rows_of(tmp_path / name)
        write_rows(tmp_path / "Manually_Annotated_file_lists" / name, rows[name == "validation.csv" :])
        (tmp_path / name).unlink()
    source = open_source("affectnet", tmp_path)
    assert source.layout == "csv (validation.csv without a header)"
    assert truth_of(split_items(source)[0]) == true
    for place in ("Manually_Annotated_file_lists", "Manually_Annotated_file_lists/validation.csv"):
        samples, _ = split_items(open_source("affectnet", tmp_path / place))
        assert {s.split for s in samples} == ({"validation"} if place.endswith("csv") else {"training", "validation"})
        assert truth_of(samples).items() <= true.items()


def test_wrong_rows_are_counted(tmp_path):
    affectnet_csv(tmp_path)
    file = tmp_path / "training.csv"
    head, good, *rest = rows_of(file)

    def changed(**cells: str) -> list[str]:
        return [cells.get(name, value) for name, value in zip(head, good, strict=True)]

    bad = [
        changed(expression="11"),
        changed(expression="-1"),
        changed(expression="happy"),
        changed(expression="1.5"),
        changed(subDirectory_filePath="100/absent.jpg"),
        changed(subDirectory_filePath="../../secret.jpg"),
        changed(subDirectory_filePath=""),
        changed(valence="3.1"),
        changed(arousal="high"),
        good[:5],
    ]
    write_rows(file, [head, good, *rest, *bad])
    samples, drops = split_items(open_source("affectnet", tmp_path))
    assert Counter(d.reason for d in drops) == {
        **NOT_SAID,
        "label code out of range": 4,
        "file missing": 1,
        "malformed row": 3,
        "valence or arousal out of -1 to 1": 2,
    }
    assert [d.where for d in drops if d.reason == "file missing"] == ["training.csv:18"]
    assert len(samples) == 18


def test_what_is_no_box_or_no_landmarks_is_left_away_and_the_picture_kept(tmp_path):
    affectnet_csv(tmp_path)
    file = tmp_path / "training.csv"
    head, *rows = rows_of(file)
    rows[0][3] = "0"
    rows[1][1] = "NULL"
    rows[2][5] = ""
    rows[3][5] = "1;2;3"
    rows[4][5] = "1;x"
    write_rows(file, [head, *rows])
    samples, _ = split_items(open_source("affectnet", tmp_path))
    assert [s.box is None for s in samples[:6]] == [True, True, False, False, False, False]
    assert [s.landmarks is None for s in samples[:6]] == [False, False, True, True, True, False]


def test_an_interrupted_copy_of_the_images(tmp_path):
    true = affectnet_csv(tmp_path)
    gone = sorted(true)[::3]
    for path in gone:
        (tmp_path / path).unlink()
    cut = tmp_path / sorted(true)[1]
    cut.write_bytes(cut.read_bytes()[:300])
    samples, drops = split_items(open_source("affectnet", tmp_path))
    assert Counter(d.reason for d in drops)["file missing"] == len(gone)
    assert truth_of(samples) == {path: t for path, t in true.items() if path not in gone}
    with pytest.raises(ImageError, match="ends before the picture does"):
        load_rgb(cut)


def test_a_picture_listed_twice_keeps_both_rows_under_two_names(tmp_path):
    affectnet_csv(tmp_path)
    file = tmp_path / "training.csv"
    rows = rows_of(file)
    write_rows(file, [*rows, rows[1], rows[1]])
    names = [s.path for s in split_items(open_source("affectnet", tmp_path))[0]]
    assert len(names) == len(set(names)) == 20
    first = "Manually_Annotated_Images/100/training00.jpg"
    assert [n for n in names if n.startswith(first)] == [first, f"{first}#2", f"{first}#3"]


# --- npy -----------------------------------------------------------------------------------------------------------


def test_npy(tmp_path):
    true = affectnet_npy(tmp_path)
    source = open_source("affectnet", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops, source.layout) == (true, [], "images with npy annotations")
    assert all(s.is_crop and s.box is None for s in samples)
    row = affectnet_rows("training")[0]
    assert np.array_equal(np.ravel(samples[0].landmarks), row["points"])
    numbers = [int(Path(s.path).stem) for s in samples if s.split == "training"]
    assert numbers == sorted(numbers)


def test_npy_of_one_set_alone(tmp_path):
    true = affectnet_npy(tmp_path)
    samples, _ = split_items(open_source("affectnet", tmp_path / "val_set"))
    assert truth_of(samples) == {path: t for path, t in true.items() if t.split == "validation"}
    (tmp_path / "val_set").rename(tmp_path / "Dataset")
    source = open_source("affectnet", tmp_path / "Dataset")
    assert {s.split for s in split_items(source)[0]} == {""}
    assert "no official split" in source.warnings[0]


def test_npy_with_plain_numbers_and_wide_landmarks(tmp_path):
    true = affectnet_npy(tmp_path)
    for file in (tmp_path / "val_set/annotations").glob("*.npy"):
        value = np.load(file)
        np.save(file, value.reshape(68, 2) if "lnd" in file.name else value.astype(np.float32))
    samples, _ = split_items(open_source("affectnet", tmp_path))
    for sample in samples:
        assert (sample.label, sample.split) == (true[sample.path].label, true[sample.path].split)
        assert sample.valence == pytest.approx(true[sample.path].valence, abs=1e-6)
        assert len(sample.landmarks) == 68


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_wrong_annotations_are_counted_and_nothing_is_unpickled(tmp_path):
    true = affectnet_npy(tmp_path)
    mark = tmp_path / "unpickled"
    folder = tmp_path / "train_set/annotations"
    names = [Path(path).stem for path, t in true.items() if t.split == "training"]
    np.save(folder / f"{names[0]}_exp.npy", np.array([Trap(mark)], dtype=object), allow_pickle=True)
    (folder / f"{names[1]}_val.npy").write_bytes(pickle.dumps(Trap(mark)))
    (folder / f"{names[2]}_exp.npy").write_bytes(b"")
    cut = folder / f"{names[3]}_lnd.npy"
    cut.write_bytes(cut.read_bytes()[:200])
    np.savez(folder / "bundle.npz", a=np.zeros(3))
    (folder / "bundle.npz").rename(folder / f"{names[4]}_exp.npy")
    np.save(folder / f"{names[5]}_exp.npy", np.array("9"))
    np.save(folder / f"{names[6]}_exp.npy", np.array(["1", "2"]))
    (folder / f"{names[7]}_val.npy").unlink()  # kept: a missing valence costs no label
    (folder / f"{names[8]}_exp.npy").unlink()
    (tmp_path / f"val_set/images/{50 * 7}.jpg").unlink()
    samples, drops = split_items(open_source("affectnet", tmp_path))
    assert not mark.exists()
    assert Counter(d.reason for d in drops) == {
        "unreadable annotation": 6,
        "label uncertain": 1,
        "annotation missing": 1,
        "file missing": 1,
    }
    assert [d.where for d in drops if d.reason == "file missing"] == ["val_set/images/350.jpg"]
    (kept,) = [s for s in samples if s.split == "training"]
    assert (Path(kept.path).stem, kept.valence) == (names[7], None)
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists()  # negative control: the trap works


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("classes", [8, 7])
def test_folders(tmp_path, by_name, classes):
    true = affectnet_folders(tmp_path, by_name=by_name, classes=classes)
    source = open_source("affectnet", tmp_path)
    samples, drops = split_items(source)
    assert (truth_of(samples), drops, source.layout) == (true, [], "folders")
    assert [w.startswith("a seven-class copy") for w in source.warnings] == [True] * (classes == 7)


def test_folders_of_no_expression_and_other_files(tmp_path):
    affectnet_folders(tmp_path)
    for name in ("8", "9", "10", "11"):
        fake_datasets.save(tmp_path / "val" / name / "a.jpg", 3)
    (tmp_path / "train/0/list.txt").write_text("x")
    (tmp_path / "train/0/link.jpg").symlink_to(tmp_path / "gone.jpg")
    source = open_source("affectnet", tmp_path)
    _, drops = split_items(source)
    assert sorted((d.where, d.reason) for d in drops) == [
        ("train/0/link.jpg", "file missing"),
        ("train/0/list.txt", "not an image file"),
        ("val/10/a.jpg", "label no face"),
        ("val/11/a.jpg", "image outside of the class folders"),
        ("val/8/a.jpg", "label none"),
        ("val/9/a.jpg", "label uncertain"),
    ]
    assert source.warnings == ("not read, as it names no class of AffectNet: val/11",)


# --- wrong trees ---------------------------------------------------------------------------------------------------


def no_images(path: Path) -> None:
    (path / "training.csv").write_text(",".join(fake_datasets.AFFECTNET_HEADER) + "\n")


def empty_images(path: Path) -> None:
    no_images(path)
    (path / "Manually_Annotated_Images").mkdir()


def other_columns(path: Path) -> None:
    (path / "training.csv").write_text("path,expression\n1/a.jpg,1\n")
    (path / "Manually_Annotated_Images/1").mkdir(parents=True)


def empty_table(path: Path) -> None:
    (path / "validation.csv").write_text("")
    (path / "Manually_Annotated_Images/1").mkdir(parents=True)


def only_annotations(path: Path) -> None:
    (path / "train_set/annotations").mkdir(parents=True)


def six_classes(path: Path) -> None:
    for code in range(6):
        (path / f"train/{code}").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, r"no AffectNet: expected one of \[training\.csv.*train_set,val_set.*0\.\.7.*found readme\.txt"),
        (no_images, r"expected one of \[Manually_Annotated_Images/.*found training\.csv; the tables are there"),
        (empty_images, "the images are not"),
        (other_columns, r"expected the columns subDirectory_filePath, expression .*found path, expression"),
        (empty_table, "found nothing"),
        (only_annotations, r"expected one of \[images/ beside annotations/\] in .*train_set, found annotations/"),
        (six_classes, "expected class folders 0, 1, 2, 3, 4, 5, 6 in .*train, found 0, 1, 2, 3, 4, 5; missing 6"),
    ],
)
def test_a_wrong_tree_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("affectnet", tmp_path)


def test_differences_from_the_published_counts(tmp_path):
    """287,651 training images of eight classes, 283,901 of seven; 500 a class for validation, or 3,999 in all."""
    training = affectnet.EXPECTED["training"]
    assert (sum(training.values()), sum(training.values()) - training["contempt"]) == (287651, 283901)
    affectnet_npy(tmp_path)
    source = open_source("affectnet", tmp_path)
    assert source.differences(affectnet.EXPECTED) == []
    validation = {**affectnet.EXPECTED["validation"], "contempt": 499}
    assert source.differences({"training": training, "validation": validation}) == [
        "validation: 3999 images, expected 4000",
        "validation: 499 contempt, expected 500",
    ]
    assert source.differences({"training": training, "test": {"sad": 3}}) == [
        "validation: missing, expected 4000 images",
        "test: 3 images, not a split of affectnet",
    ]


# --- nothing vanishes ----------------------------------------------------------------------------------------------


def test_every_picture_of_the_folders_is_kept_or_counted(tmp_path):
    affectnet_folders(tmp_path)
    for place in ("loose.jpg", "train/11/a.jpg", "train/foo/deep/a.jpg", "val/loose.jpg"):
        fake_datasets.save(tmp_path / place, 1)
    samples, drops = split_items(open_source("affectnet", tmp_path))
    outside = [d.where for d in drops if d.reason == "image outside of the class folders"]
    assert sorted(outside) == ["loose.jpg", "train/11/a.jpg", "train/foo/deep/a.jpg", "val/loose.jpg"]
    assert len(samples) + len(drops) == len([f for f in tmp_path.rglob("*") if f.suffix in (".jpg", ".png")])


@pytest.mark.parametrize("turned", [False, True])
def test_every_picture_beside_the_npy_files_is_kept_or_counted(tmp_path, monkeypatch, turned):
    """In whatever order the disk gives the names: 3.jpg is taken, not 3.png."""
    true = affectnet_npy(tmp_path)
    images = tmp_path / "train_set/images"
    first = min(images.glob("*.jpg"), key=lambda file: int(file.stem))
    for place in (first.with_suffix(".png"), images / "sub" / first.name, tmp_path / "train_set/loose.jpg"):
        fake_datasets.save(place, 1)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(listed(folder), reverse=turned)))
    samples, drops = split_items(open_source("affectnet", tmp_path))
    assert truth_of(samples) == true
    assert [
        (Path(d.where).relative_to("train_set").as_posix(), d.reason) for d in drops if "label" not in d.reason
    ] == [
        (f"images/{first.stem}.png", "duplicate name"),
        (f"images/sub/{first.name}", "annotation missing"),
        ("loose.jpg", "annotation missing"),
    ]
    assert len(samples) + len(drops) == len([f for f in tmp_path.rglob("*") if f.suffix in (".jpg", ".png")])
