import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.errors import ModelError, UsageError
from mien.faces import CropGeometry, Detection, Detector, align_crop, make_detector
from mien.faces.align import MAX_ROLL, landmarks_in_crop, roll
from mien.preprocess import Preprocess
from mien.results import Box

Uint8 = NDArray[np.uint8]

EXACT = CropGeometry(side=1)


def ramp(height: int, width: int) -> Uint8:
    """Red is x / 2, green is y / 2, blue is flat: a crop's values tell where they come from (to ± ½ step)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x / 2, y / 2, np.full_like(x, 200)], 2).round().astype(np.uint8)


def face(x: float, y: float, h: float, *, degrees: float = 0) -> Detection:
    """A square face centred at (x, y) whose eyes stand h / 2 apart, turned clockwise on the screen."""
    a = np.radians(degrees)
    shares = np.array([[-0.25, -0.2], [0.25, -0.2], [0, 0], [-0.2, 0.25], [0.2, 0.25]]) * h
    points = shares @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + [x, y]
    return Detection(box=Box(x - h / 2, y - h / 2, h, h), score=0.9, landmarks=points.astype(np.float32))


@pytest.mark.parametrize("degrees", [0, 20, -33, 45])
@pytest.mark.parametrize("h", [30.0, 48.0, 100.0, 150.0, 250.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.1, -0.2)])
def test_a_crop_is_the_closed_form_affine_map(degrees: float, h: float, shift: tuple[float, float]) -> None:
    size, (x, y) = 48, (241.3, 263.7)
    geometry = CropGeometry(side=0.9, right=shift[0], down=shift[1])
    crop = align_crop(ramp(510, 510), face(x, y, h, degrees=degrees), size=size, geometry=geometry)

    u, v = (np.arange(size) + 0.5) / size - 0.5, (np.arange(size)[:, None] + 0.5) / size - 0.5
    u, v = 0.9 * h * u + shift[0] * h, 0.9 * h * v + shift[1] * h  # picture pixels along the face's own axes
    a = np.radians(degrees)
    expected_x, expected_y = x + u * np.cos(a) - v * np.sin(a), y + u * np.sin(a) + v * np.cos(a)
    assert (crop.shape, crop.dtype) == ((size, size, 3), np.uint8)
    # A value is a step of 2 pixels, and Pillow cuts fractions off: up to half a step is missing in the mean.
    for channel, expected in ((0, expected_x), (1, expected_y)):
        error = (crop[..., channel] + 0.25) * 2 - expected
        assert np.abs(error).max() < 3
        assert abs(error.mean()) < 0.75
    assert (crop[..., 2] == 200).all()


@pytest.mark.parametrize("degrees", [0, 25])
@pytest.mark.parametrize("h", [30.0, 61.3, 100.0, 170.0, 420.0])
def test_a_mirrored_picture_gives_the_mirrored_crop(h: float, degrees: float) -> None:  # so nothing is half a pixel off
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(60, 200, (40, 40, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize((600, 600), Image.Resampling.BICUBIC))
    x, y = 288.0, 301.0  # whole numbers, so that blocks of pixels may fall alike
    crop = align_crop(image, face(x, y, h, degrees=degrees), size=48, geometry=EXACT).astype(int)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    other = align_crop(mirrored, face(600 - x, y, h, degrees=-degrees), size=48, geometry=EXACT).astype(int)
    assert np.abs(crop - other[:, ::-1]).max() <= 6
    assert np.abs(crop - other[:, ::-1]).mean() < 0.8
    assert np.abs(crop - crop[:, ::-1]).mean() > 5  # the control


def test_the_roll_matters() -> None:  # the negative control of the map above
    straight, turned = face(250, 250, 100), face(250, 250, 100, degrees=20)
    image = ramp(500, 500)
    crops = [align_crop(image, f, size=48, geometry=EXACT).astype(int) for f in (straight, turned)]
    assert np.abs(crops[0] - crops[1]).max() > 5


def test_roll_is_bounded_and_zero_where_unknown() -> None:
    assert roll(face(50, 50, 20, degrees=20)) == pytest.approx(np.radians(20), abs=1e-5)
    assert roll(face(50, 50, 20, degrees=80)) == MAX_ROLL
    assert roll(face(50, 50, 20, degrees=-170)) == -MAX_ROLL
    assert roll(Detection(box=Box(0, 0, 9, 9), score=1)) == 0
    profile = face(50, 50, 20, degrees=40)
    assert profile.landmarks is not None
    profile.landmarks[1] = profile.landmarks[0] + [0, 2]  # eyes a tenth of the box apart, one above the other
    assert roll(profile) == 0


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_turned_photo_gives_level_eyes(degrees: int, detector: Detector, astronaut: Uint8) -> None:
    turned = np.asarray(Image.fromarray(astronaut).rotate(-degrees, Image.Resampling.BICUBIC))
    (found,) = detector.detect(turned)[:1]
    assert np.degrees(roll(found)) == pytest.approx(degrees + 4, abs=6)  # she holds her head at about 4 degrees

    crop = align_crop(turned, found, size=400, geometry=CropGeometry(side=2))
    (again,) = detector.detect(crop)[:1]
    assert abs(np.degrees(roll(again))) < 6
    unturned = align_crop(turned, Detection(box=found.box, score=1), size=400, geometry=CropGeometry(side=2))
    (control,) = detector.detect(unturned)[:1]
    assert abs(np.degrees(roll(control))) > 10


def test_beyond_the_picture_its_border_is_repeated() -> None:
    image = np.full((60, 60, 3), 50, np.uint8)
    image[:, 50:] = 250
    crop = align_crop(image, face(60, 30, 60, degrees=10), size=48, geometry=EXACT)
    assert crop.min() >= 50
    assert (crop[:, 30:] == 250).all()
    for x, y in ((-500, 30), (30, 1000), (1e6, -1e6)):  # wholly outside
        assert align_crop(image, face(x, y, 60), size=48, geometry=EXACT).min() >= 50


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((960, 960)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.stack([board] * 3, 2)
    for h in (130.0, 300.0, 700.0):
        crop = align_crop(image, face(480, 480, h, degrees=7), size=48, geometry=EXACT)
        assert abs(crop.mean() - 127.5) < 2
        assert crop.std() < 12  # a plain nearest or bilinear sample keeps most of the board's 127
    assert image[::19, ::21].std() > 100  # the control: sampled without averaging


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (5, 7)])
def test_tiny_pictures_do_no_harm(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 9, np.uint8)
    for h in (0.01, 1.0, 40.0, 1e5):
        crop = align_crop(image, face(0.5, 0.5, h, degrees=15), size=48, geometry=CropGeometry.default())
        assert (crop == 9).all()


def test_a_crop_already_is_only_resized_as_preprocess_does_it() -> None:
    rng = np.random.default_rng(0)
    none = make_detector("none")
    same = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert (align_crop(same, none.detect(same)[0], size=48, geometry=EXACT) == same).all()
    larger = rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    crop = align_crop(larger, none.detect(larger)[0], size=48, geometry=CropGeometry.default())
    assert (crop.transpose(2, 0, 1) == Preprocess(color="rgb", mean=(0.5,) * 3, std=(0.25,) * 3).pixels(larger)).all()


def test_the_default_geometry_is_the_measured_one() -> None:
    geometry = CropGeometry.default()
    assert 0.9 < geometry.side < 1.1
    assert abs(geometry.right) < 0.05
    assert abs(geometry.down) < 0.05
    assert geometry is CropGeometry.default()


def test_the_side_grows_where_the_picture_is_tight() -> None:
    geometry = CropGeometry(side=1.0, tight=1.1, loose=1.5)
    assert geometry.side_in(1000, 1000, 100) == pytest.approx(100)
    assert geometry.side_in(150, 1000, 100) == pytest.approx(100)
    assert geometry.side_in(130, 1000, 100) == pytest.approx(105)
    assert geometry.side_in(110, 110, 100) == pytest.approx(110)  # the picture itself
    assert geometry.side_in(90, 90, 100) == pytest.approx(90)  # never more than that
    assert CropGeometry(side=1.0).side_in(90, 90, 100) == pytest.approx(100)


def test_wrong_values_are_refused() -> None:
    for values in ({"side": 0.0}, {"side": 1.0, "right": 3.0}, {"side": 1.0, "tight": 0.9}, {"side": float("nan")}):
        with pytest.raises(ModelError, match="expected"):
            CropGeometry(**values)
    with pytest.raises(UsageError, match="crop size"):
        align_crop(ramp(9, 9), face(4, 4, 5), size=0, geometry=EXACT)
    with pytest.raises(UsageError, match="expected a uint8"):
        align_crop(np.zeros((4, 4), np.uint8), face(4, 4, 5), size=48, geometry=EXACT)


@pytest.mark.parametrize("h", [40.0, 150.0, 600.0])
def test_a_crop_is_fast(h: float) -> None:
    image = np.zeros((1200, 1200, 3), np.uint8)
    times = []
    for _ in range(5):
        start = time.process_time()  # of this process: what others take of the machine is not the crop's
        align_crop(image, face(600, 600, h, degrees=10), size=48, geometry=CropGeometry.default())
        times.append(time.process_time() - start)
    assert min(times) < 0.02  # it takes 0.5-2 ms


def test_in_a_tight_picture_the_crop_stays_inside_and_small_tilts_stay() -> None:
    """Repeated border pixels are no evidence; in a loose picture the crop may reach beyond, and is level."""
    geometry = CropGeometry(side=1.0, down=0.2, tight=1.05, loose=1.4)
    corners = ((0.0, 0.0), (99.0, 99.0))

    def placed(picture: int, degrees: float) -> np.ndarray:
        middle = (picture / 2, picture / 2)
        found = face(*middle, 95, degrees=degrees)
        points = landmarks_in_crop(corners, (picture, picture), found, size=100, geometry=geometry)
        return np.asarray(points)

    tight = placed(100, 5)
    assert np.abs(tight - [[0, 0], [99, 99]]).max() < 1.5  # the picture itself, neither shifted nor turned
    turned = placed(100, 30)[1] - placed(100, 30)[0]
    assert np.degrees(np.arctan2(*turned[::-1])) == pytest.approx(45 - 20, abs=1)  # all but 10 degrees are taken back
    loose = placed(400, 5)[1] - placed(400, 5)[0]
    assert np.degrees(np.arctan2(*loose[::-1])) == pytest.approx(45 - 5, abs=0.5)  # the control


def test_each_detector_has_its_own_geometry() -> None:
    named = {name: CropGeometry.of(type("D", (), {"name": name})()) for name in ("yunet", "centerface", "own")}
    assert named["yunet"] != named["centerface"]
    assert named["own"] == CropGeometry.default() == named["centerface"]
