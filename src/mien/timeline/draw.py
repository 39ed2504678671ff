"""A collected timeline → a PNG, SVG or HTML file, with pictures of the persons' moments."""

import os

from mien.atomic import write_bytes, write_text
from mien.errors import OutputError, UsageError, require
from mien.timeline.collect import Collector, Moment, Timeline
from mien.timeline.pictures import face_pictures

SUFFIXES = (".png", ".svg", ".html")


def check_timeline(path: str) -> None:
    """Before a long video is read: UsageError for another suffix, OutputError for a directory that is not there,
    MissingExtra for a package that the drawing needs."""
    if not path.lower().endswith(SUFFIXES):
        raise UsageError(f"expected a timeline {', '.join(SUFFIXES)}, got {path!r}")
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise OutputError(f"cannot write {path!r}: the directory {folder!r} does not exist", hint="make it first")
    require("jinja2" if path.lower().endswith(".html") else "matplotlib", extra="video")


def write_timeline(collector: Collector, path: str) -> None:
    """Raises UsageError where no video was read, OutputError, and what :func:`check_timeline` raises."""
    check_timeline(path)
    timelines = collector.timelines()
    if not timelines:
        raise UsageError("expected a video for the timeline, got none that could be read")
    pictures = moment_pictures(timelines)
    if path.lower().endswith(".html"):
        from mien.timeline.page import render_page

        write_text(path, render_page(timelines, pictures))
        return
    from mien import drawing
    from mien.timeline.figure import draw_figure

    figure = draw_figure(timelines, pictures)
    write_bytes(path, drawing.svg(figure) if path.lower().endswith(".svg") else drawing.png(figure))


def moment_pictures(timelines: list[Timeline]) -> dict[tuple[str, Moment], bytes | None]:
    """A face for each moment of each person."""
    found: dict[tuple[str, Moment], bytes | None] = {}
    for timeline in timelines:
        moments = [moment for track in timeline.tracks for moment in track.moments]
        for moment, data in zip(moments, face_pictures(timeline.path, moments), strict=True):
            found[timeline.source, moment] = data
    return found
