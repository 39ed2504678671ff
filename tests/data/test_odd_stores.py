"""Builds of unusual data: half a pair of affects, old disks' names, subjects that cross."""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from list_source import Listed
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.sources import Sample, open_source
from mien.data.store import Store
from mien.errors import DataError
from mien.preprocess import Preprocess
from mien.training.datasets import crop_dataset
from mien.training.run import train
from small_run import small_recipe


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8))


def table(folder: Path, header: str, rows: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number in range(len(rows)):
        picture(number).save(folder / f"{number}.png")
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "t.csv"


def test_valence_without_arousal_is_a_pair_with_a_gap(tmp_path: Path) -> None:
    rows = [f"{i}.png,{('angry', 'happy')[i % 2]},{'train' if i % 3 else 'test'},{i / 20}" for i in range(12)]
    build_store([open_source("csv", table(tmp_path / "d", "path,label,split,valence", rows))], tmp_path / "s")
    store = Store.open(tmp_path / "s")
    affect = store.read(store.splits[0]).valence_arousal
    assert affect is not None
    assert not np.isnan(affect[:, 0]).any()
    assert np.isnan(affect[:, 1]).all()


def test_pictures_that_are_not_square_and_kept_so_are_padded_for_training_and_evaluation(tmp_path: Path) -> None:
    """A store of 60×40 with size keep: what training holds is the padded picture, at the size that it needs."""
    random = np.random.default_rng(0)
    for label in ("angry", "happy"):
        for part in ("train", "val"):
            (tmp_path / "d" / part / label).mkdir(parents=True)
            for number in range(6):
                pixels = random.integers(0, 256, (60, 40), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "d" / part / label / f"{number}.png")
    build_store([open_source("folder", tmp_path / "d")], tmp_path / "s", standard=Standard(size="keep"))
    store = Store.open(tmp_path / "s")
    split = store.read("training")
    assert split.images.shape == (12, 60, 40)
    padded = np.pad(split.images, ((0, 0), (0, 0), (10, 10)), mode="edge")
    recipe = small_recipe()
    for size, side in ((64, 60), (48, 48)):  # the augmentation enlarges; whatever shrinks, Preprocess does
        preprocess = Preprocess(size=size)
        held = crop_dataset(split, recipe, preprocess, train=True).columns["images"].numpy()
        np.testing.assert_array_equal(held, Preprocess(size=side).stack(padded))
        valid = crop_dataset(split, recipe, preprocess, train=False).columns["images"].numpy()
        np.testing.assert_array_equal(valid, preprocess.stack(padded))


def test_subjects_that_their_owner_divided_are_counted(tmp_path: Path) -> None:
    rows = [f"{i}.png,{('angry', 'happy')[i % 2]},{'train' if i < 8 else 'test'},p{i % 4}" for i in range(12)]
    summary = build_store([open_source("csv", table(tmp_path / "d", "path,label,split,subject", rows))], tmp_path / "s")
    assert any("4 of 4 groups (subjects) stand in several official splits" in text for text in summary["warnings"])
    apart = [f"{i}.png,angry,{'train' if i < 8 else 'test'},p{i}" for i in range(12)]
    summary = build_store(
        [open_source("csv", table(tmp_path / "e", "path,label,split,subject", apart))], tmp_path / "t"
    )
    assert not any("groups (subjects)" in text for text in summary["warnings"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8_is_kept_and_written_out(tmp_path: Path) -> None:
    for number, name in enumerate(("angry", "happy")):
        (tmp_path / "d" / name).mkdir(parents=True)
        for copy in range(4):
            picture(10 * number + copy).save(tmp_path / "d" / name / f"{copy}.png")
    picture(99).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", os.fsencode(tmp_path / "d" / "happy") + b"/latin\xfc.png")
    build_store([open_source("folder", tmp_path / "d")], tmp_path / "s")
    store = Store.open(tmp_path / "s")
    paths = [path for split in store.splits for path in store.read(split).paths]
    assert len(paths) == 9
    assert any(path.endswith("latin\\udcfc.png") for path in paths)


def fer2013_tables(folder: Path, column: str, *, labels: bool = True) -> Path:
    folder.mkdir()
    for split, n in (("training", 8), ("public_test", 4), ("private_test", 4)):
        images = []
        for number in range(n):
            file = folder / "x.png"
            picture(number + 100 * len(split)).save(file)
            images.append({"bytes": file.read_bytes(), "path": "same.png"})
            file.unlink()
        columns = {"image": images} | ({column: [i % 7 for i in range(n)]} if labels else {})
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return folder


def test_fer2013_tables_with_a_label_column_and_equal_names(tmp_path: Path) -> None:
    build_store([open_source("fer2013", fer2013_tables(tmp_path / "d", "label"))], tmp_path / "s")
    training = Store.open(tmp_path / "s").read("training")
    assert training.labels.tolist() == [i % 7 for i in range(8)]
    assert len(set(training.paths)) == 8
    bare = open_source("fer2013", fer2013_tables(tmp_path / "e", "", labels=False))
    summary = build_store([bare], tmp_path / "t")
    assert "training: 8 of 8 images have no label" in summary["sources"][0]["differences"]


def test_a_missing_split_is_told_with_its_key(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.validation: expected a split of .* got 'val'; --set data\.validation=pub"
    ):
        train(small_recipe(data={"validation": "val"}), Store.open(small_store), tmp_path / "r", accelerator="cpu")


def test_subjects_of_two_sources_with_the_same_names_are_not_the_same(tmp_path: Path) -> None:
    one, two = (
        Listed(
            [Sample(f"{i}.png", np.asarray(picture(seed + i)), "happy", split, group=f"p{i % 4}") for i in range(8)],
            name=name,
        )
        for name, split, seed in (("one", "training", 0), ("two", "test", 100))
    )
    assert not any("groups (subjects)" in text for text in build_store([one, two], tmp_path / "s")["warnings"])
