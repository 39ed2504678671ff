"""Photos a second of one thread, of two, and of two processes of one thread each, which share nothing: the upper bound.

    python benchmarks/two_threads.py PHOTO [--photos 192] [--rounds 5] [--model nano]

Contestants take turns; a figure is the median of its rounds, of wall time, so nothing else may run. ``blocked`` is the
part of their time in which the threads that search neither ran nor waited for a processor: they waited for Python's
lock or for work. The last contestant asks Python to hand its lock over after half a millisecond (``--interval``), where
it waits for five.
"""

import argparse
import multiprocessing as mp
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mien.onnx_runtime import default_threads
from mien.reading import overlap
from mien.reading.reader import Reader


def serve(pipe: Connection, model: str, content: bytes) -> None:
    """A process of one thread: reads as many photos as it is told."""
    reader = Reader(model, threads=1)
    while (count := pipe.recv()) is not None:
        list(reader.read_many([content] * count))
        pipe.send(True)


class Watched(overlap.ThreadPoolExecutor):
    """Notes how long its threads were blocked."""

    blocked: float = 0.0

    def __enter__(self) -> "Watched":
        self._started = time.perf_counter()
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        wall, idle = time.perf_counter() - self._started, []
        for thread in self._threads:
            told = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()
            idle.append(1 - (int(told[0]) + int(told[1])) / 1e9 / wall)
        Watched.blocked = statistics.mean(idle)
        super().__exit__(*exc)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--photos", type=int, default=192, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--interval", type=float, default=0.0005, help="seconds")
    args = parser.parse_args()
    if default_threads() < 2:
        parser.error("expected two cores")
    content, usual = args.photo.read_bytes(), sys.getswitchinterval()
    overlap.ThreadPoolExecutor = Watched  # type: ignore[misc]
    readers = {count: Reader(args.model, threads=count) for count in (1, 2)}
    context = mp.get_context("spawn")
    pipes = []
    for _ in range(2):
        here, there = context.Pipe()
        context.Process(target=serve, args=(there, args.model, content), daemon=True).start()
        pipes.append(here)

    def processes() -> None:
        for pipe in pipes:
            pipe.send(args.photos // 2)
        for pipe in pipes:
            pipe.recv()

    def threads(count: int, interval: float) -> None:
        sys.setswitchinterval(interval)
        list(readers[count].read_many([content] * args.photos))

    contestants = {
        "1 thread": lambda: threads(1, usual),
        "2 threads": lambda: threads(2, usual),
        "2 processes": processes,
        "2 threads, short interval": lambda: threads(2, args.interval),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    blocked: dict[str, float] = {}
    for number in range(args.rounds + 1):  # the first warms up
        for name, work in contestants.items():
            started = time.perf_counter()
            work()
            if number:
                rates[name].append(args.photos / (time.perf_counter() - started))
                blocked[name] = Watched.blocked
    base = statistics.median(rates["1 thread"])
    for name, values in rates.items():
        rate = statistics.median(values)
        told = f", blocked {blocked[name]:.0%}" if "threads" in name else ""
        print(f"{name:28}{rate:7.1f} photos/s {rate / base:5.2f} times{told}")
    for pipe in pipes:
        pipe.send(None)


if __name__ == "__main__":
    main()
