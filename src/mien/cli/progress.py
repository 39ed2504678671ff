"""What long work says on stderr: a bar where a person watches, a line now and then where a log does.

rich is imported only for the bar (40 ms): a terminal, and more than one input.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from mien.results import ReadFailure

LINE_EVERY_S = 5.0


class Progress:
    """A context manager; ``shown`` False keeps it silent but for notes and failures, and it still counts."""

    def __init__(self, paths: Sequence[str], *, shown: bool) -> None:
        self._paths = paths
        self._shown = shown
        self.read = self.faces = self.failed = 0
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            from mien.reading.inputs import count

            columns = (
                TextColumn("reading"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[faces]} faces"),
                TextColumn("{task.fields[rate]:.1f}/s"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=count(self._paths), faces=0, rate=0.0)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        total = self.read + self.failed
        if kind is None and self._shown and (total != 1 or self._bar is not None):
            seconds = time.monotonic() - self._started
            failed = f", {self.failed} failed" if self.failed else ""
            self._say(f"{_count(self.read, 'picture')} read, {_count(self.faces, 'face')}{failed} in {seconds:.1f} s")

    def advance(self, faces: int) -> None:
        self.read += 1
        self.faces += faces
        self._tick()

    def failure(self, failure: ReadFailure, *, tell: bool) -> None:
        self.failed += 1
        if tell:
            self._say(f"warning: {failure.source}: {failure.message}")
        self._tick()

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    def _tick(self) -> None:
        now = time.monotonic()
        done = self.read + self.failed
        if self._bar is not None:
            rate = done / max(now - self._started, 1e-6)
            self._bar.update(self._task, completed=done, faces=self.faces, rate=rate)
        elif self._shown and now - self._last >= LINE_EVERY_S:
            self._last = now
            self._say(f"{_count(done, 'picture')} done, {_count(self.faces, 'face')}, {now - self._started:.0f} s")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            with suppress(OSError):  # a lost stderr costs no result
                print(text, file=sys.stderr, flush=True)


class Countdown:
    """A context manager around work whose end is known; it is called with (done, total).

    The time that is left follows from the calls after the first: what is done by then was there already (a resumed job)
    and took no time. A count that falls back begins the next round, with an estimate of its own. Lines come the more
    rarely the longer it takes, every five seconds, later every tenth of the time so far; and one at the end.
    """

    def __init__(self, title: str, *, noun: str = "") -> None:
        self._title, self._noun = title, noun
        self._bar: Any = None
        self._task: Any = None
        self._first: tuple[float, int] | None = None
        self._done = 0
        self._started = self._last = time.monotonic()

    def __enter__(self) -> "Countdown":
        self._started = self._last = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn(self._title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=None, left="")
            self._bar.start()
        return self

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        left = self._left(now, done, total)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, left=left)
            return
        if now - self._last < max(LINE_EVERY_S, (now - self._started) / 10) and done < total:
            return
        self._last = now
        text = f"{self._title}: {done:,} of {total:,} {self._noun}".rstrip()
        with suppress(OSError):  # a lost stderr costs no result
            print(f"{text}, {left}" if left else text, file=sys.stderr, flush=True)

    def _left(self, now: float, done: int, total: int) -> str:
        """In words; empty where nothing is left or nothing was measured."""
        if self._first is None or done < self._done:
            self._first = (now, done)
        self._done = done
        started, already = self._first
        if not already < done < total:
            return ""
        return f"about {duration((now - started) * (total - done) / (done - already))} left"


def duration(seconds: float) -> str:
    """In the unit that one would say it in: "40 s", "12 min", "7.1 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
