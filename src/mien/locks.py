"""Locks that the system lets go of when their process ends, however it ends: a kill leaves none held."""

import os
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mien.errors import OutputError

NAME = ".lock"


class NoLocks(OSError):
    """The file system has no locks."""


def lock(stream: IO[bytes]) -> bool:
    """Lock an open file until it is closed or the process ends; False where it cannot be had.

    Windows has no such locks: nothing is locked there.
    """
    try:
        _flock(stream)
    except OSError:
        return False
    return True


def open_locked(path: Path, *, needed: bool = True) -> IO[bytes] | None:
    """The lock file, made if need be with its directory, open and locked; None where another process holds it.

    Whoever held it may have taken the file away at its end: it is then made anew. Processes forked later do not
    hold it.
    needed: raise NoLocks where the file system has none; otherwise the file is not locked there.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
        _held.add(stream)
        try:
            _flock(stream)
        except BlockingIOError:
            stream.close()
            return None
        except OSError as error:
            if needed:
                stream.close()
                raise NoLocks(*error.args) from error
        if _is_the_file(stream, path):
            return stream
        stream.close()


def _flock(stream: IO[bytes]) -> None:
    """Raises BlockingIOError where another one holds the lock, another OSError where there are none."""
    try:
        import fcntl
    except ImportError:  # Windows: nothing to lock with
        return
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


class DirectoryLock:
    """A context manager: one process at a time writes to a directory, which is made if need be.

    what: writes there, in the message. needed: refuse file systems without locks; otherwise they go unlocked. remove:
    leave no lock file behind, nor an empty directory that was made here. Raises OutputError where another process holds
    the lock.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, what: str = "run", needed: bool = True, remove: bool = False
    ) -> None:
        self._folder, self._what, self._needed, self._remove = os.fspath(folder), what, needed, remove
        self._stream: IO[bytes] | None = None
        self._made = False

    def __enter__(self) -> Self:
        self._made = not os.path.isdir(self._folder)
        try:
            self._stream = open_locked(Path(self._folder, NAME), needed=self._needed)
        except NoLocks as error:
            raise OutputError(
                f"expected a file system with locks for {self._folder!r}, got {error.strerror}",
                hint="give a directory on another file system",
            ) from error
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder!r}: {error.strerror}") from error
        if self._stream is None:
            raise OutputError(
                f"expected to be alone in {self._folder!r}, another {self._what} is writing there",
                hint="wait for it, or give another directory",
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is None:
            return
        path = os.path.join(self._folder, NAME)
        with suppress(OSError):  # Windows takes no open file away
            if self._remove:
                os.unlink(path)  # before it is let go of: it may be the next holder's a moment later
        self._stream.close()
        with suppress(OSError):
            if self._remove and os.name == "nt":
                os.unlink(path)
            if self._remove and self._made:
                os.rmdir(self._folder)


def _is_the_file(stream: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except OSError:
        return False


#: A forked process, such as one that decodes pictures, shares its parent's locks and would hold them after its end.
_held: "weakref.WeakSet[IO[bytes]]" = weakref.WeakSet()


def _let_go() -> None:
    for stream in list(_held):
        with suppress(OSError):
            stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
