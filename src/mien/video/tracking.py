"""Which face of a frame is which person of the frames before: tracks, on ``scipy.optimize.linear_sum_assignment``.

As in SORT (Bewley et al. 2016, arXiv 1602.00763) a track is a box with a velocity, and tracks and faces are paired so
that the sum of costs is least; as in ByteTrack (Zhang et al. 2021, arXiv 2110.06864) in two rounds, first the tracks
seen in the last frame, then those that are hidden. What differs: all is in seconds of the stream, not in frames, so
that it holds for any and for varying frame rates; the cost is overlap, distance and size together, so that a face is
followed at one frame a second too; a hidden track slows down, and ends where it would have left the picture.

No face recognition: a person who comes back after ``MEMORY_S`` gets a new number. Numbers begin at 1 in each video and
are never used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log

import numpy as np

from mien.errors import MissingExtra
from mien.results import Box

MEMORY_S = 2.0  # for which a hidden face keeps its number
SETTLE_S = 0.12  # time constant of a track's velocity
SIZE_S = 1.0  # time constant of a track's size: a face that goes behind something looks smaller first
DRIFT_S = 1.5  # time constant with which a hidden track slows down
REACH, REACH_GROWTH = 0.25, 1.5  # distance from the expected place, in face sizes: at once, and for each second
JUMP, ALONE = 0.8, 2.0  # distance of a sudden move, and that within which nobody else may be
MAX_SCALE = 1.9  # of a face's size
_NEVER = 1e6


@dataclass(slots=True)
class _Track:
    """One person. box: as seen last. size: √area, pixels, over the last second. vx, vy: pixels a second. last_s: when
    it was seen last."""

    number: int
    box: Box
    last_s: float
    size: float
    vx: float = 0.0
    vy: float = 0.0
    sights: int = 1

    def expected(self, time_s: float) -> Box:
        ahead = DRIFT_S * (1 - exp(-max(0.0, time_s - self.last_s) / DRIFT_S))
        return Box(self.box.x + self.vx * ahead, self.box.y + self.vy * ahead, self.box.w, self.box.h)

    def see(self, box: Box, time_s: float) -> None:
        dt = time_s - self.last_s
        if dt > 0:
            (x0, y0), (x1, y1) = _centre(self.box), _centre(box)
            keep = exp(-dt / SETTLE_S) if self.sights > 1 else 0.0
            self.vx = keep * self.vx + (1 - keep) * (x1 - x0) / dt
            self.vy = keep * self.vy + (1 - keep) * (y1 - y0) / dt
            keep = exp(-dt / SIZE_S)
            self.size = keep * self.size + (1 - keep) * _size(box)
        self.box, self.last_s, self.sights = box, time_s, self.sights + 1


class Tracker:
    """memory_s: for which a hidden face keeps its number. Raises MissingExtra without SciPy."""

    def __init__(self, *, memory_s: float = MEMORY_S) -> None:
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise MissingExtra("scipy", "video") from error
        self._assign = linear_sum_assignment
        self._memory_s = memory_s
        self._tracks: list[_Track] = []
        self._count = 0
        self._last_s: float | None = None

    def update(self, time_s: float, boxes: Sequence[Box], *, width: int, height: int, cut: bool = False) -> list[int]:
        """The numbers of the faces of the next frame. width, height: of the frame, pixels. cut: it begins another shot,
        in which nobody of the last one is expected."""
        # whoever was there in the frame before is remembered, however long ago that was
        oldest = time_s - self._memory_s if self._last_s is None else min(time_s - self._memory_s, self._last_s)
        self._tracks = [] if cut else [track for track in self._tracks if track.last_s >= oldest]
        present = [track for track in self._tracks if track.last_s == self._last_s]
        hidden = [track for track in self._tracks if track.last_s != self._last_s]
        numbers: dict[int, int] = {}
        for group in (present, hidden):
            left = [i for i in range(len(boxes)) if i not in numbers]
            for track, i in self._pairs(group, [boxes[i] for i in left], time_s):
                numbers[left[i]] = track.number
                track.see(boxes[left[i]], time_s)
        self._jumps(present, boxes, numbers, time_s)
        for i, box in enumerate(boxes):
            if i not in numbers:
                self._count += 1
                numbers[i] = self._count
                self._tracks.append(_Track(self._count, box, time_s, _size(box)))
        self._tracks = [track for track in self._tracks if _inside(track.expected(time_s), width, height)]
        self._last_s = time_s
        return [numbers[i] for i in range(len(boxes))]

    def _jumps(self, present: list[_Track], boxes: Sequence[Box], numbers: dict[int, int], time_s: float) -> None:
        """A face that is suddenly elsewhere (the camera is pushed) keeps its number where nobody else can be meant."""
        for i, box in enumerate(boxes):
            if i in numbers:
                continue
            near = [t for t in self._tracks if t.number not in numbers.values() and _apart(t, box, time_s)[0] < ALONE]
            if len(near) == 1 and near[0] in present:
                distance, scale = _apart(near[0], box, time_s)
                if distance < JUMP and scale < log(MAX_SCALE):
                    numbers[i] = near[0].number
                    near[0].see(box, time_s)

    def _pairs(self, tracks: Sequence[_Track], boxes: Sequence[Box], time_s: float) -> list[tuple[_Track, int]]:
        if not tracks or not boxes:
            return []
        costs = np.array([[_cost(track, box, time_s) for box in boxes] for track in tracks])
        rows, columns = self._assign(costs)
        return [(tracks[i], int(j)) for i, j in zip(rows, columns, strict=True) if costs[i, j] < _NEVER]


def _cost(track: _Track, box: Box, time_s: float) -> float:
    """0 for a face exactly where and as large as it is expected; ``_NEVER`` for what cannot be the same."""
    distance, scale = _apart(track, box, time_s)
    if scale > log(MAX_SCALE) or distance > REACH + REACH_GROWTH * min(time_s - track.last_s, 1.0):
        return _NEVER
    return (1 - track.expected(time_s).overlap(box)) + distance + scale


def _apart(track: _Track, box: Box, time_s: float) -> tuple[float, float]:
    """How far a face is from the expected place, in face sizes; and the logarithm of how much larger or smaller."""
    (x0, y0), (x1, y1) = _centre(track.expected(time_s)), _centre(box)
    size, other = track.size, _size(box)
    return hypot(x1 - x0, y1 - y0) / max(size, other), abs(log(other / size))


def _size(box: Box) -> float:
    return (box.w * box.h) ** 0.5


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.w / 2, box.y + box.h / 2


def _inside(box: Box, width: int, height: int) -> bool:
    x, y = _centre(box)
    return 0 <= x <= width and 0 <= y <= height
