"""Progress on stderr: a bar on a terminal, an occasional line in a log.

rich is imported only for the bar (40 ms).
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from mien.pages.format import plural
from mien.results import ReadFailure
from mien.showable import showable

LINE_EVERY_S = 5.0


class Meter:
    """A context manager with the bar, or with the time of the last line. shown: False for neither."""

    def __init__(self, *, shown: bool = True) -> None:
        self._shown = shown
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last = time.monotonic()

    def __enter__(self) -> Self:
        self._started = self._last = time.monotonic()
        self._start_bar()
        return self

    def _start_bar(self) -> None:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            title = TextColumn("{task.description}", markup=False)  # a file name may hold brackets
            columns = (title, BarColumn(), MofNCompleteColumn(), "{task.fields[note]}")
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=None, note="")
            self._bar.start()

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """A line above the bar, if a bar is shown."""
        text = showable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            with suppress(OSError):  # a lost stderr costs no result
                print(text, file=sys.stderr, flush=True)

    def _show(self, title: str, done: int, total: int | None, note: str, line: str, *, every: float) -> None:
        """Move the bar; or say the line, where the last one was ``every`` seconds ago or longer."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, description=showable(title), completed=done, total=total, note=note)
        elif self._shown and now - self._last >= every:
            self._last = now
            self.say(line)


class Progress(Meter):
    """The progress of ``mien read``: counts pictures, frames, faces and failures, and sums them up at the end.

    single: nothing is shown of one picture alone; one video has its bar all the same.
    """

    def __init__(self, paths: Sequence[str], *, shown: bool, single: bool = False) -> None:
        super().__init__(shown=shown and not single)
        self._paths = paths
        self._wanted = shown
        self._total: int | None = None
        self.read = self.faces = self.failed = self.videos = self.frames = 0
        self._video: _Video | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        if self._bar is not None:
            from mien.reading.inputs import count

            self._total = count(self._paths)
        return self

    def __exit__(self, *problem: object) -> None:
        super().__exit__(*problem)
        if problem[0] is None and self._shown and (self.read + self.failed != 1 or self._bar or self.videos):
            seconds = time.monotonic() - self._started
            failed = f", {self.failed} failed" if self.failed else ""
            what = [plural(self.read, "picture")] if self.read or not self.videos else []
            what += [f"{plural(self.videos, 'video')} ({plural(self.frames, 'frame')})"] if self.videos else []
            self.say(f"{', '.join(what)} read, {plural(self.faces, 'face')}{failed} in {seconds:.1f} s")

    def advance(self, faces: int) -> None:
        self.read += 1
        self.faces += faces
        self._tick()

    def failure(self, failure: ReadFailure, *, tell: bool) -> None:
        self.failed += 1
        if tell:
            self.say(f"warning: {failure.source}: {failure.message}")
        self._tick()

    def note(self, text: str) -> None:
        self.say(f"note: {text}")

    def begin_video(self, title: str, length: float | None, *, unit: str = "s") -> None:
        """From here on a video's own length, in seconds (or frames), is shown, with the time left."""
        if self._wanted and not self._shown:  # a single file, and it is a video
            self._shown = True
            self._start_bar()
        self._video = _Video(title, length, unit, time.monotonic())

    def frame(self, time_s: float, faces: int) -> None:
        self.frames += 1
        self.faces += faces
        if self._video is not None:
            self._show(*self._video.at(time_s, time.monotonic()), every=LINE_EVERY_S)

    def annotated(self, frames: int) -> None:
        if self._video is not None:
            self._show(*self._video.at(float(frames), time.monotonic()), every=LINE_EVERY_S)

    def end_video(self) -> None:
        if self._video is not None and self._video.unit == "s":
            self.videos += 1
        self._video = None

    def _tick(self) -> None:
        done, seconds = self.read + self.failed, time.monotonic() - self._started
        faces = plural(self.faces, "face")
        line = f"{plural(done, 'picture')} done, {faces}, {seconds:.0f} s"
        note = f"{faces}  {done / max(seconds, 1e-6):.1f}/s"
        self._show("reading", done, self._total, note, line, every=LINE_EVERY_S)


class _Video:
    """The progress of one video, in seconds of it or in frames. The first quarter of a second is not measured: what
    was read before a resume comes at once."""

    def __init__(self, title: str, length: float | None, unit: str, now: float) -> None:
        self.unit = unit
        self._title, self._length, self._begun = title, length, now
        self._first: tuple[float, float] | None = None
        self._count = 0

    def at(self, done: float, now: float) -> tuple[str, int, int | None, str, str]:
        """Title, done, total, note and line."""
        self._count += 1
        if self._first is None and now - self._begun > 0.25:
            self._first, self._count = (now, done), 0
        note = ""
        if self._first is not None and now > self._first[0] and done > self._first[1]:
            seconds, progress = now - self._first[0], done - self._first[1]
            note = f"{self._count / seconds:.0f} frames/s"
            if self._length is not None and self._length > done:
                note += f", about {duration(seconds * (self._length - done) / progress)} left"
        of = "" if self._length is None else f" of {self._length:,.0f}"
        line = f"{self._title}: {done:,.0f}{of} {self.unit}" + (f", {note}" if note else "")
        total = None if self._length is None else max(1, round(self._length))
        return self._title, round(done), total, note, line


class Countdown(Meter):
    """The progress of work whose end is known; called with (done, total), or with the title of a phase as well.

    The time left is estimated from the calls after the first, because what is done by then was there already (a resumed
    job) and took no time. A count that falls back, or another title, begins a phase with an estimate of its own; a
    total of None has no estimate. Lines become rarer with time: every five seconds, later every tenth of the time so
    far; closing: and one at the end.
    """

    def __init__(self, title: str, *, noun: str = "", closing: bool = True) -> None:
        super().__init__()
        self._title, self._noun, self._closing = title, noun, closing
        self._first: tuple[float, int] | None = None
        self._done = 0

    def __call__(self, done: int, total: int | None, title: str | None = None) -> None:
        now = time.monotonic()
        if self._first is None or done < self._done or title not in (None, self._title):
            self._first = (now, done)
        self._done, self._title = done, title or self._title
        started, already = self._first
        left = ""
        if total is not None and already < done < total:
            left = f"about {duration((now - started) * (total - done) / (done - already))} left"
        of = "" if total is None else f" of {total:,}"
        line = f"{self._title}: {done:,}{of} {self._noun}".rstrip() + (f", {left}" if left else "")
        finished = self._closing and total is not None and done >= total
        every = 0 if finished else max(LINE_EVERY_S, (now - self._started) / 10)
        self._show(self._title, done, total, left, line, every=every)


def duration(seconds: float) -> str:
    """Seconds in a readable unit: "40 s", "12 min", "7.1 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
