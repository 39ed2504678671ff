"""What the analyses' figures share: one colour and one marker a class, PNG and SVG of one drawing, JSON beside them.

Colours are Okabe & Ito's (2008), safe for the colour-blind; classes differ by marker as well, because no eight colours
differ for everybody. Class order is the label order.
"""

import io
import json
from pathlib import Path
from typing import Any

from mien.atomic import write_bytes, write_text
from mien.evaluation.figures import DPI, _figure

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#CC79A7", "#000000", "#555555"
#: One a class, in label order: angry, disgust, fear, happy, sad, surprise, neutral, contempt.
CLASS_COLOURS = (VERMILLION, GREEN, PURPLE, ORANGE, BLUE, SKY, GREY, BLACK)
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "x", "*")
#: One a run or model, in the order in which they are given; line styles repeat after eight.
RUN_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
RUN_STYLES = ("-", "--", "-.", ":")


def new_figure(width: float, height: float) -> Any:
    """A matplotlib Figure of this size in inches on the Agg canvas. Raises MissingExtra without matplotlib."""
    return _figure(width, height)


def save_figure(figure: Any, stem: Path) -> list[str]:
    """Write ``stem.png`` and ``stem.svg``; the same drawing gives the same bytes. Returns the names of the files.

    Raises OutputError.
    """
    from matplotlib import rc_context

    names = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        data = io.BytesIO()
        with rc_context({"svg.hashsalt": "mien", "svg.fonttype": "path"}):
            figure.savefig(data, format=suffix, dpi=DPI, metadata=metadata, bbox_inches="tight", pad_inches=0.12)
        file = stem.parent / f"{stem.name}.{suffix}"
        write_bytes(file, data.getvalue())
        names.append(file.name)
    return names


def save_report(report: dict[str, Any], out: Path) -> None:
    """Write ``KIND.json``: no NaN in it, floats as they are. Raises OutputError."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(out / f"{report['kind']}.json", text)


def tidy(axes: Any) -> None:
    """No box around, a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
