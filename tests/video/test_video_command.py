"""``mien read`` of videos: rows, options, errors, mixtures with photos."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("av", exc_type=ImportError)
from clips import picture, write_clip
from PIL import Image
from typer.testing import CliRunner

from called import Call
from mien import Reader
from mien.cli.app import app
from mien.errors import ImageError
from mien.reading import outputs


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [picture([(10 + n, 30)]) for n in range(30)]
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", pictures)


def test_a_row_a_frame_with_time_and_track(call: Call, clip: Path, tmp_path: Path) -> None:
    call("read", clip, "--detector", "none")
    assert call.status == 0
    assert [record["time_s"] for record in call.records] == [n / 25 for n in range(30)]
    assert {record["faces"][0]["track"] for record in call.records} == {1}
    out = tmp_path / "a.parquet"
    call("read", clip, "--detector", "none", "-o", out)
    table = pq.read_table(out).to_pylist()
    assert [row["time_s"] for row in table] == [n / 25 for n in range(30)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert "1 video (30 frames) read, 30 faces" in call.err


def test_frames_without_a_face_keep_a_row(call: Call, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "none.mp4", [picture([])] * 6)
    call("read", path)
    assert [record["faces"] for record in call.records] == [[]] * 6
    assert call.records[3]["time_s"] == 0.12


def test_mixed_with_photos_in_order(call: Call, clip: Path, tmp_path: Path) -> None:
    Image.fromarray(picture([(9, 9)])).save(tmp_path / "a.png")
    Image.fromarray(picture([(9, 9)])).save(tmp_path / "z.png")
    (tmp_path / "m.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "n.mp4").write_text("no video")
    call("read", tmp_path, clip, "--detector", "none", "--end", "0.1")
    assert call.status == 1
    names = [Path(record["source"]).name for record in call.records]
    assert names == ["a.png", *["m.mp4"] * 3, "n.mp4", "z.png", *["clip.mp4"] * 3]
    assert [record.get("time_s") for record in call.records] == [None, 0.0, 0.04, 0.08, None, None, 0.0, 0.04, 0.08]
    assert call.records[4]["error"]["type"] == "unreadable"
    call("read", "-", "--detector", "none", "--fps", "5", input=f"{tmp_path}/z.png\n{clip}\n".encode())
    assert [record["time_s"] for record in call.records] == [None, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_windows_and_sampling(call: Call, clip: Path) -> None:
    times = [r["time_s"] for r in call("read", clip, "--detector", "none", "--start", "0.5", "--end", "0.9").records]
    assert times == [n / 25 for n in range(13, 23)]
    assert len(call("read", clip, "--detector", "none", "--fps", "100").records) == 30
    call("read", clip, "--detector", "none", "--start", "7")
    assert call.status == 1
    assert (
        call.records[0]["error"]["message"]
        == "expected frames from 7.00 s to the end, got none; the video ends at 1.20 s"
    )


def test_smoothing_and_tracks_can_be_switched_off(call: Call, clip: Path) -> None:
    smooth = call("read", clip, "--detector", "none").records
    raw = call("read", clip, "--detector", "none", "--smooth", "0").records
    loose = call("read", clip, "--detector", "none", "--no-track").records
    for a, b, c in zip(smooth, raw, loose, strict=True):
        assert a["faces"][0]["raw_probabilities"] == b["faces"][0]["probabilities"] == c["faces"][0]["probabilities"]
        assert c["faces"][0]["track"] is None
    assert [a["faces"][0]["probabilities"] for a in smooth] != [b["faces"][0]["probabilities"] for b in raw]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fps", "0"], "expected fps above 0 and up to 1000, got 0"),
        (["--every", "0"], "expected every from 1 to 100 frames, got 0"),
        (["--start", "-1"], "expected start in seconds, 0 or more, got -1"),
        (["--start", "3", "--end", "2"], "expected an end after the start, got start 3 and end 2"),
        (["--smooth", "-1"], "expected smooth from 0 to 60 seconds, got -1"),
        (["--smooth", "1", "--no-track"], "smoothing follows a person, so it needs tracks"),
        (["--timeline", "a.pdf"], "expected a timeline .png, .svg, .html, got 'a.pdf'"),
        (["--timeline", "/no/such/a.html"], "the directory '/no/such' does not exist"),
        (["--fps", "many"], "--fps"),
    ],
)
def test_wrong_options(call: Call, clip: Path, words: list[str], message: str) -> None:
    call("read", clip, *words)
    assert call.status == 2
    assert call.out == ""
    assert call.err.startswith("error: ")
    assert call.err.count("\n") == 1
    assert message in call.err


def test_a_timeline_without_a_video(call: Call, tmp_path: Path) -> None:
    Image.fromarray(picture([])).save(tmp_path / "a.png")
    call("read", tmp_path / "a.png", "--detector", "none", "--timeline", tmp_path / "t.html")
    assert call.status == 2
    assert "expected a video for the timeline" in call.err


def test_without_pyav(call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    call("read", clip)
    assert call.status == 1
    assert call.records[0]["error"]["type"] == "missing_extra"
    assert "pip install 'mien[video]'" in call.records[0]["error"]["message"]


def test_a_video_under_a_pictures_name(call: Call, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(clip.read_bytes())
    assert "mien read reads files named .mp4" in call("read", tmp_path / "photo.jpg").records[0]["error"]["message"]


def test_python_gives_the_same_frames(call: Call, clip: Path, tiny_model: Path) -> None:
    reader = Reader(tiny_model, detector="none")
    assert [r.to_dict() for r in reader.video(clip)] == call("read", clip, "--detector", "none").records
    with pytest.raises(ImageError, match="no such file"):
        reader.video("nothing.mp4")
    with pytest.raises(ImageError, match="got none"):
        list(reader.video(clip, start=9))
    with pytest.raises(ImageError, match=r"Reader.video\(path\) reads it"):
        reader.read(clip)


def test_memory_does_not_grow(tiny_model: Path, tmp_path: Path) -> None:
    """Ten times as many frames hold no more pictures: the queue is bounded, and a slow consumer stops the decoder."""
    from mien.video.ahead import ahead

    made = 0

    def source():  # type: ignore[no-untyped-def]
        nonlocal made
        for n in range(1000):
            made += 1
            yield n

    items = ahead(source(), 4)
    first = next(items)
    import time

    time.sleep(0.3)
    assert first == 0
    assert made <= 7
    items.close()  # type: ignore[attr-defined]
    assert made <= 8

    def fails():  # type: ignore[no-untyped-def]
        yield 1
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        list(ahead(fails(), 2))


def test_real_faces_appear_and_vanish(call: Call, real_clip: Callable[[str], Path], tmp_path: Path) -> None:
    """Every fifth frame searched, against every frame: the same frames have a face, all of one person."""
    words = ["read", real_clip("face_noface.mov"), "--model", "nano", "--start", "1.6", "--end", "2.6"]
    words += ["--detect-size", "320", "--no-turned"]
    fifth = call(*words).records
    every = call(*words, "--every", "1").records
    has = [[bool(record["faces"]) for record in records] for records in (every, fifth)]
    assert sum(a != b for a, b in zip(*has, strict=True)) <= 1
    assert 0 < sum(has[0]) < len(every)
    assert {face["track"] for record in fifth for face in record["faces"]} == {1}
    boxes = [np.array([r["faces"][0]["box"] for r in records if r["faces"]]) for records in (every, fifth)]
    if len(boxes[0]) == len(boxes[1]):
        assert np.abs(boxes[0] - boxes[1]).mean() < 6


def test_two_files_of_one_name(call: Call, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    call("read", clip, clip, "--detector", "none", "-o", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 60
    assert [row["time_s"] for row in rows[:30]] == [row["time_s"] for row in rows[30:]]


def test_a_fault_of_ours_ends_one_video_alone(call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.video.read import VideoReader

    real = VideoReader.read

    def faulty(self, journal=None):  # type: ignore[no-untyped-def]
        for n, result in enumerate(real(self, journal)):
            if n == 4:
                raise ValueError("a fault")
            yield result

    monkeypatch.setattr(VideoReader, "read", faulty)
    call("read", clip, clip, "--detector", "none")
    assert call.status == 1
    assert len(call.records) == 10
    assert [r["error"]["message"] for r in call.records if "error" in r] == ["ValueError: a fault"] * 2


def test_a_command_after_one_with_debug_shows_no_traceback(
    call: Call, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mien.video.read import VideoReader

    def faulty(self, journal=None):  # type: ignore[no-untyped-def]
        raise ValueError("a fault")
        yield

    monkeypatch.setattr(VideoReader, "read", faulty)
    told = CliRunner().invoke(app, ["read", str(clip), "--detector", "none", "--debug"])
    assert told.exit_code == 1
    assert call("read", clip, "--detector", "none").status == 1  # asserts that there is no traceback


def test_a_copy_that_cannot_be_made_costs_no_reading(
    call: Call, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **options: object) -> None:
        raise ValueError("no encoder")

    monkeypatch.setattr("mien.timeline.annotated.write_annotated", broken)
    call("read", clip, "--detector", "none", "--annotate", tmp_path / "seen", "-o", tmp_path / "a.csv")
    assert call.status == 1
    assert "clip.mp4: its annotated copy cannot be written: no encoder" in call.err
    assert len(list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))) == 30


def test_originals_stay_and_copies_are_replaced(call: Call, clip: Path, tmp_path: Path) -> None:
    home, seen = tmp_path / "day1", tmp_path / "seen"
    home.mkdir()
    seen.mkdir()
    shutil.copy(clip, home / "a.mp4")
    shutil.copy(clip, seen / "a.mp4")
    for name, shade in (("home", 40), ("seen", 90)):
        where = home if name == "home" else seen
        Image.fromarray(picture([(9, 9)], shade=shade)).save(where / "p.jpg")
        Image.fromarray(picture([(9, 9)], shade=shade)).save(where / "q.png")
    before = {path.name: path.read_bytes() for path in seen.iterdir()}
    for _ in range(2):  # the second call replaces the copies of the first
        assert call("read", home, "--detector", "none", "--annotate", seen, "--end", "0.1").status == 0
        assert {name: (seen / name).read_bytes() for name in before} == before
        assert {path.name for path in seen.iterdir()} - set(before) == {"a-2.mp4", "p-2.jpg", "q-2.png"}
    assert call("read", tmp_path, "--detector", "none", "--annotate", seen).status == 2
    assert "would be taken for an annotated copy and left out" in call.err
    (home / "out").mkdir()
    below = ("read", home, "--detector", "none", "--end", "0.1", "--annotate", home / "out")
    for _ in range(2):  # the call's own timeline is no original
        assert call(*below, "--timeline", home / "out" / "t.png").status == 0


def test_a_video_named_by_a_table_beside_it(call: Call, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tab"
    folder.mkdir()
    shutil.copy(clip, folder / "inside.mp4")
    pq.write_table(pa.table({"image": ["inside.mp4"]}), folder / "t.parquet")
    call(
        "read", folder / "t.parquet", "--detector", "none", "-o", tmp_path / "a.csv", "--timeline", tmp_path / "t.html"
    )
    assert call.status == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert (len(rows), {row["source"] for row in rows}) == (30, {"inside.mp4"})
    assert "data:image/jpeg" in (tmp_path / "t.html").read_text()


def test_a_reader_who_goes_leaves_no_timeline_of_a_part(
    call: Call, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.svg").write_text("an earlier one")
    written = outputs._Guarded.write

    def gone(self: outputs._Guarded, result: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(outputs._Guarded, "write", gone)
    call("read", clip, "--detector", "none", "--timeline", tmp_path / "t.svg")
    assert call.status == 0
    assert (tmp_path / "t.svg").read_text() == "an earlier one"
    assert (tmp_path / ".t.svg.journal").is_dir()
    monkeypatch.setattr(outputs._Guarded, "write", written)  # the control: the same command, read to its end
    call("read", clip, "--detector", "none", "--timeline", tmp_path / "t.svg")
    assert "<svg" in (tmp_path / "t.svg").read_text()
    assert not (tmp_path / ".t.svg.journal").exists()


def test_another_command_into_the_folder_leaves_kept_work(call: Call, clip: Path, tmp_path: Path) -> None:
    journals = tmp_path / "seen" / ".mien-journal"
    journals.mkdir(parents=True)
    (journals / "of-another.jsonl").write_text("kept")
    assert call("read", clip, "--detector", "none", "--annotate", tmp_path / "seen").status == 0
    assert [path.name for path in journals.iterdir()] == ["of-another.jsonl"]
    (journals / "of-another.jsonl").unlink()
    call("read", clip, "--detector", "none", "--annotate", tmp_path / "seen")
    assert not journals.exists()
