"""The store: complete or absent, the same bytes from the same input, and readable by others' code."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from build_cases import class_folders, rows_of, tree
from PIL import Image

from fake_datasets import rafdb_folders
from list_source import Listed
from mien.data.build import shards
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.sources import Sample, open_source
from mien.data.store import Store
from mien.errors import DataError, OutputError


def face(seed: int, size: int = 48, channels: int = 1) -> np.ndarray:
    shape = (size, size) if channels == 1 else (size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def built(small, tmp_path):
    small.parquet(tmp_path / "in")
    build_store([open_source("fer2013", tmp_path / "in")], tmp_path / "store")
    return tmp_path / "store"


def test_read_gives_back_what_came_in(small, built):
    store = Store.open(built)
    part = store.read("public_test")
    rows = small.of("public_test")
    assert np.array_equal(part.images, np.stack([row.pixels for row in rows]))
    assert part.images.dtype == np.uint8
    assert part.labels.tolist() == [row.emotion for row in rows]
    assert part.paths == [f"public_test_{i:05d}.png" for i in range(len(rows))]
    wanted = np.array([row.votes or [np.nan] * 10 for row in rows], np.float32)
    assert np.array_equal(part.votes, wanted, equal_nan=True)
    assert len(part) == 80


def test_leak_marks_the_mirrored_copy_and_is_unknown_in_training(small, built):
    """Row 50 of the small set is row 0 mirrored; 50 % 3 == 2, so it is PrivateTest's number 16."""
    store = Store.open(built)
    assert store.read("training").leak is None
    leak = store.read("private_test").leak
    assert leak is not None
    assert leak[16]
    near = store.summary["splits"]["private_test"]["near_duplicates_in_training"]
    assert leak.sum() == near < 20


def test_same_input_same_bytes_and_a_change_changes_the_content_hash(small, tmp_path, built):
    build_store([open_source("fer2013", tmp_path / "in")], tmp_path / "again")
    assert tree(built) == tree(tmp_path / "again")
    one = build_store([Listed([Sample("a", face(1), "sad", "train")])], tmp_path / "one")
    two = build_store([Listed([Sample("a", face(1), "fear", "train")])], tmp_path / "two")
    hashes = [summary["splits"]["train"]["content_sha256"] for summary in (one, two)]
    assert hashes[0] != hashes[1]


def test_pandas_reads_it_without_our_code(small, built):
    import pandas as pd

    table = pd.read_parquet(built / "data")
    assert len(table) == len(small.rows)
    row = table[(table.split == "private_test")].iloc[16]
    image = np.asarray(Image.open(io.BytesIO(row.image["bytes"])))
    assert np.array_equal(image, small.of("private_test")[16].pixels)
    assert bool(row.near_duplicate)
    assert set(table.columns) >= {"image", "label", "label_code", "source", "split", "votes", "group"}


def test_shards_are_named_as_datasets_expects_and_split_up(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 3)
    monkeypatch.setattr(shards, "GROUPS_PER_SHARD", 2)
    items = [Sample(f"{i}", face(i), "sad", split, group=f"s{i}") for i in range(15) for split in ("train", "test")]
    seen = []
    build_store([Listed(items)], tmp_path / "s", progress=lambda *call: seen.append(call))
    store = Store.open(tmp_path / "s")
    assert [f.name for f in store.shards("train")] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    assert store.read("train").paths == [str(i) for i in range(15)]
    leak = store.read("test").leak
    assert leak is not None
    assert leak.all()  # every test image is in train: marked across shards and row groups
    assert seen[0] == (0, 30, "reading listed (list)")
    assert seen[-1] == (30, 30, "done")


def test_a_broken_source_leaves_nothing_and_keeps_the_old_store(tmp_path, built):
    before = tree(built)
    with pytest.raises(DataError, match="half way"):
        build_store([Listed([Sample("a", face(1), "sad", "train"), DataError("half way")])], built)
    assert tree(built) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "store"]


def test_a_kill_leaves_no_half_store_and_the_next_build_goes_through(tmp_path):
    """The process dies without clean-up after a part is on the disk, once with an old store in place."""
    script = """
import os, sys, numpy as np
from mien.data.build import parts, run as build
from mien.data.sources import Sample
from mien.data.build.normalise import Standard
parts.ITEMS = 2
class Dying:
    name, layout, files, warnings, licence = "dying", "list", (), (), "none"
    def total(self): return 9
    def differences(self, counts): return []
    def stream(self):
        for i in range(9):
            if i == 5:
                os._exit(9)
            yield Sample(str(i), np.full((48, 48), i, np.uint8), "sad", "train")
build.build_store([Dying()], sys.argv[1], standard=Standard(size=48, color="grey"))
"""
    out = tmp_path / "store"
    for there in (False, True):
        before = tree(out) if there else None
        assert subprocess.run([sys.executable, "-c", script, str(out)], check=False).returncode == 9
        assert list(tmp_path.glob(".store.building/*/parts/part-00000.parquet"))
        assert out.exists() == there
        assert not there or tree(out) == before
        build_store([Listed([Sample("a", face(1), "sad", "train")])], out)
        assert Store.open(out).read("train").paths == ["a"]


