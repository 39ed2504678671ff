"""One standard: the pictures of a store are what the reader's own code makes of them, and every drop has its reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from list_source import Listed
from mien.data.build.infer_defaults import infer_defaults
from mien.data.build.normalise import Standard, crop_to_standard, normalise, the_face
from mien.data.sources import Drop, Sample
from mien.errors import ModelError, UsageError
from mien.faces import DEFAULT_DETECTOR, CropGeometry, Detection, align_crop, make_detector
from mien.faces.align import landmarks_in_crop, roll
from mien.imaging import load_rgb
from mien.preprocess import Preprocess
from mien.results import Box

GREY, RGB = Standard(size=48, color="grey"), Standard(size=64, color="rgb")


def brought(sample: Sample, standard: Standard = GREY, *, source: str = "s", found=None) -> Sample | Drop:
    """normalise, with a detector that must not be asked unless ``found`` says what it finds."""

    class Known:
        name = "known"

        def detect(self, image):
            return found

    def detector():
        assert found is not None, "a crop needs no detector"
        return Known()

    return normalise(sample, source=source, standard=standard, detector=detector)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def detector():
    return make_detector(DEFAULT_DETECTOR)


# --- crops ---------------------------------------------------------------------------------------------------------


def test_what_is_standard_already_is_not_touched():
    pixels = noise(1, 48, 48)
    found = brought(Sample("a", pixels, "sad", "training"))
    assert isinstance(found, Sample)
    assert found.pixels is pixels


@pytest.mark.parametrize("shape", [(48, 48, 3), (100, 100, 3), (100, 100), (30, 30, 3), (120, 120)])
@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize("size", [48, 64])
def test_size_and_colour_are_pillows(shape, color, size):
    pixels = noise(2, *shape)
    image = Image.fromarray(pixels).convert("L" if color == "grey" else "RGB")
    wanted = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    got = crop_to_standard(pixels, Standard(size=size, color=color))
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted)
    nearest = np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
    assert shape[:2] == (size, size) or not np.array_equal(got, nearest)  # the comparison can fail


def test_keep_keeps_each_picture_as_it_is(tmp_path):
    keep = Standard(size="keep", color="keep")
    for pixels in (noise(3, 30, 40), noise(3, 50, 20, 3)):
        assert np.array_equal(crop_to_standard(pixels, keep), pixels)
    grey = noise(4, 30, 40)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(noise(4, 30, 40, 3)).save(tmp_path / "rgb.png")
    of_file = {
        name: brought(Sample(name, None, "sad", "", file=tmp_path / name), keep) for name in ("grey.png", "rgb.png")
    }
    assert np.array_equal(of_file["grey.png"].pixels, grey)  # the decoder gives RGB: no colour is no colour
    assert of_file["rgb.png"].pixels.shape == (30, 40, 3)


def test_a_file_is_decoded_upright_and_the_sample_forgets_it(tmp_path):
    pixels = np.zeros((48, 48), np.uint8)
    pixels[:8] = 255  # white on top …
    exif = Image.Exif()
    exif[0x0112] = 6  # … of a camera that lay on its side
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "a.png", exif=exif)
    found = brought(Sample("a.png", None, "sad", "training", file=tmp_path / "a.png", group="S1", valence=0.5))
    assert isinstance(found, Sample)
    assert np.array_equal(found.pixels, pixels)
    assert (found.file, found.is_crop, found.box) == (None, True, None)
    assert (found.path, found.label, found.group, found.valence) == ("a.png", "sad", "S1", 0.5)


def test_landmarks_of_a_crop_are_scaled_with_it_and_follow_its_padding():
    found = brought(Sample("a", noise(5, 96, 96), "sad", "", landmarks=((96.0, 48.0), (10.0, 0.0))))
    assert found.landmarks == ((48.0, 24.0), (5.0, 0.0))
    wide = noise(5, 96, 192)
    found = brought(Sample("a", wide, "sad", "", landmarks=((96.0, 48.0), (192.0, 0.0))))
    assert found.landmarks == ((24.0, 24.0), (48.0, 12.0))
    assert np.array_equal(found.pixels, Preprocess().pixels(np.pad(wide, ((48, 48), (0, 0)), mode="edge"))[0])
    crop = make_detector("none").detect(np.repeat(wide[..., None], 3, axis=2))[0]
    there = landmarks_in_crop(((192, 0),), (96, 192), crop, size=48, geometry=CropGeometry.default())
    assert there == ((48.0, 12.0),)
    kept = brought(Sample("a", wide, "sad", "", landmarks=((192.0, 0.0),)), Standard(size="keep", color="keep"))
    assert kept.landmarks == ((192.0, 0.0),)


@pytest.mark.parametrize("size", [48, "keep"])
def test_a_strip_is_left_out_whatever_the_size(size):
    dropped = brought(Sample("s", noise(1, 20, 100), "sad", ""), Standard(size=size, color="grey"))
    assert (dropped.reason, dropped.detail[:6]) == ("image too long for a face crop", "100×20")
    assert isinstance(brought(Sample("s", noise(1, 20, 80), "sad", ""), Standard(size=size, color="grey")), Sample)
    box = Detection(box=Box(30, 2, 12, 16), score=1.0)
    photo = Sample("s", noise(1, 20, 100), "sad", "", is_crop=False)
    assert isinstance(brought(photo, found=[box]), Sample)  # a photo may be a strip


# --- what is left out ------------------------------------------------------------------------------------------------


def test_every_broken_file_has_its_reason(tmp_path):
    Image.fromarray(noise(6, 64, 64, 3)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    files = {
        "cut.jpg": (data[: len(data) // 2], "truncated image"),
        "empty.jpg": (b"", "unreadable image"),
        "text.jpg": (b"this is no picture at all, but a page of text", "unreadable image"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        found = brought(Sample(name, None, "sad", "", file=tmp_path / name))
        assert (found.where, found.reason) == (name, reason)
        assert found.detail
    missing = brought(Sample("gone.jpg", None, "sad", "", file=tmp_path / "gone.jpg"))
    assert missing.reason == "file missing"
    assert isinstance(brought(Sample("w", None, "sad", "", file=tmp_path / "whole.jpg")), Sample)
    assert (
        brought(Sample("tiny", noise(7, 11, 30), "sad", ""), Standard(size="keep", color="keep")).reason
        == "image too small"
    )


@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (11, 11, 3), (400, 11)])
@pytest.mark.parametrize("is_crop", [True, False])
def test_a_picture_that_is_too_small_is_not_scaled_up(shape, is_crop):
    found = brought(Sample("tiny", noise(8, *shape), "sad", "", is_crop=is_crop))
    assert (found.where, found.reason) == ("tiny", "image too small")
    assert found.detail == f"{shape[1]}×{shape[0]}, expected at least 12×12"
    assert isinstance(brought(Sample("small", noise(8, 12, 12), "sad", "")), Sample)


def test_a_fault_of_ours_costs_one_picture_and_a_missing_detector_all():
    photo = Sample("p", noise(9, 40, 40, 3), "sad", "", is_crop=False)

    def broken():
        raise RuntimeError("nobody\nthought of this")

    found = normalise(photo, source="s", standard=GREY, detector=broken)
    assert (found.where, found.reason) == ("p", "failure inside mien")
    assert found.detail == "RuntimeError: nobody thought of this"

    def absent():
        raise ModelError("expected a detector")

    with pytest.raises(ModelError):
        normalise(photo, source="s", standard=GREY, detector=absent)


def test_labels_outside_of_the_set_and_the_users_mapping():
    sample = Sample("a", noise(8, 48, 48), "contempt", "")
    assert brought(sample).label == "contempt"
    assert brought(sample, replace(GREY, labels="eight")).label == "contempt"
    left_out = brought(sample, replace(GREY, labels="seven"))
    assert (left_out.where, left_out.reason, left_out.detail) == ("a", "label outside of the label set", "contempt")
    mapped = replace(
        GREY, labels="seven", mapping={("", "contempt"): "disgust", ("own", "contempt"): None, ("", "fear"): "surprise"}
    )
    assert brought(sample, mapped).label == "disgust"
    assert brought(sample, mapped, source="own").reason == "label dropped by the mapping"
    assert brought(replace(sample, label="fear"), mapped, source="own").label == "surprise"
    assert brought(replace(sample, label=None), mapped).label is None  # held back, not unknown


def test_settings_that_cannot_be():
    for wrong in ({"size": 8}, {"size": "large"}, {"size": 4096}, {"color": "green"}, {"labels": "six"}):
        with pytest.raises(UsageError, match="expected"):
            Standard(**wrong)
    with pytest.raises(UsageError, match="expressions in the mapping"):
        Standard(mapping={("", "anger"): "angry"})
    with pytest.raises(UsageError, match="detector"):
        Standard(detector="viola-jones")


# --- photos ----------------------------------------------------------------------------------------------------------


def test_a_photo_gives_what_the_reader_sees(grace_hopper: Path, detector, tiny_model, monkeypatch):
    """Against the reader itself: the crop in the store is the array that its network gets."""
    from mien import Reader
    from mien.reading.expressions import ExpressionReader

    seen = []
    real = ExpressionReader.probabilities

    def spy(self: ExpressionReader, pixels: list[np.ndarray]) -> np.ndarray:
        seen.extend(pixels)
        return real(self, pixels)

    monkeypatch.setattr(ExpressionReader, "probabilities", spy)
    Reader(str(tiny_model)).read(grace_hopper)
    found = normalise(
        Sample("g", None, "happy", "", file=grace_hopper, is_crop=False),
        source="s",
        standard=GREY,
        detector=lambda: detector,
    )
    assert isinstance(found, Sample)
    assert np.array_equal(found.pixels[None], seen[0])
    whole = brought(Sample("g", None, "happy", "", file=grace_hopper))
    assert not np.array_equal(whole.pixels, found.pixels)  # taken for a crop it is another picture


def two_faces(one: Path, other: Path) -> tuple[np.ndarray, int]:
    """Two photos side by side, and the width of the first."""
    left, right = load_rgb(one), load_rgb(other)
    height = min(len(left), len(right))
    return np.concatenate([left[:height], right[:height]], axis=1), left.shape[1]


def test_several_faces_are_dropped_unless_the_annotators_said_which(grace_hopper, astronaut, detector):
    picture, width = two_faces(grace_hopper, astronaut)
    sample = Sample("two", picture, "happy", "", is_crop=False)

    def bring(sample: Sample) -> Sample | Drop:
        return normalise(sample, source="s", standard=RGB, detector=lambda: detector)

    dropped = bring(sample)
    assert (dropped.where, dropped.reason, dropped.detail) == ("two", "several faces", "2")
    faces = sorted(detector.detect(picture), key=lambda face: face.box.x)
    for face in faces:
        box = face.box
        rough = (box.x - 0.2 * box.w, box.y - 0.1 * box.h, 1.3 * box.w, 1.2 * box.h)
        found = bring(replace(sample, box=rough))
        wanted = align_crop(picture, face, size=64, geometry=CropGeometry.of(detector))
        assert np.array_equal(found.pixels, wanted)
    beside = bring(replace(sample, box=(width - 60.0, 0.0, 50.0, 50.0)))
    assert (beside.reason, beside.detail) == ("no face", "none of 2 lies on the annotators' box")
    nobody = bring(Sample("flat", np.full((200, 200, 3), 90, np.uint8), "happy", "", is_crop=False))
    assert nobody.reason == "no face"


def test_a_box_that_is_none_does_not_choose():
    face = Detection(box=Box(0, 0, 10, 10), score=1)
    for box in ((0.0, 0.0, 0.0, 5.0), (float("nan"), 0.0, 5.0, 5.0)):
        assert the_face([face], box=box) is face
        assert the_face([face, face], box=box).reason == "several faces"


@pytest.mark.parametrize("eyes", [((60, 90), (140, 90)), ((60, 110), (140, 70)), ((70, 60), (130, 120))])
def test_landmarks_go_where_the_crop_puts_them(eyes):
    """A bright dot in the picture is where its landmark is in the crop, level eyes or not."""
    points = np.float32([*eyes, (100, 130), (80, 160), (120, 160)])
    face = Detection(box=Box(50, 40, 100, 140), score=1, landmarks=points)
    rows, columns = np.mgrid[:240, :220]
    errors, unturned = [], []
    for x, y in ((80, 90), (130, 140), (100, 70)):
        dot = np.exp(-((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / 18)
        picture = np.repeat((255 * dot).astype(np.uint8)[..., None], 3, axis=2)
        crop = align_crop(picture, face, size=96, geometry=CropGeometry.default())[..., 0].astype(float)
        there = np.array([((np.arange(96) + 0.5) * crop.sum(axis)).sum() / crop.sum() for axis in (0, 1)])
        for turned, found in ((face, errors), (replace(face, landmarks=None), unturned)):
            point = landmarks_in_crop(((x, y),), (240, 220), turned, size=96, geometry=CropGeometry.default())[0]
            found.append(np.abs(np.array(point) - there).max())
    assert max(errors) < 0.35  # pixels of the crop
    assert roll(face) == 0 or max(unturned) > 2  # without the turn it would show


# --- "auto" ----------------------------------------------------------------------------------------------------------


def crops(name: str, *shape: int, n: int = 5) -> Listed:
    return Listed([Drop("x", "no reason"), *(Sample(str(i), noise(i, *shape), "sad", "") for i in range(n))], name)


def test_auto_takes_the_largest_usual_side_up_to_224_and_colour_where_there_is_any():
    def settled(*sources):
        standard, notes = infer_defaults(Standard(), sources)
        assert len(notes) == 2
        return standard.size, standard.color

    assert settled(crops("a", 48, 48)) == (48, "grey")
    assert settled(crops("a", 48, 48), crops("b", 100, 100, 3)) == (100, "rgb")
    assert settled(crops("a", 300, 200)) == (224, "grey")
    photo = Listed([Sample("p", noise(1, 40, 40), "sad", "", is_crop=False)])
    assert settled(photo, crops("a", 48, 48)) == (224, "grey")
    outlier = Listed([*crops("a", 48, 48, n=9).items, Sample("huge", noise(2, 900, 900), "sad", "")])
    assert settled(outlier) == (48, "grey")
    assert settled(Listed([])) == (224, "grey")


def test_what_was_asked_for_is_not_settled():
    def never():
        raise AssertionError("the sources are not looked at")

    source = crops("a", 48, 48)
    source.stream = never
    assert infer_defaults(RGB, [source]) == (RGB, [])
    with pytest.raises(AssertionError):
        infer_defaults(replace(RGB, color="auto"), [source])
