"""Timelines and summaries: the numbers of a known video, gaps, memory, and a page that opens offline."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av", exc_type=ImportError)
from clips import picture, write_clip
from PIL import Image

from called import Call
from mien.errors import DataError
from mien.labels import SEVEN
from mien.results import Box, Face, Reading
from mien.timeline.collect import MAX_BINS, POINTS, Collector
from mien.timeline.layout import nice_ticks, spread, tick_text
from mien.timeline.page import render_page
from mien.timeline.summary import summarise

BOX = Box(10, 10, 30, 30)


def face(label: str, p: float = 0.7, track: int = 1) -> Face:
    row = dict.fromkeys(SEVEN, (1 - p) / 6) | {label: p}
    return Face(BOX, 0.9, label, p, row, track=track)


def film(
    spans: list[tuple[float, float, str, int]], end: float, step: float = 0.04, source: str = "v.mp4"
) -> Iterator[Reading]:
    """spans: from, to, expression, track."""
    for n in range(round(end / step)):
        t = round(n * step, 6)
        faces = tuple(face(label, track=track) for a, b, label, track in spans if a <= t < b)
        yield Reading(source, 100, 80, faces, t)


STORY = [(0.0, 2.0, "happy", 1), (2.0, 3.0, "sad", 1), (5.0, 6.0, "sad", 1), (1.0, 4.0, "neutral", 2)]


def collected(readings: Iterator[Reading]) -> Collector:
    collector = Collector(SEVEN)
    for reading in readings:
        collector.add(reading)
    return collector


def test_what_a_timeline_holds() -> None:
    (line,) = collected(film(STORY, 6.4)).timelines()
    assert (line.start_s, line.end_s) == (0.0, pytest.approx(6.4))
    one, two = line.tracks
    assert (one.track, two.track) == (1, 2)
    assert one.seconds == pytest.approx(4.0)
    assert one.tops == {"happy": pytest.approx(2.0), "sad": pytest.approx(2.0)}
    assert [(s.times[0], s.times[-1]) for s in one.segments] == [
        (pytest.approx(0.0), pytest.approx(3.0, abs=0.06)),
        (pytest.approx(5.0, abs=0.06), pytest.approx(6.0, abs=0.06)),
    ]  # the gap of two seconds
    happy = SEVEN.index("happy")
    early = one.segments[0].probabilities[one.segments[0].times < 1.9]
    assert np.allclose(early[:, happy], 0.7)
    for track in line.tracks:
        for segment in track.segments:
            assert np.allclose(segment.probabilities.sum(1), 1)
    assert [moment.label for moment in one.moments] == ["happy", "sad"]


def test_memory_does_not_grow_with_the_length() -> None:
    collector = Collector(SEVEN)
    rng = np.random.default_rng(0)
    for n in range(20_000):  # 83 minutes at 4 frames/s
        row = dict(zip(SEVEN, rng.dirichlet(np.ones(7)).tolist(), strict=True))
        top = max(row, key=row.__getitem__)
        collector.add(Reading("v", 9, 9, (Face(BOX, 1.0, top, row[top], row, track=1),), n / 4))
    (video,) = collector._videos.values()
    assert len(video.tracks[1].cells) <= MAX_BINS + 1
    (line,) = collector.timelines()
    (segment,) = line.tracks[0].segments
    assert len(segment.times) <= POINTS + 3
    assert np.allclose(segment.probabilities.mean(0), 1 / 7, atol=0.01)


def test_one_frame_a_second_has_no_gaps() -> None:
    (line,) = collected(film([(0, 60, "happy", 1)], 60, step=1.0)).timelines()
    assert len(line.tracks[0].segments) == 1
    assert line.tracks[0].seconds == pytest.approx(60)


def test_seconds_are_of_the_stream_where_the_frame_rate_varies(tmp_path: Path) -> None:
    """Ten frames a second with the face, then a hundred without: as in the summary, not the mean step."""
    times = [n / 10 for n in range(20)] + [2 + n / 100 for n in range(200)]

    def readings() -> Iterator[Reading]:
        for t in times:
            yield Reading("v", 9, 9, (face("happy"),) if t < 2 else (), t)

    (line,) = collected(readings()).timelines()
    assert line.tracks[0].seconds == pytest.approx(2.0)
    assert line.tracks[0].tops == {"happy": pytest.approx(2.0)}
    rows = summarise(str(table(tmp_path / "t.csv", readings()))).rows
    assert rows[3].seconds == pytest.approx(2.0)
    assert 20 * (times[-1] / (len(times) - 1)) < 0.5  # negative control


def test_the_page_is_one_file_without_scripts() -> None:
    lines = collected(film(STORY, 6.4, source="<script>alert(1)</script>.mp4")).timelines()
    pictures = {(lines[0].source, lines[0].tracks[0].moments[0]): b"\xff\xd8jpeg"}
    page = render_page(lines, pictures)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page)
    assert page.count("<polygon") == 3 * 7  # three segments
    assert page.count('class="at"') > 100
    assert "2.00 s (50%)" in page
    assert "70 %" in page  # what hovering shows


def test_axes() -> None:
    assert nice_ticks(0, 6.4, 9) == [0, 1, 2, 3, 4, 5, 6]
    assert nice_ticks(100, 3700, 12) == [300 * n for n in range(1, 13)][::2] or len(nice_ticks(100, 3700, 12)) <= 12
    assert [tick_text(t) for t in (0.5, 90, 7200)] == ["0.5 s", "1:30", "2:00:00"]
    places = spread([0.1, 0.12, 0.13, 0.99], 0.1, low=0, high=0.9)
    assert min(np.diff(places)) >= 0.1 - 1e-9
    assert places[-1] <= 0.9


def table(path: Path, readings: Iterator[Reading]) -> Path:
    """Written as mien read writes it."""
    from mien.reading.outputs import choose_format, open_writer

    with open_writer(choose_format(None, str(path)), output=str(path), labels=SEVEN, stdout=io.BytesIO()) as writer:
        for reading in readings:
            writer.write(reading)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_summary_of_a_known_film(tmp_path: Path, suffix: str) -> None:
    result = summarise(str(table(tmp_path / f"t.{suffix}", film(STORY, 6.4))))
    rows = {(row.track, row.expression): row for row in result.rows}
    assert len(rows) == 14
    happy, sad = rows[1, "happy"], rows[1, "sad"]
    assert (happy.seconds, happy.episodes, happy.proportion) == (2.0, 1, 0.5)
    assert (sad.seconds, sad.episodes, sad.mean_episode_s, sad.longest_episode_s) == (2.0, 2, 1.0, 1.0)
    assert (sad.first_s, sad.last_s) == (2.0, 6.0)
    assert (rows[2, "neutral"].seconds, rows[2, "neutral"].visible_s) == (3.0, 3.0)
    assert rows[2, "happy"].episodes == 0


def test_the_record_of_damage_is_no_frame(tmp_path: Path) -> None:
    from mien.results import ReadFailure

    whole = summarise(str(table(tmp_path / "a.csv", film(STORY, 6.4)))).rows
    failure = ReadFailure("v.mp4", "unreadable", "the file is damaged", time_s=0.713)
    for suffix in ("csv", "parquet", "jsonl"):
        path = table(tmp_path / f"b.{suffix}", iter([*film(STORY, 6.4), failure]))  # type: ignore[arg-type]
        assert summarise(str(path)).rows == whole


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_faces_without_tracks_have_seconds_and_no_episodes(tmp_path: Path, suffix: str) -> None:
    """Nothing says who of two is who: of two happy people in four seconds no episode lasts eight."""

    def untracked(*labels: str) -> Iterator[Reading]:
        faces = tuple(replace(face(label), track=None) for label in labels)
        return (Reading("v", 9, 9, faces, n / 25) for n in range(100))

    two = summarise(str(table(tmp_path / f"two.{suffix}", untracked("happy", "sad")))).rows
    happy = next(row for row in two if row.expression == "happy")
    assert (happy.seconds, happy.visible_s) == (pytest.approx(4), pytest.approx(8))
    assert {(row.episodes, row.mean_episode_s, row.longest_episode_s) for row in two} == {(None, None, None)}
    one = summarise(str(table(tmp_path / f"one.{suffix}", untracked("happy")))).rows  # the control
    assert next(row.episodes for row in one if row.expression == "happy") == 1


def test_a_video_that_a_table_holds_twice_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", iter([*film(STORY, 6.4), *film(STORY, 6.4)]))
    with pytest.raises(DataError, match=r"expected face 1 of .* once in each frame, got it twice; does the table hold"):
        summarise(str(path))


def test_each_video_has_the_labels_of_its_model(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", film(STORY, 6.4))
    other = replace(face("happy"), expression="contempt", probabilities=dict.fromkeys(SEVEN, 0.0) | {"contempt": 1.0})
    eighth = table(tmp_path / "e.jsonl", (Reading("w", 9, 9, (other,), n / 25) for n in range(100)))
    path.write_text(path.read_text() + eighth.read_text())
    result = summarise(str(path))
    assert result.labels == (*SEVEN, "contempt")
    assert {row.expression: row.seconds for row in result.rows if row.source == "w"}["contempt"] == pytest.approx(4)
    assert "contempt" not in {row.expression for row in result.rows if row.source != "w"}


def test_summary_agrees_with_pandas_on_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.02, 0.1, 400)).round(6)
    labels = rng.choice(SEVEN, 400)
    readings = (Reading("v", 9, 9, (face(label),), float(t)) for t, label in zip(times, labels, strict=True))
    path = table(tmp_path / "t.csv", readings)
    frame = pd.read_csv(path)
    frame["dt"] = np.append(np.diff(frame.time_s), np.median(np.diff(frame.time_s)))
    frame["episode"] = (frame.expression != frame.expression.shift()).cumsum()
    episodes = frame.groupby(["expression", "episode"]).dt.sum().groupby("expression").agg(["sum", "count", "max"])
    for row in summarise(str(path)).rows:
        assert row.seconds == pytest.approx(episodes["sum"][row.expression], abs=1e-3)
        assert row.episodes == episodes["count"][row.expression]
        assert row.longest_episode_s == pytest.approx(episodes["max"][row.expression], abs=1e-3)
    frames = frame.groupby("expression").size() / len(frame)  # negative control: frames are not time
    assert max(abs(row.proportion - frames[row.expression]) for row in summarise(str(path)).rows) > 0.003


def test_the_command_writes_tables_and_pictures(call: Call, tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", film(STORY, 6.4))
    call("summarise", path, "--figure", tmp_path / "s.png")
    assert call.status == 0
    rows = list(csv.DictReader(io.StringIO(call.out)))
    assert rows[3]["expression"] == "happy"
    assert rows[3]["seconds"] == "2.0"
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 800
    assert (
        pq.read_table(tmp_path / "o.parquet").num_rows == 14
        if call("summarise", path, "-o", tmp_path / "o.parquet")
        else 0
    )
    call("summarise", path, "-o", tmp_path / "o.json")
    assert len(json.loads((tmp_path / "o.json").read_text())) == 14
    call("summarise", path, "--min-episode", "1.5")
    assert list(csv.DictReader(io.StringIO(call.out)))[4]["episodes"] == "0"


def test_a_summary_never_replaces_its_table_and_says_that_nobody_was_seen(call: Call, tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", iter([Reading("a.mp4", 9, 9, (), time_s=0.0)]))
    before = path.read_bytes()
    assert call("summarise", path, "-o", path).status == 2
    assert "expected an output beside the input" in call.err
    assert path.read_bytes() == before
    assert call("summarise", path).status == 0
    assert call.err == f"note: no face in {path}\n"


def test_what_is_no_table(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert call("summarise", tmp_path / "a.csv").status == 2
    assert "without the columns source, time_s, face, expression, confidence, track, error" in call.err
    assert call("summarise", tmp_path / "no.csv").status == 2
    photo = table(tmp_path / "p.csv", iter([Reading("p.jpg", 9, 9, (face("happy"),))]))
    assert call("summarise", photo).status == 2
    assert "expected rows of a video, with a time" in call.err
    assert call("summarise", photo, "-o", "x.txt").status == 2
    (tmp_path / "e.csv").write_bytes(b"")
    assert call("summarise", tmp_path / "e.csv").status == 2
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    assert call("summarise", tmp_path / "b.parquet").status == 2
    assert call.err.count("\n") == 1


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_read_draws_a_timeline(call: Call, tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / "a.mp4", [picture([(10 + n, 30)]) for n in range(40)])
    call("read", clip, "--detector", "none", "-o", tmp_path / "a.csv", "--timeline", tmp_path / f"t.{suffix}")
    assert call.status == 0
    data = (tmp_path / f"t.{suffix}").read_bytes()
    assert data[:4] in (b"\x89PNG", b"<?xm", b"<!DO")
    if suffix == "html":
        assert b"data:image/jpeg;base64," in data
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.mp4", "a.csv", f"t.{suffix}"])


def test_a_video_that_is_given_twice_is_drawn_once(call: Call, tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{name}.mp4", [picture([(10 + n, 30)]) for n in range(9)]) for name in "ab"]
    drawn = []
    for number, given in enumerate([clips[:1], [clips[0], f"{tmp_path}/./a.mp4"], clips]):
        call("read", *given, "--detector", "none", "-o", tmp_path / f"{number}.csv", "--timeline", tmp_path / "t.html")
        assert call.status == 0
        drawn.append((tmp_path / "t.html").read_text())
    assert drawn[1] == drawn[0]
    assert drawn[2] != drawn[0]  # the control
    assert len((tmp_path / "1.csv").read_text().splitlines()) == 1 + 2 * 9  # the table has what was asked for


def test_a_csv_needs_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra video does not bring it."""
    path, whole = table(tmp_path / "a.csv", film(STORY, 6.4)), table(tmp_path / "a.parquet", film(STORY, 6.4))
    expected = summarise(str(whole)).rows
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert summarise(str(path)).rows == expected
    with pytest.raises(ImportError):  # the control
        summarise(str(whole))


