"""The summary as a picture: a bar a person, as long as the person is visible, divided by expression."""

from typing import Any

from mien import drawing
from mien.reading.annotate import hex_color_of
from mien.timeline.summary import UNSURE, Summary

MOST = 40  # bars; of more persons, those that are visible longest


def draw_summary(summary: Summary) -> Any:
    """A matplotlib figure. Raises MissingExtra without matplotlib."""
    bars: dict[tuple[str, int | None], dict[str, float]] = {}
    for row in summary.rows:
        bars.setdefault((row.source, row.track), {})[row.expression] = row.seconds
    longest = sorted(bars, key=lambda key: -sum(bars[key].values()))[:MOST]
    kept = [key for key in bars if key in longest]
    several = len({source for source, _ in kept}) > 1
    figure = drawing.new_figure(9.0, 1.4 + 0.42 * max(1, len(kept)))
    axes = figure.subplots()
    labels = summary.labels
    for place, key in enumerate(kept):
        left = 0.0
        for label in (*labels, UNSURE):
            seconds = bars[key].get(label, 0.0)
            colour = "#ffffff" if label == UNSURE else hex_color_of(label, labels)
            if seconds:
                axes.barh(place, seconds, left=left, height=0.68, color=colour, edgecolor="#777777", linewidth=0.4)
            left += seconds
    names = [_name(source, track, several) for source, track in kept]
    axes.set_yticks(range(len(kept)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("seconds visible, by the most probable expression")
    drawing.tidy(axes, grid="x")
    from matplotlib.patches import Patch

    shown = [*labels, *([UNSURE] if any(UNSURE in bar for bar in bars.values()) else [])]
    handles = [
        Patch(
            facecolor="#ffffff" if label == UNSURE else hex_color_of(label, labels),
            edgecolor="#777777",
            linewidth=0.4,
            label=label,
        )
        for label in shown
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), frameon=False, fontsize=8)
    left_out = len(bars) - len(kept)
    if left_out:
        axes.set_title(f"{left_out} persons who are visible less long are not drawn", fontsize=9, loc="left")
    return figure


def _name(source: str, track: int | None, several: bool) -> str:
    person = "all faces" if track is None else f"person {track}"
    return f"{source[-40:]}  {person}" if several else person
