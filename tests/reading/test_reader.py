"""The reader: the same numbers one by one and in batches, in order, whatever stands between."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import Reader
from mien.errors import ImageError, ModelError, UsageError
from mien.faces.base import Detection
from mien.labels import SEVEN
from mien.onnx_runtime import default_threads
from mien.reading import batches
from mien.reading.classifier import Classifier
from mien.reading.items import PAUSE, Item
from mien.results import Box, ReadFailure, Reading

RANDOM = np.random.default_rng(0)


class Fake:
    """Finds a face at each box it was given; counts the pictures that it saw."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes, self.seen = boxes, 0

    def detect(self, image: np.ndarray) -> list[Detection]:
        self.seen += 1
        if image[0, 0, 0] == 13:
            raise RuntimeError("a bug\nin the detector")
        return [Detection(Box(*box), 0.9, None) for box in self.boxes]


def crops(n: int) -> list[np.ndarray]:
    return [RANDOM.integers(20, 256, (48, 48), dtype=np.uint8) for _ in range(n)]


def test_a_crop_is_read_without_any_loss(tiny_model: Path, tiny_answer: Callable[..., np.ndarray]) -> None:
    """detector none, 48×48 grey: the closed form of the file's pixels, down to rounding."""
    (crop,) = crops(1)
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    reading = Reader(str(tiny_model), detector="none", threads=1).read(buffer.getvalue())
    expected = tiny_answer(crop[None, None])[0]
    (face,) = reading.faces
    assert face.box == Box(0, 0, 48, 48)
    assert face.score == 1
    assert tuple(face.probabilities) == SEVEN
    np.testing.assert_allclose(list(face.probabilities.values()), expected, atol=1e-5)
    assert face.expression == SEVEN[int(expected.argmax())]
    assert face.confidence == pytest.approx(expected.max(), abs=1e-5)


def test_every_kind_of_source(tiny_model: Path, tmp_path: Path) -> None:
    reader = Reader(str(tiny_model), detector="none", threads=1)
    (crop,) = crops(1)
    image = Image.fromarray(crop)
    path = tmp_path / "crop.png"
    image.save(path)
    same = [reader.read(source).faces for source in (path, str(path), path.read_bytes(), image, crop)]
    assert all(faces == same[0] for faces in same)
    names = [reader.read(source).source for source in (path, str(path), path.read_bytes(), image, crop)]
    assert names == [str(path), str(path), "<bytes>", "<image>", "<array>"]
    assert reader.read(crop, name="mine").source == "mine"
    with Image.open(path) as opened:
        assert reader.read(opened).source == str(path)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("tta", [False, True])
def test_batches_across_pictures_change_nothing(tiny_model: Path, batch_size: int, tta: bool) -> None:
    pictures = [RANDOM.integers(20, 256, (90, 120, 3), dtype=np.uint8) for _ in range(7)]
    detector = Fake((5, 5, 40, 50), (60, 20, 30, 30), (100, 70, 60, 60))
    one = Reader(str(tiny_model), detector=detector, threads=1, tta=tta)
    many = Reader(str(tiny_model), detector=detector, threads=1, tta=tta, batch_size=batch_size)
    singly = [one.read(picture) for picture in pictures]
    together = list(many.read_many(pictures))
    for alone, batched in zip(singly, together, strict=True):
        assert isinstance(batched, Reading)
        assert [face.box for face in alone.faces] == [face.box for face in batched.faces]
        for a, b in zip(alone.faces, batched.faces, strict=True):
            np.testing.assert_allclose(list(a.probabilities.values()), list(b.probabilities.values()), atol=1e-6)
    # negative control: the pictures do differ
    assert singly[0].faces[0].probabilities != singly[1].faces[0].probabilities


def test_boxes_stay_inside_and_the_largest_comes_first(tiny_model: Path) -> None:
    detector = Fake((-10, -10, 30, 30), (50, 40, 100, 100), (200, 200, 20, 20))
    reading = Reader(str(tiny_model), detector=detector, threads=1).read(np.full((80, 100, 3), 99, np.uint8))
    assert [face.box for face in reading.faces] == [Box(50, 40, 50, 40), Box(0, 0, 20, 20)]
    assert (reading.width, reading.height) == (100, 80)


