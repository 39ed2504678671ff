"""The user's own pictures in Parquet, inside or by path, with the labels that other writers leave there."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fake_datasets import CODES_WARNING, FER2013, encoded, face, save, split_items
from mien.data.sources import open_source
from mien.errors import DataError
from mien.imaging import load_rgb


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
    assert Counter(d.reason for d in drops) == {"label code out of range": 1}
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
