"""Starts a worker for a kind, hands out inputs, and kills what takes too long."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .kinds import Kind

LIMIT_S = 10.0  # of processor time for one input
ASLEEP_S = 10.0  # without any processor time although it could have some: it waits for what does not come
CLOCK_S = 600.0  # by the clock, whatever it does; a busy machine may give a process a tenth of its time
START_S = 600.0


@dataclass
class Tally:
    """What became of a kind's inputs."""

    kind: str
    command: str = ""
    inputs: int = 0
    attacks: int = 0
    read: int = 0
    refused: int = 0
    faults: int = 0
    hangs: int = 0
    crashes: int = 0
    over_memory: int = 0
    longest_s: float = 0.0
    largest_mb: float = 0.0
    found: list[dict[str, Any]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.faults or self.hangs or self.crashes or self.over_memory)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def add(self, told: dict[str, Any], *, memory_mb: int, word: str) -> None:
        self.inputs += 1
        self.attacks += word.startswith("!")
        outcome = told["outcome"]
        over = told.get("grown_mb", 0.0) > memory_mb
        self.read += outcome == "read"
        self.refused += outcome == "refused"
        self.faults += outcome == "fault"
        self.hangs += outcome == "hang" or (outcome != "hang" and told.get("seconds", 0.0) > LIMIT_S)
        self.crashes += outcome == "crash"
        self.over_memory += over
        self.longest_s = max(self.longest_s, told.get("seconds", 0.0))
        self.largest_mb = max(self.largest_mb, told.get("grown_mb", 0.0))
        if outcome not in ("read", "refused") or over or told.get("seconds", 0.0) > LIMIT_S:
            self.found.append({"input": word} | told)


class Worker:
    """One process. ``ask`` returns what became of an input, also where the process did not survive it."""

    def __init__(self, kind: str, seed: int, home: Path) -> None:
        self._kind, self._seed, self._home = kind, seed, home
        self.attacks: list[str] = []
        self._start()

    def _start(self) -> None:
        folder = self._home / f"{self._kind}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        self._folder = folder
        self._said = open(self._home / f"{self._kind}.log", "ab")  # noqa: SIM115 - as long as the process
        words = [sys.executable, "-m", f"{__package__}.worker", self._kind, str(self._seed), str(folder)]
        root = str(Path(__file__).resolve().parents[len(str(__package__).split("."))])
        paths = os.pathsep.join(dict.fromkeys([root, str(Path(__file__).resolve().parents[1]), *sys.path[:3]]))
        paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), paths)))
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True,
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        told = self._answer(START_S, None)
        if "ready" not in told:
            raise RuntimeError(f"the worker for {self._kind} did not start: {told}; see {self._home}/{self._kind}.log")
        self.attacks = told["attacks"]

    def ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()
        told = self._answer(CLOCK_S, LIMIT_S)
        if told["outcome"] in ("hang", "crash"):
            self.stop()
            self._start()
        return told

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self, clock_s: float, processor_s: float | None) -> dict[str, Any]:
        assert self._process.stdout is not None
        began, used = time.monotonic(), self._used()
        awake, last = began, 0.0
        while True:
            if select.select([self._process.stdout], [], [], 0.25)[0]:
                line = self._process.stdout.readline()
                if not line:
                    return {"outcome": "crash", "error": f"the process ended with {self._process.wait()}"}
                return dict(json.loads(line))
            spent = self._used() - used
            now = time.monotonic()
            if spent > last or self._runs():
                last, awake = spent, now
            late = now - began > clock_s or (processor_s is not None and now - awake > ASLEEP_S)
            if late or (processor_s is not None and spent > processor_s + 1):
                return {"outcome": "hang", "seconds": round(spent, 1), "error": "no answer"}

    def _runs(self) -> bool:
        """Whether it waits for a processor or for the disk, and for nothing else."""
        try:
            return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] in "RD"
        except OSError:
            return False

    def _used(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    kind: type[Kind],
    *,
    seed: int,
    home: Path,
    seconds: float,
    most: int | None = None,
    words: Iterable[str] | None = None,
) -> Tally:
    """The attacks and mutated inputs of one kind, for a time or a number of inputs. words: these inputs alone."""
    tally = Tally(kind.name)
    worker = Worker(kind.name, seed, home)
    end: float | None = None  # attacks are all tried; the time is for what comes behind them
    given: Iterator[str] = iter(words if words is not None else _numbers(worker.attacks, most))
    try:
        for word in given:
            tally.add(worker.ask(word), memory_mb=kind.memory_mb, word=word)
            if word.startswith("!"):
                continue
            end = end or time.monotonic() + seconds
            if time.monotonic() > end:
                break
    finally:
        worker.stop()
    return tally


def _numbers(attacks: list[str], most: int | None) -> Iterator[str]:
    yield from (f"!{name}" for name in attacks)
    number = 0
    while most is None or number < most:
        yield str(number)
        number += 1
