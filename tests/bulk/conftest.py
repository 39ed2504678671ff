"""Pictures, a table of pictures and bad inputs; and what plain ``mien read`` makes of them."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_inputs import png
from called import Call
from mien import Reader


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: 23 pictures in two folders, a table of 30 rows in three row groups, and three bad files."""
    root = tmp_path_factory.mktemp("inputs")
    for i in range(23):
        folder = root / f"{i // 12}"
        folder.mkdir(exist_ok=True)
        (folder / f"{i:03d}.png").write_bytes(png(i))
    (root / "0" / "broken.jpg").write_bytes(b"no picture")
    (root / "1" / "empty.png").write_bytes(b"")
    (root / "1" / "cut.png").write_bytes(png(5)[:700])
    os.symlink(root / "gone.png", root / "1" / "lost.png")
    images = [{"bytes": png(100 + i), "path": f"row {i}" if i % 3 else None} for i in range(30)]
    images[7] = {"bytes": None, "path": None}
    images[8] = {"bytes": None, "path": "0/003.png"}  # relative to the table
    pq.write_table(pa.table({"image": images}), root / "crops.parquet", row_group_size=11)
    pq.write_table(pa.table({"score": [1.0]}), root / "result.parquet")  # no pictures: left out
    return root


@pytest.fixture(scope="session")
def tiny_reader(tiny_model: Path) -> Reader:
    return Reader(str(tiny_model), detector="none", threads=1)


@pytest.fixture
def plain(tiny_model: Path, tmp_path: Path) -> Any:
    """``plain(path, …)``: the table that ``mien read -o FILE.parquet`` writes."""

    def read(*paths: str | Path) -> pa.Table:
        file = tmp_path / "plain.parquet"
        Call(tiny_model)("read", *paths, "--detector", "none", "-o", file, "-q")
        return pq.read_table(file)

    return read
