"""Probabilities smoothed over time, a track at a time; each frame keeps its own beside them.

- :class:`Centred`, for files: the mean over a window of ``seconds`` around the frame, with Hann weights. It is
  symmetric, so it has **no lag**; it hands out a frame when half a window of video has followed.
- :class:`Causal`, for cameras: the exponentially weighted mean of what was seen so far, with a time constant of
  ``seconds`` / 2, which is **its lag**: what changes slowly appears that much later.

Weights are by time, not by frame. At the ends of a track, and where the face was away, the window is cut off and what
is left is weighed alone. The mean is the geometric one, of logarithms: the arithmetic one is less sure than it is right
where windows are long. ``benchmarks/smoothing.py`` measures accuracy and calibration (results/smoothing.json).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import cos, exp, pi

import numpy as np

from mien.arrays import Float64
from mien.results import Face, Reading

FLOOR = 1e-6  # of a probability, before its logarithm


def logarithms(face: Face) -> Float64:
    """Of a face's probabilities, float64 K."""
    return np.log(np.maximum(np.fromiter(face.probabilities.values(), np.float64), FLOOR))


def combined(means: Float64) -> Float64:
    """Weighted means of logarithms, float64 K → the geometric mean's probabilities, K, which sum to 1."""
    powers = np.exp(means - means.max())
    result: Float64 = powers / powers.sum()
    return result


def smoothed(face: Face, row: Float64, min_confidence: float) -> Face:
    """The face with these probabilities, in the order of its own, which become ``raw_probabilities``."""
    probabilities = dict(zip(face.probabilities, row.tolist(), strict=True))
    top = max(probabilities, key=probabilities.__getitem__)
    confidence = probabilities[top]
    return replace(
        face,
        probabilities=probabilities,
        confidence=confidence,
        expression=top if confidence >= min_confidence else None,
        raw_probabilities=face.raw_probabilities or face.probabilities,
    )


class Causal:
    """``seconds``: twice the time constant. min_confidence: as of the Reader, for what is smoothed."""

    def __init__(self, seconds: float, *, min_confidence: float = 0.0) -> None:
        self.lag_s = seconds / 2
        self._min_confidence = min_confidence
        self._state: dict[int, tuple[float, Float64, float]] = {}  # track → time, weighted sum of logarithms, weight

    def push(self, reading: Reading) -> Reading:
        """The next frame's reading, smoothed. Raises ValueError for one without a time."""
        now = _time(reading)
        faces = tuple(self._face(face, now) for face in reading.faces)
        gone = [track for track, (last, _, _) in self._state.items() if now - last > 20 * self.lag_s + 10]
        for track in gone:
            del self._state[track]
        return replace(reading, faces=faces)

    def _face(self, face: Face, now: float) -> Face:
        if face.track is None:
            return face
        last, total, weight = self._state.get(face.track, (now, np.zeros(len(face.probabilities)), 0.0))
        keep = exp(-(now - last) / self.lag_s)
        total, weight = keep * total + logarithms(face), keep * weight + 1
        self._state[face.track] = (now, total, weight)
        return smoothed(face, combined(total / weight), self._min_confidence)


class Centred:
    """``seconds``: the window's width. min_confidence: as of the Reader, for what is smoothed."""

    lag_s = 0.0

    def __init__(self, seconds: float, *, min_confidence: float = 0.0) -> None:
        self._half = seconds / 2
        self._min_confidence = min_confidence
        self._waiting: deque[Reading] = deque()
        self._past: dict[int, deque[tuple[float, Float64]]] = {}  # track → what lies in a window

    def push(self, reading: Reading) -> Iterator[Reading]:
        """Take the next frame's reading, and hand out those that are complete by it. ValueError without a time."""
        now = _time(reading)
        self._waiting.append(reading)
        for face in reading.faces:
            if face.track is not None:
                self._past.setdefault(face.track, deque()).append((now, logarithms(face)))
        while self._waiting and _time(self._waiting[0]) < now - self._half:
            yield self._next()

    def flush(self) -> Iterator[Reading]:
        """What is left, at the end of the video."""
        while self._waiting:
            yield self._next()

    def __call__(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        for reading in readings:
            yield from self.push(reading)
        yield from self.flush()

    def _next(self) -> Reading:
        reading = self._waiting.popleft()
        now = _time(reading)
        for track in list(self._past):
            window = self._past[track]
            while window and window[0][0] < now - self._half:
                window.popleft()
            if not window:
                del self._past[track]
        return replace(reading, faces=tuple(self._face(face, now) for face in reading.faces))

    def _face(self, face: Face, now: float) -> Face:
        if face.track is None:
            return face
        window = [(abs(time_s - now), logs) for time_s, logs in self._past[face.track]]
        near = [(away, logs) for away, logs in window if away <= self._half]
        weights = np.array([0.5 + 0.5 * cos(pi * away / self._half) for away, _ in near])
        rows = np.stack([logs for _, logs in near])
        return smoothed(face, combined(weights @ rows / weights.sum()), self._min_confidence)


def _time(reading: Reading) -> float:
    if reading.time_s is None:
        raise ValueError(f"expected the reading of a frame, with its time, got {reading.source}")
    return reading.time_s
