"""A video → a reading for each frame: decode, find and follow faces, classify, track, smooth.

Decoding and detection work ahead in threads of their own, while the faces of the last block are classified. With a
journal, what an earlier run has read is taken from there, and reading resumes after it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mien import __version__
from mien.arrays import Uint8
from mien.errors import ImageError
from mien.faces.base import Detection
from mien.imaging import OnNote
from mien.results import Face, ReadFailure, Reading
from mien.video.ahead import ahead
from mien.video.container import VideoInfo
from mien.video.follow import Seen, follow
from mien.video.frames import Frames
from mien.video.journal import Journal, Record
from mien.video.sampling import Shot, sampled, with_cuts
from mien.video.search import FaceDetector, Search
from mien.video.settings import VideoSettings
from mien.video.smoothing import Centred
from mien.video.tracking import Tracker

AHEAD_BYTES = 64 << 20  # of decoded frames that wait


class FaceReader(Protocol):
    """What reads the expressions: :class:`mien.Reader`."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def detector(self) -> FaceDetector: ...
    @property
    def min_confidence(self) -> float: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    def read_faces(self, found: Sequence[tuple[Uint8, Sequence[Detection]]]) -> list[tuple[Face, ...]]: ...


class VideoReader:
    """One video, opened: ``info`` says what it is. Iterate it once, for a Reading a frame, in order, and a ReadFailure
    at the end where something could not be read.

    path: of a video file. source: its name in the readings, the path where None. on_note: called with a line about what
    is unusual. Raises ImageError where the file cannot be read as a video, MissingExtra without PyAV or SciPy.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        reader: FaceReader,
        settings: VideoSettings,
        *,
        source: str | None = None,
        on_note: OnNote | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.source = self.path if source is None else source
        self._reader, self.settings = reader, settings
        self._tracker = Tracker() if settings.track else None
        self._frames = Frames(
            self.path, start=settings.start, end=settings.end, threads=reader.threads, on_note=on_note
        )
        self.info: VideoInfo = self._frames.info
        if self.info.width * self.info.height > reader.max_pixels:
            self._frames.close()
            size = f"{self.info.width}×{self.info.height}"
            raise ImageError(f"expected frames of at most {reader.max_pixels:,} pixels, got {size}", kind="too_large")
        self.every = settings.every_at(self.info.rate)
        self.resumed = 0  # frames taken from a journal

    def about(self) -> dict[str, Any]:
        """What must be the same for a journal to be used."""
        status = os.stat(self.path)
        return {
            "mien": __version__,
            "source": os.path.realpath(self.path),
            "bytes": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "labels": list(self._reader.labels),
            "reader": self._reader.fingerprint,
            "fps": self.settings.fps,
            "every": self.every,
            "start": self.settings.start,
            "end": self.settings.end,
        }

    def read(self, journal: Journal | None = None) -> Iterator[Reading | ReadFailure]:
        """The readings; see the class. journal: kept by an earlier run of the same call, and extended."""
        readings = self._tracked(self._records(journal))
        smooth = self.settings.smooth_s
        if smooth:
            readings = Centred(smooth, min_confidence=self._reader.min_confidence)(readings)
        for reading in readings:
            yield reading if smooth else replace(reading, faces=tuple(_with_raw(face) for face in reading.faces))
        failure = self._frames.failure()
        if failure is not None:
            yield replace(failure, source=self.source)

    def _tracked(self, records: Iterator[Record]) -> Iterator[Reading]:
        for record in records:
            faces = record.faces
            if self._tracker is not None:
                boxes = [face.box for face in faces]
                tracks = self._tracker.update(
                    record.time_s, boxes, width=record.width, height=record.height, cut=record.cut
                )
                faces = tuple(replace(face, track=track) for face, track in zip(faces, tracks, strict=True))
            yield Reading(self.source, record.width, record.height, faces, record.time_s)

    def _records(self, journal: Journal | None) -> Iterator[Record]:
        search, last, frames = Search(self._reader.detector), None, iter(self._frames)
        previous: Uint8 | None = None
        if journal is not None and (kept := journal.last) is not None:
            yield from journal.records()
            self.resumed = journal.count
            frames = self._frames.after(kept.time_s, kept.number, linear=kept.linear)
            frame = next(frames, None)
            if frame is None or abs(frame.time_s - kept.time_s) > 1e-6:
                raise ImageError("expected the frames of the interrupted run, got others", kind="unreadable")
            last = Seen(Shot(frame, kept.cut), kept.key or [], True)
            if journal.last_found:
                search.key(kept.time_s, journal.last_found)
            search.key(kept.time_s, kept.key or [])
            previous = frame.rgb
        wanted = sampled(frames, self.settings.fps, last_s=None if last is None else last.shot.frame.time_s)
        size = self.info.width * self.info.height * 3
        shots = ahead(with_cuts(wanted, previous=previous), min(max(AHEAD_BYTES // max(size, 1), 2), 16))
        blocks = ahead(follow(shots, search, self.every, last=last), 1)
        for block in blocks:
            records = self._classified(block)
            if journal is not None:
                journal.append(records)
            yield from records

    def _classified(self, block: Sequence[Seen]) -> list[Record]:
        faces = self._reader.read_faces([(seen.shot.frame.rgb, seen.faces) for seen in block])
        records = []
        for number, (seen, read) in enumerate(zip(block, faces, strict=True)):
            frame = seen.shot.frame
            height, width, _ = frame.rgb.shape
            key = seen.faces if number == len(block) - 1 else None
            read = tuple(sorted(read, key=lambda face: face.box.w * face.box.h, reverse=True))  # as cut by the border
            records.append(
                Record(frame.time_s, frame.number, width, height, seen.shot.cut, read, key, self._frames.is_irregular)
            )
        return records


def _with_raw(face: Face) -> Face:
    return replace(face, raw_probabilities=face.probabilities)
