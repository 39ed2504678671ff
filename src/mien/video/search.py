"""Faces in a video's key frames: one search a frame, although a photo without an upright face takes four.

A video has one way up for seconds at least. Frames are searched in the orientation of the faces found last; all four
are tried in the first frame, where the last face has vanished, and once a second while there is none.
"""

from collections.abc import Sequence
from math import floor
from typing import Protocol, runtime_checkable

from mien.arrays import Uint8
from mien.faces.base import Detection


class FaceDetector(Protocol):
    """What finds the faces of one picture: see :mod:`mien.faces.base`."""

    def detect(self, image: Uint8, /) -> list[Detection]: ...


@runtime_checkable
class TurnedDetector(Protocol):
    """A detector that tries all four orientations, and can be asked for one: :mod:`mien.faces.upright`."""

    def detect(self, image: Uint8, /) -> list[Detection]: ...

    def detect_turned(self, image: Uint8, turns: int) -> list[Detection]: ...


class Search:
    """detector: of mien's or any other. Its state is what was found in the key frames: ``key`` tells it."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._turns = 0
        self._last_s: float | None = None
        self._found = True

    def key(self, time_s: float, found: Sequence[Detection]) -> None:
        """What a key frame holds, whoever found it."""
        self._last_s, self._found = time_s, bool(found)
        if found:
            self._turns = found[0].turns

    def key_frame(self, time_s: float, rgb: Uint8) -> list[Detection]:
        """The faces of the next key frame, largest first."""
        found = self.between(rgb)
        if not found and isinstance(self._detector, TurnedDetector):
            due = self._found or self._last_s is None or floor(time_s) != floor(self._last_s)
            found = self._detector.detect(rgb) if due else found
        self.key(time_s, found)
        return found

    def between(self, rgb: Uint8) -> list[Detection]:
        """The faces of a frame between key frames, largest first."""
        if isinstance(self._detector, TurnedDetector):
            return self._detector.detect_turned(rgb, self._turns)
        return self._detector.detect(rgb)
