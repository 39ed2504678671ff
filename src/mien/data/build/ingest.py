"""Phase one of a build: sources → finished parts, in worker processes, in order, a bounded number at a time.

The calling process reads the sources' streams, which hold names and annotations; workers decode, find faces and encode,
which is nearly all of the work, and write a part each. Parts are numbered by their place in the streams, so the
result is the same for any number of workers. A part that an earlier, interrupted build finished is not made again.
"""

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path

from mien.data.build.balance import Variation, generated_name, variations
from mien.data.build.normalise import Standard, normalise
from mien.data.build.parts import (
    PartInfo,
    Row,
    decode,
    fingerprint,
    part_info,
    read_rows,
    stretches,
    write_part,
    write_rows,
)
from mien.data.build.plausible import with_votes_that_fit
from mien.data.sources import Drop, Sample, Source
from mien.data.summary import UNLABELLED
from mien.errors import OutputError
from mien.faces import Detector, make_detector

#: (images done, images in all or None where unknown, what is going on)
Progress = Callable[[int, int | None, str], None]
#: Number of the part → its path.
PartPath = Callable[[int], Path]


@dataclass(frozen=True, slots=True)
class _Task:
    """One part to be made by ``make``. size: items, for the progress. mark: of a part that may be there already."""

    path: Path
    size: int
    make: Callable[[], None]
    mark: Callable[[], str]


class Workers:
    """Runs tasks in ``count`` processes, started when there is work for two; 1: in this one. A context manager."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nothing more is started; returns when nothing is written any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, tasks: Iterable[_Task]) -> Iterator[tuple[PartInfo, int, bool]]:
        """Each task's part in order, its number of items, and whether it was there already.

        At most two parts a worker are in flight. Raises OutputError where a worker was killed.
        """
        waiting: deque[tuple[_Task, Future[None] | None]] = deque()
        try:
            for task, last in _with_last(tasks):
                alone = last and not waiting and self._pool is None
                waiting.append((task, None if _done(task) else self._submit(task, here=alone or self.count == 1)))
                while waiting and (waiting[0][1] is None or len(waiting) >= 2 * self.count):
                    yield self._result(*waiting.popleft())
            while waiting:
                yield self._result(*waiting.popleft())
        except BrokenProcessPool as error:
            raise OutputError(
                "expected worker processes to finish, one was killed", hint="memory may be short: try --workers 1"
            ) from error

    def _submit(self, task: _Task, *, here: bool) -> "Future[None]":
        if here:
            future: Future[None] = Future()
            task.make()
            future.set_result(None)
            return future
        if self._pool is None:  # "spawn": a fork of a process with threads may hang
            self._pool = ProcessPoolExecutor(self.count, get_context("spawn"), initializer=_start_worker)
        with _ctrl_c_blocked():  # a worker that is still starting would print a traceback
            return self._pool.submit(task.make)

    def _result(self, task: _Task, future: "Future[None] | None") -> tuple[PartInfo, int, bool]:
        if future is not None:
            future.result()
        part = part_info(task.path)
        if part is None:
            raise OutputError(f"expected a finished part, cannot read {task.path}", hint="run the same command again")
        return part, task.size, future is None


@dataclass(slots=True)
class Ingested:
    """The result of reading the sources.

    read: source → its official split → label → number, before anything was dropped here.
    items: pictures and drops that the streams gave. warnings: doubts about votes, see ``plausible.py``.
    """

    parts: list[PartInfo] = field(default_factory=list)
    read: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    items: int = 0
    warnings: list[str] = field(default_factory=list)


def ingest(
    sources: Sequence[Source], standard: Standard, workers: Workers, part_path: PartPath, progress: Progress
) -> Ingested:
    """Every source, normalised, as parts in the order of the streams. standard: settled.

    Raises DataError where a source is broken, OSError where a part cannot be written.
    """
    totals = [source.total() for source in sources]
    total = None if None in totals else sum(t for t in totals if t is not None)
    found = Ingested()
    again = 0
    for source in sources:
        what = f"reading {source.name} ({source.layout})"
        progress(found.items, total, what)
        stream = source.stream()
        if getattr(source, "ferplus", False):  # other people's votes may follow any convention
            stream = with_votes_that_fit(stream, source=source.name, warnings=found.warnings)
        read = found.read.setdefault(source.name, {})
        tasks = _tasks(source.name, stream, standard, part_path, len(found.parts), read)
        for part, size, reused in workers.run(tasks):
            found.parts.append(part)
            found.items += size
            again += size if reused else 0
            progress(found.items, total, what + (f", {again:,} from before" if again else ""))
    return found


def _tasks(
    source: str,
    stream: Iterator[Sample | Drop],
    standard: Standard,
    part_path: PartPath,
    first: int,
    read: dict[str, Counter[str]],
) -> Iterator[_Task]:
    """The parts of one source to be made, from number ``first`` on; counts in ``read`` what passes."""
    for number, items in enumerate(stretches(stream), first):
        for item in items:
            if isinstance(item, Sample):
                read.setdefault(item.split, Counter())[item.label or UNLABELLED] += 1
        path = part_path(number)
        yield _Task(
            path,
            len(items),
            make=partial(make_part, path, source, items, standard),
            mark=partial(fingerprint, source, items),
        )


def make_part(path: Path, source: str, items: Sequence[Sample | Drop], standard: Standard) -> None:
    """One part; what a worker runs."""
    one = partial(normalise, source=source, standard=standard, detector=partial(_detector, standard.detector))
    write_part(path, source, items, one, jpeg=standard.jpeg)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Variations to make of one row of a part: so many, from that seed."""

    number: int
    copies: int
    seed: int


