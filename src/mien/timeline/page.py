"""The timeline as one HTML file: areas as SVG, numbers on hovering (by style alone: the page has no script), faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mien import __version__
from mien.pages.environment import data_uri, render
from mien.pages.format import plural
from mien.reading.annotate import hex_color_of
from mien.timeline.collect import Moment, Segment, Timeline, TrackLine
from mien.timeline.layout import nice_ticks, spread, tick_text
from mien.video.frames import clock

SIZE = {"width": 1000, "left": 44, "inner": 946, "area": 150, "face": 58}
COLUMNS = 240  # places for hovering in one row
LABELS_TOP = 14  # between faces and area


def render_page(timelines: Sequence[Timeline], pictures: Mapping[tuple[str, Moment], bytes | None]) -> str:
    """The page's text. pictures: a JPEG for moments that have one. Raises MissingExtra without Jinja2."""
    labels = timelines[0].labels
    videos = [_video(timeline, pictures) for timeline in timelines]
    title = f"Expressions over time: {timelines[0].source}" if len(videos) == 1 else "Expressions over time"
    return render(
        "timeline.html.j2",
        title=title,
        legend=[{"label": label, "colour": hex_color_of(label, labels)} for label in labels],
        videos=videos,
        size=SIZE,
        method=f"Made by mien {__version__} read --timeline. Faces are shown where an expression was surest.",
    )


def _video(timeline: Timeline, pictures: Mapping[tuple[str, Moment], bytes | None]) -> dict[str, Any]:
    count, seconds = timeline.left_out
    note = f"{plural(count, 'more person')}, visible for {clock(seconds)} in all, not drawn" if count else ""
    times = nice_ticks(timeline.start_s, timeline.end_s, 9)
    ticks = [{"x": _x(timeline, t), "text": tick_text(t)} for t in times]
    return {
        "title": f"{timeline.source} · {clock(timeline.start_s)} to {clock(timeline.end_s)}",
        "note": note,
        "ticks": ticks,
        "tracks": [_track(timeline, track, pictures) for track in timeline.tracks],
    }


def _track(timeline: Timeline, track: TrackLine, pictures: Mapping[tuple[str, Moment], bytes | None]) -> dict[str, Any]:
    labels = timeline.labels
    shown = [(moment, data) for moment in track.moments if (data := pictures.get((timeline.source, moment)))]
    top = SIZE["face"] + LABELS_TOP if shown else 4
    places = spread([_x(timeline, moment.time_s) - SIZE["face"] / 2 for moment, _ in shown], SIZE["face"] + 4.0,
                    low=SIZE["left"], high=SIZE["left"] + SIZE["inner"] - SIZE["face"])  # fmt: skip
    faces = [
        {
            "x": round(place, 1),
            "at": _x(timeline, moment.time_s),
            "uri": data_uri(data, "jpeg"),
            "colour": hex_color_of(moment.label, labels),
            "text": f"{moment.label} {100 * moment.p:.0f} % at {clock(moment.time_s)}",
        }
        for place, (moment, data) in zip(places, shown, strict=True)
    ]
    total = sum(track.tops.values())
    cells = [_cell(track.tops.get(label, 0.0), total) for label in labels]
    return {
        "name": track.name,
        "visible": clock(track.seconds),
        "summary": ", ".join(f"{label} {cell}" for label, cell in zip(labels, cells, strict=True) if cell),
        "top": top,
        "height": top + SIZE["area"] + 22,
        "areas": [area for segment in track.segments for area in _areas(timeline, segment, top)],
        "columns": [column for segment in track.segments for column in _columns(timeline, segment)],
        "faces": faces,
        "cells": cells,
    }


def _areas(timeline: Timeline, segment: Segment, top: int) -> list[dict[str, str]]:
    """A polygon for each expression, the first at the bottom."""
    xs = [_x(timeline, t) for t in segment.times]
    edges = np.concatenate([np.zeros((len(xs), 1)), np.cumsum(segment.probabilities, axis=1)], axis=1)
    ys = np.round(top + SIZE["area"] * (1 - edges.clip(0, 1)), 1)
    areas = []
    for k, label in enumerate(timeline.labels):
        upper = [f"{x:g},{y:g}" for x, y in zip(xs, ys[:, k + 1], strict=True)]
        lower = [f"{x:g},{y:g}" for x, y in zip(xs, ys[:, k], strict=True)]
        areas.append({"points": " ".join(upper + lower[::-1]), "colour": hex_color_of(label, timeline.labels)})
    return areas


def _columns(timeline: Timeline, segment: Segment) -> list[dict[str, Any]]:
    """Places for hovering: strips of equal width, each with the mean of what lies in it."""
    width = SIZE["inner"] / COLUMNS
    numbers = np.array([int((_x(timeline, t) - SIZE["left"]) / width) for t in segment.times])
    columns = []
    for number in range(numbers.min(), numbers.max() + 1):
        inside = numbers == number
        if not inside.any():
            inside = np.abs(numbers - number) == np.abs(numbers - number).min()
        row = segment.probabilities[inside].mean(axis=0)
        x = SIZE["left"] + number * width
        right = x > SIZE["left"] + SIZE["inner"] * 0.75
        order = np.argsort(-row, kind="stable")
        time_s = float(segment.times[inside].mean())
        columns.append(
            {
                "x": round(x, 1),
                "width": round(width + 0.1, 1),
                "middle": round(x + width / 2, 1),
                "card": round(x - 128 if right else x + width + 8, 1),
                "time": clock(time_s),
                "lines": [{"label": timeline.labels[k], "value": f"{100 * row[k]:.0f} %"} for k in order],
            }
        )
    return columns


def _cell(seconds: float, total: float) -> str:
    return f"{clock(seconds)} ({seconds / total:.0%})" if seconds and total else ""


def _x(timeline: Timeline, time_s: float) -> float:
    span = max(timeline.end_s - timeline.start_s, 1e-3)
    return round(SIZE["left"] + SIZE["inner"] * min(max((time_s - timeline.start_s) / span, 0), 1), 2)
