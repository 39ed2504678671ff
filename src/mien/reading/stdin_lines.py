"""Paths from stdin, separated by newlines or (``find -print0``) NUL, read without delaying results.

A program that writes a path and waits for its result must not wait for ever because we wait for a full batch: where
nothing more has arrived yet, ``None`` is yielded before blocking.
"""

import os
from collections.abc import Iterator
from typing import IO

from mien.errors import UsageError

PICTURES = (b"\xff\xd8\xff", b"\x89PNG")  # how a JPEG or PNG begins, and no path


def read(stream: IO[bytes]) -> Iterator[str | None]:
    """Each non-blank line as a path (undecodable bytes kept by surrogateescape); None before a wait."""
    for line in _lines(stream):
        if line is None:
            yield None
            continue
        if line.startswith(PICTURES):
            raise UsageError("expected paths on stdin, got a picture", hint="give /dev/stdin instead of - to read it")
        text = os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r"))
        if text.strip():
            yield text


def _lines(stream: IO[bytes]) -> Iterator[bytes | None]:
    try:
        import select

        handle = stream.fileno()
        select.select([handle], [], [], 0)
    except (OSError, ValueError, AttributeError):  # a stream without a file, or a system that cannot ask
        for line in stream:
            yield from line.split(b"\0")
        return
    buffer, separator = b"", b""
    while True:
        if not select.select([handle], [], [], 0)[0]:
            yield None
        chunk = os.read(handle, 1 << 16)
        if not chunk:
            break
        separator = separator or (b"\0" if b"\0" in chunk else b"\n" if b"\n" in chunk else b"")
        *whole, buffer = (buffer + chunk).split(separator) if separator else (buffer + chunk,)
        yield from whole
    if buffer:
        yield buffer
