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
    """A face's rectangle, in pixels of the upright picture.

    Attributes:
        x: left edge; may be negative.
        y: upper edge; may be negative.
        w: width, above 0.
        h: height, above 0.

    Raises:
        ValueError: a number that is not finite, or a width or height that is not positive.

    Examples:
        >>> from mien import Box
        >>> box = Box(10, 20, 40, 40)
        >>> box.overlap(Box(30, 20, 40, 40))  # 800 of 2,400 pixels
        0.3333333333333333
        >>> box.to_list()
        [10, 20, 40, 40]
    """

    x: float
    y: float
    w: float
    h: float

    def __post_init__(self) -> None:
        if not all(isfinite(v) for v in (self.x, self.y, self.w, self.h)) or self.w <= 0 or self.h <= 0:
            raise ValueError(f"expected finite x, y and positive w, h; got {(self.x, self.y, self.w, self.h)}")

    def overlap(self, other: "Box") -> float:
        """Intersection over union, 0-1.

        Args:
            other: the box to compare with.
        """
        wide = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        high = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        shared = max(0.0, wide) * max(0.0, high)
        return shared / (self.w * self.h + other.w * other.h - shared)

    def to_list(self) -> list[float]:
        """x, y, w, h, rounded to a hundredth of a pixel."""
        return [round(v, 2) for v in (self.x, self.y, self.w, self.h)]


@dataclass(frozen=True, slots=True)
class Face:
    """One face: where it is, the detector's score, and its apparent expression.

    Attributes:
        box: where the face is, in pixels of the upright picture.
        score: the detector's confidence, 0-1.
        expression: the most probable label; None where its probability is below the reader's ``min_confidence``.
        confidence: the greatest probability, 0-1.
        probabilities: label → calibrated probability, 0-1; they sum to 1. Smoothed over time in a video.
        track: the person's number within a video; None in a picture.
        landmarks: five points (x, y) in pixels of the upright picture, which may lie outside of it: left eye, right
            eye, nose, left and right corner of the mouth, where left is the picture's left. None without landmarks.
        roll: of the head, in degrees, estimated from the landmarks; None without landmarks.
        yaw: likewise.
        pitch: likewise.
        raw_probabilities: in a video, this frame's own probabilities before smoothing; None in a picture.

    Raises:
        ValueError: probabilities that do not sum to 1, or other than five landmarks.

    Examples:
        >>> from mien import Box, Face
        >>> found = {"smile": 0.75, "frown": 0.25}
        >>> face = Face(Box(0, 0, 48, 48), score=0.9, expression="smile", confidence=0.75, probabilities=found)
        >>> face.top
        'smile'
        >>> face.to_dict()["box"]
        [0, 0, 48, 48]
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
        """The face as it stands in the JSON output: probabilities to four decimals, pixels to two, degrees to one."""
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
    """One picture, or one frame of a video, and its faces.

    Attributes:
        source: the picture's path or name.
        width: of the picture in pixels, after EXIF rotation.
        height: likewise.
        faces: from the largest to the smallest; empty where there is none.
        time_s: the frame's time in seconds of the video; None for a picture.

    Examples:
        >>> from mien import Reading
        >>> reading = Reading("photo.jpg", width=640, height=480)
        >>> reading.to_dict()
        {'source': 'photo.jpg', 'width': 640, 'height': 480, 'time_s': None, 'faces': []}
        >>> reading.to_rows()
        [{'source': 'photo.jpg', 'time_s': None}]
    """

    source: str
    width: int
    height: int
    faces: tuple[Face, ...] = field(default=())
    time_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object of the JSON output (``docs/schemas/reading.json``)."""
        return {
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "time_s": _seconds(self.time_s),
            "faces": [face.to_dict() for face in self.faces],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """Rows of the CSV and Parquet output: one a face; without a face, one row whose ``face`` is empty."""
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
    """One input that could not be read.

    Attributes:
        source: the input's path or name.
        type: missing, empty, unreadable, truncated, too_large or unsupported.
        message: one sentence: what was expected, what was found.
        time_s: where a video stopped or was damaged, in seconds; None for a picture, or where nothing could be read.

    Examples:
        >>> from mien import ReadFailure
        >>> failure = ReadFailure("gone.jpg", "missing", "expected a file, found nothing there")
        >>> failure.to_dict()["error"]["type"]
        'missing'
        >>> failure.to_rows()[0]["error"]
        'missing: expected a file, found nothing there'
    """

    source: str
    type: str
    message: str
    time_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", showable(" ".join(self.message.split())))

    def to_dict(self) -> dict[str, Any]:
        """The error record of the JSON output."""
        when = {} if self.time_s is None else {"time_s": _seconds(self.time_s)}
        return {"source": self.source, **when, "error": {"type": self.type, "message": self.message}}

    def to_rows(self) -> list[dict[str, Any]]:
        """The one row of the CSV and Parquet output."""
        return [{"source": self.source, "time_s": _seconds(self.time_s), "error": f"{self.type}: {self.message}"}]
