"""Writes one split: rows in, Parquet shards out, with one row group in memory at a time.

``store.py`` states the columns; here are their Arrow types. Nothing in a shard depends on when or where it is written.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.build.parts import Row
from mien.data.summary import UNLABELLED
from mien.labels import EIGHT

#: A row group ends after so many rows or bytes of pictures, a shard after so many groups or bytes.
ROWS_PER_GROUP, BYTES_PER_GROUP = 2048, 32 << 20
GROUPS_PER_SHARD, BYTES_PER_SHARD = 32, 512 << 20
#: Pictures of so many bytes on average are written as they are: training can read single ones (``data/pictures.py``).
IN_PLACE = 4096

#: Columns that only a store has in which some picture has them, in their order in a shard.
OPTIONAL = ("valence", "arousal", "landmarks", "soft_label", "generated_from")


def schema(optional: Iterable[str] = ()) -> Any:
    """The Arrow schema of a shard, with the feature types that ``datasets`` reads from its metadata."""
    import pyarrow as pa

    text, number, numbers = pa.string(), pa.float32(), pa.list_(pa.float32())
    columns = {
        "image": pa.struct([("bytes", pa.binary()), ("path", text)]),
        "label": text, "label_code": pa.int8(), "source": text, "split": text, "votes": pa.list_(pa.int16()),
        "group": text, "near_duplicate": pa.bool_(),
    }  # fmt: skip
    more = {"valence": number, "arousal": number, "landmarks": numbers, "soft_label": numbers, "generated_from": text}
    columns |= {name: more[name] for name in OPTIONAL if name in set(optional)}
    names = {text: "string", number: "float32"}

    def feature(kind: Any) -> dict[str, Any]:
        if pa.types.is_struct(kind):
            return {"_type": "Image"}
        if pa.types.is_list(kind):
            return {"feature": feature(kind.value_type), "_type": "Sequence"}
        return {"dtype": names.get(kind, str(kind)), "_type": "Value"}

    features = {name: feature(kind) for name, kind in columns.items()}
    return pa.schema(
        list(columns.items()),
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


@dataclass
class SplitWriter:
    """Writes one split's shards, a row group at a time, and keeps what the summary needs.

    near_count: near-duplicates of Training; None where that is not known. generated: rows made from another row.
    labels: the names of the codes.
    """

    directory: Path
    split: str
    optional: frozenset[str] = frozenset()
    labels: tuple[str, ...] = EIGHT
    rows: int = 0
    generated: int = 0
    with_votes: int = 0
    near_count: int | None = None
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)
    _pending: list[dict[str, Any]] = field(default_factory=list)
    _pending_bytes: int = 0
    _shards: list[Path] = field(default_factory=list)
    _writer: Any = None
    _groups: int = 0
    _bytes: int = 0

    def add(self, row: Row, pixels: NDArray[np.uint8], *, near: bool | None) -> None:
        """One row. pixels: what ``row.png`` holds, uint8 H×W or H×W×3; for the content's digest."""
        sample = row.sample
        height, width = pixels.shape[:2]
        mode = "grey" if pixels.ndim == 2 else "RGB"
        self.rows += 1
        self.generated += row.generated_from is not None
        self.with_votes += sample.votes is not None
        self.near_count = self.near_count if near is None else (self.near_count or 0) + near
        self.counts[sample.label or UNLABELLED] += 1
        self.sizes[width, height, mode] += 1
        soft = "" if sample.soft_label is None else f" {sample.soft_label}"
        self.digest.update(f"{height}×{width} {mode} {sample.label} {sample.votes}{soft}\n".encode())
        self.digest.update(pixels.tobytes())
        points = sample.landmarks
        self._pending.append(
            {
                "image": {"bytes": row.png, "path": sample.path},
                "label": sample.label,
                "label_code": None if sample.label is None else self.labels.index(sample.label),
                "source": row.source,
                "split": self.split,
                "votes": None if sample.votes is None else list(sample.votes),
                "group": sample.group,
                "near_duplicate": near,
                "valence": sample.valence,
                "arousal": sample.arousal,
                "landmarks": None if points is None else [value for point in points for value in point],
                "soft_label": sample.soft_label,
                "generated_from": row.generated_from,
            }
        )
        self._pending_bytes += len(row.png)
        if len(self._pending) >= ROWS_PER_GROUP or self._pending_bytes >= BYTES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = schema(self.optional)
        if self._writer is None:
            # the number of shards is known at the end only: see rename_shards
            path = self.directory / f"{self.split}-{len(self._shards):05d}.unfinished"
            self._shards.append(path)
            self._writer = pq.ParquetWriter(path, columns, **self._layout(columns))
            self._groups = self._bytes = 0
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema=columns))
        self._groups += 1
        self._bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        if self._groups >= GROUPS_PER_SHARD or self._bytes >= BYTES_PER_SHARD:
            self._writer.close()
            self._writer = None

    def _layout(self, columns: Any) -> dict[str, Any]:
        """How a shard is compressed, decided by its first row group."""
        if self._pending_bytes < IN_PLACE * len(self._pending):
            return {"compression": "zstd"}
        others = [field.name for field in columns if field.name != "image"]
        zstd = dict.fromkeys(["image.path", *others], "zstd")
        return {"compression": zstd | {"image.bytes": "NONE"}, "use_dictionary": ["image.path", *others]}

    def close(self) -> None:
        if self._pending:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def rename_shards(self) -> list[str]:
        """Give the shards their final names, which state how many there are; return them, relative to the store."""
        names = []
        for number, shard in enumerate(self._shards):
            name = f"{self.split}-{number:05d}-of-{len(self._shards):05d}.parquet"
            shard.rename(shard.with_name(name))
            names.append(f"data/{name}")
        return names
