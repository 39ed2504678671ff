"""Large JPEGs decoded at a part of their size: where things lie, when it is done, and what is read of them."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import Reader
from mien.imaging import Decoded, load_reduced, load_rgb
from mien.reading import cropper
from mien.results import Reading

SIDE = 3000  # of a photo that is reduced by two where no margin above YuNet's 1,376 pixels is kept


def jpeg(picture: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92, **options)
    return stream.getvalue()


def marked(width: int, height: int) -> Image.Image:
    """Grey, with a white rectangle off the middle whose edges lie on no block's edge."""
    picture = Image.new("RGB", (width, height), (60, 60, 60))
    picture.paste((255, 255, 255), (width // 5, height // 7, width // 2 + 3, height // 3 + 5))
    return picture


def centre(rgb: np.ndarray) -> np.ndarray:
    """x, y of the white, in pixels."""
    white = (rgb[..., 1].astype(float) - 60).clip(20) - 20
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]] + 0.5
    return np.array([(white * x).sum(), (white * y).sum()]) / white.sum()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_picture_knows_its_place_in_the_whole(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(marked(405, 303), exif=exif)
    whole, reduced = load_rgb(data), load_reduced(data, least=100)
    assert reduced.factor == 4
    assert (reduced.height, reduced.width) == whole.shape[:2]
    assert max(reduced.rgb.shape) == 102
    place = centre(reduced.rgb) * reduced.factor
    assert np.abs(place - [reduced.left, reduced.top] - centre(whole)).max() < 0.3
    if orientation in (3, 7):  # the control: without the partly filled first block
        assert np.abs(place - centre(whole)).max() > 0.8


@pytest.mark.parametrize(("mode", "options"), [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})])
def test_grey_cmyk_and_progressive_are_reduced_alike(mode: str, options: dict[str, bool]) -> None:
    data = jpeg(marked(400, 304).convert(mode), **options)
    reduced = load_reduced(data, least=200)
    assert (reduced.factor, reduced.rgb.shape) == (2, (152, 200, 3))
    means = load_rgb(data).reshape(152, 2, 200, 2, 3).mean((1, 3))
    assert np.abs(reduced.rgb - means).mean() < 1


def test_only_large_jpegs_that_can_be_read_again_are_reduced(tmp_path: Path) -> None:
    picture = marked(400, 300)
    data = jpeg(picture)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    for source in (data, str(path), path):
        assert [load_reduced(source, least=n).factor for n in (401, 201, 200, 101, 100, 51, 50, 1)] == [
            *(1, 1, 2, 2, 4, 4, 8, 8)
        ]
    png = io.BytesIO()
    picture.save(png, "PNG")
    for source in (png.getvalue(), io.BytesIO(data), Image.open(path), load_rgb(data)):
        whole = load_reduced(source, least=50)
        assert (whole.factor, whole.rgb.shape, whole.left, whole.top) == (1, (300, 400, 3), 0, 0)
    line = load_reduced(jpeg(Image.new("RGB", (400, 1))), least=50)
    assert (line.factor, line.rgb.shape) == (1, (1, 400, 3))


@pytest.fixture(scope="module")
def large(astronaut: Path) -> Image.Image:
    return Image.open(astronaut).convert("RGB").crop((130, 0, 330, 200)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Grows by one whenever a picture is decoded as a whole by way of ``load_rgb``."""
    calls: list[int] = []

    def counted(*arguments: object, **options: object) -> np.ndarray:
        calls.append(1)
        return load_rgb(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cropper, "load_rgb", counted)
    monkeypatch.setattr(cropper, "MARGIN", 1)
    return calls


def test_a_large_face_is_read_of_the_reduced_picture(large: Image.Image, decoded: list[int]) -> None:
    reader = Reader("nano", threads=1, precision="fp32", reduced_jpegs=True)
    data = jpeg(large)
    reading = reader.read(data)
    assert not decoded
    whole = reader.read(load_rgb(data))
    assert (reading.width, reading.height) == (SIDE, SIDE)
    same(reading, whole)
    assert reading != whole  # it really is read of other pixels
    assert reader.read(data) == reading
    (result,) = reader.stream([data], keep_pictures=True)  # the picture is the whole one, the reading the same
    assert result.picture is not None
    assert result.picture.shape == (SIDE, SIDE, 3)
    assert result.reading == Reading("<bytes>", SIDE, SIDE, reading.faces)
    tallest = int(min(reading.faces[0].box.w, reading.faces[0].box.h))
    assert (
        len(Reader("nano", threads=1, reduced_jpegs=True, min_face=tallest - 5).read(data).faces) == 1
    )  # in pixels of the whole
    assert len(Reader("nano", threads=1, reduced_jpegs=True, min_face=tallest + 5).read(data).faces) == 0


def same(reading: Reading, whole: Reading) -> None:
    assert len(reading.faces) == len(whole.faces) == 1
    (a,), (b,) = reading.faces, whole.faces
    assert a.landmarks is not None
    assert b.landmarks is not None
    assert np.abs(np.subtract(a.landmarks, b.landmarks)).max() < 0.01 * b.box.h
    assert max(abs(a.box.x - b.box.x), abs(a.box.y - b.box.y), abs(a.box.h - b.box.h)) < 0.01 * b.box.h
    assert max(abs(a.probabilities[k] - b.probabilities[k]) for k in b.probabilities) < 0.05


def test_what_is_small_is_read_of_the_whole_picture(large: Image.Image, decoded: list[int], astronaut: Path) -> None:
    """A face of 150 pixels, which would be enlarged for its landmarks, is there to be read as it always was."""
    picture = large.copy()
    face = Image.open(astronaut).convert("RGB").crop((130, 0, 330, 200)).resize((250, 250))
    picture.paste(face, (20, SIDE - 300))
    reader = Reader("nano", threads=1, reduced_jpegs=True)
    data = jpeg(picture)
    reading = reader.read(data)
    assert decoded == [1]
    assert len(reading.faces) == 2
    assert reading.faces == reader.read(load_rgb(data)).faces


def test_other_detectors_get_the_whole_picture(large: Image.Image, decoded: list[int]) -> None:
    class Seen:
        def __init__(self) -> None:
            self.shapes: list[tuple[int, ...]] = []

        def detect(self, image: np.ndarray) -> list[object]:
            self.shapes.append(image.shape)
            return []

    own = Seen()
    assert Reader("nano", threads=1, reduced_jpegs=True, detector=own).read(jpeg(large)).faces == ()  # type: ignore[arg-type]
    assert own.shapes == [(SIDE, SIDE, 3)]
    assert len(Reader("nano", threads=1, reduced_jpegs=True, detector="none").read(jpeg(large)).faces) == 1
    assert len(decoded) == 2


def test_it_has_to_be_asked_for_and_keeps_its_margin(large: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noted(source: object, *, least: int, **options: object) -> Decoded:
        asked.append(least)
        return load_reduced(source, least=least, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cropper, "load_reduced", noted)
    small = jpeg(large.resize((400, 400)))
    Reader("nano", threads=1).read(small)
    assert not asked
    Reader("nano", threads=1, reduced_jpegs=True).read(small)
    Reader("nano", threads=1, reduced_jpegs=True, detect_size=2000, turned=False).read(small)
    assert asked == [2 * 1376, 2 * 2000]
