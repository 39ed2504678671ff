"""A video file → upright RGB frames with the stream's own times, decoded packet by packet with PyAV (extra ``video``).

- Times are presentation times, ``pts × time_base``: right where the frame rate varies. A time that falls back (joined
  recordings) continues from the last one. Such a file is decoded from its beginning, since its times do not say where
  a frame is.
- Rotation flags are applied, and pixels that are not square are made so: width and height are as a player shows them.
- A packet that cannot be decoded costs that packet and no more. What was lost, and a file that ends before the length
  that it declares, is told at the end by :meth:`Frames.failure`.
- Memory does not depend on the length.
"""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mien.arrays import Uint8
from mien.errors import UsageError
from mien.imaging import OnNote
from mien.results import ReadFailure
from mien.video.container import declared_end, open_video, reason_of, square_size, times_fall_back, video_info

_MARGINS_S = (0.0, 2.0, 15.0, 90.0)  # how far before the wanted time a seek aims, until it lands before it
_RETRIES = 32  # read errors in a row after which a file counts as at its end
TOLERANCE_S = 0.5  # by which a file may be shorter than it declares


class Frame(NamedTuple):
    """time_s: of the stream. rgb: uint8 H×W×3, upright, with square pixels. number: it is the n-th that the decoder
    gave within the wanted time, from 1. damaged: the decoder guessed parts of it."""

    time_s: float
    rgb: Uint8
    number: int
    damaged: bool = False


@dataclass(slots=True)
class _Damage:
    """What could not be decoded."""

    packets: int = 0
    frames: int = 0
    first_s: float | None = None
    last_s: float | None = None
    stopped: str | None = None

    def lost(self, time_s: float | None, *, packet: bool) -> None:
        self.packets += packet
        self.frames += not packet
        if time_s is not None:
            self.first_s = time_s if self.first_s is None else min(self.first_s, time_s)
            self.last_s = time_s if self.last_s is None else max(self.last_s, time_s)


