"""Frames of a video: times, rotation, windows, damage, and what is no video; compared with PyAV's own decoding."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", exc_type=ImportError)

from clips import picture, write_clip  # noqa: E402

from mien.errors import ImageError, UsageError  # noqa: E402
from mien.video.container import times_fall_back  # noqa: E402
from mien.video.frames import Frames, clock  # noqa: E402


def moving(count: int, **size: int) -> list[np.ndarray]:
    return [picture([(2 + n, 30)], **size) for n in range(count)]


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def read(path: Path, **options: float) -> tuple[list[float], Frames, list[str]]:
    notes: list[str] = []
    frames = Frames(path, on_note=notes.append, **options)
    return [frame.time_s for frame in frames], frames, notes


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx265"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")]
)
def test_every_frame_with_its_own_time(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", moving(20), codec=codec)
    times, frames, notes = read(path)
    assert times == times_of(path)
    assert len(times) == 20
    assert frames.failure() is None
    assert notes == []


def test_variable_frame_rate(tmp_path: Path) -> None:
    steps = [0.0, 0.028, 0.148, 0.2, 0.5, 0.51, 1.7]
    path = write_clip(tmp_path / "a.mp4", moving(len(steps)), times=steps)
    times, frames, _ = read(path)
    assert times == pytest.approx(steps, abs=1e-4)
    assert frames.failure() is None
    rate = frames.info.rate
    assert rate is not None
    assert [n / rate for n in range(len(steps))] != pytest.approx(steps, abs=0.05)  # what the mean rate would say


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_flags_are_applied(tmp_path: Path, rotation: int) -> None:
    """The corner with the square, against the flag's meaning: degrees counterclockwise."""
    rgb = picture([(2, 2)])
    upright = next(iter(Frames(write_clip(tmp_path / "r.mp4", [rgb] * 3, rotation=rotation)))).rgb
    expected = np.rot90(rgb, rotation // 90 % 4)
    assert upright.shape == expected.shape
    assert np.abs(upright.astype(int) - expected).mean() < 4
    plain = next(iter(Frames(write_clip(tmp_path / "p.mp4", [rgb] * 3)))).rgb
    assert plain.shape != expected.shape or np.abs(plain.astype(int) - expected).mean() > 4  # negative control


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(3), aspect=Fraction(3, 2))
    frames = Frames(path)
    assert (frames.info.width, frames.info.height) == (192, 96)
    assert {frame.rgb.shape for frame in frames} == {(96, 192, 3)}


def test_windows(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(100))
    every = times_of(path)
    assert read(path, start=1.0, end=2.0)[0] == [t for t in every if 1.0 <= t <= 2.0]
    assert read(path, start=3.5)[0] == [t for t in every if t >= 3.5]
    assert read(path, end=0.0)[0] == [0.0]
    times, frames, _ = read(path, start=50)
    assert times == []
    failure = frames.failure()
    assert failure is not None
    assert "from 50.00 s to the end, got none; the video ends at 4.00 s" in failure.message
    with pytest.raises(UsageError, match="an end after the start"):
        Frames(path, start=2, end=1)
    with pytest.raises(UsageError, match="start in seconds"):
        Frames(path, start=-1)


def test_a_window_holds_the_same_pixels(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(60), gop=10)
    whole = {frame.time_s: frame.rgb for frame in Frames(path)}
    for frame in Frames(path, start=1.3):
        assert np.array_equal(frame.rgb, whole[frame.time_s])
    assert not np.array_equal(whole[0.0], whole[1.0])


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_going_on_after_a_frame(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", moving(60), gop=10)
    whole = list(Frames(path))
    for linear in (False, True):
        rest = list(Frames(path).after(whole[33].time_s, 34, linear=linear))
        assert [(f.time_s, f.number) for f in rest] == [(f.time_s, f.number) for f in whole[33:]]
        assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(rest, whole[33:], strict=True))


def test_going_on_where_seeking_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(40), gop=10)
    whole = list(Frames(path))
    wrong = Frames(path)
    monkeypatch.setattr(wrong, "_from", lambda start, right=wrong._from: right(None if start is None else start + 0.2))
    rest = list(wrong.after(whole[20].time_s, 21))
    assert [(f.time_s, f.number) for f in rest] == [(f.time_s, f.number) for f in whole[20:]]


