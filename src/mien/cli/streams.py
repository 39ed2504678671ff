"""What was typed, and the standard streams: missing ones (``>&-``), broken pipes (``| head``), the library's log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mien.showable import showable


def typed() -> str:
    """The command as it was typed, for reports and for whoever types it again."""
    import shlex

    return shlex.join(["mien", *sys.argv[1:]])


def silence_stdout() -> None:
    """After a broken pipe (``| head``): what is still buffered goes nowhere, instead of a second error at exit."""
    with suppress(OSError, ValueError, AttributeError):  # a test's stdout is no file and flushes nothing
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_closed_streams() -> None:
    """A stream again for ``<&-``, ``>&-`` and ``2>&-``: Python has None there, and ``print(file=None)`` means stdout.

    stdin becomes empty, stderr is lost, and writing to stdout fails, so that no data is lost in silence. What stdout's
    encoding lacks (``→`` in cp1252) is escaped.
    """
    with suppress(AttributeError, ValueError):  # a test's stdout is no text file
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        handle = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
        if handle != number:  # nothing that is opened later may pass for the stream
            os.dup2(handle, number)
            os.close(handle)
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open to the end


class _Showable(logging.Formatter):
    """What is logged may quote a file."""

    def format(self, record: logging.LogRecord) -> str:
        return showable(super().format(record))


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Within, what mien logs is printed on stderr as it is: INFO and above, or everything after ``--debug``."""
    log, handler = logging.getLogger("mien"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Showable())
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(log.level or logging.INFO)
    log.propagate = False  # --debug gives the root logger a handler of its own
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
