"""What a Ray worker does: it holds one reader and reads the blocks that it is given, one after the other.

Its methods return JSON values and raise nothing that they can tell, so that no class of an error must travel.
"""

import os
import socket
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from mien import __version__
from mien.allocator import keep_memory
from mien.bulk.block import read_block
from mien.bulk.objects import StoreFailure
from mien.bulk.plan import Plan, reader_of
from mien.errors import MienError
from mien.reading.reader import Reader


class BlockReader:
    """plan: as JSON. host: where the command runs. seen: paths that each node must see. model: a file's bytes, or None
    for a shipped one."""

    def __init__(self, plan: str, host: str, seen: list[str], model: bytes | None) -> None:
        self._plan = Plan.from_json(plan)
        self._host, self._seen, self._model = host, seen, model
        self._reader: Reader | None = None

    def start(self) -> dict[str, Any]:
        """Load the networks: {"pid": …}, or {"error": …} where this node cannot do what was asked."""
        here = socket.gethostname()
        if __version__ != self._plan.version:
            return _error("usage", f"expected mien {self._plan.version} on node {here}, got {__version__}")
        for path in [self._plan.work, self._plan.folder, *self._seen]:
            if here != self._host and not os.path.exists(path):
                hint = "inputs and output must be on a file system that all nodes share, or in an object store"
                return _error("usage", f"expected {path!r} on node {here}, which does not have it", hint)
        try:
            os.chdir(self._plan.folder)
            keep_memory()
            self._reader = reader_of(self._plan, self._model)
        except (MienError, OSError) as error:
            return _error("usage", f"node {here}: {error}")
        if self._reader.digest != self._plan.digest:
            return _error(
                "usage",
                f"expected the model with SHA-256 {self._plan.digest[:16]}, node {here} has {self._reader.digest[:16]}",
                "bring all nodes to the same release of mien",
            )
        return {"pid": os.getpid()}

    def read(self, block: int, one_by_one: bool = False, fatal: Collection[int] = ()) -> dict[str, Any]:
        """Read a block: what it held, or {"error": …}."""
        if self._reader is None and "error" in (problem := self.start()):  # Ray started this process anew
            return problem
        assert self._reader is not None
        try:
            return asdict(read_block(self._plan, block, self._reader, one_by_one=one_by_one, fatal=fatal))
        except StoreFailure as error:
            return _error("store", f"the object store failed in block {block}: {error}")
        except MienError as error:
            return _error(error.type, error.message, error.hint)
        except Exception as error:
            return _error("internal", f"block {block}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _error(kind: str, message: str, hint: str | None = None) -> dict[str, Any]:
    return {"error": kind, "message": message, "hint": hint}
