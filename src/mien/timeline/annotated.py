"""The annotated copy of a video: H.264 in MP4, each frame at its own time, upright, and the sound as it was.

Frames come from a second pass over the file, so that the readings are complete (smoothing looks ahead) and nothing is
held. Sound packets are copied where MP4 can hold their codec, else encoded anew as AAC.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np

from mien.arrays import Uint8
from mien.errors import OutputError
from mien.imaging import OnNote
from mien.reading.annotate import annotate
from mien.reading.pictures import MARK
from mien.results import Reading
from mien.video.container import import_av, reason_of, times_fall_back
from mien.video.frames import Frames
from mien.video.settings import VideoSettings

BASE = Fraction(1, 90_000)  # of the copy's clock: 24, 25, 30 and 29.97 frames a second are whole numbers of it
COPIED = frozenset(("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"))
AAC_RATES = frozenset((7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000))
_BT709 = 1


def write_annotated(
    source: str,
    readings: Iterable[Reading],
    path: str,
    *,
    settings: VideoSettings,
    crf: int = 20,
    on_note: OnNote | None = None,
) -> Iterator[int]:
    """Write the copy to ``path``; yields the number of frames written so far, and has the file in place at the end.

    source: the video. readings: of the frames to be written, in order, each with its time. crf: quality of x264, lower
    is better. on_note: called with a line where the sound is lost. Raises OutputError where the copy cannot be written,
    and what PyAV raises where it cannot be encoded.
    """
    part = f"{path}.part"  # one name, so that what a killed run left is overwritten
    try:
        yield from _write(source, iter(readings), part, settings, crf, on_note or (lambda text: None))
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path!r}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            os.unlink(part)


def _write(
    source: str, readings: Iterator[Reading], part: str, settings: VideoSettings, crf: int, note: OnNote
) -> Iterator[int]:
    av = import_av()
    frames = Frames(source, start=settings.start, end=settings.end)
    with av.open(part, "w", format="mp4") as out:
        out.metadata["comment"] = MARK
        video: Any = None
        sound: _Sound | None = None
        count = 0
        reading = next(readings, None)
        for frame in frames:
            if reading is None:
                break
            assert reading.time_s is not None
            if frame.time_s < reading.time_s - 1e-6:
                continue  # not read: --fps
            drawn = np.asarray(annotate(frame.rgb, reading.faces, in_place=True))
            if video is None:
                video = _video_stream(out, drawn, frames.info.rate, crf)
                sound = _Sound(out, source, settings, note)
            out.mux(video.encode(_encodable(drawn, video, frame.time_s)))
            assert sound is not None
            sound.up_to(frame.time_s)
            count += 1
            yield count
            reading = next(readings, None)
        if video is not None and sound is not None:
            out.mux(video.encode())
            sound.finish()


def _video_stream(out: Any, drawn: Uint8, rate: float | None, crf: int) -> Any:
    height, width, _ = drawn.shape
    options = {"crf": str(crf), "preset": "veryfast"}
    stream = out.add_stream("libx264", rate=Fraction(rate or 25).limit_denominator(1001), options=options)
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    stream.time_base = stream.codec_context.time_base = BASE
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # of television, as players expect
    return stream


def _encodable(drawn: Uint8, stream: Any, time_s: float) -> Any:
    """x264 takes even sizes alone: the last column or row is repeated. A frame of another size is fitted in."""
    av = import_av()
    height, width = stream.height, stream.width
    h, w, _ = drawn.shape
    if h > height or w > width or h < height - 1 or w < width - 1:
        drawn = _fitted(drawn, width, height)
        h, w, _ = drawn.shape
    if (h, w) != (height, width):
        drawn = np.pad(drawn, ((0, height - h), (0, width - w), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
    frame.pts, frame.time_base = round(time_s / BASE), BASE
    return frame


def _fitted(drawn: Uint8, width: int, height: int) -> Uint8:
    from PIL import Image

    scale = min(width / drawn.shape[1], height / drawn.shape[0])
    size = (max(1, int(drawn.shape[1] * scale)), max(1, int(drawn.shape[0] * scale)))
    canvas = Image.new("RGB", (width, height))
    canvas.paste(Image.fromarray(drawn).resize(size), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


class _Sound:
    """The first sound of the source, muxed beside the frames."""

    def __init__(self, out: Any, source: str, settings: VideoSettings, note: OnNote) -> None:
        av = import_av()
        self._out, self._settings, self._note = out, settings, note
        self._container = av.open(f"file:{os.path.abspath(source)}", metadata_errors="replace")
        self._audio = next(iter(self._container.streams.audio), None)
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        self._target: Any = None
        self._copied = False
        if self._audio is None:
            return
        if self._audio.codec_context is None:
            self._note("its annotated copy has no sound: FFmpeg does not know the codec")
            return
        name = self._audio.codec_context.name
        self._copied = name in COPIED
        if self._copied:
            self._target = out.add_stream_from_template(self._audio)
        else:
            rate = self._audio.codec_context.sample_rate
            self._target = out.add_stream("aac", rate=rate if rate in AAC_RATES else 48000)
        if settings.start and not times_fall_back(source):
            with suppress(av.error.FFmpegError):
                self._container.seek(int(settings.start * 1_000_000), backward=True)
        self._packets = self._read()

    def _read(self) -> Iterator[Any]:
        """Packets within the wanted time; a damaged sound ends early."""
        av = import_av()
        start, end = self._settings.start or 0.0, self._settings.end
        last, shift = None, 0
        packets = self._container.demux(self._audio)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            if packet.dts is None:
                continue
            if last is not None and packet.dts + shift <= last:  # joined recordings: as the frames' times, continued
                shift = last + (packet.duration or 1) - packet.dts
            packet.dts += shift
            packet.pts = packet.pts if packet.pts is None else packet.pts + shift
            last = packet.dts
            time_s = float((packet.pts if packet.pts is not None else packet.dts) * packet.time_base)
            if start > 0 and time_s < start:
                continue
            if end is not None and time_s > end:
                return
            yield time_s, packet

    def up_to(self, time_s: float) -> None:
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or self._waiting[0] > time_s:
                return
            self._mux(self._waiting[1])
            self._waiting = None

    def _mux(self, packet: Any) -> None:
        av = import_av()
        try:
            if self._copied:
                packet.stream = self._target
                self._out.mux(packet)
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                return
            for frame in frames:
                self._out.mux(self._target.encode(frame))
        except (av.error.FFmpegError, ValueError) as error:  # ValueError: a sound that changes its rate or channels
            if isinstance(error, OSError):  # of the disk
                raise
            self._note(f"the sound of its annotated copy ends early: {reason_of(error)}")
            self._packets = iter(())

    def finish(self) -> None:
        self.up_to(float("inf"))
        if self._target is not None and not self._copied:
            self._out.mux(self._target.encode())
        self._container.close()
