"""A store of eight classes for those that have to tell them from seven."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mien.labels import EIGHT


def with_contempt(store: Path, path: Path) -> Path:
    """A copy of a store of seven classes in which every sixth image is said to show contempt, labelled or not."""
    shutil.copytree(store, path)
    for shard in (path / "data").glob("*.parquet"):
        table = pq.read_table(shard)
        codes = [7 if i % 6 == 0 else code for i, code in enumerate(table["label_code"].to_pylist())]
        column = table.schema.get_field_index("label_code")
        pq.write_table(table.set_column(column, "label_code", pa.array(codes, pa.int8())), shard)
    say_labels(path, EIGHT)
    return path


def say_labels(store: Path, labels: tuple[str, ...]) -> None:
    """Have the store's summary declare these labels."""
    file = store / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"labels": list(labels)}))
