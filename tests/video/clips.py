"""Small clips made for the tests: a bright square (the "face") that moves on a dark ground, with or without sound."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.faces.base import Detection
from mien.results import Box

Uint8 = NDArray[np.uint8]
Place = Callable[[int], Sequence[tuple[float, float]]]
SIDE = 24  # of a square, pixels
BASE = Fraction(1, 12800)


def picture(places: Sequence[tuple[float, float]], *, width: int = 128, height: int = 96, shade: int = 40) -> Uint8:
    """uint8 H×W×3: squares at these top left corners, on a ground with a gradient (so that shots correlate)."""
    ground = np.linspace(shade - 20, shade + 20, width)[None, :, None] + np.linspace(-10, 10, height)[:, None, None]
    rgb = np.repeat(ground, 3, axis=2).clip(0, 255).astype(np.uint8)
    for x, y in places:
        rgb[max(0, round(y)) : max(0, round(y) + SIDE), max(0, round(x)) : max(0, round(x) + SIDE)] = 230
    return rgb


def write_clip(
    path: Path,
    pictures: Sequence[Uint8],
    *,
    times: Sequence[float] | None = None,
    rate: int = 25,
    codec: str = "libx264",
    rotation: int | None = None,
    sound: str | None = None,
    sound_rate: int = 48000,
    options: dict[str, str] | None = None,
    gop: int = 12,
    aspect: Fraction | None = None,
) -> Path:
    """times: in seconds, by default at ``rate``. rotation: the flag, degrees. sound: a codec for a tone."""
    import av

    height, width, _ = pictures[0].shape
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=rate, options={"crf": "18", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = (
            width,
            height,
            "yuv420p" if width % 2 == height % 2 == 0 else "yuv444p",
        )
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = stream.time_base = BASE
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        audio: Any = out.add_stream(sound, rate=sound_rate) if sound else None
        for number, rgb in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            seconds = number / rate if times is None else times[number]
            frame.pts, frame.time_base = round(seconds / BASE), BASE
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if audio is not None:
            length = (len(pictures) / rate) if times is None else times[-1] + 1 / rate
            _tone(out, audio, length, sound_rate)
    return path


def _tone(out: Any, audio: Any, seconds: float, rate: int = 48000) -> None:
    import av

    layout = "stereo"
    for start in range(0, round(rate * seconds), 1024):
        wave = np.sin(np.arange(start, start + 1024) * (440 * 2 * np.pi / rate)).astype(np.float32) * 0.2
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        out.mux(audio.encode(frame))
    out.mux(audio.encode())


class Squares:
    """A detector of the squares. ``searched`` counts its calls."""

    name = "squares"

    def __init__(self, *, blind: Callable[[Uint8], bool] = lambda rgb: False) -> None:
        self.searched = 0
        self._blind = blind

    def detect(self, image: Uint8) -> list[Detection]:
        from scipy.ndimage import find_objects, label

        self.searched += 1
        if self._blind(image):
            return []
        marked, _ = label(image[..., 1] > 150)
        found = []
        for rows, columns in find_objects(marked):
            x, y, w, h = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
            if w >= SIDE / 2 and h >= SIDE / 2:
                found.append(Detection(Box(float(x), float(y), float(w), float(h)), 0.9))
        return sorted(found, key=lambda face: face.box.w * face.box.h, reverse=True)
