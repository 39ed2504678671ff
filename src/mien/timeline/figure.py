"""The timeline as a picture: each person a stacked area of probabilities over time, with faces of the surest moments.

Drawn with matplotlib on :mod:`mien.drawing`; colours are those of the annotated frames.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from mien import drawing
from mien.reading.annotate import hex_color_of
from mien.timeline.collect import Moment, Timeline, TrackLine
from mien.timeline.layout import nice_ticks, spread, tick_text
from mien.video.frames import clock

Pictures = Mapping[tuple[str, Moment], bytes | None]
WIDTH = 11.0  # inches
ROW, WITH_FACES, HEAD = 1.15, 0.85, 0.55


def draw_figure(timelines: Sequence[Timeline], pictures: Pictures) -> Any:
    """A matplotlib figure. pictures: a JPEG for moments that have one. Raises MissingExtra without matplotlib."""
    rows = [(timeline, track) for timeline in timelines for track in timeline.tracks or (None,)]
    height = len(rows) * (ROW + WITH_FACES) + len(timelines) * HEAD + 0.9
    figure = drawing.new_figure(WIDTH, height)
    axes_of = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    begun: set[int] = set()
    for axes, (timeline, track) in zip(axes_of, rows, strict=True):
        first = id(timeline) not in begun
        begun.add(id(timeline))
        _row(axes, timeline, track, pictures, title=_title(timeline) if first else None)
    labels = timelines[0].labels
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=hex_color_of(label, labels), edgecolor="#777777", linewidth=0.4, label=label)
        for label in labels
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _title(timeline: Timeline) -> str:
    title = f"{timeline.source}: {clock(timeline.start_s)} to {clock(timeline.end_s)}"
    count, seconds = timeline.left_out
    return title + (f"; {count} more persons, visible for {clock(seconds)}, are not drawn" if count else "")


def _row(axes: Any, timeline: Timeline, track: TrackLine | None, pictures: Pictures, *, title: str | None) -> None:
    start, end = timeline.start_s, timeline.end_s
    axes.set_xlim(start, max(end, start + 1e-3))
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "50", "100 %"], fontsize=8)
    ticks = nice_ticks(start, end, 12)
    axes.set_xticks(ticks, [tick_text(tick) for tick in ticks])
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    faces = [] if track is None else [m for m in track.moments if pictures.get((timeline.source, m))]
    if title is not None:
        axes.set_title(title, fontsize=10, loc="left", pad=70 if faces else 8)
    if track is None:
        axes.text(0.5, 0.5, "no face was found", transform=axes.transAxes, ha="center", va="center", color=drawing.GREY)
        return
    axes.set_ylabel(track.name, fontsize=9)
    colours = [hex_color_of(label, timeline.labels) for label in timeline.labels]
    for segment in track.segments:
        axes.stackplot(segment.times, segment.probabilities.T, colors=colours, linewidth=0)
    axes.set_facecolor("#f3f3f3")  # where the face is away
    _faces(axes, timeline, faces, pictures)


def _faces(axes: Any, timeline: Timeline, moments: Sequence[Moment], pictures: Pictures) -> None:
    """Pictures above the area, in order of time, each with a line to its moment."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    span = max(timeline.end_s - timeline.start_s, 1e-3)
    places = [(moment.time_s - timeline.start_s) / span for moment in moments]
    places = spread(places, 0.068, low=0.034, high=0.966)
    for moment, place in zip(moments, places, strict=True):
        data = pictures[timeline.source, moment]
        assert data is not None
        image = OffsetImage(np.asarray(Image.open(BytesIO(data))), zoom=0.36)
        box = AnnotationBbox(
            image,
            (moment.time_s, 1.0),
            xybox=(place, 1.30),
            boxcoords="axes fraction",
            pad=0.12,
            arrowprops={"arrowstyle": "-", "linewidth": 0.7, "color": drawing.GREY},
            bboxprops={"edgecolor": hex_color_of(moment.label, timeline.labels), "linewidth": 2},
            annotation_clip=False,
        )
        axes.add_artist(box)
