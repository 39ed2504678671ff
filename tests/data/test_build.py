"""Building a store of several sources: what is in it, within which bounds, and that others can read it."""

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from build_cases import blob, pixels_of, rows_of
from PIL import Image
from pydantic import ValidationError

from list_source import Listed
from mien.data.build import parts, shards
from mien.data.build.balance import BalanceSettings
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.sources import Drop, Sample, open_source
from mien.data.store import Store
from mien.data.summary import Summary
from mien.errors import UsageError
from mien.labels import SEVEN


@pytest.fixture
def hybrid(small, folder, tmp_path) -> Path:
    small.parquet(tmp_path / "fer")
    build_store(
        [open_source("fer2013", tmp_path / "fer"), open_source("folder", folder)],
        tmp_path / "hybrid",
        standard=Standard(size=48, color="grey", mapping={("folder", "neutral"): None}),
        balance=BalanceSettings(),
    )
    return tmp_path / "hybrid"


def test_sources_are_brought_together(hybrid, small):
    store = Store.open(hybrid)
    assert store.splits == ("training", "validation", "public_test", "private_test", "test")
    rows = rows_of(hybrid)
    for split in ("public_test", "private_test"):
        assert sum(row["split"] == split for row in rows) == len(small.of(split))  # official ones are as they were
    mine = [row for row in rows if row["source"] == "folder" and row["generated_from"] is None]
    assert len(mine) == 84 - 12 - 1  # without neutral and the broken file
    assert {row["split"] for row in mine} == {"training", "validation", "test"}
    assert {pixels_of(row).shape for row in rows} == {(48, 48)}
    with (hybrid / "dropped.csv").open() as file:
        drops = list(csv.DictReader(file))
    assert len(drops) == 13
    (broken,) = (drop for drop in drops if drop["where"] == "fear/002.png")
    assert (broken["source"], broken["reason"]) == ("folder", "truncated image")
    described = {part["name"]: part for part in store.summary["sources"]}
    assert described["folder"]["dropped"] == {"label dropped by the mapping": 12, "truncated image": 1}
    assert sum(described["folder"]["read"][""].values()) == 84
    assert described["fer2013"]["dropped"] == {}
    assert store.summary["dropped"] == described["folder"]["dropped"]
    options = store.summary["options"]
    assert (options["size"], options["color"], options["mapping"]) == (48, "grey", {"folder": {"neutral": None}})
    assert store.summary["versions"]["pillow"]


def test_training_is_balanced_by_images_made_of_training_alone(hybrid):
    rows = rows_of(hybrid)
    training = [row for row in rows if row["split"] == "training"]
    counts = {name: sum(row["label"] == name for row in training) for name in SEVEN}
    assert len(set(counts.values())) == 1
    generated = [row for row in rows if row["generated_from"] is not None]
    assert generated
    assert all(row["split"] == "training" for row in generated)
    originals = {(row["source"], row["image"]["path"]): row for row in rows if row["generated_from"] is None}
    for row in generated:
        original = originals[row["source"], row["generated_from"]]
        assert (original["split"], original["label"]) == ("training", row["label"])
        assert original["votes"] == row["votes"]
    everything = [pixels_of(row).tobytes() for row in rows]
    made = [pixels_of(row).tobytes() for row in generated]
    assert len(set(made)) == len(made)
    assert not set(made) & {data for row, data in zip(rows, everything, strict=True) if row["generated_from"] is None}
    summary = Store.open(hybrid).summary
    assert summary["balance"]["after"] == counts
    assert summary["splits"]["training"]["generated"] == len(generated)
    assert sum(part["generated"] for part in summary["sources"]) == len(generated)
    assert (hybrid / "balance.png").stat().st_size > 10_000


