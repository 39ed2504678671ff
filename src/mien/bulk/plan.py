"""What a worker must know of a run, and what a block's shard says of itself."""

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Self

from mien.reading.reader import Reader

KEY = "mien.block"  # of a shard's metadata


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as JSON values, the same for all of its workers.

    id: of the run's directory, drawn when it began. out: that directory, absolute. folder: where the command stood,
    to which the names of inputs are relative. options: of :class:`mien.Reader`. digest: SHA-256 of the model's file.
    version: of mien.
    """

    id: str
    out: str
    folder: str
    block_size: int
    blocks: int
    options: dict[str, Any]
    digest: str
    labels: tuple[str, ...]
    version: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        raw = json.loads(text)
        return cls(**raw | {"labels": tuple(raw["labels"])})

    @property
    def listing(self) -> str:
        return os.path.join(self.out, "listing")

    @property
    def rows(self) -> str:
        return os.path.join(self.out, "rows")

    @property
    def work(self) -> str:
        """For half-written files. Its name holds the id: a worker of a run whose directory was deleted and made anew
        finds no such directory, and so puts nothing into the new one."""
        return os.path.join(self.out, f".work-{self.id}")

    def shard(self, block: int) -> str:
        return os.path.join(self.rows, f"part-{block:08d}.parquet")


@dataclass(frozen=True, slots=True)
class Done:
    """A block that was read. failed: type of error → inputs. size: of the shard in bytes. peak_mb: of the worker."""

    block: int
    inputs: int
    rows: int
    faces: int
    failed: dict[str, int]
    size: int
    cpu_s: float = 0.0
    peak_mb: float = 0.0


def total(done: Counter[str], block: Done) -> None:
    """Add a block to counts with the keys inputs, rows, faces, shards, and ``failed:TYPE``."""
    done.update({"inputs": block.inputs, "rows": block.rows, "faces": block.faces, "shards": 1})
    done.update({f"failed:{kind}": count for kind, count in block.failed.items()})


def reader_of(plan: Plan, model: bytes | None) -> Reader:
    """The reader of a worker: one thread. model: the file where it is no shipped model."""
    return Reader(**plan.options | {"threads": 1, **({} if model is None else {"model": model})})
