"""CPU time, wall time and memory of ``mien read --engine ray`` beside two plain processes, from 1,000 pictures on.

    python benchmarks/bulk_throughput.py --store stores/fer2013 -o results/bulk_throughput.json --sizes 1000 5000 20000

Pictures: crops of the store's Training split, twice as large, on a canvas of 160×192, as JPEG; or with --crops the
crops of 48×48 themselves, read with --detector none, which is the least work that a picture can be. For each size and
round both ways read the same pictures, one after the other: Ray with two workers, and two plain processes of one thread
with half of the pictures each. CPU time is that of all processes of a command, Ray's own included: this process adopts
those whose parents end, and waits for all. Wall times mean little on a busy machine.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SUBREAPER = 36  # of prctl(2)


def make_pictures(store: Path, count: int, folder: Path, *, crops: bool) -> None:
    """``count`` pictures in subfolders of a thousand."""
    (file,) = (store / "data").glob("training-*.parquet")
    column = pq.read_table(file, columns=["image"]).column("image")
    rng = np.random.default_rng(0)
    for i in range(count):
        place = folder / f"{i // 1000:05d}"
        place.mkdir(parents=True, exist_ok=True)
        data = column[i % len(column)].as_py()["bytes"]
        if crops:
            (place / f"{i:08d}.png").write_bytes(data)
            continue
        crop = Image.open(BytesIO(data)).convert("L").resize((96, 96))
        canvas = Image.new("RGB", (160, 192), tuple(int(v) for v in rng.integers(40, 216, 3)))
        canvas.paste(crop, (32, 48))
        canvas.save(place / f"{i:08d}.jpg", quality=90)


class Watched:
    """Commands with all processes below them: CPU seconds, and the resident memory of each kind of process in MB."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.peak: dict[str, float] = {}
        self._sessions: set[int] = set()

    def run(self, commands: list[list[str]], log: Any) -> float:
        """Wall seconds until all have ended."""
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = [subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True) for words in commands]
        self._sessions = {process.pid for process in processes}
        while any(process.poll() is None for process in processes):
            self._look()
            time.sleep(0.1)
        seconds = time.monotonic() - begun
        with suppress(ChildProcessError):  # those whose parents ended before them
            while time.monotonic() < begun + seconds + 20:
                os.waitpid(-1, os.WNOHANG)
                time.sleep(0.05)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if any(process.returncode not in (0, 1) for process in processes):
            sys.exit(f"a command failed: {commands}")
        return seconds

    def _look(self) -> None:
        memory: dict[str, float] = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                parent, session = int(words[1]), int(words[3])
                if session not in self._sessions and parent not in self._sessions:
                    continue
                self._sessions.add(session)  # the scheduler has one of its own
                name = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
                kind = "worker" if name.startswith("ray::BlockReader") else "command" if "mien.cli" in name else "other"
                megabytes = int(words[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
                memory[kind] = (
                    memory.get(kind, 0) + megabytes if kind == "other" else max(memory.get(kind, 0), megabytes)
                )
            except (OSError, IndexError):
                continue
        for kind, megabytes in memory.items():
            self.peak[kind] = round(max(self.peak.get(kind, 0.0), megabytes), 1)


def measure(pictures: Path, count: int, home: Path, log: Any, *, block_size: int, options: list[str]) -> dict[str, Any]:
    """One round of both ways."""
    folders = sorted(path for path in pictures.iterdir())[: count // 1000]
    read = [sys.executable, "-m", "mien.cli.app", "read"]
    same = [*options, "-q"]
    result: dict[str, Any] = {"pictures": count, "block_size": block_size}
    out = home / "ray"
    watched = Watched()
    ray = [*read, *map(str, folders), *same, "--engine", "ray", "--workers", "2", "--block-size", str(block_size)]
    wall = watched.run([[*ray, "-o", str(out)]], log)
    result["ray"] = {"cpu_s": round(watched.cpu_s, 1), "wall_s": round(wall, 1), "peak_mb": watched.peak}
    half = (len(folders) + 1) // 2
    parts = [folders[:half], folders[half:]] if len(folders) > 1 else _halves(folders[0], home)
    watched = Watched()
    plain = [
        [*read, *map(str, part), *same, "--threads", "1", "-o", f"{home}/{i}.parquet"] for i, part in enumerate(parts)
    ]
    wall = watched.run(plain, log)
    result["plain"] = {"cpu_s": round(watched.cpu_s, 1), "wall_s": round(wall, 1), "peak_mb": watched.peak}
    tables = pa.concat_tables([pq.read_table(home / f"{i}.parquet") for i in range(2)])
    names = [os.path.basename(source) for source in tables.column("source").to_pylist()]
    rows = pq.read_table(out / "rows")
    result["equal"] = rows.drop_columns("source").equals(tables.drop_columns("source")) and names == [
        os.path.basename(source) for source in rows.column("source").to_pylist()
    ]
    result["overhead"] = round(result["ray"]["cpu_s"] / result["plain"]["cpu_s"] - 1, 3)
    shutil.rmtree(out)
    return result


def _halves(folder: Path, home: Path) -> list[list[Path]]:
    files = sorted(folder.iterdir())
    parts = []
    for number, part in enumerate((files[: len(files) // 2], files[len(files) // 2 :])):
        place = home / f"half-{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for file in part:
            os.link(file, place / file.name)
        parts.append([place])
    return parts


def main() -> None:
    """All sizes and rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--block-size", type=int, default=1000)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--crops", action="store_true")
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="bulk-throughput-"))
    make_pictures(asked.store, max(asked.sizes), home / "pictures", crops=asked.crops)
    options = ["--model", asked.model, *(["--detector", "none"] if asked.crops else [])]
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray sets it; NumPy's threads would spin in the plain processes
    if ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0):
        sys.exit("prctl failed")
    results = []
    with (home / "log").open("ab") as log:
        for _ in range(asked.rounds):
            for size in asked.sizes:
                block_size = min(asked.block_size, size // 4)
                results.append(measure(home / "pictures", size, home, log, block_size=block_size, options=options))
                print(json.dumps(results[-1]), flush=True)
                asked.output.write_text(json.dumps(results, indent=1) + "\n")
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