def test_no_images_is_an_error(tmp_path):
    with pytest.raises(DataError, match="expected images in listed, got none"):
        build_store([Listed([])], tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_replaced_but_foreign_files_are_not(tmp_path):
    source = Listed([Sample("a", face(1), "sad", "train")])
    foreign = tmp_path / "mine"
    foreign.mkdir()
    build_store([source], foreign)  # an empty directory is fine
    build_store([source], foreign)  # and so is a store of ours
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="--overwrite"):
        build_store([source], other)
    assert (other / "thesis.txt").exists()
    build_store([source], other, overwrite=True)
    assert not (other / "thesis.txt").exists()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="got the file"):
        build_store([source], file, overwrite=True)


def test_the_source_is_never_overwritten_by_its_store(small, tmp_path):
    small.csv(tmp_path / "in")
    with pytest.raises(OutputError, match="outside of its source"):
        build_store([open_source("fer2013", tmp_path / "in")], tmp_path / "in", overwrite=True)
    assert (tmp_path / "in/fer2013.csv").exists()


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected to write the store"):
        build_store([Listed([Sample("a", face(1), "sad", "train")])], tmp_path / "file/below")


def test_rgb_and_several_sizes(tmp_path):
    rgb = [Sample(str(i), face(i, 50, 3), "contempt", "train") for i in range(2)]
    build_store([Listed(rgb)], tmp_path / "rgb")
    store = Store.open(tmp_path / "rgb")
    assert store.labels[-1] == "contempt"
    assert store.read("train").images.shape == (2, 50, 50, 3)
    mixed = Listed([*rgb, Sample("x", face(9), "sad", "train")])
    build_store([mixed], tmp_path / "one")  # the build brings all to one standard, unless it is told to keep them
    assert Store.open(tmp_path / "one").read("train").images.shape == (3, 50, 50, 3)
    build_store([mixed], tmp_path / "mixed", standard=Standard(size="keep", color="keep"))
    with pytest.raises(DataError, match=r"to be \(50, 50, 3\), got \(48, 48\) for x"):
        Store.open(tmp_path / "mixed").read("train")


def test_open_refuses_what_is_no_store_and_says_what_to_do(small, tmp_path, built):
    with pytest.raises(DataError, match=r"run: mien data build --source fer2013="):
        Store.open(tmp_path / "in")
    with pytest.raises(DataError, match=r"found nothing there; make one with: mien data build"):
        Store.open(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected a split of .* \(training, public_test, private_test\), got 'dev'"):
        Store.open(built).read("dev")


def test_broken_stores(built):
    store = Store.open(built)
    shard = store.shards("training")[0]
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot read"):
        store.read("training")
    shard.unlink()
    with pytest.raises(DataError, match="missing training-00000-of-00001"):
        Store.open(built)
    summary = json.loads((built / "summary.json").read_text())
    (built / "summary.json").write_text(json.dumps({**summary, "mien_store": 99}))
    with pytest.raises(DataError, match="expected store format 1, got 99"):
        Store.open(built)
    (built / "summary.json").write_text("[]")
    with pytest.raises(DataError, match="expected a store's summary"):
        Store.open(built)


@pytest.mark.fer2013
@pytest.mark.long
def test_the_real_data_set(fer2013_store):
    summary = Store.open(fer2013_store).summary
    assert summary["sources"][0]["differences"] == []
    splits = summary["splits"]
    assert [splits[s]["rows"] for s in ("training", "public_test", "private_test")] == [28709, 3589, 3589]
    assert splits["public_test"]["near_duplicates_in_training"] == 332
    assert splits["private_test"]["near_duplicates_in_training"] == 365
    assert splits["training"]["with_votes"] == 28560


def test_a_data_set_in_place_of_a_store_is_recognised(small, tmp_path):
    """One kind: the command; several it could be: the user says which."""
    home = small.parquet(tmp_path / "fer")
    with pytest.raises(DataError, match=rf"this is a fer2013 source; run: mien data build --source fer2013={home} -o"):
        Store.open(home)
    rafdb_folders(tmp_path / "zero", first=0)
    with pytest.raises(DataError, match=r"make one with: .*; it looks like affectnet or rafdb"):
        Store.open(tmp_path / "zero")
    class_folders(tmp_path / "mine")
    with pytest.raises(DataError, match="this is a folder source"):
        Store.open(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found an empty directory; make one with: mien data build [^;]*$"):
        Store.open(tmp_path / "empty")


def test_large_pictures_are_read_as_small_ones_are(tmp_path):
    """In threads, in order; a summary that counts otherwise is an error, no half-filled array."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 96, 96, 3), dtype=np.uint8)
    items = [Sample(f"{i}", noise[i], "happy", "test") for i in range(9)]
    build_store([Listed(items)], tmp_path / "s", standard=Standard(size=96, color="rgb"))
    store = Store.open(tmp_path / "s")
    assert min(len(row["image"]["bytes"]) for row in rows_of(store.path)) > 16_384
    np.testing.assert_array_equal(store.read("test").images, noise)
    for rows, message in ((8, "expected 8 images in .*, found more"), (10, "expected 10 images in .*, found 9")):
        store.summary["splits"]["test"]["rows"] = rows
        with pytest.raises(DataError, match=message):
            store.read("test")
