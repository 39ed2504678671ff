"""What was read of a video so far, on the disk: after ``kill -9`` the same command resumes after the last block.

A line a frame, as JSON, behind a line that says of what: file, options and reader. A block of frames counts when the
line of its last frame, a key frame, is whole. Tracks and smoothing are not kept: they are computed again from the
frames, in a fraction of the time, so that the output is the one of a run that never stopped. Numbers are written so
that they come back bit by bit.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from mien.errors import OutputError
from mien.faces.base import Detection
from mien.locks import lock
from mien.results import Box, Face

VERSION = 1


def journal_name(about: dict[str, Any]) -> str:
    """The name of the file for these values: another video or other options have another one."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24] + ".jsonl"


class Record(NamedTuple):
    """A frame that was read.

    number: of the frame among those taken from the decoder, from 1. faces: without tracks, not smoothed. key: the
    detections of a key frame, None between. linear: the stream was damaged or its times fell back before it, so that a
    run that goes on must decode it from the beginning.
    """

    time_s: float
    number: int
    width: int
    height: int
    cut: bool
    faces: tuple[Face, ...]
    key: list[Detection] | None
    linear: bool = False


class Journal:
    """path: of the file, made with its directory. about: what must be the same to go on, as JSON values.

    ``records()`` reads what an earlier run left, one after the other; ``append`` adds a block. Raises OutputError
    where the file cannot be written.
    """

    def __init__(self, path: str, about: dict[str, Any]) -> None:
        self.path = path
        self.labels: list[str] = list(about["labels"])
        self._head = (json.dumps({"version": VERSION, **about}, sort_keys=True) + "\n").encode()
        self.last: Record | None = None  # the last key frame, and the last one with a face
        self.last_found: list[Detection] | None = None
        self.count = 0
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._stream: IO[bytes] = open(path, "ab+")  # noqa: SIM115
            if not lock(self._stream):
                self._stream.close()
                raise OutputError(
                    f"expected to be alone with {os.path.dirname(path)!r}, another mien read writes there",
                    hint="wait for it, or write to another file",
                )
            self._whole = self._check()
            self._stream.truncate(self._whole)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot keep what was read in {self.path!r}: {error.strerror}")

    def _check(self) -> int:
        """The length in bytes of the whole blocks; 0 where another video or call wrote them."""
        self._stream.seek(0)
        if self._stream.readline() != self._head:
            self._stream.truncate(0)
            self._stream.seek(0)
            self._stream.write(self._head)
            self._stream.flush()
            return len(self._head)
        place = whole = len(self._head)
        count = 0
        for line in self._stream:
            place += len(line)
            count += 1
            if not line.endswith(b"\n"):
                break
            if b'"key":null' in line:
                continue
            try:
                record = self._parse(line)
            except (ValueError, KeyError, TypeError):
                break
            whole, self.last, self.count = place, record, count
            if record.key:
                self.last_found = record.key
        return whole

    def records(self) -> Iterator[Record]:
        """The frames of an earlier run, in order."""
        if self.last is None:
            return
        with open(self.path, "rb") as stream:
            stream.readline()
            while stream.tell() < self._whole:
                yield self._parse(stream.readline())

    def append(self, block: Sequence[Record]) -> None:
        """Add a block, whose last record is of a key frame; it is kept when this returns."""
        assert block[-1].key is not None
        lines = [json.dumps(_packed(record, self.labels), separators=(",", ":")) + "\n" for record in block]
        try:
            self._stream.write("".join(lines).encode())
            self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        self._stream.close()

    def remove(self) -> None:
        """The video is done and written."""
        self.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def _parse(self, line: bytes) -> Record:
        raw = json.loads(line)
        faces = tuple(_face(packed, self.labels) for packed in raw["faces"])
        key = None if raw["key"] is None else [_detection(packed) for packed in raw["key"]]
        return Record(raw["t"], raw["n"], raw["w"], raw["h"], raw["cut"], faces, key, raw["linear"])


def _packed(record: Record, labels: Sequence[str]) -> dict[str, Any]:
    faces = [
        [
            [face.box.x, face.box.y, face.box.w, face.box.h],
            face.score,
            face.expression is not None,
            [face.probabilities[label] for label in labels],
            face.landmarks,
            [face.roll, face.yaw, face.pitch],
        ]
        for face in record.faces
    ]
    key = None
    if record.key is not None:
        key = [
            [
                [found.box.x, found.box.y, found.box.w, found.box.h],
                found.score,
                None if found.landmarks is None else np.asarray(found.landmarks, np.float64).tolist(),
                found.turns,
                found.is_crop,
            ]
            for found in record.key
        ]
    time_s, number, width, height, cut = record[:5]
    head = {"t": time_s, "n": number, "w": width, "h": height, "cut": cut, "linear": record.linear}
    return {**head, "faces": faces, "key": key}


def _face(packed: list[Any], labels: Sequence[str]) -> Face:
    box, score, sure, row, points, (roll, yaw, pitch) = packed
    probabilities = dict(zip(labels, row, strict=True))
    top = max(probabilities, key=probabilities.__getitem__)
    landmarks = None if points is None else tuple((x, y) for x, y in points)
    return Face(
        box=Box(*box),
        score=score,
        expression=top if sure else None,
        confidence=probabilities[top],
        probabilities=probabilities,
        landmarks=landmarks,
        roll=roll,
        yaw=yaw,
        pitch=pitch,
    )


def _detection(packed: list[Any]) -> Detection:
    box, score, points, turns, is_crop = packed
    landmarks = None if points is None else np.asarray(points, np.float32)
    return Detection(Box(*box), score, landmarks, is_crop=is_crop, turns=turns)
