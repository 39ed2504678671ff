"""A summary as the bytes of a CSV, Parquet or JSON file."""

import csv
import io
import json
import os
from dataclasses import fields

from mien.errors import UsageError
from mien.timeline.summary import Row, Summary


def suffix_of(path: str, known: tuple[str, ...]) -> str:
    """The suffix without its dot. Raises UsageError for another than these."""
    suffix = os.path.splitext(path)[1].lower().removeprefix(".")
    if suffix not in known:
        raise UsageError(f"expected a file {', '.join('.' + name for name in known)}, got {path!r}")
    return suffix


def encode(summary: Summary, kind: str) -> bytes:
    """kind: csv, parquet or json."""
    records = summary.to_records()
    names = [field.name for field in fields(Row)]
    if kind == "json":
        return (json.dumps(records, ensure_ascii=False, indent=1) + "\n").encode()
    if kind == "csv":
        text = io.StringIO(newline="")
        rows = csv.DictWriter(text, names, lineterminator="\n")
        rows.writeheader()
        rows.writerows(records)
        return text.getvalue().encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"source": pa.string(), "expression": pa.string(), "track": pa.int64(), "episodes": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=schema), sink, compression="zstd")
    return sink.getvalue()
