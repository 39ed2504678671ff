"""How much memory and time building a store takes, for data sets of any size: images are drawn on the way.

    python benchmarks/build_memory.py --images 50000 200000 --workers 2

Each size is built in a process of its own, whose peak memory is printed with that of its largest worker. ``--free``
gives no image an official split, so that near-duplicates are searched, splits planned and Training balanced as well.
A build holds a few parts and, of each image, an index of under 1 kB: the memory may grow with the images by no
more than that (and by what the plan holds meanwhile), and not with the images' size (``--side``, ``--rgb``).
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.build.settings import BalanceSettings
from mien.data.sources import Sample
from mien.labels import SEVEN

BATCH = 500


class Drawn:
    """A source of smooth random pictures, the same for the same numbers; one in fifty repeats an earlier one."""

    name, layout, files, warnings, licence = "drawn", "in memory", (), (), "none"

    def __init__(self, images: int, *, side: int, rgb: bool, free: bool) -> None:
        self.images, self.shape, self.free = images, (side, side, 3) if rgb else (side, side), free

    def total(self) -> int:
        return self.images

    def stream(self) -> Iterator[Sample]:
        for start in range(0, self.images, BATCH):
            for i, pixels in enumerate(self._draw(start // BATCH), start):
                split = "" if self.free else ("training", "training", "training", "validation", "test")[i % 5]
                label = SEVEN[i * i % 7] if i % 3 else "happy"
                yield Sample(f"train/{label}/image_{i:07d}.jpg", pixels, label, split, group=f"subject {i // 40}")

    def _draw(self, number: int) -> np.ndarray:
        random = np.random.default_rng(number)
        cells = random.integers(0, 256, (BATCH, 6, 6, *self.shape[2:]), dtype=np.uint8)
        cells[::50] = np.random.default_rng(number // 2).integers(0, 256, cells[::50].shape, dtype=np.uint8)
        cell = -(-self.shape[0] // 6)
        large = cells.repeat(cell, 1).repeat(cell, 2)[:, : self.shape[0], : self.shape[0]]
        noise = random.integers(0, 24, large.shape, dtype=np.uint8)
        return large // 2 + noise  # some noise, because PNG would make nothing of flat cells

    def differences(self, counts: object) -> list[str]:
        return []


def one(images: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Build one store and say what it took."""
    folder = Path(tempfile.mkdtemp(prefix="mien-build-", dir=arguments.scratch))
    started = time.monotonic()
    phases: dict[str, float] = {}

    def progress(done: int, total: int | None, what: str) -> None:
        phases.setdefault(what.partition(",")[0], time.monotonic() - started)

    try:
        summary = build_store(
            [Drawn(images, side=arguments.side, rgb=arguments.rgb, free=arguments.free)],
            folder / "store",
            standard=Standard(size=arguments.side, color="rgb" if arguments.rgb else "grey"),
            balance=BalanceSettings() if arguments.free else None,
            workers=arguments.workers,
            progress=progress,
        )
        took = time.monotonic() - started
        size = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
    finally:
        shutil.rmtree(folder)
    mib = {who: resource.getrusage(which).ru_maxrss / 1024 for who, which in _WHO.items()}
    rows = sum(split["rows"] for split in summary["splits"].values())
    return {
        "images": images,
        "rows": rows,
        "seconds": round(took, 1),
        "images_per_second": round(images / took),
        "peak_mib": round(mib["self"], 1),
        "peak_mib_of_a_worker": round(mib["children"], 1),
        "store_mib": round(size / 2**20, 1),
        "began_at_s": {what: round(at, 1) for what, at in phases.items()},
    }


_WHO = {"self": resource.RUSAGE_SELF, "children": resource.RUSAGE_CHILDREN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--rgb", action="store_true")
    parser.add_argument("--free", action="store_true", help="no official splits: plan and balance as well")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="where the stores are written meanwhile")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(one(arguments.images[0], arguments)))
        return
    results = []
    for images in arguments.images:
        words = [word for word in sys.argv[1:] if word not in {str(n) for n in arguments.images} | {"--images"}]
        command = [sys.executable, __file__, "--here", "--images", str(images), *words]
        results.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
        print(json.dumps(results[-1]), flush=True)
    for small, large in pairwise(results):
        more = (large["peak_mib"] - small["peak_mib"]) * 2**20 / (large["rows"] - small["rows"])
        print(f"from {small['rows']:,} to {large['rows']:,} rows: {more:,.0f} bytes of memory for each row more")


if __name__ == "__main__":
    main()
