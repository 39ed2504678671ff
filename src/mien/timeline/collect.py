"""Readings of videos, as they come → what a timeline draws, in memory that does not grow with the length.

Probabilities are averaged in bins of time. Bins are as narrow as the frames at first; whenever a video has more than
``MAX_BINS`` of them, their width doubles. For each person and expression the surest moment is kept, for its picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from mien.arrays import Float64
from mien.results import Box, Reading

MAX_BINS = 4096  # of one video, while it is collected
POINTS = 1000  # of one video, as drawn
FIRST_WIDTH_S = 1 / 128
AWAY_S = 0.25  # an absence that is longer is a gap
MOMENTS = 5  # pictures of one person at most


@dataclass(frozen=True, slots=True)
class Moment:
    """Where an expression is surest. p: 0-1. box: of the face, in pixels of the frame at ``time_s``."""

    label: str
    p: float
    time_s: float
    box: Box


@dataclass(frozen=True, slots=True)
class Segment:
    """A time without a gap. times: N seconds, rising, with both ends. probabilities: N×K, rows sum to 1."""

    times: Float64
    probabilities: Float64


@dataclass(frozen=True, slots=True)
class TrackLine:
    """One person. track: None where faces were not tracked. seconds: visible. moments: in order of time. tops: seconds
    in which an expression was the most probable, by label."""

    track: int | None
    segments: tuple[Segment, ...]
    seconds: float
    moments: tuple[Moment, ...]
    tops: dict[str, float]

    @property
    def name(self) -> str:
        return "all faces" if self.track is None else f"person {self.track}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """One video. path: where it is. start_s, end_s: of what was read. left_out: persons that are not drawn, and their
    seconds."""

    source: str
    path: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    tracks: tuple[TrackLine, ...]
    left_out: tuple[int, float] = (0, 0.0)


@dataclass(slots=True)
class _Bins:
    """The sums of one person's probabilities, and how many, by number of the bin: K+1 values each."""

    cells: dict[int, Float64] = field(default_factory=dict)
    moments: dict[str, Moment] = field(default_factory=dict)
    tops: dict[str, float] = field(default_factory=dict)  # seconds by the most probable label


@dataclass(slots=True)
class _Video:
    first_s: float
    last_s: float
    frames: int = 0
    width: float = FIRST_WIDTH_S
    tracks: dict[int | None, _Bins] = field(default_factory=dict)
    pending: list[tuple[int | None, str]] = field(default_factory=list)  # faces of the last frame, until the next one

    def lasted(self, seconds: float) -> None:
        """The last frame stood for so long."""
        for track, top in self.pending:
            tops = self.tracks[track].tops
            tops[top] = tops.get(top, 0.0) + seconds
        self.pending = []

    @property
    def step(self) -> float:
        """Mean time from frame to frame."""
        return (self.last_s - self.first_s) / (self.frames - 1) if self.frames > 1 else 0.04

    def widen(self) -> None:
        self.width *= 2
        for bins in self.tracks.values():
            bins.cells = _merged(bins.cells, 2)


class Collector:
    """labels: of the model, in order. ``add`` takes every reading that has a time; ``timelines`` gives the result."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._videos: dict[tuple[str, str], _Video] = {}

    def add(self, reading: Reading, *, path: str | None = None) -> None:
        """The next frame of a video, in order. path: where the video is, the reading's source where None."""
        now = reading.time_s
        if now is None:
            return
        video = self._videos.setdefault((reading.source, path or reading.source), _Video(now, now))
        video.lasted(max(0.0, now - video.last_s))
        video.last_s, video.frames = max(video.last_s, now), video.frames + 1
        while (video.last_s - video.first_s) / video.width > MAX_BINS:
            video.widen()
        cell = int((now - video.first_s) / video.width)
        for face in reading.faces:
            bins = video.tracks.setdefault(face.track, _Bins())
            sums = bins.cells.setdefault(cell, np.zeros(len(self.labels) + 1))
            sums[:-1] += [face.probabilities[label] for label in self.labels]
            sums[-1] += 1
            video.pending.append((face.track, face.top))
            best = bins.moments.get(face.top)
            if best is None or face.probabilities[face.top] > best.p:
                bins.moments[face.top] = Moment(face.top, face.probabilities[face.top], now, face.box)

    def timelines(self, *, most: int = 12) -> list[Timeline]:
        """One a video, in the order in which they came. most: persons drawn, those that are visible longest."""
        return [self._timeline(source, path, video, most) for (source, path), video in self._videos.items()]

    def _timeline(self, source: str, path: str, video: _Video, most: int) -> Timeline:
        step = video.step
        video.lasted(step)
        factor = max(1, ceil(step / video.width * 1.01), ceil((video.last_s - video.first_s) / video.width / POINTS))
        lines = []
        for track, bins in video.tracks.items():
            segments = _segments(_merged(bins.cells, factor), video.width * factor, video, step)
            moments = _spread(bins.moments)
            lines.append(TrackLine(track, segments, sum(bins.tops.values()), moments, dict(bins.tops)))
        longest = sorted(lines, key=lambda line: -line.seconds)
        kept = sorted(longest[:most], key=lambda line: line.segments[0].times[0])
        rest = longest[most:]
        left_out = (len(rest), sum(line.seconds for line in rest))
        return Timeline(source, path, video.first_s, video.last_s + step, self.labels, tuple(kept), left_out)


def _merged(cells: dict[int, Float64], factor: int) -> dict[int, Float64]:
    wider: dict[int, Float64] = {}
    for cell, sums in cells.items():
        wider[cell // factor] = wider[cell // factor] + sums if cell // factor in wider else sums
    return wider


def _segments(cells: dict[int, Float64], width: float, video: _Video, step: float) -> tuple[Segment, ...]:
    """Bins without a gap between them. Each ends where its last bin does, or at the end of the video."""
    bridge = max(AWAY_S, 1.5 * step) / width
    runs: list[list[int]] = []
    for cell in sorted(cells):
        if runs and cell - runs[-1][-1] - 1 <= bridge:
            runs[-1].append(cell)
        else:
            runs.append([cell])
    found = []
    for run in runs:
        rows = np.array([cells[cell][:-1] / cells[cell][-1] for cell in run])
        times = video.first_s + (np.array(run, np.float64) + 0.5) * width
        begin = max(video.first_s, times[0] - width / 2)
        end = min(video.last_s + step, max(times[-1] + width / 2, begin + step))
        times = np.concatenate([[begin], times, [end]])
        found.append(Segment(np.maximum.accumulate(times), np.concatenate([rows[:1], rows, rows[-1:]])))
    return tuple(found)


def _spread(moments: dict[str, Moment]) -> tuple[Moment, ...]:
    surest = sorted(moments.values(), key=lambda moment: -moment.p)[:MOMENTS]
    return tuple(sorted(surest, key=lambda moment: moment.time_s))
