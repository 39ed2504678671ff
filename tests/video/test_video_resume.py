"""A run that is killed goes on: output as if it had never stopped, wherever it was stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("av", exc_type=ImportError)
from clips import Squares, picture, write_clip

from mien import Reader
from mien.video.journal import Journal, journal_name
from mien.video.read import VideoReader
from mien.video.settings import VideoSettings

COUNT = 73


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two squares, one of which comes and goes; a variable frame rate."""
    pictures = [picture([(5 + n, 30)] + ([(90, 60)] if 12 <= n < 40 or n > 61 else [])) for n in range(COUNT)]
    times = [n * 0.04 + (0.013 if n % 3 else 0) for n in range(COUNT)]
    return write_clip(tmp_path_factory.mktemp("clip") / "c.mp4", pictures, times=times, gop=10)


def read(reader: Reader, clip: Path, journal: Path | None = None, **options: float) -> tuple[list[dict], VideoReader]:
    video = VideoReader(clip, reader, VideoSettings(**options))  # type: ignore[arg-type]
    kept = None if journal is None else Journal(str(journal), video.about())
    results = [result.to_dict() for result in video.read(kept)]
    if kept is not None:
        kept.close()
    return results, video


@pytest.mark.parametrize("options", [{}, {"every": 1, "smooth": 0}, {"fps": 10}, {"start": 0.5, "end": 2.4}])
def test_stopped_at_any_byte(tiny_model: Path, clip: Path, tmp_path: Path, options: dict) -> None:
    detector = Squares()
    reader = Reader(tiny_model, detector=detector, threads=1)
    whole, _ = read(reader, clip, **options)
    kept = tmp_path / "j.jsonl"
    assert read(reader, clip, kept, **options)[0] == whole
    data = kept.read_bytes()
    places = [0, 10, *range(len(data) // 9, len(data), len(data) // 9), len(data) - 1, len(data)]
    for place in places:
        kept.write_bytes(data[:place])
        detector.searched = 0
        again, video = read(reader, clip, kept, **options)
        assert again == whole, place
        assert kept.read_bytes() == data
        if place == len(data):
            assert video.resumed == len(whole)
            assert detector.searched == 0


def test_another_call_does_not_use_it(tiny_model: Path, clip: Path, tmp_path: Path) -> None:
    """Negative control: a journal of other options, another reader or a changed file is another journal."""
    reader = Reader(tiny_model, detector=Squares(), threads=1)
    one = VideoReader(clip, reader, VideoSettings())
    names = {journal_name(one.about())}
    names.add(journal_name(VideoReader(clip, reader, VideoSettings(every=2)).about()))
    names.add(journal_name(VideoReader(clip, reader, VideoSettings(start=0.1)).about()))
    names.add(
        journal_name(VideoReader(clip, Reader(tiny_model, tta=True, detector=Squares()), VideoSettings()).about())
    )
    os.utime(clip, ns=(1, 1))
    names.add(journal_name(VideoReader(clip, reader, VideoSettings()).about()))
    assert len(names) == 5
    assert journal_name(one.about()) == journal_name(VideoReader(clip, reader, VideoSettings(smooth=1)).about())
    kept = tmp_path / "j.jsonl"
    whole, _ = read(reader, clip, kept, every=1)
    with pytest.raises(AssertionError):  # forged under the right name, it is started anew
        assert read(reader, clip, kept, every=3)[1].resumed
    assert len(whole) == COUNT


def test_damage_before_the_stop_is_still_told(tiny_model: Path, clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.mp4"
    data = bytearray(clip.read_bytes())
    begin = data.index(b"mdat") + 4
    place = (
        begin + (data.index(b"moov") - begin) // 4 if data.index(b"moov") > begin else begin + (len(data) - begin) // 4
    )
    data[place : place + 300] = bytes(300)
    broken.write_bytes(data)
    reader = Reader(tiny_model, detector=Squares(), threads=1)
    whole, _ = read(reader, broken)
    assert "damaged" in whole[-1]["error"]["message"]
    kept = tmp_path / "j.jsonl"
    read(reader, broken, kept)
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(lines[: len(lines) * 2 // 3]))
    again, video = read(reader, broken, kept)
    assert video.resumed > 0
    assert again == whole


@pytest.mark.long
def test_kill_9_of_the_command(tiny_model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", [picture([(n % 90, 20)], width=320, height=240) for n in range(900)])
    words = [sys.executable, "-m", "mien.cli.app", "read", str(clip), "--detector", "none", "--model", str(tiny_model)]
    straight = tmp_path / "straight.csv"
    subprocess.run([*words, "-o", str(straight)], check=True, capture_output=True)
    out = tmp_path / "out.csv"
    journal = tmp_path / ".out.csv.journal"
    kills = 0
    for _ in range(40):
        with open(tmp_path / "said", "wb") as said:
            run = subprocess.Popen([*words, "-o", str(out)], stderr=said)
        want = (sum(f.stat().st_size for f in journal.iterdir()) if journal.exists() else 0) + 40_000
        while run.poll() is None and (not journal.exists() or sum(f.stat().st_size for f in journal.iterdir()) < want):
            time.sleep(0.01)
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
            assert not out.exists()
            continue
        assert run.returncode == 0
        assert "frames were read before" in (tmp_path / "said").read_text()
        break
    assert kills >= 2
    assert out.read_bytes() == straight.read_bytes()
    assert not journal.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
