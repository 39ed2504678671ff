"""The ground: one label order, one preprocess, results that cannot be wrong, one-line errors, whole files."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import mien
from mien import atomic, labels
from mien.atomic import write_text
from mien.errors import DataError, ImageError, ModelError, OutputError, UsageError
from mien.preprocess import Preprocess, points_in_square
from mien.results import Box, Face, ReadFailure, Reading, table_columns

P = dict.fromkeys(labels.SEVEN, 1 / 7)


def test_the_label_order_is_fer2013s() -> None:
    assert labels.SEVEN == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert (*labels.SEVEN, "contempt") == labels.EIGHT
    assert [labels.code(n) for n in ("Anger", " happiness ", "CONTEMPT")] == [0, 3, 7]
    with pytest.raises(DataError, match=r"expected an expression .* got 'boredom'"):
        labels.canonical("boredom")


def test_the_public_names_and_no_others() -> None:
    assert set(dir(mien)) == set(mien.__all__)
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Raeder'"):
        mien.Raeder  # noqa: B018


def test_errors_are_one_line_with_a_hint() -> None:
    assert str(UsageError("expected a,\n got b", hint="do\nc")) == "expected a, got b; do c"
    assert ImageError("x", kind="truncated").type == "truncated"
    with pytest.raises(AssertionError):
        ImageError("x", kind="odd")


def test_normalise_closed_form() -> None:
    got = Preprocess(mean=(0.4,), std=(0.2,)).normalise(np.full((1, 1, 2, 2), 102, np.uint8))
    np.testing.assert_allclose(got, 0.0, atol=1e-6)
    assert got.dtype == np.float32


def test_a_crop_of_the_right_size_is_untouched_and_colour_becomes_luma() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    assert (Preprocess().pixels(grey) == grey[None]).all()
    rgb = np.zeros((48, 48, 3), np.uint8)
    rgb[..., 1] = 200
    assert (Preprocess().pixels(rgb) == round(200 * 0.587)).all()
    both = Preprocess(color="rgb", mean=(0.5,) * 3, std=(0.5,) * 3).pixels(Image.fromarray(rgb))
    assert both.shape == (3, 48, 48)


@pytest.mark.parametrize("shape", [(60, 41), (41, 60, 3), (12, 48), (48, 47, 3), (50, 50, 3)])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_a_crop_that_is_not_square_is_padded_with_its_border_never_squashed(shape: tuple[int, ...], color: str) -> None:
    """Against torch's replicated padding, and then Pillow's resize; squashed it would be another picture."""
    n = 1 if color == "grey" else 3
    preprocess = Preprocess(size=32, color=color, mean=(0.5,) * n, std=(0.5,) * n)
    crop = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    height, width = shape[:2]
    more, less = abs(height - width) - abs(height - width) // 2, abs(height - width) // 2
    beside = (less, more, 0, 0) if height > width else (0, 0, less, more)
    image = Image.fromarray(crop).convert("L" if n == 1 else "RGB")
    planes = torch.from_numpy(np.atleast_3d(np.asarray(image)).astype(np.float32).transpose(2, 0, 1))
    padded = F.pad(planes, beside, mode="replicate").numpy().astype(np.uint8)
    wanted = [np.asarray(Image.fromarray(plane).resize((32, 32), Image.Resampling.BILINEAR)) for plane in padded]
    got = preprocess.pixels(crop)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(preprocess.pixels(Image.fromarray(crop)), got)
    np.testing.assert_array_equal(preprocess.stack(np.stack([crop, crop]))[1], got)
    squashed = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).reshape(32, 32, n).transpose(2, 0, 1)
    assert np.array_equal(squashed, got) == (height == width)  # squares are as they always were


def test_points_go_where_the_padding_puts_them() -> None:
    dot = np.zeros((90, 60), np.uint8)
    dot[68:73, 13:18] = 255  # centred at x 15.5, y 70.5
    pixels = Preprocess(size=60).pixels(dot)[0].astype(float)
    there = [((np.arange(60) + 0.5) * pixels.sum(axis)).sum() / pixels.sum() for axis in (0, 1)]
    ((x, y),) = points_in_square([(15.5, 70.5)], width=60, height=90, size=60)
    assert (x, y) == pytest.approx(((15.5 + 15) * 2 / 3, 70.5 * 2 / 3))
    assert there == pytest.approx((x, y), abs=0.05)
    assert abs(there[0] - 15.5) > 2  # where squashing, which leaves x as it is, would have it


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (20, 81), (1, 5)])
def test_a_strip_is_no_face_crop(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"at most 4 times the shorter one, got {shape[1]}×{shape[0]}; cut the face"):
        Preprocess().pixels(np.zeros(shape, np.uint8))
    assert Preprocess().pixels(np.zeros((20, 80), np.uint8)).shape == (1, 48, 48)
    assert Preprocess().pixels(np.zeros((1, 1), np.uint8)).shape == (1, 48, 48)


def test_ten_crops_against_torchs_interpolation() -> None:
    batch = np.random.default_rng(0).normal(size=(2, 1, 48, 48)).astype(np.float32)
    crops = Preprocess(tta_crop=44 / 48).ten_crops(batch).reshape(2, 10, 1, 48, 48)
    for number, (top, left) in enumerate([(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]):
        cut = torch.from_numpy(batch[:, :, top : top + 44, left : left + 44])
        expected = F.interpolate(cut, size=(48, 48), mode="bilinear", align_corners=False).numpy()
        np.testing.assert_allclose(crops[:, number], expected, atol=5e-5)
        np.testing.assert_allclose(crops[:, number + 5], expected[..., ::-1], atol=5e-5)
    assert not np.allclose(crops[:, 0], crops[:, 1], atol=1e-2)


def test_preprocess_travels_as_json() -> None:
    one = Preprocess(size=64, mean=(0.45,), std=(0.3,), tta_crop=0.9)
    assert Preprocess.from_json(one.to_json()) == one
    bad = one.to_json().replace("0.45", '"a"')
    nan = one.to_json().replace("0.45", "NaN")
    for text in (
        "",
        "[]",
        '{"size": 48}',
        one.to_json().replace("grey", "sepia"),
        one.to_json().replace("64", "5"),
        bad,
        nan,
    ):
        with pytest.raises(ModelError):
            Preprocess.from_json(text)


def test_results_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="positive w, h"):
        Box(0, 0, 0, 5)
    with pytest.raises(ValueError, match="finite"):
        Box(float("nan"), 0, 1, 1)
    with pytest.raises(ValueError, match="sum to 1"):
        Face(Box(0, 0, 1, 1), 1.0, "happy", 0.9, {"happy": 0.9})


def test_rows_fit_the_columns() -> None:
    face = Face(Box(1, 2, 3, 4), 0.9, "angry", 1 / 7, P)
    columns = set(table_columns())
    for record in (Reading("a.jpg", 10, 10, (face, face)), Reading("b.jpg", 1, 1), ReadFailure("c", "empty", "no")):
        for row in record.to_rows():
            assert set(row) <= columns
    assert [row["face"] for row in Reading("a.jpg", 10, 10, (face, face)).to_rows()] == [0, 1]
    assert Reading("b.jpg", 1, 1).to_rows() == [{"source": "b.jpg", "time_s": None}]
    assert ReadFailure("c", "empty", "no").to_dict() == {"source": "c", "error": {"type": "empty", "message": "no"}}


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"
    with pytest.raises(OutputError, match="does not exist"):
        write_text(tmp_path / "no" / "a.txt", "x")
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("ends", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, OutputError)])
def test_whatever_ends_the_writing_leaves_nothing_behind(
    ends: type[BaseException], raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: str, mode: str) -> io.FileIO:
        class Ended(io.FileIO):
            def write(self, data: object) -> int:
                raise ends

        return Ended(path, mode)

    monkeypatch.setattr(atomic, "open", opened, raising=False)
    with pytest.raises(raised):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []
