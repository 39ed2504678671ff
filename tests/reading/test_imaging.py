"""Every kind of picture becomes upright RGB; every kind of damage becomes one ImageError of the right kind."""

import contextlib
import os
import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageError
from mien.imaging import load_rgb, plain

RAMP = np.linspace(0, 255, 64 * 48).reshape(48, 64)
GREY = RAMP.astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def error_of(source: Any, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_rgb(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value


# ── kinds of pictures ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_is_exact_in_lossless_formats(kind: str) -> None:
    rgb = load_rgb(encode(GREY, kind))
    assert rgb.dtype == np.uint8
    assert rgb.shape == (48, 64, 3)
    assert all(np.array_equal(rgb[..., c], GREY) for c in range(3))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_are_close(kind: str) -> None:
    assert np.abs(load_rgb(encode(Image.fromarray(GREY).convert("RGB"), kind)).astype(int) - GREY[..., None]).mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = np.rint(RAMP * 257).astype(np.uint16)
    rgb = load_rgb(encode(deep, kind))
    np.testing.assert_allclose(rgb[..., 0], RAMP, atol=1)
    assert len(np.unique(rgb)) == 256  # clipping would leave nearly all at 255


@pytest.mark.parametrize(
    "values",
    [np.rint(RAMP * 257).astype(np.int32), (RAMP / 255).astype(np.float32), RAMP.astype(np.float32)],
    ids=["int32", "float 0-1", "float 0-255"],
)
def test_wide_tiffs(values: np.ndarray) -> None:
    np.testing.assert_allclose(load_rgb(encode(values, "TIFF"))[..., 1], RAMP, atol=1)


def test_big_endian_sixteen_bits() -> None:
    image = Image.frombytes("I;16B", (64, 48), np.rint(RAMP * 257).astype(">u2").tobytes())
    np.testing.assert_allclose(load_rgb(image)[..., 1], RAMP, atol=1)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_of_pillow(mode: str) -> None:
    square = Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 10)).convert("RGB")
    via = {"LA": "L", "La": "LA", "PA": "P", "RGBa": "RGBA"}.get(mode)
    image = square.convert(via) if via else square
    rgb = load_rgb(image.convert("L").convert("LA").convert("La") if mode == "La" else image.convert(mode))
    assert rgb[20, 20].min() > 250
    assert rgb[0, 0].max() < 5


def test_lab_keeps_lightness() -> None:
    image = Image.merge("LAB", [Image.fromarray(GREY), Image.new("L", (64, 48), 128), Image.new("L", (64, 48), 128)])
    assert np.array_equal(load_rgb(image)[..., 0], GREY)


