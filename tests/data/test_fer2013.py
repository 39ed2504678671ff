"""Every layout of FER2013 gives the same store; what is wrong in one is a clear error or a counted drop."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_datasets import nothing
from mien.data.build.run import build_store
from mien.data.sources import Drop, Sample, UsageError, open_source
from mien.data.sources.fer2013 import EXPECTED, differences
from mien.data.store import Store
from mien.errors import DataError
from mien.labels import SEVEN

SPLITS = ("training", "public_test", "private_test")


def write(small, layout: str, directory: Path) -> Path:
    if layout == "fer2013.csv":
        small.csv(directory)
    elif layout == "fer2013.csv, inside its archive's folder":
        small.csv(directory / "fer2013")
    elif layout == "fer2013.csv, the file itself":
        return small.csv(directory, name="copy.csv")
    elif layout == "icml_face_data.csv":
        small.csv(directory, name="icml_face_data.csv", columns=("emotion", " Usage", " pixels"))
    elif layout == "csv with FER+":
        small.csv(directory)
        small.ferplus(directory)
    elif layout == "folders":
        small.folders(directory)
    elif layout == "parquet":
        small.parquet(directory)
    return directory


def content(store: Store, split: str) -> list[tuple]:
    """What must not depend on the layout: pixels and labels; sorted, because folders come in another order."""
    part = store.read(split)
    return sorted((image.tobytes(), int(label)) for image, label in zip(part.images, part.labels, strict=True))


@pytest.mark.parametrize(
    "layout",
    [
        "fer2013.csv",
        "fer2013.csv, inside its archive's folder",
        "fer2013.csv, the file itself",
        "icml_face_data.csv",
        "csv with FER+",
        "folders",
        "parquet",
    ],
)
def test_every_layout_gives_the_same_images_labels_and_splits(small, tmp_path, layout):
    summary = build_store([open_source("fer2013", write(small, layout, tmp_path / "in"))], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert store.splits == SPLITS
    assert summary["dropped"] == {}
    for split in SPLITS:
        wanted = sorted((row.pixels.tobytes(), row.emotion) for row in small.of(split))
        assert content(store, split) == wanted


def test_csv_and_parquet_give_the_same_bytes(small, tmp_path):
    """Not only the same content: with votes, rows, names and order are the same, and so are the shards."""
    for layout in ("csv with FER+", "parquet"):
        build_store([open_source("fer2013", write(small, layout, tmp_path / layout))], tmp_path / f"{layout}.store")
    first, second = (tmp_path / f"{layout}.store" / "data" for layout in ("csv with FER+", "parquet"))
    assert [f.name for f in sorted(first.iterdir())] == [f.name for f in sorted(second.iterdir())]
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_kaggle_test_csv_is_mixed_and_without_labels(small, tmp_path):
    small.kaggle(tmp_path / "in")
    summary = build_store([open_source("fer2013", tmp_path / "in")], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert store.splits == ("training", "test")
    test = store.read("test")
    assert (test.labels == -1).all()
    expected = [row.pixels for row in small.of("public_test") + small.of("private_test")]
    assert np.array_equal(test.images, np.stack(expected))
    assert content(store, "training") == sorted((r.pixels.tobytes(), r.emotion) for r in small.of("training"))
    assert "cannot be told apart" in summary["sources"][0]["warnings"][0]


def test_folders_without_prefixes_go_by_folder(small, tmp_path):
    small.folders(tmp_path / "in", prefixed=False)
    build_store([open_source("fer2013", tmp_path / "in")], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert store.splits == ("training", "validation", "test")
    assert content(store, "validation") == sorted((r.pixels.tobytes(), r.emotion) for r in small.of("public_test"))


def test_class_folders_go_by_name_in_other_spellings_not_by_alphabet(small, tmp_path):
    """Alphabetical order would make neutral 4 and sad 5; their codes are 6 and 4."""
    small.folders(tmp_path)
    (tmp_path / "train/angry").rename(tmp_path / "train/Anger")
    (tmp_path / "train/happy").rename(tmp_path / "train/happiness")
    samples = [s for s in open_source("fer2013", tmp_path).stream() if isinstance(s, Sample)]
    assert {s.label for s in samples} == set(SEVEN)
    by_pixels = {row.pixels.tobytes(): SEVEN[row.emotion] for row in small.rows}
    assert all(by_pixels[s.pixels.tobytes()] == s.label for s in samples)


def test_votes_are_joined_by_row_and_null_where_nobody_voted(small, tmp_path):
    small.csv(tmp_path)
    small.ferplus(tmp_path)
    source = open_source("fer2013", tmp_path)
    assert source.layout == "csv with FER+ votes"
    assert [s.votes for s in source.stream()] == [row.votes for row in small.rows]


def test_votes_of_another_order_are_refused(small, tmp_path):
    small.csv(tmp_path)
    file = small.ferplus(tmp_path)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    with pytest.raises(DataError, match="in the order of the images"):
        list(open_source("fer2013", tmp_path).stream())


def test_votes_that_end_early_are_refused(small, tmp_path):
    small.csv(tmp_path)
    file = small.ferplus(tmp_path)
    file.write_text("\n".join(file.read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(DataError, match=r"fer2013new\.csv ends before fer2013\.csv"):
        list(open_source("fer2013", tmp_path).stream())


def test_bad_csv_rows_are_counted_drops(small, tmp_path):
    file = small.csv(tmp_path)
    lines = file.read_text().splitlines()
    good = lines[1].split(",")
    pixels = good[1].split()
    bad = {
        "wrong number of pixels": f"0,{' '.join(pixels[:-1])},Training",
        "pixel value out of 0-255": f"0,{' '.join(['256', *pixels[1:]])},Training",
        "emotion out of 0-6": f"7,{good[1]},Training",
        "unknown usage": f"0,{good[1]},Holiday",
        "malformed row": "0",
    }
    also = [
        f"-1,{good[1]},Training",
        f"zero,{good[1]},Training",
        f"0,{' '.join(['x', *pixels[1:]])},Training",
        "0,,Training",
    ]
    file.write_text("\n".join([*lines, *bad.values(), *also]) + '\n0,"1 2 3')  # the last one: a copy cut off
    summary = build_store([open_source("fer2013", tmp_path)], tmp_path / "store")
    assert summary["dropped"] == {
        "emotion out of 0-6": 3,
        "malformed row": 2,
        "pixel value out of 0-255": 2,
        "unknown usage": 1,
        "wrong number of pixels": 2,
    }
    listed = (tmp_path / "store/dropped.csv").read_text().splitlines()
    assert len(listed) == 1 + 10
    assert listed[0] == "source,where,reason,detail"
    assert listed[1].startswith("fer2013,fer2013.csv:242,wrong number of pixels,")
    assert sum(split["rows"] for split in summary["splits"].values()) == len(small.rows)


def test_bad_image_files_are_counted_drops(small, tmp_path):
    small.folders(tmp_path)
    folder = tmp_path / "train/fear"
    (folder / "Training_zero.png").write_bytes(b"")
    (folder / "Training_text.jpg").write_text("no picture")
    some = next(folder.glob("Training_0*.png"))
    (folder / "Training_cut.png").write_bytes(some.read_bytes()[:200])
    Image.new("L", (40, 48)).save(folder / "Training_small.png")
    (folder / "notes.txt").write_text("hello")
    (folder / ".DS_Store").write_text("ignored")
    drops = [item for item in open_source("fer2013", tmp_path).stream() if isinstance(item, Drop)]
    assert sorted((Path(d.where).name, d.reason) for d in drops) == [
        ("Training_cut.png", "unreadable image"),
        ("Training_small.png", "wrong number of pixels"),
        ("Training_text.jpg", "unreadable image"),
        ("Training_zero.png", "unreadable image"),
        ("notes.txt", "not an image file"),
    ]


def test_every_picture_of_the_folders_is_kept_or_counted(small, tmp_path):
    small.folders(tmp_path)
    before = len([item for item in open_source("fer2013", tmp_path).stream() if isinstance(item, Sample)])
    some = next((tmp_path / "train/fear").glob("Training_0*.png"))
    for place in ("train/fear/deep/Training_9.png", "train/loose.png", "loose.png", "validation/flat.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(some, tmp_path / place)
    items = list(open_source("fer2013", tmp_path).stream())
    samples = {item.path: item.label for item in items if isinstance(item, Sample)}
    assert samples["train/fear/deep/Training_9.png"] == "fear"
    assert len(samples) == before + 1
    assert [(d.where, d.reason) for d in items if isinstance(d, Drop)] == [
        ("loose.png", "image outside of the class folders"),
        ("validation/flat.png", "image outside of the class folders"),
        ("train/loose.png", "image outside of the class folders"),
    ]


def test_parquet_with_bad_rows_and_without_labels(small, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    small.parquet(tmp_path)
    table = pq.read_table(tmp_path / "private_test.parquet").select(["image", "usage"])
    pq.write_table(table, tmp_path / "private_test.parquet")
    broken = {
        "image": pa.array(
            [None, {"bytes": None, "path": "a"}, {"bytes": b"x", "path": "b"}], table.schema.field("image").type
        ),
        "usage": ["Training"] * 3,
    }
    pq.write_table(pa.table(broken), tmp_path / "public_test.parquet")
    items = list(open_source("fer2013", tmp_path).stream())
    assert [item.reason for item in items if isinstance(item, Drop)] == ["unreadable image"] * 3
    assert {s.label for s in items if isinstance(s, Sample) and s.split == "private_test"} == {None}


def no_pixels(path: Path) -> None:
    (path / "fer2013.csv").write_text("emotion,Usage\n0,Training\n")


def empty_csv(path: Path) -> None:
    (path / "fer2013.csv").write_text("")


def numbered(path: Path) -> None:
    (path / "train/0").mkdir(parents=True)


def incomplete(path: Path) -> None:
    for name in SEVEN[:5]:
        (path / "train" / name).mkdir(parents=True)


def contempt(path: Path) -> None:
    (path / "train/contempt").mkdir(parents=True)


def cut_parquet(path: Path) -> None:
    (path / "training.parquet").write_bytes(b"PAR1 and then nothing")


def no_image_column(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"emotion": [1]}), path / "training.parquet")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nothing, r"expected one of \[fer2013\.csv.*found readme\.txt"),
        (no_pixels, r"expected the columns emotion, pixels, usage .* missing pixels"),
        (empty_csv, "found nothing; missing emotion, pixels, usage"),
        (numbered, r"found '0': no expression of FER2013; numbers are not taken"),
        (incomplete, "missing surprise, neutral; the copy looks incomplete"),
        (contempt, "found 'contempt': no expression of FER2013"),
        (cut_parquet, "expected a Parquet file, cannot read"),
        (no_image_column, r"expected an image column \{bytes, path\} .* found emotion"),
    ],
)
def test_a_wrong_tree_says_what_was_looked_for_and_found(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(DataError, match=says):
        open_source("fer2013", tmp_path)


def test_unknown_source_and_missing_path(tmp_path):
    with pytest.raises(UsageError, match=r"expected a source \(affectnet, .*rafdb\), got 'emotionet'"):
        open_source("emotionet", tmp_path)
    with pytest.raises(DataError, match="found nothing there"):
        open_source("fer2013", tmp_path / "absent")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match=r"expected a \.csv or \.parquet file"):
        open_source("fer2013", tmp_path / "x.txt")


def test_differences_name_what_differs_and_nothing_else():
    assert differences(EXPECTED) == []
    blind = {**EXPECTED, "private_test": {"unlabelled": 3589}}
    assert differences(blind) == []
    short = {**EXPECTED, "training": {**EXPECTED["training"], "fear": 4096}}
    assert differences(short) == ["training: 28708 images, expected 28709", "training: 4096 fear, expected 4097"]
    assert differences({"training": EXPECTED["training"], "test": {"unlabelled": 7178}}) == []
    assert differences({"training": EXPECTED["training"], "validation": {"sad": 2}}) == [
        "public_test: missing, expected 3589 images",
        "private_test: missing, expected 3589 images",
        "validation: 2 images, not a split of FER2013",
    ]


def test_the_stream_can_be_read_twice_and_the_source_is_untouched(small, tmp_path):
    small.csv(tmp_path)
    source = open_source("fer2013", tmp_path)
    assert len(list(source.stream())) == len(list(source.stream())) == len(small.rows)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        list(source.stream())
