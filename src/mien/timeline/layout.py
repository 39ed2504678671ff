"""Arithmetic of axes: round ticks of a clock, and pictures moved apart."""

from collections.abc import Sequence
from math import ceil

from mien.video.frames import clock

STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)


def nice_ticks(start: float, end: float, most: int) -> list[float]:
    """Round times from start to end, in seconds, at most ``most``."""
    step = next((step for step in STEPS_S if (end - start) / step <= most), STEPS_S[-1])
    while (end - start) / step > most:
        step *= 2
    first = ceil(start / step - 1e-9)
    return [round(n * step, 6) for n in range(first, int(end / step + 1e-9) + 1)]


def tick_text(seconds: float) -> str:
    """``"2.5 s"``, ``"1:30"``, ``"2:00:00"``."""
    return f"{seconds:g} s" if seconds < 60 else clock(seconds).removesuffix(".00")


def spread(places: Sequence[float], least: float, *, low: float, high: float) -> list[float]:
    """Rising places, moved apart to at least ``least`` and kept from ``low`` to ``high`` where there is room."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, low, moved[-1] + least if moved else low))
    limit = high
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - least
    return moved
