"""How every figure is drawn and saved: the colours, a plain style, and atomic writes of PNG and SVG.

On matplotlib ``Figure`` objects with the Agg canvas: no pyplot, no global state, no display. matplotlib is imported on
the first figure (extra ``train``). The same drawing gives the same bytes.

Colours are Okabe & Ito's (2008), safe for the colour-blind; classes differ by marker as well, because no eight colours
differ for everybody. Class order is the label order.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import write_bytes
from mien.errors import MissingExtra, OutputError
from mien.fonts import file_with, letters

DPI = 150
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#000000", "#555555"
#: One a class, in label order: angry, disgust, fear, happy, sad, surprise, neutral, contempt.
CLASS_COLOURS = (VERMILLION, GREEN, PURPLE, ORANGE, BLUE, SKY, GREY, BLACK)
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "x", "*")
#: One a run or model, in the order in which they are given: see :func:`of_run`.
RUN_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
RUN_STYLES = ("-", "--", "-.", ":")
#: Of areas that touch, one a source or split: neighbours differ in lightness too; a ninth starts again.
AREA_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW, GREY)
GRID = "#dddddd"


def of_class(code: int) -> tuple[str, str]:
    """Colour and marker of a class. Beyond eight classes colours come again, with another marker."""
    n = len(CLASS_COLOURS)
    return CLASS_COLOURS[code % n], CLASS_MARKERS[(code + code // n) % len(CLASS_MARKERS)]


def of_run(number: int) -> tuple[str, str, str]:
    """Colour, line style and marker of the ``number``-th run or model of a figure."""
    colour, style = RUN_COLOURS[number % len(RUN_COLOURS)], RUN_STYLES[number % len(RUN_STYLES)]
    return colour, style, CLASS_MARKERS[number % len(CLASS_MARKERS)]


def new_figure(width: float, height: float) -> Any:
    """A matplotlib Figure of this size in inches, with a layout that keeps labels apart. Raises MissingExtra."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "train") from error
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, stem: Path) -> bytes:
    """Write ``stem``.png and ``stem``.svg; returns the SVG. Raises OutputError."""
    picture, drawn = png(figure), svg(figure)  # png first: it settles the layout for both
    try:
        write_bytes(stem.with_name(f"{stem.name}.png"), picture)
        write_bytes(stem.with_name(f"{stem.name}.svg"), drawn)
    except OutputError as error:
        raise OutputError(f"expected to write the figure {stem.name}, {error.message}", hint=error.hint) from error
    return drawn


def svg(figure: Any) -> bytes:
    """The figure as SVG, letters as outlines: no font is needed. Control characters of names are no XML: left out."""
    return re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"", _rendered(figure, "svg", {"Date": None, "Creator": None}))


def png(figure: Any) -> bytes:
    """The figure as PNG."""
    return _rendered(figure, "png", {"Software": None})


def _rendered(figure: Any, kind: str, metadata: dict[str, None]) -> bytes:
    """metadata: without what would differ the next time."""
    from matplotlib import rc_context

    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "mien", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # ``fonts`` says it once
        if figure.get_layout_engine() is not None:  # else savefig would compute the layout twice for each format
            _take_literally(figure)
            figure.draw_without_rendering()
            if _add_letters(figure):
                figure.draw_without_rendering()
            figure.set_layout_engine(None)
        box = figure.get_tightbbox(figure.canvas.get_renderer()).padded(0.12)
        figure.savefig(data, format=kind, dpi=DPI, metadata=metadata, bbox_inches=box)
    return data.getvalue()


def _take_literally(figure: Any) -> None:
    """A name between two dollars is no formula, and may be none that can be drawn. The numbers of log axes are some."""
    from matplotlib.text import Text

    formulas = set[Any]()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            formulas |= set(axis.get_ticklabels(which="both")) if axis.get_scale() == "log" else set()
    for text in set(figure.findobj(Text)) - formulas:
        text.set_parse_math(False)


def _add_letters(figure: Any) -> bool:
    """Another font behind matplotlib's own for texts whose letters that lacks; whether there were any."""
    from matplotlib.font_manager import FontProperties, fontManager
    from matplotlib.text import Text

    added = False
    for text in figure.findobj(Text):
        path = file_with(letters(text.get_text()))
        if path is not None and path.name != "DejaVuSans.ttf":
            fontManager.addfont(path)
            text.set_family(["DejaVu Sans", FontProperties(fname=path).get_name()])
            added = True
    return added


def headline(axes: Any, title: str, facts: str, *, width: int) -> None:
    """The title, wrapped at ``width`` letters so that a long one is not cut, above the facts."""
    lines = textwrap.wrap(title, width) or [""]
    axes.set_title("\n".join([*lines, facts]), fontsize=11, loc="left", linespacing=1.35)


def tidy(axes: Any, *, grid: str = "both") -> None:
    """No box around, a light grid behind: of "x", "y" or "both"."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def few_ticks(most: int) -> Any:
    """A locator of whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=most, integer=True)


def heat_map(
    figure: Any,
    axes: Any,
    counts: NDArray[np.integer[Any]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    bar: str,
    zeros: bool = True,
    aspect: str = "equal",
) -> None:
    """Counts by row: colour and large number are per cent of the row, the small number is the count.

    counts: one row for each of ``rows``, one column for each of ``columns``. bar: what the colour bar is called.
    zeros: whether a count of 0 is written. aspect: "equal" cells are squares, "auto" ones fill the figure.
    """
    total = counts.sum(1, keepdims=True)
    proportion = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    image = axes.imshow(proportion, cmap="Blues", vmin=0, vmax=1, aspect=aspect)
    for (i, j), value in np.ndenumerate(proportion):
        color = ink(image.cmap(image.norm(value)))
        axes.text(j, i - 0.10, whole_percent(value), ha="center", va="center", color=color, fontsize=11)
        if zeros or counts[i, j]:
            axes.text(j, i + 0.24, f"{counts[i, j]:,}", ha="center", va="center", color=color, fontsize=7)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    drawn = figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.035, 1)), format=lambda value, _: f"{value:.0%}")
    drawn.set_label(bar)
    drawn.outline.set_visible(False)


def ink(cell: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast on this sRGB colour (WCAG 2.1 relative luminance)."""
    return "black" if luminance(cell[:3]) > 0.179 else "white"


def luminance(color: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour of three numbers of 0-1 (WCAG 2.1)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Contrast ratio of two sRGB colours of 0-1, from 1 to 21; WCAG 2.1 AA asks 4.5 of text and 3 of large text."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def whole_percent(proportion: float) -> str:
    """Whole per cent, without the sign (the colour bar has it); ``"<1"`` for a little, blank for none,
    ``">99"`` for nearly all."""
    if proportion == 0:
        return ""
    if proportion < 0.005 or 0.995 <= proportion < 1:
        return "<1" if proportion < 0.5 else ">99"
    return f"{max(1, 100 * proportion):.0f}"
