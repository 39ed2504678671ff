"""One split on its way to the disk: samples in, Parquet shards out, a row group in memory at a time.

``store.py`` states the columns; here are their Arrow types. Nothing in a shard depends on when or where it is written.
"""

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import labels as label_set
from mien.data.duplicates import block_averages
from mien.data.sources import Sample

ROWS_PER_GROUP = 2048
GROUPS_PER_SHARD = 32
UNLABELLED = "unlabelled"


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 H×W or H×W×3 → PNG, lossless; the same pixels always give the same bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def schema() -> Any:
    """The Arrow schema of a shard, with the feature types that ``datasets`` reads from its metadata."""
    import pyarrow as pa

    def value(dtype: str) -> dict[str, str]:
        return {"dtype": dtype, "_type": "Value"}

    features = {
        "image": {"_type": "Image"},
        "label": value("string"),
        "label_code": value("int8"),
        "source": value("string"),
        "split": value("string"),
        "votes": {"feature": value("int16"), "_type": "Sequence"},
        "group": value("string"),
        "near_duplicate": value("bool"),
    }
    return pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.string()),
            ("label_code", pa.int8()),
            ("source", pa.string()),
            ("split", pa.string()),
            ("votes", pa.list_(pa.int16())),
            ("group", pa.string()),
            ("near_duplicate", pa.bool_()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


@dataclass
class SplitWriter:
    """Writes one split's shards, a row group at a time, and keeps what the summary needs."""

    directory: Path
    split: str
    rows: int = 0
    with_votes: int = 0
    near_count: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)
    _pending: list[dict[str, Any]] = field(default_factory=list)
    _averages: list[NDArray[np.float32]] = field(default_factory=list)
    _shards: list[Path] = field(default_factory=list)
    _writer: Any = None
    _groups: int = 0

    def add(self, sample: Sample, *, source: str) -> None:
        height, width = sample.pixels.shape[:2]
        mode = "grey" if sample.pixels.ndim == 2 else "RGB"
        self.rows += 1
        self.with_votes += sample.votes is not None
        self.counts[sample.label or UNLABELLED] += 1
        self.sizes[width, height, mode] += 1
        self.digest.update(f"{height}×{width} {mode} {sample.label} {sample.votes}\n".encode())
        self.digest.update(sample.pixels.tobytes())
        self._averages.append(block_averages(sample.pixels[None]))
        self._pending.append(
            {
                "image": {"bytes": encode_png(sample.pixels), "path": sample.path},
                "label": sample.label,
                "label_code": None if sample.label is None else label_set.code(sample.label),
                "source": source,
                "split": self.split,
                "votes": None if sample.votes is None else list(sample.votes),
                "group": sample.group,
                "near_duplicate": None,
            }
        )
        if len(self._pending) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._shards.append(self.directory / f"{self.split}-{len(self._shards):05d}.writing")
            self._writer = _parquet_writer(self._shards[-1])
            self._groups = 0
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema=schema()))
        self._pending = []
        self._groups += 1
        if self._groups >= GROUPS_PER_SHARD:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        if self._pending:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def all_averages(self) -> NDArray[np.float32]:
        """float32 N×144: the block averages of all images so far, 576 bytes each."""
        return np.concatenate(self._averages)

    def rewrite_with(self, near: NDArray[np.bool_]) -> None:
        """Fill in the column that could only be known once Training had been read to its end."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.near_count = int(near.sum())
        column = schema().get_field_index("near_duplicate")
        start = 0
        for shard in self._shards:
            fresh = shard.with_suffix(".fresh")
            with pq.ParquetFile(shard) as old, _parquet_writer(fresh) as new:
                for group in range(old.num_row_groups):
                    table = old.read_row_group(group)
                    values = pa.array(near[start : start + len(table)])
                    new.write_table(table.set_column(column, schema().field(column), values))
                    start += len(table)
            fresh.replace(shard)

    def rename_shards(self) -> list[str]:
        """Give the shards their final names, which state how many there are; return them, relative to the store."""
        names = []
        for number, shard in enumerate(self._shards):
            name = f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet"
            shard.rename(shard.with_name(name))
            names.append(f"data/{name}")
        return names


def _parquet_writer(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(path, schema(), compression="zstd")
