"""The detector on real pictures. Boxes given by hand are (left, top, width, height) of brow to chin."""

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from mien.errors import ModelError, UsageError
from mien.faces import DETECTORS, Detection, Detector, make_detector, views
from mien.faces.centerface import detail_side
from mien.faces.views import resized
from mien.faces.weights_cache import PackagedFile
from mien.results import Box

Uint8 = NDArray[np.uint8]

ASTRONAUT = Box(178, 62, 94, 116)
GRACE_HOPPER = Box(180, 125, 175, 215)


def overlap(a: Box, b: Box) -> float:
    w = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    h = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(w, 0) * max(h, 0)
    return shared / (a.w * a.h + b.w * b.h - shared)


def only(faces: list[Detection]) -> Detection:
    assert len(faces) == 1, faces
    return faces[0]


def scaled(image: Uint8, factor: float) -> Uint8:
    height, width, _ = image.shape
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("name", "expected"), [("astronaut", ASTRONAUT), ("grace_hopper", GRACE_HOPPER)])
def test_a_portrait_has_one_face(name: str, expected: Box, detector: Detector, request: pytest.FixtureRequest) -> None:
    face = only(detector.detect(request.getfixturevalue(name)))
    assert overlap(face.box, expected) > 0.7
    assert 0.6 < face.score <= 1
    assert not face.is_crop
    assert face.landmarks is not None
    assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    inside = (face.landmarks > [face.box.x, face.box.y]) & (face.landmarks < [face.box.x + face.box.w, 1000])
    assert inside.all()


@pytest.mark.parametrize("factor", [0.25, 0.6, 2, 5])
def test_detection_follows_the_picture_s_scale(factor: float, detector: Detector, astronaut: Uint8) -> None:
    box = only(detector.detect(scaled(astronaut, factor))).box
    assert overlap(Box(box.x / factor, box.y / factor, box.w / factor, box.h / factor), ASTRONAUT) > 0.65


def test_detection_follows_a_shift(detector: Detector, astronaut: Uint8) -> None:
    alone = only(detector.detect(astronaut))
    canvas = np.full((900, 1000, 3), 90, np.uint8)
    canvas[320 : 320 + 512, 416 : 416 + 512] = astronaut
    shifted = only(detector.detect(canvas))
    moved = Box(alone.box.x + 416, alone.box.y + 320, alone.box.w, alone.box.h)
    assert overlap(shifted.box, moved) > 0.75
    assert shifted.landmarks is not None
    assert alone.landmarks is not None
    assert np.abs(shifted.landmarks - alone.landmarks - [416, 320]).max() < 10
    assert overlap(shifted.box, alone.box) == 0  # a wrong offset would have been seen


def test_faces_that_fill_the_picture_are_found(detector: Detector, astronaut: Uint8, grace_hopper: Uint8) -> None:
    for image, box in ((astronaut, ASTRONAUT), (grace_hopper, GRACE_HOPPER)):
        x, y, w, h = (int(v) for v in box.to_list())
        close = image[y : y + h, x : x + w]
        for crop in (close, scaled(close, 48 / h), scaled(close, 1000 / h)):
            assert overlap(only(detector.detect(crop)).box, Box(0, 0, crop.shape[1], crop.shape[0])) > 0.6


def test_faces_of_all_sizes_are_found_largest_first(detector: Detector, astronaut: Uint8, grace_hopper: Uint8) -> None:
    canvas = np.tile(skimage.data.coffee(), (3, 2, 1))  # 1200 × 1200
    canvas[100:228, 100:228] = scaled(astronaut, 0.25)
    canvas[800:1100, 900:1156] = scaled(grace_hopper, 0.5)
    canvas[500:884, 200:584] = scaled(astronaut, 0.75)
    faces = detector.detect(canvas)
    centres = [(face.box.x + face.box.w / 2, face.box.y + face.box.h / 2) for face in faces]
    np.testing.assert_allclose(centres, [(900 + 134, 800 + 115), (200 + 169, 500 + 90), (100 + 56, 100 + 30)], atol=12)

    large = np.repeat(np.repeat(canvas, 2, 0), 2, 1)  # searched reduced to 1600: the smallest is 20 pixels tall there
    assert len(detector.detect(large)) == 3
    assert len(make_detector("centerface", detect_size=400).detect(canvas)) == 2