def test_groups_do_not_cross_and_copies_of_new_images_follow(tmp_path):
    items = [
        Sample(f"{i}", blob(i // 2)[:, :: 1 if i % 2 else -1], SEVEN[i // 2 % 7], "", group=f"s{i // 6}")
        for i in range(420)
    ]
    build_store([Listed(items)], tmp_path / "s")
    rows = rows_of(tmp_path / "s")
    assert len(rows) == 420
    where = {}
    for row in rows:
        where.setdefault(row["group"], set()).add(row["split"])
        where.setdefault(int(row["image"]["path"]) // 2, set()).add(row["split"])  # a picture and its mirror image
    assert all(len(splits) == 1 for splits in where.values())
    assert {split for splits in where.values() for split in splits} == {"training", "validation", "test"}
    leak = Store.open(tmp_path / "s").read("test").leak
    assert leak is not None
    assert not leak.any()


@pytest.mark.long
def test_faces_of_photos_are_found_in_the_workers(tmp_path, grace_hopper, astronaut, monkeypatch):
    monkeypatch.setattr(parts, "ITEMS", 2)
    for i, photo in enumerate((grace_hopper, astronaut, grace_hopper, astronaut)):
        home = tmp_path / "in" / ("train" if i < 3 else "test") / "happy"
        home.mkdir(parents=True, exist_ok=True)
        Image.open(photo).convert("RGB").rotate(3 * i).save(home / f"{i}{photo.suffix}")
    Image.fromarray(blob(1)).save(tmp_path / "in" / "train" / "happy" / "nobody.png")
    source = open_source("folder:photos", tmp_path / "in")
    summary = build_store([source], tmp_path / "s", standard=Standard(size=64), workers=2)
    assert summary["dropped"] == {"no face": 1}
    assert summary["splits"]["training"]["image_sizes"] == {"64×64 RGB": 3}
    assert Store.open(tmp_path / "s").read("test").images.shape == (1, 64, 64, 3)


def test_columns_that_no_source_has_are_not_there(tmp_path):
    plain = Sample("a", blob(1), "sad", "training")
    build_store([Listed([plain])], tmp_path / "plain")
    (row,) = rows_of(tmp_path / "plain")
    assert list(row) == list(shards.schema().names)
    rich = Sample("b", blob(2), "fear", "training", valence=-0.5, arousal=0.25, landmarks=((1.0, 2.0), (3.0, 4.5)))
    build_store([Listed([plain], "one"), Listed([rich], "two")], tmp_path / "rich")
    one, two = rows_of(tmp_path / "rich")
    assert [name for name in two if name not in row] == ["valence", "arousal", "landmarks"]
    assert (one["valence"], one["landmarks"]) == (None, None)
    assert (two["valence"], two["arousal"], two["landmarks"]) == (-0.5, 0.25, [1.0, 2.0, 3.0, 4.5])
    affect = Store.open(tmp_path / "rich").read("training").valence_arousal
    assert np.array_equal(affect, [[np.nan, np.nan], [-0.5, 0.25]], equal_nan=True)
    assert Store.open(tmp_path / "plain").read("training").valence_arousal is None


def test_two_sources_may_use_the_same_file_names(tmp_path):
    one, two = (Listed([Sample("a.png", blob(i), "sad", "training")], name) for i, name in enumerate(("one", "two")))
    build_store([one, two], tmp_path / "s")
    assert [(row["source"], row["image"]["path"]) for row in rows_of(tmp_path / "s")] == [
        ("one", "a.png"),
        ("two", "a.png"),
    ]


def test_sources_need_a_name_each(tmp_path):
    one = Listed([Sample("a.png", blob(1), "sad", "training")])
    with pytest.raises(UsageError, match="a name each, got listed, listed"):
        build_store([one, one], tmp_path / "s")


def test_counts_are_compared_as_the_source_gave_them(tmp_path):
    """What the user's own options leave out is no difference from the published counts."""
    items = [Sample("a", blob(1), "contempt", "training"), Sample("b", blob(2), "sad", "training")]
    summary = build_store([Listed(items)], tmp_path / "s", standard=Standard(labels="seven"))
    assert summary["sources"][0]["differences"] == ["training: 2"]
    assert summary["sources"][0]["counts"] == {"training": {"sad": 1}}
    assert summary["labels"] == list(SEVEN)
    eight = build_store([Listed(items[1:])], tmp_path / "s", standard=Standard(labels="eight"))
    assert eight["labels"][-1] == "contempt"


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_the_index_is_under_a_kilobyte_an_image(tmp_path):
    n = 3000
    items = [Sample(f"some/folder/of/a/data/set/{i:07d}.png", blob(i % 50), SEVEN[i % 7], "training") for i in range(n)]
    infos = []
    for number, stretch in enumerate(parts.stretches(iter(items))):
        path = tmp_path / f"{number}.parquet"
        parts.write_part(path, "s", stretch, lambda sample: sample)
        infos.append(parts.part_info(path))
    parts.read_facts(infos[:1])  # imports
    tracemalloc.start()
    facts = parts.read_facts(infos)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(facts) == n
    assert 576 < held / n < 1000


def test_a_stretch_ends_by_number_or_by_bytes(monkeypatch):
    monkeypatch.setattr(parts, "ITEMS", 10)
    monkeypatch.setattr(parts, "BYTES", 3 * 48 * 48)
    grey, drop = Sample("a", blob(1), "sad", ""), Drop("x", "y")
    assert [len(s) for s in parts.stretches(iter([drop] * 25))] == [10, 10, 5]
    assert [len(s) for s in parts.stretches(iter([grey] * 7))] == [3, 3, 1]
    assert list(parts.stretches(iter([]))) == []


def test_row_groups_end_by_bytes_too(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    items = [Sample(f"{i}", blob(i), "sad", "training") for i in range(40)]
    size = len(parts.encode_png(items[0].pixels))
    monkeypatch.setattr(shards, "BYTES_PER_GROUP", 5 * size)
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 15 * size)
    build_store([Listed(items)], tmp_path / "s")
    store = Store.open(tmp_path / "s")
    files = store.shards("training")
    assert len(files) > 1
    assert all(pq.ParquetFile(file).metadata.num_row_groups > 1 for file in files[:-1])
    assert store.read("training").paths == [f"{i}" for i in range(40)]


def test_summary_json_is_what_its_type_says(hybrid):
    content = json.loads((hybrid / "summary.json").read_text())
    assert Summary.model_validate(content).content() == content
    with pytest.raises(ValidationError, match="licence"):  # the control
        Summary.model_validate(content | {"sources": [{"name": "a"}]})


def test_near_groups_are_those_of_the_definition():
    from mien.data.near_duplicates import block_averages, groups_within, near_groups

    images = np.stack([blob(i % 30) for i in range(90)])
    images[7] = blob(3)[:, ::-1]
    images[40:44] = 128  # blank: equal, but nobody's near-duplicate
    images[50] = 127
    digest = np.unique([image.tobytes() for image in images], return_inverse=True)[1].astype(np.uint64)
    ours, theirs = near_groups(block_averages(images), digest), groups_within(images)
    assert np.array_equal(ours[:, None] == ours, theirs[:, None] == theirs)
    assert len(set(ours.tolist())) < 90


# --- others' readers -------------------------------------------------------------------------------------------------


def test_the_card_names_every_file_and_pandas_and_arrow_read_them(hybrid):
    import pandas as pd
    import pyarrow.dataset as ds

    text = (hybrid / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    listed = {entry["split"]: entry["path"] for entry in head["configs"][0]["data_files"]}
    assert tuple(listed) == Store.open(hybrid).splits
    assert sorted(path for paths in listed.values() for path in paths) == sorted(
        f"data/{file.name}" for file in (hybrid / "data").iterdir()
    )
    for column in ("generated_from", "near_duplicate"):
        assert f"| `{column}` |" in text
    assert "valence" not in text.split("## Columns")[1].split("## Sources")[0]
    assert "not what a person feels" in text
    assert str(hybrid.parent) not in text  # no path of a machine
    n = sum(split["rows"] for split in Store.open(hybrid).summary["splits"].values())
    assert len(pd.read_parquet(hybrid / "data")) == n
    assert ds.dataset(hybrid / "data").count_rows() == n


@pytest.mark.fer2013
@pytest.mark.long
def test_fer2013_alone_keeps_its_bytes(fer2013_store):
    """Without options the images are as they are: digests of the content of the first stores."""
    summary = Store.open(fer2013_store).summary
    wanted = {
        "training": "2ed9c3c21de1f1d1f90502bfd7c0dd16e6df91582cfd91a307fcb07ce3713316",
        "public_test": "d40b2f46838c5ab11ab11d002941b3ab09cc659b8b36adf41f580e0e11af099a",
        "private_test": "0966ba6ee3f01bbbe1f2a1cad5c4223389de50bc05970ec3d7c34e5d3b58e1dd",
    }
    assert {name: split["content_sha256"] for name, split in summary["splits"].items()} == wanted
