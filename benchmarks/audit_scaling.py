"""What an audit costs as a store grows: seconds and peak memory at N and at ten times N images.

    python benchmarks/audit_scaling.py [--store stores/fer2013] [--images 36000] [--times 1 10] [--out FILE.json]

The stores are generated: each image is a real crop of STORE (a smooth drawn face without it), turned, shifted, zoomed,
lit from a side and blended with a second one, so that a store of any size holds as many different faces and, as it
grows, some near-duplicates. One in fifty is a copy of an earlier image, one in four of these mirrored. Each audit, with
its whole report, runs in a process of its own. A table goes to stdout, and the same as JSON to --out.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = {"training": 0.8, "public_test": 0.1, "private_test": 0.1}
GROUP, SHARD = 2048, 65536  # rows of a row group, of a file


def real_crops(store: Path) -> list[np.ndarray]:
    """uint8 48×48 crops of every split, as many as there are."""
    found = []
    for shard in sorted((store / "data").glob("*.parquet")):
        for row in pq.read_table(shard, columns=["image"])["image"].to_pylist():
            found.append(np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("L").resize((48, 48))))
    return found


def drawn_crops(n: int, random: np.random.Generator) -> list[np.ndarray]:
    """uint8 48×48: smooth blobs around an oval."""
    rows, columns = np.mgrid[-1:1:48j, -1:1:48j]
    oval = 90 * np.exp(-(rows**2 + (1.3 * columns) ** 2))
    coarse = random.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    blobs = [np.asarray(Image.fromarray(c).resize((48, 48), Image.Resampling.BICUBIC)) for c in coarse]
    return [np.clip(0.55 * blob + oval, 0, 255).astype(np.uint8) for blob in blobs]


def varied(crops: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """A new face, uint8 48×48: two crops under different geometry, blended, lit from a side."""

    def one() -> np.ndarray:
        angle, zoom = np.radians(random.uniform(-15, 15)), random.uniform(0.75, 1.0)
        a, b = zoom * np.cos(angle), zoom * np.sin(angle)
        x, y = 24 + random.uniform(-4, 4, 2)
        geometry = (a, -b, x - 24 * a + 24 * b, b, a, y - 24 * b - 24 * a)
        image = Image.fromarray(crops[random.integers(len(crops))])
        moved = image.transform((48, 48), Image.Transform.AFFINE, geometry, Image.Resampling.BILINEAR)
        return np.asarray(moved)[:, :: random.choice((-1, 1))].astype(np.float32)

    weight = random.uniform(0, 0.35)
    light = np.linspace(-1, 1, 48, dtype=np.float32)
    side, above = random.normal(0, 15, 2)
    face = (1 - weight) * one() + weight * one() + side * light + above * light[:, None]
    return np.clip(face, 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_store(path: Path, n: int, crops: list[np.ndarray], random: np.random.Generator) -> None:
    (path / "data").mkdir(parents=True)
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.string()),
            ("source", pa.string()),
            ("votes", pa.list_(pa.int16())),
        ]
    )
    summary: dict = {"mien_store": 1, "labels": LABELS, "splits": {}, "sources": []}
    earlier: list[np.ndarray] = []
    for split, proportion in SPLITS.items():
        rows, files = round(n * proportion), []
        for first in range(0, rows, SHARD):
            files.append(f"data/{split}-{len(files):05d}.parquet")
            with pq.ParquetWriter(path / files[-1], schema) as writer:
                for start in range(first, min(first + SHARD, rows), GROUP):
                    part = []
                    for i in range(start, min(start + GROUP, rows)):
                        if earlier and random.random() < 0.02:
                            pixels = earlier[random.integers(len(earlier))]
                            pixels = pixels[:, ::-1] if random.random() < 0.25 else pixels
                        else:
                            pixels = varied(crops, random)
                            if len(earlier) < 2000:
                                earlier.append(pixels)
                        image = {"bytes": encoded(pixels), "path": f"{split}/{i}.png"}
                        votes = random.multinomial(10, [0.1] * 10).tolist()
                        label = LABELS[random.integers(7)]
                        part.append({"image": image, "label": label, "source": "varied", "votes": votes})
                    writer.write_table(pa.Table.from_pylist(part, schema=schema))
        summary["splits"][split] = {"rows": rows, "files": files}
    (path / "summary.json").write_text(json.dumps(summary))


def audit(store: Path, out: Path) -> dict:
    """In this process: the audit with its report, and how long each of its stages took."""
    from mien.data.audit.run import audit_store

    stages: dict[str, float] = {}
    state = ["starting", time.perf_counter()]
    started = state[1]

    def watch(done: int, total: int, what: str) -> None:
        if what != state[0]:
            now = time.perf_counter()
            stages[str(state[0])] = now - state[1]
            state[:] = [what, now]

    result = audit_store(store, out=out, progress=watch)
    watch(0, 0, "done")
    return {
        "images": result.images.all,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "pairs": result.copies.pairs,
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--images", type=int, default=36_000)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--audit", type=Path, nargs=2, metavar=("STORE", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit:
        print(json.dumps(audit(*options.audit)))
        return
    random = np.random.default_rng(0)
    crops = real_crops(options.store) if options.store else drawn_crops(4000, random)
    rows = []
    for times in options.times:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "store"
            started = time.perf_counter()
            write_store(store, options.images * times, crops, random)
            print(f"{options.images * times:,} images made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
            command = [sys.executable, __file__, "--audit", str(store), str(Path(folder) / "report")]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print(f"{'images':>9} {'seconds':>8} {'CPU s':>7} {'µs/image':>9} {'peak MiB':>9} {'pairs':>9}  stages")
    for row in rows:
        each = 1e6 * row["seconds"] / row["images"]
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["stages"].items() if seconds >= 0.05)
        time_taken = f"{row['seconds']:>8.1f} {row['cpu_seconds']:>7.1f} {each:>9.0f}"
        figures = f"{row['images']:>9,} {time_taken} {row['peak_mib']:>9.0f} {row['pairs']:>9,}"
        print(f"{figures}  {stages}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