def generate_parts(
    wanted: Sequence[tuple[PartInfo, Sequence[Wanted]]],
    split: str,
    strength: Variation,
    workers: Workers,
    part_path: PartPath,
    progress: Progress,
    *,
    jpeg: int | None = None,
) -> list[PartInfo]:
    """Parts of generated images, one for each part that has originals to vary; all of them of the split ``split``."""
    total = sum(row.copies for _, rows in wanted for row in rows)
    parts: list[PartInfo] = []
    tasks = (
        _Task(
            path := part_path(number),
            sum(row.copies for row in rows),
            make=partial(make_variations, path, part, rows, split, strength, jpeg=jpeg),
            mark=partial(_variations_mark, part, rows, split, strength),
        )
        for number, (part, rows) in enumerate(wanted)
    )
    done = 0
    progress(0, total, "varying Training images")
    for part, size, _ in workers.run(tasks):
        parts.append(part)
        done += size
        progress(done, total, "varying Training images")
    return parts


def make_variations(
    path: Path,
    part: PartInfo,
    rows: Sequence[Wanted],
    split: str,
    strength: Variation,
    *,
    jpeg: int | None = None,
) -> None:
    """One part of generated images; what a worker runs."""

    def made() -> Iterator[tuple[Sample | Drop, str | None]]:
        by_number = {row.number: row for row in rows}
        for original in read_rows(part):
            if (want := by_number.get(original.number)) is not None:
                yield from _varied(original, want, split, strength)

    write_rows(path, part.source, made(), mark=_variations_mark(part, rows, split, strength), jpeg=jpeg)


def _varied(original: Row, want: Wanted, split: str, strength: Variation) -> Iterator[tuple[Sample, str]]:
    sample = original.sample
    pictures = variations(decode(original.png), want.copies, want.seed, strength=strength)
    for number, pixels in enumerate(pictures, 1):
        name = generated_name(sample.path, number)
        # votes, valence and arousal are about the expression, which stays; landmarks would have moved
        yield (
            Sample(
                name, pixels, sample.label, split, votes=sample.votes, group=sample.group, valence=sample.valence,
                arousal=sample.arousal, soft_label=sample.soft_label,
            ),
            sample.path,
        )  # fmt: skip


def _variations_mark(part: PartInfo, rows: Sequence[Wanted], split: str, strength: Variation) -> str:
    return f"{part.fingerprint} {split} {strength} {[(row.number, row.copies, row.seed) for row in rows]}"


@cache
def _detector(name: str) -> Detector:
    """One detector a process, loaded when the first photo comes."""
    return make_detector(name)


def _done(task: _Task) -> bool:
    """Whether the part is there, and of just these samples."""
    if not task.path.exists():
        return False
    part = part_info(task.path)
    return part is not None and part.fingerprint == task.mark()


def _with_last(tasks: Iterable[_Task]) -> Iterator[tuple[_Task, bool]]:
    """Each task, and whether it is the last one."""
    rest = iter(tasks)
    for task in rest:
        for following in rest:
            yield task, False
            task = following
        yield task, True


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes that are started meanwhile never see SIGINT; this one sees it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """What a worker must know of how builds end.

    Ctrl-C goes to all processes of a terminal; the calling one decides. Killed, it cannot: workers wait for work on
    a pipe that they themselves keep open, so none would notice, and they would stay for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
