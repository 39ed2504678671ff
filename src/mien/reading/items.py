"""What a stream of inputs holds: pictures and videos to be read, inputs that cannot be, and pauses."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from mien.imaging import VIDEO_SUFFIXES, Source
from mien.results import ReadFailure


@dataclass(frozen=True, slots=True)
class Item:
    """One picture or video to be read.

    source: its name in the output. data: what ``imaging.load_rgb`` takes; None where ``failure`` says why there is
    nothing to read. relative: where an annotated copy of it belongs, a path without suffix below the output folder.
    """

    source: str
    data: Source | None
    failure: ReadFailure | None = None
    relative: str = "picture"

    @property
    def is_video(self) -> bool:
        """Whether it is a video by its suffix; what it really is shows when it is opened."""
        return self.failure is None and isinstance(self.data, str) and _suffix(self.data) in VIDEO_SUFFIXES


class Pause:
    """Stands in the stream where the next item may be long in coming: whoever batches should finish what it holds."""


PAUSE = Pause()
Stream = Iterator[Item | Pause]


def failed(source: str, kind: str, message: str) -> Item:
    """An item that says why an input cannot be read. kind: one of ``ImageError``'s, or "data"."""
    return Item(source, None, ReadFailure(source, kind, message))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
