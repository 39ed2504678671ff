"""What a stream of inputs holds: pictures to be read, inputs that cannot be, and pauses."""

from collections.abc import Iterator
from dataclasses import dataclass

from mien.imaging import Source
from mien.results import ReadFailure


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to be read.

    source: its name in the output. data: what ``imaging.load_rgb`` takes; None where ``failure`` says why there is
    nothing to read. relative: where an annotated copy of it belongs, a path without suffix below the output folder.
    """

    source: str
    data: Source | None
    failure: ReadFailure | None = None
    relative: str = "picture"


class Pause:
    """Stands in the stream where the next item may be long in coming: whoever batches should finish what it holds."""


PAUSE = Pause()
Stream = Iterator[Item | Pause]


def failed(source: str, kind: str, message: str) -> Item:
    """An item that says why an input cannot be read. kind: one of ``ImageError``'s, or "data"."""
    return Item(source, None, ReadFailure(source, kind, message))
