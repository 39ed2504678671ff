"""Faults that were found in directories which a command reads back."""

import json
import re
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mien.data.sources import open_source
from mien.errors import DataError

from .directories import Bulk, SavedData

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Bulk:
    return Bulk(tmp_path_factory.mktemp("bulk"))


def test_a_manifest_cannot_name_a_folder_outside_its_own(bulk: Bulk) -> None:
    """Its id is part of the name of a working folder, which is emptied and taken away."""
    manifest = json.loads((bulk.whole / "manifest.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}", manifest["id"])
    victim = bulk.folder / "victim"
    victim.mkdir()
    (victim / "kept.txt").touch()
    manifest |= {"id": "/../../victim", "state": "reading"}
    with pytest.raises(DataError, match="got another content at id"):
        bulk.run("manifest.json", json.dumps(manifest).encode())
    assert (victim / "kept.txt").is_file()


def test_a_damaged_shard_is_read_again_and_the_note_of_it_can_be_shown(bulk: Bulk) -> None:
    """Every byte counts, those outside of Parquet's pages too: names of columns, their encodings, the footer."""
    from mien.bulk.block import check_shard
    from mien.bulk.plan import Plan

    file = bulk.whole / "rows" / "part-00000001.parquet"
    data = file.read_bytes()
    plan = SimpleNamespace(id=json.loads((bulk.whole / "manifest.json").read_text())["id"], shard=lambda block: file)

    def found(content: bytes) -> Any:
        file.write_bytes(content)
        return check_shard(cast(Plan, plan), 1, 3)

    try:
        for place in (*range(0, len(data), len(data) // 40), len(data) - 6):
            assert isinstance(found(data[:place] + bytes([data[place] ^ 0x0F]) + data[place + 1 :]), str), place
        renamed = data.replace(b"confidence", b"confidenze")
        assert found(renamed) == "its bytes are not those that were written"
        assert pq.read_table(file).num_rows == 3  # the control: Parquet's checksums do not notice
        assert not isinstance(found(data), str)
    finally:
        file.write_bytes(data)
    assert bulk.run("rows/part-00000001.parquet", renamed) == "read"  # with the right rows, which ``run`` compares
    with pytest.raises(AssertionError, match="control characters"):
        bulk.heard("a\x0f")
    assert bulk.run("rows/part-00000001.parquet", data[:4] + b"\x1f" + data[5:]) == "read"


def stream(path: Path, batch: Any, schema: Any = None) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema or batch.schema) as out:
        out.write_batch(batch)


@pytest.mark.parametrize("offsets", [[0, 2**30, 2**30], [0, -5, -5], [7, 3, 1]])
def test_cells_that_lie_outside_of_their_file_are_refused(offsets: list[int], tmp_path: Path) -> None:
    """pyarrow reads a stream without looking at offsets, and a cell from wherever they point."""
    where = SavedData(tmp_path)
    file = where.whole / "train" / "data-00000-of-00001.arrow"
    images = pa.array([b"abcd", b"efgh"])
    stream(file, pa.RecordBatch.from_arrays([images, pa.array([0, 1])], names=["image", "label"]))
    data, right = file.read_bytes(), struct.pack("<3i", 0, 4, 8)
    assert data.count(right) == 1
    file.write_bytes(data.replace(right, struct.pack("<3i", *offsets)))
    with pytest.raises(DataError, match="expected a complete Arrow file"):
        open_source("hf", where.whole)


@pytest.mark.parametrize(("names", "shown"), [([], "none"), (["label", "label"], "label, label")])
def test_columns_of_a_saved_data_set_have_a_name_each(names: list[str], shown: str, tmp_path: Path) -> None:
    where = SavedData(tmp_path)
    batch = pa.RecordBatch.from_arrays([pa.array([0, 1])] * len(names), names=names)
    stream(where.whole / "train" / "data-00000-of-00001.arrow", batch)
    with pytest.raises(DataError, match=f"expected columns with a name each in .*, got {shown}"):
        open_source("hf", where.whole)


@pytest.mark.parametrize("features", [None, 5, {"image": {"_type": "Image"}}, {"label": {"_type": "ClassLabel"}}])
def test_codes_whose_names_are_lost_are_not_taken_for_others(features: Any, tmp_path: Path) -> None:
    where = SavedData(tmp_path)
    assert open_source("hf", where.whole).total() == 12
    (where.whole / "train" / "dataset_info.json").write_text(json.dumps({"features": features}))
    with pytest.raises(DataError, match=r"expected the (features|class names)|expected a feature"):
        open_source("hf", where.whole)
