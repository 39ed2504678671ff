"""One run at a time in a directory: a lock that the system lets go of when its process ends, however it ends."""

import os
from types import TracebackType
from typing import IO, Self

from mien.errors import OutputError

NAME = ".lock"


class DirectoryLock:
    """A context manager that holds the directory's lock. Raises OutputError where another run holds it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Self:
        path = os.path.join(self._folder, NAME)
        try:
            self._stream = open(path, "ab")
        except OSError as error:
            raise OutputError(f"cannot write to {self._folder!r}: {error.strerror}") from error
        try:
            import fcntl
        except ImportError:  # Windows: nothing to lock with
            return self
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._stream.close()
            raise OutputError(
                f"expected to be alone in {self._folder!r}, another run is writing there",
                hint="wait for it, or give another directory",
            ) from error
        except OSError as error:
            self._stream.close()
            raise OutputError(
                f"expected a file system with locks for {self._folder!r}, got {error.strerror}",
                hint="give a directory on another file system",
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()