class Frames:
    """The frames of a video file from ``start`` up to and including ``end`` (seconds of the stream; None: all of it).

    threads: of the decoder, None for its own choice. on_note: called with a line about what is unusual but no error.
    Iterate it once. Then ``failure()`` says what was wrong, and ``end_s`` is the time at which the last frame ends.
    Raises ImageError on construction where the file is no video that can be read, MissingExtra without PyAV,
    UsageError for times that make no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        start: float | None = None,
        end: float | None = None,
        threads: int | None = None,
        on_note: OnNote | None = None,
    ) -> None:
        check_times(start, end)
        self.path = os.fspath(path)
        self._start, self._end, self._threads = start, end, threads
        self._note = on_note or (lambda text: None)
        self._container, self._stream = open_video(self.path)
        self.info = video_info(self._container, self._stream)
        self._declared_s, self._of_stream = declared_end(self._container, self._stream)
        self._damage = _Damage()
        self._reached_s = 0.0  # the end of the last packet of any stream
        self._complete = False  # the end of the file was reached, and not only ``end``
        self._noted: set[str] = set()
        self.count = 0
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.end_s: float | None = None
        self.jumps = 0

    def close(self) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._from(self._start)
        finally:
            self.close()

    def after(self, time_s: float, count: int, *, linear: bool = False) -> Iterator[Frame]:
        """The frame at ``time_s``, which an earlier run had read, and those behind it. count: of the frames that the
        earlier run had taken from the decoder up to there. linear: count from the beginning instead of seeking, for a
        stream whose times fall back."""
        try:
            if not linear:
                self.count = count - 1
                frames = self._from(time_s)
                first = next(frames, None)
                if first is not None and abs(first.time_s - time_s) < 1e-6:
                    yield first
                    yield from frames
                    return
                frames.close()  # seeking does not lead back to it
                self._reopen()
                self.count, self.first_s, self._complete = 0, None, False
            for number, frame in enumerate(self._from(self._start), 1):
                if number >= count:
                    yield frame
        finally:
            self.close()

    def _from(self, start: float | None) -> Generator[Frame, None, None]:
        if start is not None and start > 0 and not times_fall_back(self.path):
            for margin in _MARGINS_S:
                if start - margin <= 0:
                    break
                self._seek(start - margin)
                frames = self._decoded()
                first = next(frames, None)
                if first is not None and first[0] <= start + 1e-6:
                    yield from self._within(first, frames, start)
                    return
                self._reopen()
        frames = self._decoded()
        first = next(frames, None)
        if first is not None:
            yield from self._within(first, frames, start)

    def _within(
        self, first: tuple[float, Any], frames: Iterator[tuple[float, Any]], start: float | None
    ) -> Iterator[Frame]:
        def all_frames() -> Iterator[tuple[float, Any]]:
            yield first
            yield from frames

        for time_s, frame in all_frames():
            if start is not None and time_s < start - 1e-6:
                continue
            if self._end is not None and time_s > self._end + 1e-6:
                return
            damaged = bool(frame.is_corrupt)
            if damaged:
                self._damage.lost(time_s, packet=False)
            rgb = self._rgb(frame)
            if self.first_s is None:
                self.first_s = time_s
            self.count += 1
            self.last_s = time_s
            yield Frame(time_s, rgb, self.count, damaged)
        self._complete = True

    def _seek(self, time_s: float) -> None:
        import av

        try:
            self._container.seek(int(time_s / self._stream.time_base), stream=self._stream, backward=True)
        except (av.error.FFmpegError, OverflowError):
            self._reopen()

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = open_video(self.path)
        self._damage, self._reached_s = _Damage(), 0.0

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """(time, PyAV's frame) in order of presentation."""
        stream = self._stream
        if self._threads is not None:
            stream.codec_context.thread_count = self._threads
        stream.thread_type = "AUTO"
        base = stream.time_base
        usual = 1 / self.info.rate if self.info.rate else 0.04
        last: float | None = None
        shift = 0.0
        for frame in self._raw():
            time_s = usual + (last or 0.0) - shift if frame.pts is None else float(frame.pts * base)
            if frame.pts is None and last is None:
                time_s = 0.0
            if last is not None and time_s + shift <= last:
                self.jumps += 1
                shift = last + usual - time_s
                self._once(f"its times fall back at {last:.2f} s; they are continued from there")
            last = time_s + shift
            length = float(frame.duration * base) if getattr(frame, "duration", 0) else usual
            self.end_s = last + length
            yield last, frame

    def _raw(self) -> Iterator[Any]:
        import av

        failures = 0
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets)
                failures = 0
            except StopIteration:
                return
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                failures += 1
                self._damage.stopped = reason_of(error)
                self._damage.lost(None, packet=True)
                if failures > _RETRIES:
                    break
                packets = self._container.demux()
                continue
            time_s = _end_of(packet)
            self._reached_s = max(self._reached_s, time_s or 0.0)
            if packet.stream is not self._stream and packet.stream_index != self._stream.index:
                continue
            if packet.stream.type != "video":  # the end of the sound; or damage has made another kind of the stream
                if packet.size:
                    self._damage.lost(time_s, packet=True)
                continue
            try:
                frames = packet.decode()
            except av.error.EOFError:
                continue
            except av.error.FFmpegError:
                self._damage.lost(None if packet.pts is None else float(packet.pts * packet.time_base), packet=True)
                continue
            yield from frames
        try:  # a demuxer that broke off never asked the decoder for what it still holds
            yield from self._stream.codec_context.decode(None)
        except av.error.FFmpegError:
            return

    def _rgb(self, frame: Any) -> Uint8:
        width, height = square_size(frame.width, frame.height, self._stream.sample_aspect_ratio)
        if (width, height) != (frame.width, frame.height):
            self._once(f"its pixels are not square; it is read as shown, at {width}×{height}")
        rgb: Uint8 = frame.to_ndarray(format="rgb24", width=width, height=height)
        if frame.rotation % 90:
            self._once(f"it asks to be turned by {frame.rotation}°, which is no multiple of 90; it is read as stored")
        return _turned(rgb, frame.rotation)

    def _once(self, text: str) -> None:
        kind = text[:20]
        if kind not in self._noted:
            self._noted.add(kind)
            self._note(text)

    @property
    def is_irregular(self) -> bool:
        """Damage was met, or times that fall back: what a seek behind it would not see."""
        return bool(self._damage.packets or self._damage.frames or self.jumps)

    def failure(self) -> ReadFailure | None:
        """What could not be read, with the time where it stopped; None where all was. After the last frame."""
        damage, last = self._damage, self.last_s
        if self.count == 0:
            if self._start is not None or self._end is not None:
                window = f"from {clock(self._start or 0)} to {'the end' if self._end is None else clock(self._end)}"
                length = "" if self._declared_s is None else f"; the video ends at {clock(self._declared_s)}"
                return ReadFailure(self.path, "empty", f"expected frames {window}, got none{length}")
            kind = "unreadable" if damage.packets else "empty"
            what = "none that can be decoded" if damage.packets else "a video stream without any"
            return ReadFailure(self.path, kind, f"expected frames, got {what}")
        assert last is not None
        parts = []
        if damage.packets or damage.frames:
            counts = [f"{damage.packets} packets lost"] * bool(damage.packets)
            counts += [f"{damage.frames} frames damaged"] * bool(damage.frames)
            where = ""
            if damage.first_s is not None and damage.last_s is not None:
                where = f" between {clock(damage.first_s)} and {clock(damage.last_s)}"
            parts.append(f"the file is damaged: {', '.join(counts)}{where}")
        # the length of the whole file may be that of its sound
        declared, end = self._declared_s, max(self.end_s or 0.0, 0.0 if self._of_stream else self._reached_s)
        short = self._complete and declared is not None and declared - end > TOLERANCE_S
        if short:
            assert declared is not None
            frames = "its only frame" if self.count == 1 else "the last frame"
            parts.append(f"it declares a length of {clock(declared)}, but {frames} is at {clock(last)}")
        if not parts:
            if self.count == 1 and self._complete and (declared or 0) > 10:
                self._once(f"it holds one frame and says that it lasts {clock(declared or 0)}")
            return None
        kind = "truncated" if short else "unreadable"
        return ReadFailure(self.path, kind, "; ".join(parts), time_s=last if short else damage.first_s or last)


