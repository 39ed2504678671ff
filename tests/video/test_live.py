"""Cameras: the newest frame is read, the others are dropped and counted; Ctrl-C leaves a whole table; no network."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", exc_type=ImportError)
from clips import Squares, picture, write_clip

from called import Call
from mien import Reader
from mien.errors import ImageError, UsageError
from mien.video.addresses import is_live
from mien.video.frames import Frame
from mien.video.live import FileCamera, LiveReader, open_source
from mien.video.settings import VideoSettings


class Fake:
    """A camera of 100 frames a second. Each frame's time is when it was taken."""

    name = "camera:fake"

    def __init__(self, count: int, *, step: float = 0.01, fail: bool = False) -> None:
        self.count, self.step, self.fail = count, step, fail
        self.closed = False
        self.begun = time.monotonic()

    def frames(self) -> Iterator[Frame]:
        for n in range(self.count):
            time.sleep(self.step)
            yield Frame(time.monotonic() - self.begun, picture([(10 + n % 80, 30)]), n + 1)
        if self.fail:
            raise ImageError("the cable was pulled", kind="unreadable")

    def close(self) -> None:
        self.closed = True


class Slow(Squares):
    """A detector that takes 50 ms."""

    def detect(self, image):  # type: ignore[no-untyped-def]
        time.sleep(0.05)
        return super().detect(image)


def live(source: Fake, model: Path, detector: Squares, **options: float) -> LiveReader:
    return LiveReader(source, Reader(model, detector=detector, threads=1), VideoSettings(**options))  # type: ignore[arg-type]


def test_frames_are_dropped_not_queued(tiny_model: Path) -> None:
    source = Fake(100)
    reader = live(source, tiny_model, Slow())
    delays = []
    for reading in reader:
        assert reading.time_s is not None
        delays.append(time.monotonic() - source.begun - reading.time_s)
    assert len(delays) + reader.dropped == 100
    assert 2 <= len(delays) <= 45
    assert np.median(delays) < 0.5  # a queue of all frames would end at 4 s; the machine may be busy
    assert source.closed


def test_a_fast_reader_drops_little(tiny_model: Path) -> None:
    """Negative control: with time enough every frame is read."""
    reader = live(Fake(20, step=0.05), tiny_model, Squares())
    read = sum(1 for _ in reader)
    assert read + reader.dropped == 20
    assert read > reader.dropped


def test_tracks_smoothing_and_the_end(tiny_model: Path) -> None:
    reader = live(Fake(1000), tiny_model, Squares(), end=1.0, smooth=0.5)
    readings = list(reader)
    assert readings[-1].time_s is not None
    assert readings[-1].time_s <= 1.0
    assert {face.track for reading in readings for face in reading.faces} <= {1, 2, 3}
    assert reader.lag_s == 0.25
    faces = [face for reading in readings[1:] for face in reading.faces]
    assert any(face.raw_probabilities != face.probabilities for face in faces)
    few = [reading.time_s or 0.0 for reading in live(Fake(60), tiny_model, Squares(), fps=10)]
    assert min(np.diff(few), default=1.0) > 0.09


def test_a_source_that_fails_says_so(tiny_model: Path) -> None:
    reader = live(Fake(3, fail=True), tiny_model, Squares())
    with pytest.raises(ImageError, match="the cable was pulled"):
        list(reader)


def test_what_needs_a_file(tiny_model: Path) -> None:
    for options in ({"every": 2}, {"start": 1}):
        with pytest.raises(UsageError, match="got a camera"):
            live(Fake(1), tiny_model, Squares(), **options)


def test_a_file_as_a_camera_keeps_its_pace(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [picture([])] * 25)
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    camera = FileCamera(str(clip), speed=2, sleep=sleep, clock=lambda: now[0])
    assert len(list(camera.frames())) == 25
    assert sum(slept) == pytest.approx(24 / 25 / 2)


def test_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_live("camera:0", allow_network=False)
    assert is_live("rtsp://x/y", allow_network=False)  # refused with a sentence of its own
    assert not is_live("http://x/y.jpg", allow_network=False)
    assert is_live("http://x/y", allow_network=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camera:0").write_text("a file of that name")
    assert not is_live("camera:0", allow_network=False)
    with pytest.raises(UsageError, match="add --allow-network"):
        open_source("rtsp://localhost/x", allow_network=False)
    with pytest.raises(UsageError, match="camera:0 is the first"):
        open_source("camera:", allow_network=False)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["camera:73"], 1, "expected a camera, got one that cannot be opened"),
        (["camera:0", "x.jpg"], 2, "a camera is read alone, got 2 paths"),
        (["camera:nothing.mp4"], 1, "no such file"),
        (["rtsp://localhost:9/x"], 2, "add --allow-network"),
        (["camera:0", "--annotate", "seen"], 2, "--annotate needs a file, got a camera"),
        (["camera:0", "--show"], 2, "--show needs a display"),
        (["photo.jpg", "--show"], 2, "--show is for cameras"),
    ],
)
def test_sentences(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    assert call("read", *words, "--detector", "none").status == status
    assert message in call.err
    assert call.err.count("\n") == 1
    assert call.out == ""


def test_the_network_is_closed_and_can_be_opened(call: Call, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mkv", [picture([(10 + n, 30)]) for n in range(30)])

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{clip.name}"
        call("read", url, "--detector", "none")
        assert call.status == 1
        assert "got a URL" in call.records[0]["error"]["message"]
        call("read", url, "--detector", "none", "--allow-network")
        server.shutdown()
        thread.join()
    assert call.status == 0
    assert 1 <= len(call.records) <= 30
    assert "dropped" in call.err


def test_ctrl_c_leaves_a_whole_table(tiny_model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", [picture([(n % 90, 20)]) for n in range(25 * 60)])
    words = [sys.executable, "-m", "mien.cli.app", "read", f"camera:{clip}", "--detector", "none"]
    words += ["--model", str(tiny_model)]
    out = tmp_path / "out.csv"
    table = subprocess.Popen([*words, "-o", str(out)], stderr=subprocess.DEVNULL)
    with open(tmp_path / "lines", "wb") as sink:
        lines = subprocess.Popen(words, stdout=sink, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 40
    while (tmp_path / "lines").read_bytes().count(b"\n") < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    for process in (table, lines):
        process.send_signal(signal.SIGINT)
    assert [process.wait(timeout=20) for process in (table, lines)] == [0, 0]
    text = (tmp_path / "lines").read_text()
    assert text.endswith("}\n")
    records = [json.loads(line) for line in text.splitlines()]
    assert 10 <= len(records) < 1500
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert all(row["expression"] for row in rows)
    assert rows[0]["source"] == f"camera:{clip}"
    times = [record["time_s"] for record in records]
    assert times == sorted(times)
