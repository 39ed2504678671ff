"""Where the labels of an annotated picture go: pure arithmetic on rectangles, no drawing.

Each face gets a chip on its box, and a panel of bars where one fits without covering a face or another label.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TOLERATED = 0.02  # proportion of a panel that may cover something else


@dataclass(frozen=True, slots=True)
class Rect:
    """Pixels of the canvas: left, top, width, height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        return self.x + self.w

    @property
    def bottom(self) -> float:
        return self.y + self.h

    def overlap(self, other: "Rect") -> float:
        """Shared area in square pixels."""
        wide = min(self.right, other.right) - max(self.x, other.x)
        high = min(self.bottom, other.bottom) - max(self.y, other.y)
        return max(0.0, wide) * max(0.0, high)


def clamp(value: float, low: float, high: float) -> float:
    """value within low-high; low where the span is empty."""
    return max(low, min(value, high))


def place_chip(box: Rect, size: tuple[float, float], canvas: Rect, obstacles: Sequence[Rect]) -> Rect:
    """A chip's place: on top of the box, else below it, else inside its top edge; always inside the canvas."""
    w, h = size
    left, right = clamp(box.x, 0, canvas.w - w), clamp(box.right - w, 0, canvas.w - w)
    spots = [
        Rect(left, box.y - h, w, h),
        Rect(right, box.y - h, w, h),
        Rect(left, box.bottom, w, h),
        Rect(right, box.bottom, w, h),
        Rect(left, clamp(box.y, 0, canvas.h - h), w, h),
    ]
    inside = [spot for spot in spots if spot.y >= 0 and spot.bottom <= canvas.h] or spots[-1:]
    return min(enumerate(inside), key=lambda pair: (round(_covered(pair[1], obstacles) / (w * h), 2), pair[0]))[1]


def place_panel(
    box: Rect, size: tuple[float, float], gap: float, canvas: Rect, obstacles: Iterable[Rect]
) -> Rect | None:
    """A panel's place beside, below or above its box; None where it would cover something or not fit at all."""
    w, h = size
    others = [*obstacles, box]
    rows = [clamp(y, gap, canvas.h - h - gap) for y in (box.y, box.y + (box.h - h) / 2, box.bottom - h)]
    columns = [clamp(x, gap, canvas.w - w - gap) for x in (box.x, box.x + (box.w - w) / 2, box.right - w)]
    spots = [Rect(box.right + gap, y, w, h) for y in rows]
    spots += [Rect(box.x - gap - w, y, w, h) for y in rows]
    spots += [Rect(x, box.bottom + gap, w, h) for x in columns]
    spots += [Rect(x, box.y - gap - h, w, h) for x in columns]
    fitting = [
        spot for spot in spots if spot.x >= 0 and spot.y >= 0 and spot.right <= canvas.w and spot.bottom <= canvas.h
    ]
    if not fitting:
        return None
    cost, _, best = min((_covered(spot, others), order, spot) for order, spot in enumerate(fitting))
    return best if cost <= TOLERATED * w * h else None


def place_corner(size: tuple[float, float], gap: float, canvas: Rect, obstacles: Sequence[Rect]) -> Rect | None:
    """The corner of the canvas where a panel hides least; None where it takes more than a quarter of the canvas."""
    w, h = size
    if 4 * w * h > canvas.w * canvas.h or w + 2 * gap > canvas.w or h + 2 * gap > canvas.h:
        return None
    corners = [Rect(x, y, w, h) for y in (canvas.h - h - gap, gap) for x in (canvas.w - w - gap, gap)]
    return min(enumerate(corners), key=lambda pair: (round(_covered(pair[1], obstacles) / (w * h), 1), pair[0]))[1]


def _covered(spot: Rect, obstacles: Iterable[Rect]) -> float:
    return sum(spot.overlap(other) for other in obstacles)
