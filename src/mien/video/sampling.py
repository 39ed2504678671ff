"""Which frames are read (``--fps``), and where the picture changes at once (a cut)."""

from collections.abc import Iterator
from math import floor
from typing import NamedTuple

import numpy as np

from mien.arrays import Float32, Uint8
from mien.video.frames import Frame

_THUMB = 24  # cells a side
CUT = 0.5  # correlation of two consecutive frames' thumbnails below which they are taken for two shots


class Shot(NamedTuple):
    """A frame that is read. cut: nothing of it continues the one before."""

    frame: Frame
    cut: bool


def sampled(frames: Iterator[Frame], fps: float | None, *, last_s: float | None = None) -> Iterator[Frame]:
    """The first frame in each period of 1/fps seconds, by its own time; all of them where fps is None.

    last_s: time of the last frame that was taken before, for a run that goes on.
    """
    if fps is None:
        yield from frames
        return
    last = None if last_s is None else floor(last_s * fps + 1e-6)
    for frame in frames:
        period = floor(frame.time_s * fps + 1e-6)
        if last is None or period > last:
            last = period
            yield frame


def with_cuts(frames: Iterator[Frame], *, previous: Uint8 | None = None) -> Iterator[Shot]:
    """Each frame with whether it begins another shot. previous: the frame before the first one."""
    before = None if previous is None else thumbnail(previous)
    for frame in frames:
        now = thumbnail(frame.rgb)
        yield Shot(frame, before is not None and correlation(before, now) < CUT)
        before = now


def thumbnail(rgb: Uint8) -> Float32:
    """float32 24×24: the picture's lightness in cells, each by 16 of its pixels."""
    height, width, _ = rgb.shape
    count = _THUMB * 4
    rows = (np.arange(count) + 0.5) * height / count
    columns = (np.arange(count) + 0.5) * width / count
    points = rgb[rows.astype(np.intp)[:, None], columns.astype(np.intp)].astype(np.float32).mean(axis=2)
    cells: Float32 = points.reshape(_THUMB, 4, _THUMB, 4).mean(axis=(1, 3))
    return cells


def correlation(a: Float32, b: Float32) -> float:
    """Of two thumbnails, -1 to 1, whatever their brightness and contrast; 1 where both are flat, or one all but is."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    flat = 2.0 * a.size  # a standard deviation of 1.4 of 255: a fade to black says nothing of what follows
    if size < flat:
        return 1.0
    return float((a * b).sum()) / size
