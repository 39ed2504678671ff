"""Paths from stdin, one a line, without holding back answers.

A program that writes a path and waits for its answer must not wait for ever because we wait for a full batch:
where nothing more has arrived yet, ``None`` is yielded before blocking.
"""

import os
from collections.abc import Iterator
from typing import IO


def read(stream: IO[bytes]) -> Iterator[str | None]:
    """Each non-blank line as a path (undecodable bytes kept by surrogateescape); None before a wait."""
    for line in _lines(stream):
        if line is None:
            yield None
            continue
        text = os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r"))
        if text.strip():
            yield text


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    try:
        import select

        handle = stream.fileno()
        select.select([handle], [], [], 0)
    except (OSError, ValueError, AttributeError):  # a stream without a file, or a system that cannot ask
        yield from stream
        return
    buffer = b""
    while True:
        if not select.select([handle], [], [], 0)[0]:
            yield None
        chunk = os.read(handle, 1 << 16)
        if not chunk:
            break
        *whole, buffer = (buffer + chunk).split(b"\n")
        yield from whole
    if buffer:
        yield buffer
