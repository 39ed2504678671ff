"""What reading returns: frozen, validated records with the same names in every output format.

``Reading`` is one picture (or video frame) with its faces; ``ReadFailure`` one input
that could not be read. Both turn into a JSON object (``to_dict``) and into table rows
(``to_rows``), as the command contract fixes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import Any

from mien.labels import SEVEN
from mien.showable import showable

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # left is the picture's left
ANGLES = ("roll", "yaw", "pitch")
RAW = "raw_"  # before a label: the column of a frame's own probability, beside the smoothed one
_POINT_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A face's rectangle in pixels of the upright picture: left, top, width, height (width, height > 0)."""

    x: float
    y: float
    w: float
    h: float

    def __post_init__(self) -> None:
        if not all(isfinite(v) for v in (self.x, self.y, self.w, self.h)) or self.w <= 0 or self.h <= 0:
            raise ValueError(f"expected finite x, y and positive w, h; got {(self.x, self.y, self.w, self.h)}")

    def overlap(self, other: "Box") -> float:
        """Intersection over union, 0-1."""
        wide = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        high = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        shared = max(0.0, wide) * max(0.0, high)
        return shared / (self.w * self.h + other.w * other.h - shared)

    def to_list(self) -> list[float]:
        return [round(v, 2) for v in (self.x, self.y, self.w, self.h)]


@dataclass(frozen=True, slots=True)
class Face:
    """One face: where it is, the detector's score, and its apparent expression.

    score: the detector's confidence, 0-1. probabilities: calibrated, by label, summing to 1.
    expression: the most probable label, or None where it is below the reader's ``min_confidence``.
    landmarks: five points (x, y) in pixels of the upright picture, in the order of ``LANDMARKS``, where left is the
    picture's left; they may lie outside of it. roll, yaw, pitch: of the head, in degrees, as :mod:`mien.faces.pose`
    estimates them from the landmarks and says how well. All four are None where the detector gives no landmarks.
    track: of a video, the number of the person in it. raw_probabilities: of a video, this frame's own ones, where
    ``probabilities``, ``expression`` and ``confidence`` may be smoothed over time; None for a picture.
    """

    box: Box
    score: float
    expression: str | None
    confidence: float
    probabilities: Mapping[str, float]
    track: int | None = None
    landmarks: Points | None = None
    roll: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    raw_probabilities: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.landmarks is not None and [len(point) for point in self.landmarks] != [2] * len(LANDMARKS):
            raise ValueError(f"expected {len(LANDMARKS)} landmarks (x, y), got {self.landmarks}")
        total = sum(self.probabilities.values())
        if not abs(total - 1) < 1e-3 or min(self.probabilities.values()) < 0:
            raise ValueError(f"expected probabilities that sum to 1, got a sum of {total}")

    @property
    def top(self) -> str:
        """The most probable label, whatever the confidence."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        return {
            "box": self.box.to_list(),
            "score": round(self.score, 4),
            "expression": self.expression,
            "confidence": round(self.confidence, 4),
            "probabilities": _rounded_all(self.probabilities),
            "track": self.track,
            "landmarks": None if self.landmarks is None else [[round(v, 2) for v in point] for point in self.landmarks],
            **{name: _rounded(getattr(self, name)) for name in ANGLES},
            **({} if self.raw_probabilities is None else {"raw_probabilities": _rounded_all(self.raw_probabilities)}),
        }


def table_columns(labels: tuple[str, ...] = SEVEN) -> tuple[str, ...]:
    """The columns of CSV and Parquet output, in order, for a model with these labels. New ones are added at the end."""
    head = ("source", "time_s", "face", "x", "y", "w", "h", "score", "expression", "confidence")
    return (*head, *labels, "track", "error", *ANGLES, *_POINT_COLUMNS, *(RAW + label for label in labels))


def _rounded_all(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {name: round(p, 4) for name, p in probabilities.items()}


def _seconds(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 6)  # to the microsecond: no clock of a video is finer


def _rounded(degrees: float | None) -> float | None:
    return None if degrees is None else round(degrees, 1) + 0.0  # never -0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One picture and its faces, largest first. width, height: pixels after EXIF rotation. time_s: video only."""

    source: str
    width: int
    height: int
    faces: tuple[Face, ...] = field(default=())
    time_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "time_s": _seconds(self.time_s),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One row a face; a picture without a face keeps one row whose ``face`` is empty."""
        if not self.faces:
            return [{"source": self.source, "time_s": _seconds(self.time_s)}]
        rows = []
        for number, face in enumerate(self.faces):
            flat = face.to_dict()
            x, y, w, h = flat.pop("box")
            probabilities = flat.pop("probabilities")
            points = flat.pop("landmarks") or []
            raw = flat.pop("raw_probabilities", {})
            rows.append(
                {"source": self.source, "time_s": _seconds(self.time_s), "face": number}
                | {"x": x, "y": y, "w": w, "h": h}
                | flat
                | probabilities
                | dict(zip(_POINT_COLUMNS, chain.from_iterable(points), strict=False))
                | {RAW + name: p for name, p in raw.items()}
            )
        return rows


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """One input that could not be read; ``type`` is a word of :class:`mien.errors.ImageError`.

    time_s: where a video stopped or was damaged; None for a picture, or where nothing of a video could be read.
    """

    source: str
    type: str
    message: str
    time_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", showable(" ".join(self.message.split())))

    def to_dict(self) -> dict[str, Any]:
        when = {} if self.time_s is None else {"time_s": _seconds(self.time_s)}
        return {"source": self.source, **when, "error": {"type": self.type, "message": self.message}}

    def to_rows(self) -> list[dict[str, Any]]:
        return [{"source": self.source, "time_s": _seconds(self.time_s), "error": f"{self.type}: {self.message}"}]
