"""HEIC, as iPhones write it: read through pillow-heif where that is installed, and named where it is not."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageError
from mien.imaging import load_rgb

UPRIGHT = np.zeros((64, 96, 3), np.uint8)
UPRIGHT[:32, :32] = (255, 0, 0)
UNDO: dict[int, Any] = {
    1: lambda a: a,
    3: lambda a: a[::-1, ::-1],
    6: lambda a: np.rot90(a, 1),
    8: lambda a: np.rot90(a, -1),
}
BRANDS = b"\0\0\0\x1cftyp%s\0\0\0\0mif1%smiaf\0\0\0\0"


def heic(array: np.ndarray, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install 'mien[heic]'")
    pillow_heif.register_heif_opener()
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "HEIF", quality=100, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", UNDO)
def test_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    """The file says it twice, in EXIF and in its own box irot; the picture is turned once."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = heic(UNDO[orientation](UPRIGHT), exif=exif.tobytes())
    (tmp_path / "photo.heic").write_bytes(data)
    for source in (data, tmp_path / "photo.heic", BytesIO(data), Image.open(BytesIO(data))):
        np.testing.assert_allclose(load_rgb(source).astype(int), UPRIGHT, atol=40)


def test_several_pictures_in_one_file() -> None:
    notes: list[str] = []
    data = heic(UPRIGHT, save_all=True, append_images=[Image.fromarray(255 - UPRIGHT)])
    np.testing.assert_allclose(load_rgb(data, on_note=notes.append).astype(int), UPRIGHT, atol=40)
    assert notes == ["has 2 pictures; only the main one is read"]
    image = Image.open(BytesIO(data))
    image.seek(1)
    np.testing.assert_allclose(load_rgb(image, on_note=notes.append).astype(int), 255 - UPRIGHT, atol=40)
    assert image.tell() == 1
    assert "only picture 1, counted from 0" in notes[1]


def test_limits_and_damage() -> None:
    data = heic(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8))
    with pytest.raises(ImageError) as caught:
        load_rgb(data, max_pixels=1000)
    assert caught.value.type == "too_large"
    for keep in (0.02, 0.3, 0.9):
        with pytest.raises(ImageError):
            load_rgb(data[: int(len(data) * keep)])


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1"])
def test_without_the_package_the_command_is_named(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError) as caught:
        load_rgb(BRANDS % (brand, b"heic") + bytes(100))
    assert caught.value.type == "unsupported"
    assert "pip install 'mien[heic]'" in str(caught.value)


def test_avif_is_pillows_whatever_its_first_brand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    buffer = BytesIO()
    Image.fromarray(UPRIGHT).save(buffer, "AVIF", quality=100)
    data = buffer.getvalue()
    for same in (data, data[:8] + b"mif1" + data[12:]):
        assert np.abs(load_rgb(same).astype(int) - UPRIGHT).mean() < 2
