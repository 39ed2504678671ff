"""Locks that the system lets go of when their process ends, however it ends: a kill leaves none held."""

import os
import weakref
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from mien.errors import OutputError

NAME = ".lock"


def lock(stream: IO[bytes]) -> bool:
    """Lock an open file until it is closed or the process ends; False where another one holds the lock.

    Windows has no such locks: nothing is locked there.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
        path = os.path.join(self._folder, NAME)
        self._made = not os.path.isdir(self._folder)
        while True:
            try:
                os.makedirs(self._folder, exist_ok=True)
                self._stream = open(path, "ab")
            except OSError as error:
                raise OutputError(f"cannot write to {self._folder!r}: {error.strerror}") from error
            self._hold(self._stream)
            if not self._remove or _is_the_file(self._stream, path):
                return self
            self._stream.close()  # who held it has just taken the file away

    def _hold(self, stream: IO[bytes]) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: nothing to lock with
            return
        _held.add(stream)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise OutputError(
                f"expected to be alone in {self._folder!r}, another {self._what} is writing there",
                hint="wait for it, or give another directory",
            ) from error
        except OSError as error:
            if self._needed:
                stream.close()
                raise OutputError(
                    f"expected a file system with locks for {self._folder!r}, got {error.strerror}",
                    hint="give a directory on another file system",
                ) from error

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


def _is_the_file(stream: IO[bytes], path: str) -> bool:
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
