"""Cameras and network streams: the newest frame is read, and those that come meanwhile are dropped and counted.

The delay is bounded by the time that one frame takes, whatever the speed of the source: a thread takes every frame from
it and keeps only the last. Tracks and smoothing look back only.

A source is any object with ``name``, ``frames()`` and ``close()``; so a file serves as a camera (``camera:FILE``), at
the pace of its own times.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import numpy as np

from mien.arrays import Uint8
from mien.errors import ImageError, UsageError
from mien.results import Reading
from mien.video.addresses import CAMERA
from mien.video.container import import_av, reason_of
from mien.video.frames import Frame, Frames, upright
from mien.video.read import FaceReader
from mien.video.search import Search
from mien.video.settings import SMOOTH_S, VideoSettings
from mien.video.smoothing import Causal
from mien.video.tracking import Tracker

PATIENCE_S = 10.0  # for a source to open, and for its next frame


class LiveSource(Protocol):
    """Gives frames as they come; ``frames`` blocks until the next one, and ends when the source does."""

    @property
    def name(self) -> str: ...
    def frames(self) -> Iterator[Frame]: ...
    def close(self) -> None: ...


class Device:
    """A camera of this machine (``camera:0``) or a network stream. Times are seconds since the first frame.

    Raises ImageError where it cannot be opened, MissingExtra without PyAV.
    """

    def __init__(self, name: str) -> None:
        av = import_av()
        self.name = name
        file, kind, options = _address(name)
        try:
            self._container = av.open(file, format=kind, options=options, timeout=PATIENCE_S, metadata_errors="replace")
            self._stream = next(iter(self._container.streams.video), None)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            hint = "cameras of this machine: " + (", ".join(_cameras()) or "none") if kind else None
            raise ImageError(
                f"expected a {'camera' if kind else 'stream'}, got one that cannot be opened: {reason_of(error)}",
                kind="unreadable",
                hint=hint,
            ) from error
        if self._stream is None:
            self._container.close()
            raise ImageError("expected a stream with video, got one without", kind="unsupported")
        self._begun: float | None = None

    def frames(self) -> Iterator[Frame]:
        av = import_av()
        number = 0
        try:
            for decoded in self._container.decode(self._stream):
                now = time.monotonic()
                self._begun = now if self._begun is None else self._begun
                number += 1
                yield Frame(now - self._begun, upright(decoded), number)
        except av.error.FFmpegError:
            return  # unplugged, or the other side has gone

    def close(self) -> None:
        with suppress(Exception):  # another thread may be waiting in it
            self._container.close()


class FileCamera:
    """A video file in place of a camera. speed: 2 plays it twice as fast. sleep, clock: for tests."""

    def __init__(
        self,
        path: str,
        *,
        speed: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = CAMERA + path
        self._frames, self._speed, self._sleep, self._clock = Frames(path), speed, sleep, clock

    def frames(self) -> Iterator[Frame]:
        begun = self._clock()
        for frame in self._frames:
            wait = frame.time_s / self._speed - (self._clock() - begun)
            if wait > 0:
                self._sleep(wait)
            yield frame

    def close(self) -> None:
        self._frames.close()


def open_source(path: str, *, allow_network: bool) -> LiveSource:
    """``camera:N``, ``camera:FILE``, or a stream's address. Raises UsageError, ImageError, MissingExtra."""
    if not path.startswith(CAMERA):
        if not allow_network:
            raise UsageError("mien reads nothing from the network unless it is told to", hint="add --allow-network")
        return Device(path)
    place = path.removeprefix(CAMERA)
    if place.isdigit():
        return Device(path)
    if not place:
        raise UsageError("expected the number of a camera, got camera: alone", hint="camera:0 is the first one")
    return FileCamera(place)


