"""The texts of a matplotlib figure, and which of them lie over another."""

from typing import Any


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def shown(figure: Any) -> list[Any]:
    """The Text objects that are drawn; without slanted ones, whose boxes cross although their letters do not."""
    from matplotlib.text import Text

    figure.canvas.draw()
    hidden = set()  # ticks beyond the limits, and those of an axis that is shared, keep their labels
    for axes in figure.findobj(lambda part: hasattr(part, "get_xlim")):
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            low, high = min(limits) - 1e-9, max(limits) + 1e-9
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high or not tick.label1.get_visible():
                    hidden |= {tick.label1, tick.label2}
    found = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible() and t not in hidden]
    return [t for t in found if not t.get_rotation() % 90]


def overlaps(figure: Any) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes cross by more than a pixel."""
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown(figure)]
    return [
        (a, b)
        for i, (a, box_a) in enumerate(boxes)
        for b, box_b in boxes[i + 1 :]
        if min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0) > 1
        and min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0) > 1
    ]