def test_cmyk_jpeg_is_not_inverted() -> None:
    paper = encode(Image.new("CMYK", (32, 32), (0, 0, 0, 0)), "JPEG")  # Pillow writes Adobe's inverted form
    ink = encode(Image.new("CMYK", (32, 32), (0, 0, 0, 255)), "JPEG")
    assert load_rgb(paper).min() > 250
    assert load_rgb(ink).max() < 5


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.array_equal(load_rgb(encode(image, "PNG")), np.full((4, 4, 3), 255))
    palette = Image.new("P", (4, 4), 0)
    assert load_rgb(encode(palette, "PNG", transparency=0)).min() == 255
    assert load_rgb(encode(Image.new("RGB", (4, 4), "red"), "PNG", transparency=(255, 0, 0))).min() == 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(kind: str, orientation: int) -> None:
    """The stored picture is turned so that, applying its tag, the red corner must come out at the top left."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    undo: dict[int, Any] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"subsampling": 0, "quality": 100}}.get(kind, {})
    rgb = load_rgb(encode(np.ascontiguousarray(undo[orientation](upright)), kind, exif=exif, **options))
    np.testing.assert_allclose(rgb.astype(int), upright, atol=30)


def test_damaged_exif_costs_nothing() -> None:
    data = encode(NOISE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert load_rgb(data).shape == NOISE.shape


@pytest.mark.parametrize(
    ("kind", "word"), [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("TIFF", "pages")]
)
def test_first_frame_and_a_note(kind: str, word: str) -> None:
    first, second = Image.new("RGB", (8, 8), "white"), Image.new("RGB", (8, 8), "black")
    notes: list[str] = []
    rgb = load_rgb(encode(first, kind, save_all=True, append_images=[second]), on_note=notes.append)
    assert rgb.min() > 250
    assert notes == [f"has 2 {word}; only the first is read"]


def test_one_pixel() -> None:
    assert load_rgb(encode(Image.new("L", (1, 1), 7), "PNG")).tolist() == [[[7, 7, 7]]]


def test_wrong_type() -> None:
    assert "got int" in str(error_of(5))


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.97])
def test_truncated_jpeg(options: dict[str, bool], keep: float) -> None:
    data = encode(NOISE, "JPEG", **options)
    assert error_of(data[: int(len(data) * keep)]).type == "truncated"


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_others(kind: str) -> None:
    data = encode(NOISE, kind)
    assert error_of(data[: len(data) // 2]).type == "truncated"


def test_corrupt_is_not_called_truncated() -> None:
    data = bytearray(encode(NOISE, "PNG"))
    data[2000] ^= 0xFF
    assert error_of(bytes(data)).type == "unreadable"


@pytest.mark.parametrize("data", [b"hello, I am a text\n" * 20, b"\0" * 500, b"%PDF-1.4 ...", b"<svg></svg>", b"x"])
def test_no_picture(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "renamed.jpg"
    path.write_bytes(data)
    assert error_of(path).type == "unreadable"


def test_random_bytes_after_each_magic_never_escape() -> None:
    """A fuzz: whatever Pillow raises on damaged bytes, only ImageError comes out, and no warning."""
    random = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO"):
        whole = encode(NOISE[:32, :32], kind)
        for _ in range(25):
            data = bytearray(whole)
            for position in random.integers(0, len(data), 6):
                data[position] = random.integers(256)
            with contextlib.suppress(ImageError):
                load_rgb(bytes(data), max_pixels=1_000_000)


def test_eps_is_never_handed_to_ghostscript() -> None:
    assert error_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n").type == "unreadable"


def test_files(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    (tmp_path / "clip.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    assert error_of(tmp_path / "nope.jpg").type == "missing"
    assert error_of(str(tmp_path / "zero.jpg" / "below.jpg")).type == "missing"
    assert error_of("nul\0byte.jpg").type == "missing"
    assert error_of("x" * 5000).type == "missing"
    assert error_of(tmp_path / "zero.jpg").type == "empty"
    assert error_of(b"").type == "empty"
    assert error_of(tmp_path / "clip.MP4").type == "unsupported"
    assert error_of(b"\0\0\0\x18ftypmp42" + b"\0" * 64).type == "unsupported"
    assert error_of(tmp_path).type == "unsupported"
    assert error_of("/dev/null").type == "unsupported"


def test_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    """The header says 60000×60000; there are no pixels at all behind it, so that decoding would say truncated."""
    bomb = bytearray(encode(Image.new("L", (8, 8)), "PNG"))
    import struct
    import zlib

    bomb[16:24] = struct.pack(">II", 60000, 60000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    error = error_of(bytes(bomb))
    assert error.type == "too_large"
    assert "60000×60000" in str(error)
    assert "--max-pixels" in str(error)
    assert error_of(bytes(bomb), max_pixels=10**10).type in ("truncated", "unreadable", "too_large")


def test_pixel_limit_is_ours_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_rgb(encode(GREY, "PNG")).shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 100  # given back
    assert error_of(encode(GREY, "PNG"), max_pixels=48 * 64 - 1).type == "too_large"
    assert load_rgb(encode(GREY, "PNG"), max_pixels=48 * 64).shape == (48, 64, 3)
    assert error_of(Image.fromarray(GREY), max_pixels=10).type == "too_large"


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    data = encode(NOISE, "PNG")
    threads = [threading.Thread(target=lambda: [load_rgb(data) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


@pytest.mark.parametrize(("top", "mode"), [(255, "I"), (255, "I;16"), (4095, "I;16")])
def test_lesser_depths_in_wide_integers_are_not_black(top: int, mode: str) -> None:
    """A grey picture converted to a wide mode, and a 12-bit camera's TIFF."""
    values = np.rint(RAMP / 255 * top).astype(np.uint16 if mode == "I;16" else np.int32)
    np.testing.assert_allclose(load_rgb(Image.fromarray(values))[..., 0], RAMP, atol=1)
    np.testing.assert_allclose(load_rgb(encode(values, "TIFF"))[..., 0], RAMP, atol=1)


def test_a_pipe_without_a_writer_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.imaging.load.PIPE_WAIT_S", 0.05)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert error_of(pipe).type == "unreadable"
    monkeypatch.setattr("mien.imaging.load.PIPE_WAIT_S", 30)
    writer = threading.Thread(target=lambda: pipe.write_bytes(encode(GREY, "PNG")))
    writer.start()
    assert np.array_equal(load_rgb(pipe)[..., 0], GREY)
    writer.join()


def test_a_picture_without_colour_is_plain() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert (plain(rgb) == grey).all()
    assert plain(grey) is grey
    for channel in range(3):  # negative control: one pixel of one channel is colour
        spot = rgb.copy()
        spot[1, 2, channel] += 1
        assert plain(spot) is spot