def check_times(start: float | None, end: float | None) -> None:
    """Raises UsageError for times that make no sense."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value < float("inf"):
            raise UsageError(f"expected {name} in seconds, 0 or more, got {value}")
    if start is not None and end is not None and end < start:
        raise UsageError(f"expected an end after the start, got start {start:g} and end {end:g}")


def upright(frame: Any) -> Uint8:
    """PyAV's frame as uint8 H×W×3, as its rotation flag says."""
    return _turned(frame.to_ndarray(format="rgb24"), frame.rotation)


def _turned(rgb: Uint8, degrees: int) -> Uint8:
    if degrees % 90 or not degrees % 360:
        return rgb
    return np.ascontiguousarray(np.rot90(rgb, (degrees // 90) % 4))


def clock(seconds: float) -> str:
    """``"12.30 s"``, ``"2:05.30"``, ``"10:00:00"``."""
    if round(seconds, 2) < 60:
        return f"{seconds:.2f} s"
    if round(seconds, 2) < 3600:
        minutes, rest = divmod(round(seconds, 2), 60)
        return f"{int(minutes)}:{rest:05.2f}"
    minutes, whole = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{whole:02d}"


def _end_of(packet: Any) -> float | None:
    if packet.pts is None:
        return None
    return float((packet.pts + (packet.duration or 0)) * packet.time_base)