NON_FACES = ("coffee", "rocket", "brick", "grass", "gravel", "moon", "page", "text", "coins", "chelsea", "clock")


@pytest.mark.parametrize("name", NON_FACES)
def test_a_picture_without_a_face_gives_none(name: str, detector: Detector) -> None:
    image = np.asarray(getattr(skimage.data, name)())
    assert detector.detect(image if image.ndim == 3 else np.stack([image] * 3, 2)) == []


@pytest.mark.parametrize("side", [20, 48, 200, 400])
def test_noise_and_flat_pictures_give_none(side: int, detector: Detector) -> None:
    rng = np.random.default_rng(side)
    for image in (rng.integers(0, 256, (side, side, 3), dtype=np.uint8), np.full((side, side, 3), 127, np.uint8)):
        assert detector.detect(image) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 2000), (2000, 3), (1, 20000), (7, 33)])
def test_odd_shapes_do_no_harm(shape: tuple[int, int], detector: Detector) -> None:
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


def test_a_huge_picture_is_searched_reduced(detector: Detector, astronaut: Uint8) -> None:
    huge = np.repeat(np.repeat(astronaut, 12, 0), 12, 1)  # 6144 × 6144, 38 megapixels
    box = only(detector.detect(huge)).box
    assert overlap(Box(box.x / 12, box.y / 12, box.w / 12, box.h / 12), ASTRONAUT) > 0.65


def test_a_view_of_the_picture_need_not_be_contiguous(detector: Detector, astronaut: Uint8) -> None:
    mirrored = only(detector.detect(astronaut[:, ::-1])).box
    assert overlap(mirrored, Box(512 - ASTRONAUT.x - ASTRONAUT.w, ASTRONAUT.y, ASTRONAUT.w, ASTRONAUT.h)) > 0.65


def test_min_score_and_detect_size_are_obeyed(astronaut: Uint8) -> None:
    assert make_detector("centerface", min_score=0.999).detect(astronaut) == []
    assert len(make_detector("centerface", detect_size=200, threads=2).detect(astronaut)) == 1


def test_the_detail_view_s_side() -> None:
    assert [detail_side(n) for n in (1, 48, 100, 107, 320, 640, 1280, 6000)] == [3, 144, 300, 320, 320, 640, 1280, 1600]


@pytest.mark.parametrize("shape", [(1000, 1500), (997, 1501), (10, 9001), (301, 50)])
@pytest.mark.parametrize("side", [96, 250])
def test_reduction_in_bands_keeps_every_pixel_in_place(
    shape: tuple[int, int], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_BAND", 5000)
    height, width = shape
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width)
    ramp[..., 1] = np.linspace(0, 255, height)[:, None]
    small = resized(ramp, side=side)
    assert max(small.shape) == side
    direct = np.asarray(Image.fromarray(ramp).resize((small.shape[1], small.shape[0]), Image.Resampling.BILINEAR))
    assert np.abs(small.astype(int) - direct).max() <= 3


def test_none_takes_the_picture_as_the_crop() -> None:
    face = only(make_detector("none").detect(np.zeros((30, 50, 3), np.uint8)))
    assert (face.box, face.score, face.landmarks, face.is_crop) == (Box(0, 0, 50, 30), 1, None, True)


def test_wrong_options_say_what_was_expected() -> None:
    assert set(DETECTORS) == {"centerface", "yunet", "none"}
    with pytest.raises(UsageError, match=r"yunet, centerface, none.*'haar'"):
        make_detector("haar")
    for options in ({"detect_size": 0}, {"detect_size": 100000}, {"threads": 0}, {"min_score": 0.0}):
        with pytest.raises(UsageError, match="expected"):
            make_detector("none", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["centerface", "none"])
@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")]
)
def test_another_array_is_a_usage_error(name: str, image: Uint8, detector: Detector) -> None:
    with pytest.raises(UsageError, match="expected a uint8"):
        (detector if name == "centerface" else make_detector(name)).detect(image)


def test_weights_that_do_not_run_are_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackagedFile, "model_bytes", lambda self: b"broken")
    with pytest.raises(ModelError, match="expected a face detector that runs"):
        make_detector("centerface")
