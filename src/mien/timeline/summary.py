"""A table that ``mien read`` wrote → seconds, proportions and episodes of each expression, a person at a time.

A frame counts until the next frame of its video (the last one as long as the median), so that varying frame rates and
``--fps`` are right. An *episode* is a time in which one expression stays the most probable; it ends where another one
is, or where the face is away for longer than ``AWAY_S``. Several faces that were not tracked have seconds, which are
added up, but no episodes: nothing says who is who.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mien.errors import DataError
from mien.results import table_columns
from mien.showable import one_line, short
from mien.timeline.collect import AWAY_S

UNSURE = "(unsure)"  # rows whose expression is empty: below --min-confidence
_HEAD, _TAIL = table_columns(())[:10], "track"


@dataclass(frozen=True, slots=True)
class Row:
    """One expression of one person. track: None where faces were not tracked. proportion: of the person's visible
    seconds, 0-1. episodes: how many; their mean and longest length in seconds, None without any. first_s, last_s: when
    the expression was seen first and last, seconds of the video. episodes is None for several faces without tracks."""

    source: str
    track: int | None
    expression: str
    seconds: float
    proportion: float
    episodes: int | None
    mean_episode_s: float | None
    longest_episode_s: float | None
    first_s: float | None
    last_s: float | None
    visible_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """rows: by source, track and label. labels: of the model, or of all models. left_out: rows of pictures, which have
    no time."""

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    left_out: int

    def to_records(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]


@dataclass(slots=True)
class _Table:
    """Columns of the rows with a time, and what else is needed. labels: of each source's model."""

    source: list[str]
    time_s: list[float]
    track: list[int | None]
    expression: list[str | None]
    is_face: list[bool]
    labels: dict[str, tuple[str, ...]]
    left_out: int


def summarise(path: str, *, min_episode: float = 0.0) -> Summary:
    """The summary of a CSV, Parquet or JSON Lines file. min_episode: shorter ones, in seconds, are not counted.

    Raises DataError where the file is none that ``mien read`` wrote, or has no row of a video.
    """
    if not os.path.exists(path):
        raise DataError(f"expected a table that mien read wrote, got {path!r}, which does not exist")
    table = _json_lines(path) if path.lower().endswith((".jsonl", ".ndjson", ".json")) else _columns(path)
    if not table.time_s:
        raise DataError(
            f"expected rows of a video, with a time, in {path!r}, got {table.left_out:,} without",
            hint="mien read clip.mp4 -o FILE writes them",
        )
    rows: list[Row] = []
    sources = np.array(table.source, object)
    for source in dict.fromkeys(table.source):
        rows += _video(source, table, np.flatnonzero(sources == source), min_episode)
    every = dict.fromkeys(label for labels in table.labels.values() for label in labels)
    return Summary(tuple(rows), tuple(every), table.left_out)


def _video(source: str, table: _Table, indices: Any, min_episode: float) -> Iterator[Row]:
    times = np.array([table.time_s[i] for i in indices])
    frames = np.unique(times)
    steps = np.diff(frames)
    lasts = np.append(steps, np.median(steps) if len(steps) else 0.0)  # seconds that each frame stands for
    place = np.searchsorted(frames, times)
    faces = [(int(p), i) for p, i in zip(place, indices, strict=True) if table.is_face[i]]
    tracks = sorted({table.track[i] for _, i in faces}, key=lambda track: (track is not None, track or 0))
    for track in tracks:
        seen = sorted((p, table.expression[i] or UNSURE) for p, i in faces if table.track[i] == track)
        visible = float(sum(lasts[p] for p, _ in seen))
        several = len({p for p, _ in seen}) < len(seen)  # faces in one frame
        if several and track is not None:
            raise DataError(
                f"expected face {track} of {source!r} once in each frame, got it twice",
                hint="does the table hold the video twice? Read it once",
            )
        episodes: dict[str, list[float]] = {}
        spans: dict[str, tuple[float, float]] = {}
        seconds: dict[str, float] = {}
        last_place, last_label = -1, ""
        for p, label in seen:
            seconds[label] = seconds.get(label, 0.0) + float(lasts[p])
            begin = frames[last_place] + lasts[last_place] if last_place >= 0 else frames[p]
            goes_on = label == last_label and frames[p] - begin <= AWAY_S
            lengths = episodes.setdefault(label, [])
            if goes_on:
                lengths[-1] += float(lasts[p])
            else:
                lengths.append(float(lasts[p]))
            spans[label] = (spans.get(label, (float(frames[p]), 0.0))[0], float(frames[p] + lasts[p]))
            last_place, last_label = p, label
        for label in (*table.labels.get(source, ()), *([UNSURE] if UNSURE in seconds else [])):
            counted = [] if several else [length for length in episodes.get(label, []) if length >= min_episode]
            first, last = spans.get(label, (None, None))
            yield Row(
                source,
                track,
                label,
                round(seconds.get(label, 0.0), 3),
                round(seconds.get(label, 0.0) / visible, 4) if visible else 0.0,
                None if several else len(counted),
                round(float(np.mean(counted)), 3) if counted else None,
                round(max(counted), 3) if counted else None,
                None if first is None else round(first, 3),
                None if last is None else round(last, 3),
                round(visible, 3),
            )


