"""Numbers become grey levels by one rule, whether they come as an array or in a file; what fits no scale is refused.

Files are written by tifffile and OpenCV, which are somebody else's; the scales are closed forms.
"""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageError
from mien.imaging import load_rgb

RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64)
WIDE = ["u2", "u4", "u8", "i2", "i4", "i8", ">u2", ">i4"]
DEPTHS = [255, 1023, 4095, 16383, 65535]


def error_of(source: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load_rgb(source)
    assert caught.value.type == "unsupported"
    return str(caught.value)


def levels(top: float = 1.0) -> np.ndarray:
    return np.rint(RAMP * top)


def tiff(array: np.ndarray, **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    buffer = BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(array: np.ndarray) -> bytes:
    cv2 = pytest.importorskip("cv2")
    order = [2, 1, 0, 3][: array.shape[2]] if array.ndim == 3 else None
    done, data = cv2.imencode(".png", array if order is None else np.ascontiguousarray(array[..., order]))
    assert done
    return bytes(data)


# ── arrays ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (np.full((4, 5), 7, np.uint8), 7),
        (np.full((4, 5, 1), 7, np.uint8), 7),
        (np.full((4, 5, 3), 7, np.uint8), 7),
        (np.ones((4, 5), bool), 255),
        (np.full((4, 5), 65535, np.uint16), 255),
        (np.full((4, 5), 257 * 100, np.uint16), 100),
        (np.full((4, 5), 200, np.uint16), 200),
        (np.full((4, 5), 2048, np.int64), 128),
        (np.full((4, 5), 0.5, np.float32), 128),
        (np.full((4, 5), 0.5, np.float16), 128),
        (np.full((4, 5, 3), 1.0, np.float64), 255),
        (np.full((4, 5, 3), 200.0), 200),
        (np.full((4, 5), 10**12, np.int64), 255),
        (np.full((4, 5, 4), (10, 10, 10, 0), np.uint8), 255),
        (np.full((4, 5, 4), (10, 10, 10, 255), np.uint8), 10),
        (np.full((4, 5, 4), (0, 0, 0, 128), np.uint8), 127),
        (np.full((4, 5, 4), (2048, 2048, 2048, 65535), np.uint16), 128),
        (np.zeros((4, 5), np.int64), 0),
        (np.zeros((4, 5)), 0),
    ],
)
def test_arrays(array: np.ndarray, value: int) -> None:
    rgb = load_rgb(array)
    assert rgb.shape == (4, 5, 3)
    assert (rgb == value).all()
    assert rgb.flags.c_contiguous


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("top", DEPTHS)
def test_integers_of_every_depth(dtype: str, top: int) -> None:
    if top > np.iinfo(dtype).max:
        pytest.skip("does not fit")
    rgb = load_rgb(levels(top).astype(dtype))
    np.testing.assert_allclose(rgb[..., 0], RAMP * 255, atol=1)
    assert rgb.min() == 0
    assert rgb.max() == 255


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("top", [1, 255, 1023, 4095])
def test_floats_of_every_scale(dtype: str, top: int) -> None:
    np.testing.assert_allclose(load_rgb((RAMP * top).astype(dtype))[..., 1], RAMP * 255, atol=1)


def test_layouts_of_arrays() -> None:
    """Fortran order, negative strides, read-only, big-endian, masked without a mask: the same picture."""
    colour = np.random.default_rng(0).integers(0, 4096, (6, 8, 3)).astype(np.uint16)
    right = load_rgb(colour)
    locked = colour.copy()
    locked.flags.writeable = False
    for same in (
        np.asfortranarray(colour),
        np.ascontiguousarray(colour[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        locked,
        colour.astype(">u2"),
        np.ma.masked_array(colour),
        np.repeat(colour, 2, axis=0)[::2],
    ):
        assert np.array_equal(load_rgb(same), right)
    assert np.array_equal(load_rgb(colour[..., ::-1]), right[..., ::-1])  # BGR, turned


def test_a_large_array_is_converted_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    right = load_rgb(levels(4095).astype(np.uint16))
    monkeypatch.setattr("mien.imaging.pixels._BAND", 100)
    assert np.array_equal(load_rgb(levels(4095).astype(np.uint16)), right)


def test_a_little_overshoot_is_what_resizing_leaves() -> None:
    assert load_rgb(np.asarray([[-1e-7, 1 + 1e-7]])).tolist() == [[[0] * 3, [255] * 3]]
    assert load_rgb(np.asarray([[-2.0, 100.0, 256.9]])).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]
    assert load_rgb(np.asarray([[-2, 100, 257]])).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 9, 9), np.uint8), "channels come last"),
        (np.zeros((9,), np.uint8), "got shape (9,)"),
        (np.zeros((9, 9, 2), np.uint8), "got shape (9, 9, 2)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "read_many"),
        (np.full((9, 9), np.nan), "81 of 81 that are NaN"),
        (np.asarray([[0.5, np.inf]]), "1 of 2 that are NaN or infinite"),
        (np.full((9, 9), -0.1), "-0.1"),
        (np.asarray([[-1.0, 1.0]]), "undo the normalisation"),
        (np.asarray([[-2.1, 2.6]]), "undo the normalisation"),
        (np.asarray([[-100, 200]]), "from 0 (black) up"),
        (np.asarray([[0.0, 1.5]]), "expected float values 0-1 or 0-255, got 0 to 1.5"),
        (np.asarray([[0.0, 24.0]]), "got 0 to 24"),
        (RAMP / 255, "expected float values 0-1 or 0-255"),
        (np.zeros((9, 9), complex), "complex128"),
        (np.asarray([[None, 1]]), "dtype object"),
        (np.asarray([["a", "b"]]), "dtype <U1"),
        (np.ma.masked_array(np.zeros((2, 2)), mask=[[1, 0], [0, 0]]), "1 masked"),
    ],
)
def test_wrong_arrays(array: np.ndarray, words: str) -> None:
    assert words in error_of(array)