def test_no_face(tiny_model: Path) -> None:
    assert Reader(str(tiny_model), detector=Fake(), threads=1).read(crops(1)[0]).faces == ()


def test_one_bad_input_never_stops_the_rest(tiny_model: Path) -> None:
    buggy = np.full((48, 48), 13, np.uint8)
    sources = [crops(1)[0], "nope.jpg", b"", buggy, np.zeros((3, 5, 5), np.uint8), crops(1)[0]]
    results = list(Reader(str(tiny_model), detector=Fake((0, 0, 20, 20)), threads=1).read_many(sources))
    kinds = [result.type if isinstance(result, ReadFailure) else "read" for result in results]
    assert kinds == ["read", "missing", "empty", "internal", "unsupported", "read"]
    assert isinstance(results[3], ReadFailure)
    assert results[3].message == "RuntimeError: a bug in the detector"
    with pytest.raises(RuntimeError):  # one at a time a bug is a bug
        Reader(str(tiny_model), detector=Fake(), threads=1).read(buggy)


def test_read_raises(tiny_model: Path) -> None:
    with pytest.raises(ImageError) as caught:
        Reader(str(tiny_model), detector=Fake(), threads=1).read("nope.jpg")
    assert caught.value.type == "missing"


def test_results_come_early_and_lazily(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first picture at once, later ones by full batches, and never more pictures than needed."""
    monkeypatch.setattr(batches, "LATENCY_S", 1e9)
    detector = Fake((0, 0, 20, 20))
    reader = Reader(str(tiny_model), detector=detector, threads=1, batch_size=4)
    stream = reader.read_many(crops(20))
    next(stream)
    assert detector.seen == 1
    next(stream)
    assert detector.seen == 5
    assert len(list(stream)) == 18


def test_a_pause_hands_out_what_is_held(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LATENCY_S", 1e9)
    detector = Fake((0, 0, 20, 20))
    stream = Reader(str(tiny_model), detector=detector, threads=1).read_many([*crops(3), PAUSE, *crops(2)])
    assert [next(stream) and detector.seen for _ in range(3)] == [1, 3, 3]


def test_items_keep_their_names_and_pictures(tiny_model: Path) -> None:
    reader = Reader(str(tiny_model), detector="none", threads=1)
    item = Item("row 5", crops(1)[0])
    (result,) = reader.stream([item], keep_pictures=True)
    assert result.reading.source == "row 5"
    assert result.item is item
    assert result.picture is not None
    assert result.picture.shape == (48, 48, 3)
    assert next(iter(reader.stream([item]))).picture is None


def test_min_confidence(tiny_model: Path) -> None:
    (crop,) = crops(1)
    sure = Reader(str(tiny_model), detector="none", threads=1).read(crop).faces[0]
    above = Reader(str(tiny_model), detector="none", threads=1, min_confidence=sure.confidence + 1e-4)
    below = Reader(str(tiny_model), detector="none", threads=1, min_confidence=sure.confidence - 1e-4)
    assert above.read(crop).faces[0].expression is None
    assert above.read(crop).faces[0].probabilities == sure.probabilities
    assert below.read(crop).faces[0].expression == sure.expression == sure.top


def test_classify(tiny_model: Path) -> None:
    reader = Reader(str(tiny_model), detector="none", threads=1, batch_size=3)
    batch = np.stack(crops(8))
    got = reader.classify(batch)
    assert got.shape == (8, 7)
    assert got.dtype == np.float32
    singly = [list(reader.read(crop).faces[0].probabilities.values()) for crop in batch]
    np.testing.assert_allclose(got, singly, atol=1e-6)
    np.testing.assert_allclose(reader.classify(np.stack([batch] * 3, axis=-1)), got, atol=1e-6)
    assert reader.classify([]).shape == (0, 7)


def test_a_crop_that_is_not_square_is_read_as_its_padded_self(tiny_model: Path) -> None:
    """classify, and detector none; not as its squashed self."""
    reader = Reader(str(tiny_model), detector="none", threads=1)
    tall = RANDOM.integers(20, 256, (70, 52, 3), dtype=np.uint8)
    padded = np.pad(tall, ((0, 0), (9, 9), (0, 0)), mode="edge")
    squashed = np.asarray(Image.fromarray(tall).resize((70, 70), Image.Resampling.BILINEAR))
    got, wanted, other = reader.classify([tall, padded, squashed])
    np.testing.assert_array_equal(got, wanted)
    assert np.abs(got - other).max() > 0.01
    (face,) = reader.read(tall).faces
    np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-6)
    assert face.box == Box(0, 0, 52, 70)  # in the picture as it came
    strip = np.zeros((1, 500, 3), np.uint8)
    with pytest.raises(ImageError, match="got 500×1"):
        reader.classify([tall, strip])
    (failure,) = reader.read_many([strip])
    assert isinstance(failure, ReadFailure)
    assert failure.type == "unsupported"


def test_face_boxes_given_as_crops_keep_the_photos_answer(fer2013_dir: Path) -> None:
    """Real faces, cut out as a detector's box stands: padded, more of them keep their answer than squashed.

    ``benchmarks/crop_padding.py`` has the figures, from larger pictures than these.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(fer2013_dir / "public_test.parquet", columns=["image"]).slice(0, 300).to_pylist()
    whole = [np.asarray(Image.open(BytesIO(row["image"]["bytes"]))) for row in rows]
    cut = [crop[:, 6:-6] for crop in whole]  # 48×36
    squashed = [np.asarray(Image.fromarray(crop).resize((48, 48), Image.Resampling.BILINEAR)) for crop in cut]
    reader = Reader("nano", detector="none", threads=1)
    answers, padded, other = (reader.classify(crops).argmax(1) for crops in (whole, cut, squashed))
    assert (padded == answers).mean() > (other == answers).mean() + 0.05
    assert (padded == answers).mean() > 0.85


def test_notes_name_their_source(tiny_model: Path) -> None:
    buffer = BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    notes: list[str] = []
    list(Reader(str(tiny_model), detector="none", threads=1).read_many([buffer.getvalue()], on_note=notes.append))
    assert notes == ["<bytes>: has 2 frames; only the first is read"]


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"batch_size": 0},
        {"max_pixels": 0},
        {"min_confidence": 1.5},
        {"min_confidence": float("nan")},
        {"detector": "haar"},
        {"detect_size": 1},
    ],
)
def test_wrong_options(tiny_model: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Reader(str(tiny_model), **options)  # type: ignore[arg-type]


def test_wrong_model(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no")
    with pytest.raises(ModelError):
        Reader(str(path), detector="none")
    with pytest.raises(UsageError):
        Reader("huge", detector="none")


def test_real_photos(tiny_model: Path, grace_hopper: Path, astronaut: Path) -> None:
    """The true detector finds the one face of each photo, where it is; the 1×1 picture has none."""
    reader = Reader(str(tiny_model), threads=2)
    for photo, (x, y) in ((grace_hopper, (270, 235)), (astronaut, (225, 118))):
        (face,) = reader.read(photo).faces
        assert face.box.x < x < face.box.x + face.box.w
        assert face.box.y < y < face.box.y + face.box.h
        assert 0.3 < face.score <= 1
    assert reader.read(np.zeros((1, 1), np.uint8)).faces == ()


@pytest.mark.fer2013
def test_fer2013_streams(tiny_model: Path, fer2013_dir: Path) -> None:
    from itertools import islice

    from mien.reading.inputs import expand

    reader = Reader(str(tiny_model), detector="none", threads=1)
    items = expand([str(fer2013_dir / "public_test.parquet")])
    results = list(islice(reader.read_many(items), 300))
    assert [result.source for result in results[:2]] == ["public_test_00000.png", "public_test_00001.png"]
    assert all(isinstance(result, Reading) and len(result.faces) == 1 for result in results)


def test_never_more_threads_than_cores(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    load = Classifier.load

    def spy(model: str, *, threads: int, device: str, precision: str) -> Classifier:
        asked.append(threads)
        return load(model, threads=1)

    monkeypatch.setattr(Classifier, "load", spy)
    Reader(str(tiny_model), detector="none", threads=100_000)
    assert asked == [default_threads()]
