"""What every data source gives: a stream of samples and counted drops, and its metadata.

A source reads one public data set as it lies on a disk and says nothing about stores, splits
beyond its own, or networks. It streams, so that memory use does not depend on its size.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.data.sources.reasons import ROW
from mien.labels import canonical
from mien.showable import showable

#: The ten columns of FER+ votes, in FER+'s own order. Everything that stores or reads votes uses it.
VOTE_NAMES: tuple[str, ...] = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "not_face",
)  # fmt: skip
#: The label that each of them is a vote for; None for the two that are no expression.
VOTE_LABELS = tuple(canonical(name) if name not in ("unknown", "not_face") else None for name in VOTE_NAMES)


@dataclass(frozen=True, slots=True)
class Sample:
    """One image. path: its name within the source, unique there.

    pixels: uint8 H×W (grey) or H×W×3 (RGB); None where ``file`` says where the picture lies, which the build then
    decodes (in parallel). label: a name of ``mien.labels``, or None where the source holds it back. split: the official
    one; "" where the source has none. votes: ten counts in the order of :data:`VOTE_NAMES`, or None. group: what must
    not cross splits (a subject), or None. is_crop: False for a photo in which the face has still to be found.
    box: the annotators' face box x, y, w, h, and landmarks: x, y pairs; in pixels of the picture. valence, arousal:
    -1…1. soft_label: probabilities of the expressions, by code; training prefers them to the label, which may be None.
    """

    path: str
    pixels: NDArray[np.uint8] | None
    label: str | None
    split: str
    votes: tuple[int, ...] | None = None
    group: str | None = None
    file: Path | None = None
    is_crop: bool = True
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    valence: float | None = None
    arousal: float | None = None
    soft_label: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """One image or row that is left out. reason: a short fixed phrase to count by. detail: what was found instead."""

    where: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("reason", "detail"):  # both may quote a cell
            object.__setattr__(self, name, showable(" ".join(getattr(self, name).split())))


class LeftOut(Exception):
    """Raised on the way to a sample where an image cannot be one; :func:`attempt` makes a drop of it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def attempt(place: str, make: Callable[[], Sample]) -> Sample | Drop:
    """The sample, or the drop that says why there is none. place: where it was listed."""
    try:
        return make()
    except LeftOut as why:
        return Drop(place, why.reason, why.detail)


def cells_of(row: list[str] | str, where: Mapping[str, int], *, columns: int) -> dict[str, str]:
    """A row of ``tables.csv_rows`` as role → cell. Raises LeftOut where the line is broken or too short."""
    if isinstance(row, str) or len(row) <= max(where.values()):
        raise LeftOut(ROW, row if isinstance(row, str) else f"{len(row)} of {columns} columns")
    return {role: row[i] for role, i in where.items()}


#: split → label name (or ``"unlabelled"``) → number of images.
Counts = Mapping[str, Mapping[str, int]]


class Source(Protocol):
    """A data set found on the disk. ``stream`` may be called again; each call starts afresh."""

    name: str
    layout: str
    files: tuple[Path, ...]
    warnings: tuple[str, ...]
    licence: str

    def total(self) -> int | None:
        """How many items ``stream`` will give, where that is known without reading everything."""

    def stream(self) -> Iterator[Sample | Drop]:
        """Every image of the source, in a fixed order. Raises DataError where the source itself is broken."""

    def differences(self, counts: Counts) -> list[str]:
        """What differs from the counts that are published for this data set, one sentence each."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a detection looked for and found: the material of a good error message."""

    root: Path
    wanted: tuple[str, ...]
    found: tuple[str, ...] = field(default=())

    def text(self) -> str:
        found = ", ".join(self.found[:8]) + (f" and {len(self.found) - 8} more" if len(self.found) > 8 else "")
        return f"expected one of [{'; '.join(self.wanted)}] in {self.root}, found {found or 'nothing'}"