class LiveReader:
    """A source, read until it ends, ``stop`` is called, or ``settings.end`` seconds have passed.

    Iterate it once, for a Reading of each frame that is read. ``dropped`` counts the frames that came while another was
    read; ``lag_s`` is that of the smoothing. Raises UsageError for settings that need a file.
    """

    def __init__(self, source: LiveSource, reader: FaceReader, settings: VideoSettings) -> None:
        if settings.every is not None:
            raise UsageError("--every looks ahead, so it needs a file, got a camera", hint="leave it out")
        if settings.start is not None:
            raise UsageError("--start needs a file, got a camera", hint="leave it out")
        self._source, self._reader, self._settings = source, reader, settings
        self._tracker = Tracker() if settings.track else None
        seconds = (SMOOTH_S if settings.smooth is None else settings.smooth) if settings.track else 0.0
        self._smoothing = Causal(seconds, min_confidence=reader.min_confidence) if seconds else None
        self.lag_s = self._smoothing.lag_s if self._smoothing else 0.0
        self.dropped = 0
        self.picture: Uint8 | None = None  # of the last reading
        self._latest: Frame | None = None
        self._ended = False  # by the source
        self._stopped = False  # by the caller
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def stop(self) -> None:
        """End after the frame that is being read; may be called from a signal handler."""
        self._stopped = True

    def __iter__(self) -> Iterator[Reading]:
        thread = threading.Thread(target=self._take, name="mien-camera", daemon=True)
        thread.start()
        search, last_s = Search(self._reader.detector), -np.inf
        step = 0.0 if self._settings.fps is None else 1 / self._settings.fps
        try:
            while (frame := self._next()) is not None:
                if self._settings.end is not None and frame.time_s > self._settings.end:
                    return
                if frame.time_s - last_s < step - 1e-3:
                    continue
                last_s = frame.time_s
                yield self._read(frame, search)
        finally:
            self._stopped = True
            thread.join(timeout=2)  # it closes the source itself: to close what FFmpeg is reading would crash

    def _take(self) -> None:
        """In a thread of its own: every frame from the source, of which the last one is kept."""
        try:
            for frame in self._source.frames():
                with self._change:
                    self.dropped += self._latest is not None
                    self._latest = frame
                    self._change.notify()
                if self._stopped:
                    return
        except BaseException as error:
            self._error = error
        finally:
            with suppress(Exception):
                self._source.close()
            with self._change:
                self._ended = True
                self._change.notify()

    def _next(self) -> Frame | None:
        waited = time.monotonic()
        with self._change:
            if self._stopped:
                return None
            while self._latest is None:
                if self._ended or self._stopped:
                    if self._error is not None:
                        raise self._error
                    return None
                if time.monotonic() - waited > PATIENCE_S:
                    raise ImageError(f"no frame came for {PATIENCE_S:g} s", kind="unreadable")
                self._change.wait(timeout=0.1)
            frame, self._latest = self._latest, None
            return frame

    def _read(self, frame: Frame, search: Search) -> Reading:
        found = search.key_frame(frame.time_s, frame.rgb)
        (faces,) = self._reader.read_faces([(frame.rgb, found)])
        height, width, _ = frame.rgb.shape
        if self._tracker is not None:
            tracks = self._tracker.update(frame.time_s, [face.box for face in faces], width=width, height=height)
            faces = tuple(replace(face, track=track) for face, track in zip(faces, tracks, strict=True))
        self.picture = frame.rgb
        reading = Reading(self._source.name, width, height, faces, frame.time_s)
        if self._smoothing is not None:
            return self._smoothing.push(reading)
        return replace(reading, faces=tuple(replace(face, raw_probabilities=face.probabilities) for face in faces))


def _address(name: str) -> tuple[str, str | None, dict[str, str]]:
    """What FFmpeg opens, its format and options."""
    if not name.startswith(CAMERA):
        # not fflags=nobuffer: it drops the key frame that FFmpeg has looked at, and nothing is decoded until the next
        options = {"rtsp_transport": "tcp"} if name.lower().startswith("rtsp") else {}
        return name, None, {**options, "analyzeduration": "1000000"}
    number = name.removeprefix(CAMERA)
    if sys.platform == "darwin":
        return number, "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        return f"video={number}", "dshow", {}
    return f"/dev/video{number}", "v4l2", {}


def _cameras() -> list[str]:
    if not os.path.isdir("/dev"):
        return []
    numbers = sorted(int(name[5:]) for name in os.listdir("/dev") if name.startswith("video") and name[5:].isdigit())
    return [f"{CAMERA}{number}" for number in numbers]