@pytest.mark.parametrize(("was", "bad"), [(",0.04,", ",0_04,"), (",0.04,", ",,,"), (",0.04,0,", ",0.04,0.5,")])
def test_a_damaged_csv_is_one_sentence(was: str, bad: str, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", film(STORY, 1.0))
    text = path.read_text("utf-8")
    assert was in text
    path.write_text(text.replace(was, bad, 1), "utf-8")
    with pytest.raises(DataError, match="expected a table that mien read wrote"):
        summarise(str(path))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_in_another_order_change_nothing_and_a_missing_one_is_said(suffix: str, tmp_path: Path) -> None:
    path = table(tmp_path / f"a.{suffix}", film(STORY, 6.4))
    frame = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    whole = frame.astype({"face": "Int64", "track": "Int64"})

    def moved(columns: list[str]) -> str:
        file = tmp_path / f"b.{suffix}"
        whole[columns].to_csv(file, index=False) if suffix == "csv" else whole[columns].to_parquet(file)
        return str(file)

    names = list(whole.columns)
    assert sorted(map(str, summarise(moved(sorted(names))).rows)) == sorted(map(str, summarise(str(path)).rows))
    with pytest.raises(DataError, match=r"expected a column for each expression in .*, got none for 'sad'"):
        summarise(moved([name for name in names if name not in ("sad", "raw_sad")]))
