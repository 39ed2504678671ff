"""What a long build says on stderr: a bar where a person watches, a line now and then where a log does."""

import sys
import time
from types import TracebackType
from typing import Any

LINE_EVERY_S = 10.0


class BuildProgress:
    """A context manager, called with (images done, images in all or None, what is going on)."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last = time.monotonic()

    def __enter__(self) -> "BuildProgress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("reading", total=None)
        return self

    def __call__(self, done: int, total: int | None, what: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=what)
        elif time.monotonic() - self._last >= LINE_EVERY_S:
            of = "" if total is None else f" of {total:,}"
            print(f"{what}: {done:,}{of} images", file=sys.stderr, flush=True)
            self._last = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
