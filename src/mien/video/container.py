"""A video file, opened with PyAV: its stream, what it declares, and what came where it is none."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mien.errors import ImageError, MissingExtra
from mien.showable import one_line

#: FFmpeg's names for containers that hold a single picture, or a loop of pictures, and no video.
_PICTURES = {"image2", "gif", "apng", "webp_anim", "ico", "svg_pipe", "image2pipe"}
_PIPES = "_pipe"
_MAY_FALL_BACK = 0x0200  # AVFMT_TS_DISCONT
_JOINED_S = 0.2  # program streams fall back by a frame here and there
#: Playlists and scripts: they name further files and addresses. A video file holds its own frames.
_SCRIPTS = {"hls", "concat", "concatf", "dash", "ffmetadata", "lavfi", "sdp", "tty", "rtsp", "imf", "s337m"}


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file says about its video. width, height: pixels as shown (rotated, square). duration_s: declared, of the
    video stream; None where the file does not say. rate: mean frames per second. sound: whether there is an audio
    stream."""

    width: int
    height: int
    duration_s: float | None
    rate: float | None
    codec: str
    sound: bool


def import_av() -> Any:
    """PyAV, silent. Raises MissingExtra."""
    try:
        import av
        import av.logging
    except ImportError as error:
        raise MissingExtra("av", "video") from error
    av.logging.set_level(None)
    return av


def open_video(path: str) -> tuple[Any, Any]:
    """The container and its video stream. Raises ImageError that says what came instead."""
    av = import_av()
    if not os.path.exists(path):
        raise ImageError("no such file", kind="missing")
    if os.path.isdir(path):
        raise ImageError("expected a video file, got a directory", kind="unreadable")
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise ImageError("the file is empty", kind="empty")
    try:
        # one file and nothing that it may name: a playlist under a video's name must not reach other files or hosts
        options = {"protocol_whitelist": "file"}
        container = av.open(f"file:{os.path.abspath(path)}", metadata_errors="replace", container_options=options)
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        if isinstance(error, PermissionError):
            raise ImageError("cannot open the file: permission denied", kind="unreadable") from error
        raise ImageError(f"expected a video, got a file that cannot be opened as one: {_hint(path, error)}",
                         kind="unreadable") from error  # fmt: skip
    try:
        return container, _video_stream(container, path)
    except BaseException:
        container.close()
        raise


def times_fall_back(path: str) -> bool:
    """Whether the times of the video's packets fall back somewhere, as where recordings were joined.

    Only of formats that allow it (MPEG-TS): those are read to the end once, without decoding.
    """
    try:
        status = os.stat(path)
        return _times_fall_back(path, status.st_size, status.st_mtime_ns)
    except (OSError, ImageError):  # it was open a moment ago: whoever reads on is told
        return False


@lru_cache(64)
def _times_fall_back(path: str, size: int, modified_ns: int) -> bool:  # the same file, as far as one can see
    av = import_av()
    container, stream = open_video(path)
    with container:
        if not container.format.flags & _MAY_FALL_BACK:
            return False
        last = None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return False
            if packet.dts is None:
                continue
            if last is not None and (last - packet.dts) * stream.time_base > _JOINED_S:
                return True
            last = packet.dts


def _video_stream(container: Any, path: str) -> Any:
    av = import_av()
    kind = container.format.name
    names = set(kind.split(","))
    if names & _PICTURES or kind.endswith(_PIPES):
        picture = {"image2": ""}.get(kind, kind.removesuffix(_PIPES).upper())
        suffix = os.path.splitext(path)[1]
        raise ImageError(
            f"expected a video, got a picture{f' ({picture})' if picture else ''} under the suffix {suffix}",
            kind="unsupported",
            hint="rename it, and it is read as a picture",
        )
    if names & _SCRIPTS:
        raise ImageError(f"expected a video, got a playlist or script ({kind})", kind="unsupported",
                         hint="give the video file itself")  # fmt: skip
    covers = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not videos:
        codecs = [stream.codec_context for stream in container.streams.audio]  # None for one that FFmpeg does not know
        sounds = ", ".join(sorted({"unknown" if codec is None else codec.name for codec in codecs}))
        others = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        came = f"sound alone ({sounds})" if sounds else f"a file without a video stream (it holds: {others})"
        raise ImageError(f"expected a video, got {came}", kind="unsupported")
    stream = container.streams.best("video")
    stream = stream if stream in videos else videos[0]
    if stream.codec_context is None:
        raise ImageError("expected a video codec that FFmpeg decodes, got an unknown one", kind="unsupported")
    return stream


def _hint(path: str, error: Exception) -> str:
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        head = b""
    reason = reason_of(error)
    if reason == "End of file":
        return "it ends before its first frame"
    log = getattr(error, "log", None)
    said = str(log[1][2]).lower() if log and len(log) > 1 and log[1] else ""
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free") and ("moov" in said or "invalid data" in reason.lower()):
        return "its index (moov) is missing, as in a recording that was cut off; nothing in it can be found without it"
    return reason


def reason_of(error: Exception) -> str:
    """What FFmpeg says of an error, in one line."""
    text = getattr(error, "strerror", None) or str(error)
    return one_line(text)


def video_info(container: Any, stream: Any) -> VideoInfo:
    """What the file says."""
    width, height = square_size(stream.width or 0, stream.height or 0, stream.sample_aspect_ratio)
    end, _ = declared_end(container, stream)
    rate = stream.average_rate or stream.guessed_rate
    rate = float(rate) if rate and 0 < float(rate) < 1000 else None
    return VideoInfo(width, height, end, rate, stream.codec_context.name, bool(container.streams.audio))


def declared_end(container: Any, stream: Any) -> tuple[float | None, bool]:
    """Where the file says that its video ends, in seconds of the stream; and whether it says so of this stream."""
    begin = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return begin + float(stream.duration * stream.time_base), True
    tag = stream.metadata.get("DURATION")  # Matroska's, one a stream: HH:MM:SS.fraction
    if tag:
        with suppress(ValueError):
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds), True
    if container.duration and container.duration > 0:
        return float((container.start_time or 0) + container.duration) / 1e6, False
    return None, False


def square_size(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """The size with square pixels: the narrower side is stretched. aspect: of one pixel, width over height."""
    ratio = float(aspect) if aspect else 1.0
    if not 0.1 < ratio < 10 or abs(ratio - 1) < 0.005:
        return width, height
    return (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
