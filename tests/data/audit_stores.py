"""Small stores for the tests of the audit, written by hand: any size, colour, label, votes, or none of these."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from build_cases import png
from PIL import Image

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def faces(n: int, *, seed: int = 0, side: int = 48) -> np.ndarray:
    """uint8 n×side×side: smooth random blobs, no two alike, with an oval in the middle: they correlate as faces do."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    oval = 90 * np.exp(-(rows**2 + (1.3 * columns) ** 2))
    coarse = random.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    blobs = np.stack([np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse])
    return np.clip(0.55 * blobs + oval + random.normal(0, 3, blobs.shape), 0, 255).astype(np.uint8)


def row(pixels: np.ndarray | bytes | None, path: str, **more: Any) -> dict[str, Any]:
    """One image: its pixels (or the bytes of a broken file), and any of the columns of a shard."""
    data = png(pixels) if isinstance(pixels, np.ndarray) else pixels
    return {"image": {"bytes": data, "path": path}, "label": None, "source": "drawn"} | more


def write_store(path: Path, splits: dict[str, list[dict[str, Any]]], *, labels: tuple[str, ...] = LABELS) -> Path:
    """A store with a shard of row groups of 16 for each split; optional columns are there where some row has them."""
    types = {
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "label": pa.string(),
        "source": pa.string(),
        "votes": pa.list_(pa.int16()),
        "group": pa.string(),
        "near_duplicate": pa.bool_(),
        "generated_from": pa.string(),
    }
    names = {name for rows in splits.values() for row in rows for name in row}
    schema = pa.schema([(name, kind) for name, kind in types.items() if name in names])
    (path / "data").mkdir(parents=True)
    described = {}
    for split, rows in splits.items():
        file = f"data/{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path / file, row_group_size=16)
        described[split] = {"rows": len(rows), "files": [file]}
    summary = {"mien_store": 1, "labels": list(labels), "splits": described, "sources": []}
    (path / "summary.json").write_text(json.dumps(summary))
    return path