def test_an_empty_array() -> None:
    with pytest.raises(ImageError) as caught:
        load_rgb(np.zeros((0, 9), np.uint8))
    assert caught.value.type == "empty"


def test_arrays_of_other_libraries() -> None:
    class Jax:
        def __dlpack__(self) -> None: ...

    torch = pytest.importorskip("torch")
    assert "give tensor.detach().cpu().numpy()" in error_of(torch.zeros(4, 4, 3))
    assert "give np.asarray(array)" in error_of(Jax())
    assert "got list" in error_of([[0, 1], [2, 3]])


# ── the same numbers in files ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("top", DEPTHS)
@pytest.mark.parametrize("channels", [None, 3, 4])
@pytest.mark.parametrize("write", [png, tiff])
def test_both_doors_agree_on_sixteen_bits(top: int, channels: int | None, write: Any) -> None:
    """Pillow drops the low byte of sixteen-bit colours: those of a 12-bit camera came out black."""
    shape = (20, 30) if channels is None else (20, 30, channels)
    array = np.random.default_rng(top).integers(0, top + 1, shape).astype(np.uint16)
    array[0, 0] = top
    from_file = load_rgb(write(array))
    assert np.array_equal(from_file, load_rgb(array))
    assert from_file.max() == 255


@pytest.mark.parametrize("dtype", ["f4", "f8", "u4", "i4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("top", [1.0, 255.0, 4095.0])
def test_both_doors_agree_on_wide_grey(dtype: str, order: str, top: float) -> None:
    if dtype[0] != "f" and top < 255:
        pytest.skip("integers of 0-1")
    array = (RAMP * top).astype(dtype)
    assert np.array_equal(load_rgb(tiff(array, byteorder=order, photometric="minisblack")), load_rgb(array))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u2", "u4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"rowsperstrip": 7},
        {"planarconfig": "separate", "rowsperstrip": 7},
        {"planarconfig": "separate", "compression": "zlib"},
    ],
)
def test_deep_colour_tiffs(dtype: str, order: str, channels: int, layout: dict[str, Any]) -> None:
    top = 1.0 if dtype[0] == "f" else 60_000
    array = (np.random.default_rng(0).random((21, 30, channels)) * top).astype(dtype)
    stored = array.transpose(2, 0, 1).copy() if "planarconfig" in layout else array
    extra = ["unassalpha"] if channels == 4 else None
    data = tiff(stored, byteorder=order, photometric="rgb", extrasamples=extra, **layout)
    assert np.array_equal(load_rgb(data), load_rgb(array))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u2", "u4"])
def test_differences_between_pixels_are_summed(kind: str, order: str) -> None:
    array = np.random.default_rng(0).integers(0, 60_000, (21, 30, 3)).astype(kind)
    data = tiff(array, byteorder=order, photometric="rgb", compression="zlib", predictor=2)
    assert np.array_equal(load_rgb(data), load_rgb(array))


def test_differences_of_bytes_are_summed() -> None:
    """Predictor 3, by libtiff's own encoder through Pillow; grey, since it writes no other floats."""
    from mien.imaging.deep import tiff_samples

    array = np.random.default_rng(0).random((21, 30)).astype(np.float32)
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 3})
    assert Image.open(BytesIO(buffer.getvalue())).tag_v2[317] == 3  # type: ignore[attr-defined]
    values, _ = tiff_samples(buffer.getvalue(), 10_000)
    assert np.array_equal(values[..., 0], array)


def test_a_deep_tiff_is_turned_upright() -> None:
    upright = np.zeros((16, 24, 3), np.float32)
    upright[:8, :8] = 1
    for planes in ({}, {"planarconfig": "separate"}):
        stored = np.ascontiguousarray(np.rot90(upright, 1))
        stored = stored.transpose(2, 0, 1).copy() if planes else stored
        data = tiff(stored, photometric="rgb", extratags=[(274, 3, 1, 6, True)], **planes)
        assert np.array_equal(load_rgb(data), load_rgb(upright))


def test_white_may_be_zero() -> None:
    for top, kind in ((65535, "u2"), (4095, "u2"), (1, "f4")):
        array = (RAMP * top).astype(kind)
        rgb = load_rgb(tiff(array, photometric="miniswhite"))
        assert np.array_equal(rgb, 255 - load_rgb(array))


def test_other_tiffs_are_named() -> None:
    bands = np.zeros((8, 8, 6), np.float32)
    said = error_of(tiff(bands, photometric="minisblack", planarconfig="contig"))
    assert "6 × 32-bit float samples a pixel" in said
    with pytest.raises(ImageError) as caught:
        load_rgb(tiff(np.zeros((40, 40, 3), np.float32), photometric="rgb"), max_pixels=1000)
    assert caught.value.type == "too_large"
    whole = tiff(np.random.default_rng(0).random((80, 80, 3)).astype("f4"), photometric="rgb", compression="zlib")
    for keep in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError):
            load_rgb(whole[: int(len(whole) * keep)])


def test_not_a_number_in_a_file() -> None:
    array = RAMP.astype(np.float32)
    array[3, 4] = np.nan
    assert "1 of 3,072 that are NaN" in error_of(tiff(array, photometric="minisblack"))