def _labels(columns: Sequence[str], path: str) -> tuple[str, ...]:
    wanted = ("source", "time_s", "face", "expression", "confidence", _TAIL, "error")
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"expected a table that mien read wrote, got {path!r} without the columns {', '.join(missing)}",
            hint="mien read clip.mp4 -o FILE.csv writes one",
        )
    named = tuple(name for name in columns if f"raw_{name}" in columns)  # in whatever order somebody has put them
    return named or tuple(columns[columns.index("confidence") + 1 : columns.index(_TAIL)])


def _columns(path: str) -> _Table:
    """Of a CSV or Parquet file. Only the latter needs pyarrow, which the extra ``video`` does not bring."""
    labels, values = (_parquet if path.lower().endswith((".parquet", ".pq")) else _csv)(path)
    rows = list(enumerate(zip(values["time_s"], values["error"], strict=True)))
    kept = [i for i, (time_s, error) in rows if time_s is not None and error is None]
    strange = {values["expression"][i] for i in kept} - {None, *labels}
    if strange:
        raise DataError(
            f"expected a column for each expression in {path!r}, got none for {short(min(strange))}",
            hint="leave the columns of mien read as they are",
        )
    return _Table(
        [values["source"][i] for i in kept],
        [values["time_s"][i] for i in kept],
        [values["track"][i] for i in kept],
        [values["expression"][i] for i in kept],
        [values["face"][i] is not None for i in kept],
        dict.fromkeys((values["source"][i] for i in kept), labels),
        len(rows) - len(kept),
    )


def _number(text: str) -> float:
    if "_" in text:  # Python would take 1_0 for 10
        raise ValueError(f"expected a number, got {short(text)}")
    return float(text)


def _whole(text: str) -> int:
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"expected a whole number, got {short(text)}")
    return int(text)


_WANTED: dict[str, Callable[[str], Any]] = {
    "source": str, "time_s": _number, "face": _whole, "expression": str, "track": _whole, "error": str,
}  # fmt: skip


def _csv(path: str) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
    values: dict[str, list[Any]] = {name: [] for name in _WANTED}
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            labels = _labels(header, path)
            places = [(values[name], header.index(name), kind) for name, kind in _WANTED.items()]
            for row in rows:
                if row and len(row) != len(header):
                    raise ValueError(f"line {rows.line_num}: expected {len(header)} values, got {len(row)}")
                for column, place, kind in places if row else ():
                    column.append(kind(row[place]) if row[place] else None)
    except (OSError, ValueError, csv.Error) as error:  # not UTF-8 is a ValueError as well
        raise _not_ours(path, error) from error
    return labels, values


def _parquet(path: str) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        labels = _labels(pq.read_schema(path).names, path)
        read = pq.read_table(path, columns=list(_WANTED))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _not_ours(path, error) from error
    return labels, {name: read.column(name).to_pylist() for name in _WANTED}


def _not_ours(path: str, error: Exception) -> DataError:
    return DataError(f"expected a table that mien read wrote, got {path!r}: {one_line(error)}")


def _json_lines(path: str) -> _Table:
    table = _Table([], [], [], [], [], {}, 0)
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                reading = json.loads(line)
                if reading.get("time_s") is None or "faces" not in reading:
                    table.left_out += 1
                    continue
                for face in reading["faces"] or [None]:
                    table.source.append(reading["source"])
                    table.time_s.append(reading["time_s"])
                    table.track.append(face and face["track"])
                    table.expression.append(face and face["expression"])
                    table.is_face.append(face is not None)
                    if face:
                        known = table.labels.setdefault(reading["source"], tuple(face["probabilities"]))
                        new = tuple(label for label in face["probabilities"] if label not in known)
                        table.labels[reading["source"]] = known + new  # of another model
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise DataError(f"expected JSON Lines that mien read wrote, got {path!r}: {error}") from error
    return table
