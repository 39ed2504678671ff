"""Data sets that Hugging Face ``datasets`` saved, read without it; and stores of ours opened by it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pictures

from fake_datasets import FER2013, encoded, face, nothing, save, split_items
from mien.data.build.run import build_store
from mien.data.sources import open_source
from mien.data.store import Store
from mien.errors import DataError

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets = pytest.importorskip("datasets")

#: Alphabetical, in the words of another lab: 2 is happiness here and fear among mien's codes.
NAMES = ["anger", "fear", "happiness", "sadness"]


def saved(path: Path, splits: dict[str, list[int]], *, names: list[str] = NAMES, **columns: list[object]) -> Path:
    """As its owner would make it: an Image and a ClassLabel, shuffled rows, one Arrow file or more a split."""
    start, parts = 0, {}
    for split, codes in splits.items():
        rows = {"image": [face(start + i) for i in range(len(codes))], "label": codes}
        rows |= {name: values[start : start + len(codes)] for name, values in columns.items()}
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
        features |= {name: datasets.Value("string") for name in columns}
        parts[split] = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        start += len(codes)
    datasets.DatasetDict(parts).save_to_disk(path, num_shards=dict.fromkeys(splits, 2))
    return path


def test_a_saved_data_set_is_read_as_datasets_itself_reads_it(tmp_path: Path) -> None:
    here = saved(tmp_path / "set", {"train": [0, 1, 2, 3, -1], "test": [2, 0]}, person=list("aabbcde"))
    source = open_source("hf", here)
    samples, drops = split_items(source)
    theirs = datasets.load_from_disk(here)
    rows = [(split, row) for split in ("train", "test") for row in theirs[split]]
    assert (len(samples), drops, source.total()) == (7, [], 7)
    meant = dict(zip(NAMES, ("angry", "fear", "happy", "sad"), strict=True))
    for sample, (split, row) in zip(samples, rows, strict=True):
        assert sample.label == (None if row["label"] == -1 else meant[NAMES[row["label"]]])
        assert (sample.split, sample.group) == ({"train": "training", "test": "test"}[split], row["person"])
        assert np.array_equal(sample.pixels, np.asarray(row["image"]))
    assert len({sample.path for sample in samples}) == 7
    # The control: the codes by themselves would have been mien's own.
    assert [sample.label for sample in samples][1:3] != [list(FER2013)[code] for code in (1, 2)]


def test_its_classes_are_explained_by_names_and_one_split_needs_none(tmp_path: Path) -> None:
    here = saved(tmp_path / "odd", {"train": [0, 1]}, names=["grumpy", "joy"])
    with pytest.raises(DataError, match="found also grumpy"):
        open_source("hf", here)
    explained = open_source("hf", here, names={"grumpy": "angry"})
    assert [sample.label for sample in split_items(explained)[0]] == ["angry", "happy"]
    single = datasets.Dataset.from_dict({"img": [encoded(1)], "emotion": ["sad"]})
    single.save_to_disk(tmp_path / "single")
    ((sample,), _) = split_items(open_source("hf", tmp_path / "single"))
    assert (sample.label, sample.split) == ("sad", "")
    files = datasets.Dataset.from_dict({"image": [str(save(tmp_path / "p.png", 4))], "label": ["sad"]})
    files.save_to_disk(tmp_path / "paths")  # paths, not pictures: the files stay where they are
    ((sample,), _) = split_items(open_source("hf", tmp_path / "paths"))
    assert (sample.file, sample.path) == (tmp_path / "p.png", "p.png")


def lose_a_shard(here: Path) -> None:
    (here / "train" / "data-00001-of-00002.arrow").unlink()


def cut_a_shard(here: Path) -> None:
    file = here / "train" / "data-00000-of-00002.arrow"
    file.write_bytes(file.read_bytes()[:900])


def empty_state(here: Path) -> None:
    (here / "train" / "state.json").write_text("{}")


def other_splits(here: Path) -> None:
    (here / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "monday"]}))


def no_data_set(here: Path) -> None:
    shutil.rmtree(here)
    here.mkdir()
    nothing(here)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_shard, "expected 2 Arrow files in .*train, missing data-00001-of-00002.arrow; save it again"),
        (cut_a_shard, "cannot read .*data-00000-of-00002.arrow"),
        (empty_state, "expected the list of Arrow files in .*state.json, got none"),
        (other_splits, "expected splits named train, validation or test in .*, found monday; rename them"),
        (no_data_set, r"no data set saved by datasets: .*save one with load_dataset"),
    ],
)
def test_damage_is_one_line(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    here = saved(tmp_path / "set", {"train": [0, 1, 2, 3], "test": [2, 0]})
    damage(here)
    with pytest.raises(DataError, match=message) as caught:
        split_items(open_source("hf", here))
    assert "\n" not in str(caught.value)


def test_a_store_opens_in_datasets_and_is_ready_to_be_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a saved data set to a store, into ``datasets``, saved again, and into a store: the same pictures."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    here = saved(tmp_path / "set", {"train": [0, 1, 2, 3] * 3, "test": [2, 0, 1]})
    build_store([open_source("hf", here)], tmp_path / "store")
    store = Store.open(tmp_path / "store")
    theirs = datasets.load_dataset(str(tmp_path / "store"), cache_dir=str(tmp_path / "cache"))
    assert set(theirs) == set(store.splits) == {"training", "test"}
    for split in store.splits:
        ours = store.read(split)
        assert isinstance(theirs[split].features["image"], datasets.Image)
        assert list(theirs[split]["label_code"]) == ours.labels.tolist()
        assert isinstance(theirs[split][0]["image"], Pictures.Image)
        assert np.array_equal(np.stack([np.asarray(row["image"]) for row in theirs[split]]), ours.images)

    from huggingface_hub import DatasetCard

    card = DatasetCard.load(tmp_path / "store" / "README.md")
    listed = [file for one in card.data.configs[0]["data_files"] for file in one["path"]]
    assert [one["split"] for one in card.data.configs[0]["data_files"]] == list(store.splits)
    assert sorted(listed) == sorted(str(file.relative_to(store.path)) for s in store.splits for file in store.shards(s))
    assert (card.data.license, card.data.license_name) == ("other", "as-the-sources")
    assert card.data.task_categories == ["image-classification"]
    pushed = {file.relative_to(store.path).as_posix() for file in store.path.rglob("*") if file.is_file()}
    assert pushed >= {"README.md", "summary.json", *listed}

    theirs.save_to_disk(tmp_path / "back")
    build_store([open_source("hf", tmp_path / "back")], tmp_path / "again")
    again = Store.open(tmp_path / "again")
    for split in store.splits:
        assert np.array_equal(again.read(split).images, store.read(split).images)
        assert np.array_equal(again.read(split).labels, store.read(split).labels)