def test_damage_in_the_middle_costs_no_more_than_it_must(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving(120), gop=10)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4 + (len(data) - data.index(b"mdat")) // 3
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    times, frames, _ = read(path)
    failure = frames.failure()
    assert failure is not None
    assert "damaged" in failure.message
    assert failure.time_s is not None
    assert len(times) > 90
    assert times[-1] == pytest.approx(119 / 25)


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_a_file_that_was_cut_off_is_noticed(tmp_path: Path, suffix: str) -> None:
    """mkv ends without any error of FFmpeg's; the declared duration tells. MPEG-TS declares none: it is not noticed."""
    options = {"movflags": "faststart"}
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for rgb in moving(200):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode())
    _, whole, _ = read(path)
    assert whole.failure() is None
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    times, frames, _ = read(path)
    assert 20 < len(times) < 190
    failure = frames.failure()
    if suffix != "ts":
        assert failure is not None
        assert failure.type == "truncated"
        assert failure.time_s == times[-1]
        assert "declares a length of 8.00 s, but the last frame is at" in failure.message


def problem(path: Path) -> str:
    try:
        frames = Frames(path)
        list(frames)
    except ImageError as error:
        return f"{error.type}: {error}"
    failure = frames.failure()
    return "" if failure is None else f"{failure.type}: {failure.message}"


def test_what_is_no_video_has_its_sentence(tmp_path: Path) -> None:
    from PIL import Image

    assert problem(tmp_path / "nothing.mp4") == "missing: no such file"
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert problem(tmp_path / "empty.mp4") == "empty: the file is empty"
    (tmp_path / "text.mp4").write_text("hello\n" * 100)
    assert problem(tmp_path / "text.mp4").startswith("unreadable: expected a video, got a file that cannot be opened")
    for suffix in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        Image.new("RGB", (64, 64), (9, 9, 200)).save(tmp_path / f"{suffix}.mp4", suffix)
        assert problem(tmp_path / f"{suffix}.mp4").startswith("unsupported: expected a video, got a picture"), suffix
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n"
    )
    assert problem(tmp_path / "list.mp4").startswith(("unsupported: expected a video, got a playlist", "unreadable: "))
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        from clips import _tone

        _tone(out, stream, 1.0)
    assert problem(tmp_path / "sound.mp4") == "unsupported: expected a video, got sound alone (aac)"
    path = write_clip(tmp_path / "cut.mp4", moving(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "its index (moov) is missing" in problem(path)
    assert problem(write_clip(tmp_path / "good.mp4", moving(5))) == ""  # negative control


def test_zero_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    assert "ends before its first frame" in problem(tmp_path / "none.mkv")
    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(tmp_path / "none.mp4"), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    assert "expected frames, got a video stream without any" in problem(tmp_path / "none.mp4")


def test_one_frame_of_ten_hours(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for packet in stream.encode(av.VideoFrame.from_ndarray(moving(1)[0], format="rgb24")) + stream.encode():
            packet.duration = round(36000 / packet.time_base)
            out.mux(packet)
    times, frames, notes = read(path)
    failure = frames.failure()
    assert times == [0.0]
    said = " ".join(notes) + ("" if failure is None else failure.message)
    assert "one frame" in said or "its only frame" in said
    assert "10:00:00" in said


def test_a_window_of_joined_recordings(tmp_path: Path) -> None:
    """The times of the second part fall back, so that a seek would lead into it for those of the first."""
    part = write_clip(tmp_path / "p.ts", [picture([(10 + n % 80, 20)]) for n in range(60)], gop=12).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    whole = [frame.time_s for frame in Frames(tmp_path / "joined.ts")]
    assert len(whole) == 120
    for start in (0.5, 2.0, 2.3, 2.5, 4.0):
        found = [frame.time_s for frame in Frames(tmp_path / "joined.ts", start=start)]
        assert found == [time_s for time_s in whole if time_s >= start]
    assert times_fall_back(str(tmp_path / "joined.ts"))
    later = [1.9 + n / 25 for n in range(60)]  # the second part overlaps the first by half of a second
    overlap = write_clip(tmp_path / "q.ts", [picture([(10 + n, 20)]) for n in range(60)], times=later).read_bytes()
    (tmp_path / "overlap.ts").write_bytes(part + overlap)
    whole = [frame.time_s for frame in Frames(tmp_path / "overlap.ts")]
    for start in (2.4, 4.0, 4.5):
        found = [frame.time_s for frame in Frames(tmp_path / "overlap.ts", start=start)]
        assert found == [time_s for time_s in whole if time_s >= start]
    assert not times_fall_back(str(tmp_path / "p.ts"))  # the controls: one that may, and one that cannot
    assert not times_fall_back(str(write_clip(tmp_path / "b.mp4", [picture([(10, 20)])] * 5)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.994, "59.99 s"), (59.996, "1:00.00"), (119.996, "2:00.00"), (3599.99, "59:59.99"), (3659.7, "1:01:00")],
)
def test_times_of_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
