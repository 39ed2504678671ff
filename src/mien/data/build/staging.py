"""Where a build works until its store is complete: one hidden directory beside the target.

    .STORE.building/lock          held while a build runs, so that two never write the same store
    .STORE.building/<key>/        of one build; the key is a hash of what is being built
        parts/part-00012.parquet  finished parts; they appear whole or not at all, so a file that is there is done
        store/                    the store on its way, moved to the target at the end
        old/                      the store that it replaces, for the moment in which both are moved

A build that was killed left its parts here; the same build finds them by the key and resumes, another one clears
them away. A finished build leaves nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mien.errors import OutputError
from mien.locks import NoLocks, open_locked


def home_of(out: Path) -> Path:
    """The hidden directory of builds of the store ``out``."""
    out = Path(os.path.abspath(out))
    return out.parent / f".{out.name}.building"


class Staging:
    """A context manager: locked on entering, unlocked on leaving; ``clear`` takes the directory away.

    out: the absolute path of the store to be. what: plain JSON that says what is being built.
    Raises OutputError where another build holds the lock, OSError where the directory cannot be made.
    """

    def __init__(self, out: Path, what: Mapping[str, Any]) -> None:
        self.out = out
        self.home = home_of(out)
        text = json.dumps(what, sort_keys=True, ensure_ascii=False)
        self.root = self.home / hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self.parts = self.root / "parts"
        self.store = self.root / "store"
        self._old = self.root / "old"
        self._what = text
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> "Staging":
        self.home.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.home / "lock", self.out)
        self._restore()
        for other in self.home.iterdir():
            if other.is_dir() and other != self.root:
                shutil.rmtree(other, ignore_errors=True)
        shutil.rmtree(self.store, ignore_errors=True)
        self.parts.mkdir(parents=True, exist_ok=True)
        shown = self._what + "\n"  # for a person who finds it
        (self.root / "what.json").write_text(shown, encoding="utf-8", errors="backslashreplace")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.close()

    def part(self, number: int) -> Path:
        return self.parts / f"part-{number:05d}.parquet"

    def varied(self, number: int) -> Path:
        """Of a part of generated images, numbered for themselves."""
        return self.parts / f"varied-{number:05d}.parquet"

    def finish(self) -> None:
        """Move the finished store to the target. An old store there goes only when the new one is in place."""
        if self.out.exists():
            self.out.rename(self._old)
        self.store.rename(self.out)
        self.clear()

    def clear(self) -> None:
        """Take everything away, the lock last."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _restore(self) -> None:
        """A kill between the two moves of ``finish`` left the target empty: the old store goes back."""
        for old in sorted(self.home.glob("*/old")):
            if self.out.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(self.out)


def _locked(path: Path, out: Path) -> IO[bytes]:
    """The open lock file; the system lets go of it when the process ends, however it ends."""
    try:
        stream = open_locked(path)
    except NoLocks:
        stream = None
    if stream is None:
        raise OutputError(
            f"expected to be alone with {out}, another build is writing it", hint=f"wait for it (lock: {path})"
        )
    return stream
