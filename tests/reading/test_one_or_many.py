"""One picture where many are expected, and many where one is, are refused with what to write instead."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mien import Reader, ReadFailure, Reading
from mien.errors import MienError, UsageError
from mien.reading.items import Item

CROP = np.random.default_rng(0).integers(20, 256, (48, 48), dtype=np.uint8)
PHOTO = np.random.default_rng(1).integers(20, 256, (60, 50, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


class Frame:
    """A data frame as far as it matters: looping over it gives the names of its columns."""

    columns = ("image", "label")

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.fixture(scope="module")
def reader(tiny_model: Path) -> Reader:
    return Reader(str(tiny_model), detector="none", threads=1)


ONE: dict[str, tuple[Any, str]] = {
    "H×W×3": (PHOTO, "one array of 60×50×3, which is one picture"),
    "H×W×4": (np.zeros((60, 50, 4), np.uint8), "which is one picture"),
    "H×W×1": (np.zeros((48, 48, 1), np.uint8), "which is one picture"),
    "H×W×2": (np.zeros((40, 48, 2), np.uint8), "an array of 40×48×2, which is no picture"),
    "H×W": (CROP, "one array of 48×48"),
    "a row": (CROP[0], "an array of shape (48,)"),
    "a number": (5, "got 5"),
    "nothing": (None, "got None"),
    "a path": ("a.jpg", "the path 'a.jpg'"),
    "a Path": (Path("a.jpg"), "the path 'a.jpg'"),
    "bytes": (b"\xff\xd8\xff", "the bytes of one file"),
    "bytearray": (bytearray(b"\xff\xd8\xff"), "the bytes of one file"),
    "a PIL image": (Image.fromarray(CROP), "one PIL image"),
    "a file": (BytesIO(b"\xff\xd8\xff\n\n"), "one file object"),
    "a dictionary": ({"image": CROP, "label": 3}, "a dict with keys 'image', 'label'"),
    "an item": (Item("a", CROP), "one item"),
    "a data frame": (Frame(), "a table (Frame)"),
    "five sides": (np.zeros((2, 2, 8, 8, 3)), "an array of shape (2, 2, 8, 8, 3)"),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("call", ["read_many", "stream", "classify"])
def test_one_where_many_are_expected(reader: Reader, name: str, call: str) -> None:
    source, words = ONE[name]
    with pytest.raises(UsageError) as caught:  # at the call, not at the first answer
        getattr(reader, call)(source)
    assert words in str(caught.value)
    assert f"{call}(" in str(caught.value)  # what to write instead


@pytest.mark.parametrize("name", ["H×W×3", "H×W", "H×W×1"])
def test_what_the_error_says_to_write_works(reader: Reader, name: str) -> None:
    source, _ = ONE[name]
    (reading,) = reader.read_many([source])
    assert isinstance(reading, Reading)
    np.testing.assert_allclose(list(reading.faces[0].probabilities.values()), reader.classify([source])[0], atol=1e-6)


def test_a_tensor_of_another_library(reader: Reader) -> None:
    torch = pytest.importorskip("torch")
    for call in (reader.read_many, reader.classify):
        with pytest.raises(UsageError, match=r"numpy\(\)"):
            call(torch.zeros(2, 48, 48))


@pytest.mark.parametrize(
    "source",
    [
        [CROP, CROP],
        (CROP,),
        ["a.jpg", "b.jpg"],
        {"a.jpg"},
        np.stack([PHOTO, PHOTO]),
        (picture for picture in (CROP, CROP)),
        {"image": CROP},
        CROP[:, :3],
    ],
    ids=["list", "tuple", "paths", "set", "N×H×W×3", "generator", "dictionary", "row of H×W×3"],
)
def test_many_where_one_is_expected(reader: Reader, source: Any) -> None:
    with pytest.raises(UsageError, match=r"expected (one|a) picture"):
        reader.read(source)


MANY: dict[str, Callable[[], Any]] = {
    "list": lambda: [CROP, PHOTO],
    "tuple": lambda: (CROP, PHOTO),
    "generator": lambda: (picture for picture in (CROP, PHOTO)),
    "N×H×W": lambda: np.stack([CROP, CROP]),
    "N×H×W×3": lambda: np.stack([PHOTO, PHOTO]),
    "array of objects": lambda: _objects(CROP, PHOTO),
    "bytes": lambda: [png(CROP), png(PHOTO)],
    "images": lambda: [Image.fromarray(CROP), Image.fromarray(PHOTO)],
    "dictionary's values": lambda: {"a": CROP, "b": PHOTO}.values(),
}


def _objects(*pictures: np.ndarray) -> np.ndarray:
    array = np.empty(len(pictures), object)
    array[:] = pictures
    return array


@pytest.mark.parametrize("name", MANY)
def test_many_are_read(reader: Reader, name: str) -> None:
    results = list(reader.read_many(MANY[name]()))
    assert [type(result) for result in results] == [Reading, Reading]
    assert reader.classify(MANY[name]()).shape == (2, 7)


def test_a_data_frame_column(reader: Reader, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "a.png").write_bytes(png(CROP))
    table = pandas.DataFrame({"image": [str(tmp_path / "a.png")] * 2})
    assert [type(result) for result in reader.read_many(table["image"])] == [Reading, Reading]
    assert [type(result) for result in reader.read_many(np.asarray(table["image"]))] == [Reading, Reading]
    with pytest.raises(UsageError, match="a table"):
        reader.read_many(table)


def test_frames_of_one_image(reader: Reader) -> None:
    buffer = BytesIO()
    Image.fromarray(CROP).save(buffer, "GIF", save_all=True, append_images=[Image.fromarray(255 - CROP)])
    frames = ImageSequence.Iterator(Image.open(BytesIO(buffer.getvalue())))
    first, second = reader.read_many(frames)
    assert isinstance(first, Reading)
    assert isinstance(second, Reading)
    assert first.faces[0].probabilities == reader.read(CROP).faces[0].probabilities
    assert second.faces[0].probabilities != first.faces[0].probabilities


def test_a_collection_within_a_stream_is_one_failure(reader: Reader) -> None:
    results = list(reader.read_many([CROP, [CROP, CROP], {"image": CROP}, *iter(np.zeros((6, 9, 3), np.uint8)), CROP]))
    assert [isinstance(result, ReadFailure) for result in results] == [False, *[True] * 8, False]
    assert isinstance(results[1], ReadFailure)
    assert results[1].type == "unsupported"
    assert "expected one picture, got a list of 2" in results[1].message


def test_classify_refuses_what_is_no_picture(reader: Reader) -> None:
    for crops in ([CROP, CROP[0]], [[1, 2], [3, 4]], list(PHOTO), [None]):
        with pytest.raises(MienError):
            reader.classify(crops)
    assert reader.classify([]).shape == (0, 7)
    assert reader.classify(np.zeros((0, 48, 48))).shape == (0, 7)
