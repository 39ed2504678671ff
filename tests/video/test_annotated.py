"""The annotated copy: the same times, orientation and sound; odd sizes; boxes where the faces are."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", exc_type=ImportError)
from clips import Squares, picture, write_clip  # noqa: E402

from called import Call  # noqa: E402
from mien import Reader  # noqa: E402
from mien.timeline.annotated import write_annotated  # noqa: E402
from mien.video.frames import Frames  # noqa: E402
from mien.video.settings import VideoSettings  # noqa: E402

TIMES = [0.0, 0.03, 0.1, 0.16, 0.2, 0.5, 0.52, 0.9, 1.3, 1.31]


def decoded(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def annotate(reader: Reader, source: Path, target: Path, **options: float) -> None:
    settings = VideoSettings(**options)  # type: ignore[arg-type]
    readings = reader.video(source, **options)  # type: ignore[arg-type]
    assert list(write_annotated(str(source), readings, str(target), settings=settings))


@pytest.fixture
def reader(tiny_model: Path) -> Reader:
    return Reader(tiny_model, detector=Squares(), threads=1)


def test_times_sound_and_pixels(reader: Reader, tmp_path: Path) -> None:
    pictures = [picture([(20 + n, 50)], width=320, height=240) for n in range(10)]
    source = write_clip(tmp_path / "a.mp4", pictures, times=TIMES, sound="aac")
    annotate(reader, source, tmp_path / "out.mp4")
    out = decoded(tmp_path / "out.mp4")
    assert [t for t, _ in out] == pytest.approx([t for t, _ in decoded(source)], abs=2e-5)
    assert packets(tmp_path / "out.mp4") == packets(source)
    far = np.s_[200:, 250:]  # away from boxes and labels the picture is the same
    for (_, a), rgb in zip(out, pictures, strict=True):
        assert np.abs(a[far].astype(int) - rgb[far]).mean() < 4
        assert np.abs(a.astype(int) - rgb).max() > 80  # negative control: something was drawn
    assert not (tmp_path / "out.mp4.part").exists()


@pytest.mark.parametrize(("width", "height"), [(321, 240), (320, 241), (321, 241)])
def test_odd_sizes(reader: Reader, tmp_path: Path, width: int, height: int) -> None:
    source = write_clip(tmp_path / "a.mkv", [picture([(40, 60)], width=width, height=height)] * 4, codec="ffv1")
    annotate(reader, source, tmp_path / "out.mp4")
    assert decoded(tmp_path / "out.mp4")[0][1].shape == (height + height % 2, width + width % 2, 3)


@pytest.mark.parametrize("rotation", [90, 180])
def test_orientation(reader: Reader, tmp_path: Path, rotation: int) -> None:
    rgb = picture([(40, 60)], width=320, height=240)
    source = write_clip(tmp_path / "a.mp4", [rgb] * 3, rotation=rotation)
    annotate(reader, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    upright = np.rot90(rgb, rotation // 90)
    assert frame.to_ndarray(format="rgb24").shape == upright.shape
    assert np.median(np.abs(frame.to_ndarray(format="rgb24").astype(int) - upright)) < 4


def test_sound_that_mp4_cannot_hold_is_encoded(reader: Reader, tmp_path: Path) -> None:
    pictures = [picture([(40, 60)], width=320, height=240)] * 25
    source = write_clip(tmp_path / "a.mkv", pictures, sound="pcm_s16le")
    annotate(reader, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == "aac"
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(sound)])
    assert len(wave) / 48000 == pytest.approx(1, abs=0.1)
    peak = np.abs(np.fft.rfft(wave)).argmax() * 48000 / len(wave)
    assert peak == pytest.approx(440, abs=5)


@pytest.mark.parametrize("rate", [6000, 192000])
def test_sound_at_a_rate_that_aac_lacks(reader: Reader, tmp_path: Path, rate: int) -> None:
    source = write_clip(tmp_path / "a.mkv", [picture([(40, 60)])] * 25, sound="pcm_s16le", sound_rate=rate)
    annotate(reader, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        (sound,) = container.streams.audio
        seconds = sum(frame.samples for frame in container.decode(sound)) / sound.codec_context.sample_rate
    assert seconds == pytest.approx(1, abs=0.1)


def test_sound_of_joined_recordings_goes_on(reader: Reader, tmp_path: Path) -> None:
    part = write_clip(tmp_path / "p.ts", [picture([(40, 60)])] * 25, sound="aac").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    annotate(reader, tmp_path / "joined.ts", tmp_path / "out.mp4")
    assert [t for t, _ in decoded(tmp_path / "out.mp4")] == pytest.approx(
        [frame.time_s for frame in Frames(tmp_path / "joined.ts")], abs=1e-3
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [float(packet.pts * packet.time_base) for packet in container.demux(audio=0) if packet.size]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(2, abs=0.15)


def test_sound_that_changes_its_rate_ends_early(reader: Reader, tmp_path: Path) -> None:
    parts = [
        write_clip(tmp_path / f"{rate}.ts", [picture([(40, 60)])] * 25, sound="mp2", sound_rate=rate).read_bytes()
        for rate in (48000, 44100)
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    annotate(reader, tmp_path / "joined.ts", tmp_path / "out.mp4")
    assert len(decoded(tmp_path / "out.mp4")) == 50


def test_sound_of_an_unknown_codec_is_left_out(reader: Reader, tmp_path: Path) -> None:
    known = write_clip(tmp_path / "a.mp4", [picture([(40, 60)])] * 5, sound="aac").read_bytes()
    (tmp_path / "b.mp4").write_bytes(known.replace(b"mp4a", b"ac-4").replace(b"esds", b"dac4"))
    notes: list[str] = []
    readings = reader.video(tmp_path / "b.mp4")
    target = tmp_path / "out.mp4"
    assert list(
        write_annotated(
            str(tmp_path / "b.mp4"),
            readings,
            str(target),
            settings=VideoSettings(),
            on_note=notes.append,  # type: ignore[arg-type]
        )
    )
    assert len(decoded(target)) == 5
    assert notes == ["its annotated copy has no sound: FFmpeg does not know the codec"]


def test_a_window_keeps_its_times(reader: Reader, tmp_path: Path) -> None:
    pictures = [picture([(20 + n, 50)], width=320, height=240) for n in range(60)]
    source = write_clip(tmp_path / "a.mp4", pictures, sound="aac")
    annotate(reader, source, tmp_path / "out.mp4", start=1.0, end=1.6, fps=5)
    assert [t for t, _ in decoded(tmp_path / "out.mp4")] == pytest.approx([1.0, 1.2, 1.4, 1.6], abs=1e-4)
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(packet for packet in container.demux(audio=0) if packet.pts is not None)
        assert float(first.pts * first.time_base) == pytest.approx(1.0, abs=0.03)


def test_the_command(call: Call, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in" / "deep" / "a.mkv", [picture([(40, 60)])] * 5) if _make(tmp_path) else None
    call("read", tmp_path / "in", "--detector", "none", "--annotate", tmp_path / "seen")
    assert call.status == 0
    assert len(decoded(tmp_path / "seen" / "deep" / "a.mp4")) == 5
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["deep"]
    call("read", source, "--detector", "none", "--annotate", tmp_path / "in" / "deep")
    assert call.status == 2


def _make(tmp_path: Path) -> bool:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    return True


def test_times_are_whole_ticks() -> None:
    from mien.timeline.annotated import BASE

    for rate in (24, 25, 30, 50, 60, Fraction(30000, 1001), Fraction(60000, 1001)):
        assert (1 / Fraction(rate) / BASE).denominator == 1 or rate == Fraction(60000, 1001)


def test_colours_stay(tiny_model: Path, tmp_path: Path) -> None:
    """Pure colours through a source of BT.601 or BT.709 and the copy's BT.709; a wrong tag would shift them by 20."""
    reader = Reader(tiny_model, detector=Squares(blind=lambda rgb: True), threads=1)
    rgb = np.zeros((240, 320, 3), np.uint8)
    for k, colour in enumerate([(200, 30, 30), (30, 180, 40), (40, 50, 200), (200, 190, 40)]):
        rgb[:, k * 80 : (k + 1) * 80] = colour
    for space in (1, 5):
        source = tmp_path / f"{space}.mp4"
        with av.open(str(source), "w") as out:
            stream = out.add_stream("libx264", rate=25, options={"crf": "10"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            stream.codec_context.colorspace, stream.codec_context.color_range = space, 1
            for _ in range(3):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709" if space == 1 else "ITU601")
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        (tmp_path / f"out{space}.mp4").unlink(missing_ok=True)
        annotate(reader, source, tmp_path / f"out{space}.mp4")
        for path in (source, tmp_path / f"out{space}.mp4"):
            from mien.video.frames import Frames

            shown = next(iter(Frames(path))).rgb[200:, 20::80].astype(int)
            assert np.abs(shown - rgb[200:, 20::80]).max() < 12, (space, path.name)
