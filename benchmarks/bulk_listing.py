"""Listing and checkpoint of a bulk run at ten million inputs: seconds of CPU, memory, bytes. Nothing is read.

    python benchmarks/bulk_listing.py -o results/bulk_listing.json --inputs 10000000 --files 200000

Three things are measured, each in a process of its own: the listing of names that a generator makes (10,000 folders of
1,000), written as a run writes it; the walk over a real tree of empty files; and the check of all shards with which a
run goes on, on shards with made-up rows.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.bulk.block import check_shard
from mien.bulk.entries import Entry, Kind
from mien.bulk.listing import entries, write_listing
from mien.bulk.plan import KEY, Done, Plan
from mien.labels import SEVEN
from mien.reading.outputs import ParquetRows


def names(count: int) -> Iterator[Entry]:
    """As a walk would give them."""
    for i in range(count):
        yield Entry(Kind.PICTURE, f"/data/photos/{i // 1000:06d}/IMG_{i:09d}.jpg")


def listing(home: Path, count: int, block_size: int) -> dict[str, Any]:
    """A listing of made-up names."""
    found = write_listing(names(count), str(home / "listing"), block_size)
    size = sum(path.stat().st_size for path in (home / "listing").iterdir())
    return {"inputs": found.inputs, "blocks": found.blocks, "bytes": size}


def walk(home: Path, count: int, block_size: int) -> dict[str, Any]:
    """A listing of real files, walked."""
    tree = home / "tree"
    for i in range(count):
        if i % 1000 == 0:
            folder = tree / f"{i // 1000:06d}"
            folder.mkdir(parents=True)
        os.close(os.open(folder / f"IMG_{i:09d}.jpg", os.O_CREAT | os.O_WRONLY))
    before = time.process_time()
    found = write_listing(entries([str(tree)]), str(home / "walked"), block_size)
    return {"inputs": found.inputs, "cpu_s": round(time.process_time() - before, 2)}


def checkpoint(home: Path, count: int, block_size: int) -> dict[str, Any]:
    """The check of all shards."""
    blocks = count // block_size
    plan = Plan("0" * 16, str(home), "/", block_size, blocks, {}, "", SEVEN, "0")
    os.makedirs(plan.rows)
    size = 0
    rng = np.random.default_rng(0)
    writer = ParquetRows(BytesIO(), SEVEN)
    columns = {}
    for field in writer.schema:
        if pa.types.is_floating(field.type) and not field.name.startswith("raw_"):
            columns[field.name] = rng.random(block_size).round(4)
        elif field.name == "source":
            columns[field.name] = [f"/data/photos/{i % 977:06d}/IMG_{i:09d}.jpg" for i in range(block_size)]
        else:
            columns[field.name] = pa.nulls(block_size, field.type)
    table = pa.table(columns, schema=writer.schema)
    for block in range(blocks):
        about = {"plan": plan.id, "block": block, "failed": {}, "inputs": block_size, "rows": block_size, "faces": 1}
        shard = table.replace_schema_metadata({KEY: json.dumps(about)})
        pq.write_table(shard, plan.shard(block), compression="zstd", write_page_checksum=True)
        size += os.path.getsize(plan.shard(block))
    before = time.process_time()
    checked = [check_shard(plan, block, block_size) for block in range(blocks)]
    seconds = time.process_time() - before
    assert all(isinstance(done, Done) for done in checked), checked[0]
    return {"shards": len(checked), "cpu_s": round(seconds, 2), "bytes": size}


def measured(what: Callable[..., dict[str, Any]], *words: Any) -> dict[str, Any]:
    """In a fresh process: its own results, CPU seconds and peak memory in MB."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(there, what, words))
    process.start()
    result: dict[str, Any] = here.recv()
    process.join()
    return result


def _run(pipe: Any, what: Callable[..., dict[str, Any]], words: tuple[Any, ...]) -> None:
    wall = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"cpu_s": 0.0, **what(*words)}
    result["cpu_s"] = result["cpu_s"] or round(time.process_time(), 2)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send(
        result | {"wall_s": round(time.monotonic() - wall, 1), "peak_mb": round(after), "start_mb": round(before)}
    )


def main() -> None:
    """All three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--scratch", default="/dev/shm")
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    jobs: list[tuple[str, Callable[..., dict[str, Any]], int, int]] = [
        ("listing, a tenth", listing, asked.inputs // 10, 1000),
        ("listing", listing, asked.inputs, 1000),
        ("walk", walk, asked.files, 1000),
        ("checkpoint, blocks of 10,000", checkpoint, asked.inputs, 10_000),
        ("checkpoint, blocks of 1,000", checkpoint, asked.inputs, 1000),
    ]
    for name, job, count, block_size in jobs:
        home = Path(tempfile.mkdtemp(prefix="bulk-listing-", dir=asked.scratch))
        results[name] = measured(job, home, count, block_size)
        shutil.rmtree(home)
        print(name, json.dumps(results[name]), flush=True)
        asked.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
