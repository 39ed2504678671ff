"""Atomic file writes: a file is written under a temporary name beside the target, then moved into place.

Used for every file that mien writes; a process that ends before the move leaves the old file as it was. A killed one
leaves its temporary file, too; :func:`remove_abandoned` tells such files from those that another process still writes
by a lock, since the clock and the times of files can be wrong.
"""

import glob
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from mien.errors import OutputError, UsageError
from mien.locks import lock

#: The digits in a temporary file's name, as ``glob`` matches them.
_RANDOM = "[0-9a-f]" * 8


class AtomicFile:
    """``stream`` is open for writing bytes; ``commit`` moves the file into place, ``discard`` takes it away.

    What exists and is no regular file (``/dev/null``, a pipe) is written directly. A symbolic link is followed.
    sync: on the disk before it is moved, so that not even a power cut leaves it empty.
    Raises OutputError where the file cannot be written, on opening, before any work is done.
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = True) -> None:
        self._sync = sync
        self._shown = os.fspath(path)
        self._direct = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
        # where /dev/stdout is a pipe, the link leads to a name that is no path
        self.path = self._shown if self._direct else os.path.realpath(path)
        folder, name = os.path.split(self.path)
        self._temporary = os.path.join(folder, f".{name[:80]}.{secrets.token_hex(4)}.tmp")
        try:
            if os.path.isdir(self.path):
                raise OutputError(f"cannot write {self._shown!r}: it is a directory", hint="give the name of a file")
            if os.path.exists(self.path) and not os.access(self.path, os.W_OK):
                raise OutputError(f"cannot write {self._shown!r}: it is write-protected")
            self.stream: IO[bytes] = open(self.path if self._direct else self._temporary, "wb")  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise self.failed(error) from error
        if not self._direct:
            lock(self.stream)

    def commit(self) -> None:
        try:
            self.stream.flush()
            if self._direct:
                self.stream.close()
                return
            if self._sync:
                os.fsync(self.stream.fileno())
            self.stream.close()
            if os.path.exists(self.path):
                shutil.copymode(self.path, self._temporary)
            os.replace(self._temporary, self.path)
        except OSError as error:
            self.discard()
            raise self.failed(error) from error

    def discard(self) -> None:
        """Forget what was written. Never raises."""
        with suppress(OSError):  # a full disk fails again on closing
            self.stream.close()
        if not self._direct:
            with suppress(OSError):  # already moved or gone
                os.unlink(self._temporary)

    def failed(self, error: Exception) -> OutputError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        folder = os.path.dirname(self.path)
        hint = None if os.path.isdir(folder) else f"the directory {folder!r} does not exist; make it first"
        return OutputError(f"cannot write {self._shown!r}: {reason}", hint=hint)


def keep_input(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """UsageError where ``output`` is one of the files that are read: writing it would destroy the original."""
    for path in inputs:
        with suppress(OSError, ValueError):  # one of them does not exist, or is no path
            if os.path.samefile(output, path) and os.path.isfile(path):
                raise UsageError(f"expected an output beside the input, got {os.fspath(output)!r} for both")


def remove_abandoned(path: str | os.PathLike[str]) -> None:
    """Take away what killed processes left beside a file that they were about to write. Never raises."""
    folder, name = os.path.split(os.path.realpath(path))
    _remove_free(glob.glob(os.path.join(glob.escape(folder), f".{glob.escape(name[:80])}.{_RANDOM}.tmp")))


def remove_abandoned_in(folder: str | os.PathLike[str], *, below: bool = False) -> None:
    """The same for every file of a directory; below: and of those within. Never raises."""
    here = os.path.join(glob.escape(os.path.realpath(folder)), *(["**"] if below else []))
    _remove_free(glob.glob(os.path.join(here, f".*.{_RANDOM}.tmp"), recursive=True))


def _remove_free(halves: list[str]) -> None:
    for half in halves:
        with suppress(OSError):
            with open(half, "rb") as stream:
                free = lock(stream)
            if free:
                os.unlink(half)


def remove_old(files: Iterable[Path]) -> None:
    """Take away what an earlier call wrote and this one would not replace; what is not there is passed over.

    Raises OutputError.
    """
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"expected to replace {file}, failed: {error.strerror}") from error


def make_folder(path: str | os.PathLike[str]) -> None:
    """The directory and those above it, where they do not exist yet. Raises OutputError."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a directory to write to, got {os.fspath(path)}: {error.strerror}") from error


def write_bytes(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """The whole file at once. sync: as of ``AtomicFile``. Raises OutputError."""
    file = AtomicFile(path, sync=sync)
    try:
        file.stream.write(data)
    except BaseException as error:  # Ctrl-C as well: nothing is left behind
        file.discard()
        if isinstance(error, OSError):
            raise file.failed(error) from error
        raise
    file.commit()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """The whole file at once, as UTF-8. Raises OutputError."""
    write_bytes(path, text.encode("utf-8"))
