"""The index of a build's images: what splits and balance are planned from, without pixels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from mien.arrays import Int64
from mien.errors import DataError
from mien.labels import EIGHT


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What the plan knows of N images, row by row. (source, path) must be unique.

    source, path: names. label: int64 N, codes of ``mien.labels``, −1 where held back. split: the official one, "" where
    there is none ("train" reads as "training"). group: a subject within its source, None or "" where there is none.
    near, exact: int64 N, rows with the same number ≥ 0 are near-duplicates or have identical pixels; −1: no copy known.
    labels: the names of the codes.
    """

    source: Sequence[str]
    path: Sequence[str]
    label: Int64
    split: Sequence[str]
    group: Sequence[str | None]
    near: Int64 | None = None
    exact: Int64 | None = None
    labels: tuple[str, ...] = EIGHT

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in self.__slots__ if name != "labels"}
        lengths = {name: len(column) for name, column in columns.items() if column is not None}
        if len(set(lengths.values())) != 1:
            raise DataError(f"expected columns of one length in an index, got {lengths}")
        if len(self) and not -1 <= self.label.min() <= self.label.max() < len(self.labels):
            raise DataError(
                f"expected label codes −1 … {len(self.labels) - 1}, got {self.label.min()} … {self.label.max()}"
            )

    def __len__(self) -> int:
        return len(self.path)


def row_hash(*parts: object) -> int:
    """64 bits that a seed and the names of a row decide, on any machine."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
