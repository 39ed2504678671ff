"""A PIL image is read at the frame where it stands, and stays as it was; a file gives its first frame.

The right values come from a second image that mien never sees, or from the pixels that were written.
"""

import copy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps, ImageSequence

from mien.errors import ImageError
from mien.imaging import load_rgb

SHADES = (250, 130, 20)
KINDS = ["GIF", "TIFF", "WEBP", "PNG", "AVIF"]
WORDS = {"TIFF": "page"}


def animation(kind: str, **options: Any) -> bytes:
    """Three frames of one shade each, a square of another in a corner that moves."""
    frames = []
    for number, shade in enumerate(SHADES):
        frame = Image.new("RGB", (24, 16), (shade, shade, shade))
        frame.paste((255 - shade, 0, 0), (4 * number, 2, 4 * number + 6, 8))
        frames.append(frame)
    buffer = BytesIO()
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}.get(kind, {})
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50, **lossless, **options)
    return buffer.getvalue()


def expected(data: bytes, frame: int) -> np.ndarray:
    """What Pillow alone shows of a frame."""
    image = Image.open(BytesIO(data))
    image.seek(frame)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_where_the_image_stands(kind: str) -> None:
    data = animation(kind)
    image = Image.open(BytesIO(data))
    notes: list[str] = []
    order = (1, 2, 0) if kind == "PNG" else (1, 2, 0, 2)  # Pillow 13 cannot go forwards again in a PNG that it loaded
    for frame in order:
        image.seek(frame)
        rgb = load_rgb(image, on_note=notes.append)
        assert np.array_equal(rgb, expected(data, frame))
        assert abs(int(rgb[-1, -1, 0]) - SHADES[frame]) < 4  # and no other frame
        assert image.tell() == frame
    word = WORDS.get(kind, "frame")
    said = f"has 3 {word}s; only {word} {{}}, counted from 0, at which the image stands, is read"
    assert notes == [said.format(frame) for frame in order]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_goes_on_where_it_was(kind: str) -> None:
    """Between two reads the caller seeks as if nothing had happened; a control image takes the same way alone."""
    data = animation(kind)
    ours, control = Image.open(BytesIO(data)), Image.open(BytesIO(data))
    for frame in (0, 0, 1, 2) if kind == "PNG" else (0, 1, 2, 1, 0, 2):
        for image in (ours, control):
            image.seek(frame)
        load_rgb(ours, on_note=lambda _: None)
        control.load()
        assert (ours.mode, ours.size, ours.tell(), ours.info) == (
            control.mode,
            control.size,
            control.tell(),
            control.info,
        )
        assert np.array_equal(np.asarray(ours), np.asarray(control))
        assert ours.getpalette() == control.getpalette()
    with pytest.raises(EOFError):
        ours.seek(3)
    assert ours.tell() == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frame", [0, 1])
def test_what_the_caller_drew_is_read_and_stays(kind: str, frame: int) -> None:
    image = Image.open(BytesIO(animation(kind)))
    image.seek(frame)
    image.load()
    ImageDraw.Draw(image).rectangle((10, 10, 14, 14), fill=(0, 0, 0))
    before = np.asarray(image).copy()
    rgb = load_rgb(image, on_note=lambda _: None)
    assert rgb[12, 12].max() < 5
    assert np.array_equal(np.asarray(image), before)


@pytest.mark.parametrize("kind", KINDS)
def test_iterating_over_a_sequence(kind: str) -> None:
    data = animation(kind)
    frames = [load_rgb(frame) for frame in ImageSequence.Iterator(Image.open(BytesIO(data)))]
    assert len(frames) == 3
    for number, rgb in enumerate(frames):
        assert np.array_equal(rgb, expected(data, number))
    copies = [load_rgb(frame) for frame in ImageSequence.all_frames(Image.open(BytesIO(data)))]
    assert all(np.array_equal(one, other) for one, other in zip(frames, copies, strict=True))


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_transparency_and_disposal_of_a_gif(disposal: int) -> None:
    """As Pillow composes the frames; where they are transparent, on white."""
    frames = []
    for number in range(4):
        frame = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
        frame.paste((40 * number + 20, 0, 200, 255), (3 * number, 3 * number, 3 * number + 8, 3 * number + 8))
        frames.append(frame)
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
    for number in range(4):
        image, control = (Image.open(BytesIO(buffer.getvalue())) for _ in range(2))
        for either in (image, control):
            either.seek(number)
        rgba = control.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        assert np.array_equal(load_rgb(image), np.asarray(Image.alpha_composite(ground, rgba).convert("RGB")))
        assert load_rgb(image)[19, 0].min() == 255


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_bytes_give_the_first_frame(kind: str, tmp_path: Path) -> None:
    data = animation(kind)
    (tmp_path / "picture").write_bytes(data)
    for source in (data, tmp_path / "picture"):
        notes: list[str] = []
        assert np.array_equal(load_rgb(source, on_note=notes.append), expected(data, 0))
        assert notes == [f"has 3 {WORDS.get(kind, 'frame')}s; only the first is read"]


def test_the_callers_file_stays_open_where_it_was() -> None:
    """Once an image is loaded, reading it does not touch its file."""
    for kind in KINDS:
        stream = BytesIO(animation(kind))
        image = Image.open(stream)
        image.seek(1)
        image.load()
        place = stream.tell()
        load_rgb(image, on_note=lambda _: None)
        assert not stream.closed
        assert stream.tell() == place


def test_pages_have_their_own_orientation() -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    turned.encoderinfo = {"exif": exif}
    Image.fromarray(upright).save(buffer, "TIFF", save_all=True, append_images=[turned])
    image = Image.open(BytesIO(buffer.getvalue()))
    for frame in (1, 0, 1):
        image.seek(frame)
        assert np.array_equal(load_rgb(image), upright)
        assert np.array_equal(load_rgb(image), upright)  # not turned a second time


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_of_a_callers_image_is_applied_once(kind: str) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "JPEG": {"subsampling": 0, "quality": 100}}.get(kind, {})
    Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))).save(buffer, kind, exif=exif, **options)
    image = Image.open(BytesIO(buffer.getvalue()))
    for _ in range(2):
        np.testing.assert_allclose(load_rgb(image).astype(int), upright, atol=30)
    np.testing.assert_allclose(load_rgb(ImageOps.exif_transpose(image)).astype(int), upright, atol=30)
    np.testing.assert_allclose(load_rgb(copy.copy(image)).astype(int), upright, atol=30)


def test_closed_images(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (8, 8), 9).save(path)
    with Image.open(path) as unread:
        pass
    closed = Image.new("L", (8, 8))
    closed.close()
    stream = BytesIO(animation("GIF"))
    orphan = Image.open(stream)
    stream.close()
    for image in (unread, closed, orphan):
        with pytest.raises(ImageError, match="closed before they were read") as caught:
            load_rgb(image)
        assert caught.value.type == "unreadable"
    with Image.open(path) as loaded:
        loaded.load()
    assert load_rgb(loaded).max() == 9  # its pixels outlive its file


def test_a_damaged_image_is_not_called_closed() -> None:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(buffer, "PNG")
    with pytest.raises(ImageError) as caught:
        load_rgb(Image.open(BytesIO(buffer.getvalue()[:9000])))
    assert caught.value.type == "truncated"
