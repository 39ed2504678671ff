"""Photos that lie on their side or upside down are read as upright ones; what is no face is left out."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from mien import Reader
from mien.faces import CropGeometry, Detection, align_crop, make_detector
from mien.faces.align import landmarks_in_crop
from mien.faces.orientation import NO_FACE, ORIENTATIONS, OrientationNet, orientation_crop
from mien.faces.upright import UprightDetector
from mien.results import Box

Uint8 = NDArray[np.uint8]


def turn(picture: Uint8, turns: int) -> Uint8:
    return np.ascontiguousarray(np.rot90(picture, turns))


@pytest.mark.parametrize("turns", range(-1, 5))
def test_a_detection_turns_as_the_pixels_do(turns: int) -> None:
    picture = np.zeros((30, 50), np.uint8)
    picture[5:12, 20:44] = 1
    picture[7, 22] = 2
    found = Detection(Box(20, 5, 24, 7), 1.0, landmarks=np.asarray([[22.5, 7.5]], np.float32))
    moved = found.turned(30, 50, turns)
    frame = np.rot90(picture, turns)
    rows, columns = np.nonzero(frame)
    assert moved.box == Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert moved.landmarks is not None
    x, y = moved.landmarks[0]
    assert frame[int(y), int(x)] == 2
    assert moved.turns == -turns % 4
    back = moved.turned(*frame.shape, -turns)
    assert back.box == found.box
    assert back.turns == 0


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_face_is_cut_out_upright(astronaut: Uint8, turns: int) -> None:
    """The crop of a face in a turned picture is the crop in the upright one, to rounding; so are its landmarks."""
    face = make_detector("centerface", turned=False).detect(astronaut)[0]
    geometry = CropGeometry.default()
    frame = turn(astronaut, turns)
    moved = face.turned(*astronaut.shape[:2], turns)
    expected = align_crop(astronaut, face, size=48, geometry=geometry)

    def difference(found: Detection) -> float:
        crop = align_crop(frame, found, size=48, geometry=geometry)
        return float(np.abs(crop.astype(int) - expected).max())

    assert difference(moved) <= 1
    assert difference(replace(moved, turns=0)) > 50  # the control: without the turn it is another picture
    assert face.landmarks is not None
    assert moved.landmarks is not None
    inside = landmarks_in_crop(
        tuple(map(tuple, face.landmarks.tolist())), astronaut.shape[:2], face, size=48, geometry=geometry
    )
    again = landmarks_in_crop(
        tuple(map(tuple, moved.landmarks.tolist())), frame.shape[:2], moved, size=48, geometry=geometry
    )
    assert np.allclose(inside, again, atol=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_portraits_are_read_as_upright_ones(astronaut: Uint8, grace_hopper: Uint8, turns: int) -> None:
    reader = Reader("nano", precision="fp32", threads=1)
    for portrait in (astronaut, grace_hopper):
        (upright,) = reader.read(portrait).faces
        (face,) = reader.read(turn(portrait, turns)).faces
        assert face.probabilities == pytest.approx(upright.probabilities, abs=1e-6)
        expected = Detection(upright.box, 1.0).turned(*portrait.shape[:2], turns).box
        assert face.box.to_list() == pytest.approx(expected.to_list(), abs=0.02)  # in the picture's own coordinates


def test_several_faces_each_its_own_way(astronaut: Uint8, grace_hopper: Uint8) -> None:
    """A page of a scanned album: one portrait upright, one on its side, one upside down."""
    page = np.full((520, 1560, 3), 230, np.uint8)
    portraits = (astronaut, turn(grace_hopper[:512, :512], 1), turn(astronaut, 2))
    for number, portrait in enumerate(portraits):
        page[4 : 4 + portrait.shape[0], 4 + 520 * number : 4 + 520 * number + portrait.shape[1]] = portrait
    found = sorted(make_detector("centerface").detect(page), key=lambda face: face.box.x)
    assert [face.turns for face in found] == [0, 3, 2]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_distant_face_in_a_large_turned_photo(grace_hopper: Uint8, turns: int) -> None:
    """It is too small for a search of the picture reduced to a screen's size, and must be found all the same."""
    photo = np.full((1200, 1600, 3), 160, np.uint8)
    small = np.asarray(Image.fromarray(grace_hopper).resize((150, 178)))
    photo[500:678, 700:850] = small
    reader = Reader("nano", precision="fp32", threads=1)
    (upright,) = reader.read(photo).faces
    (face,) = reader.read(turn(photo, turns)).faces
    assert face.probabilities == pytest.approx(upright.probabilities, abs=1e-6)


def test_a_low_min_score_finds_the_same_faces_in_a_turned_photo(astronaut: Uint8) -> None:
    photo = np.asarray(Image.fromarray(astronaut).resize((400, 400)))
    reader = Reader("nano", precision="fp32", threads=1, min_score=0.2)
    readings = [[face.expression for face in reader.read(turn(photo, turns)).faces] for turns in range(4)]
    assert readings == [["happy"]] * 4
    blind = Reader("nano", precision="fp32", threads=1, min_score=0.2, turned=False)  # the control
    assert [face.expression for face in blind.read(turn(photo, 2)).faces] != ["happy"]


def test_an_upright_photo_costs_one_search(astronaut: Uint8) -> None:
    class Counted:
        name = "counted"
        calls = 0

        def __init__(self) -> None:
            self.inner = make_detector("centerface", turned=False)

        def detect(self, image: Uint8) -> list[Detection]:
            self.calls += 1
            return self.inner.detect(image)

    counted = Counted()
    upright = UprightDetector(counted).detect(astronaut)
    assert counted.calls == 1
    before = counted.inner.detect(astronaut)
    assert [face.box for face in upright] == [face.box for face in before]
    UprightDetector(counted).detect(turn(astronaut, 1))
    assert counted.calls >= 3  # the control: a turned one costs more


def test_a_cat_is_no_face_and_an_astronaut_is(astronaut: Uint8) -> None:
    cat = np.asarray(skimage.data.chelsea())
    loose = make_detector("centerface", turned=False, min_score=0.2)
    network = OrientationNet()
    assert ORIENTATIONS[NO_FACE] == "no_face"
    for face in loose.detect(cat):
        assert network.probabilities(cat, [face])[0, NO_FACE] > 0.5
    (person,) = make_detector("centerface", turned=False).detect(astronaut)
    assert network.probabilities(astronaut, [person])[0, NO_FACE] < 0.05


@pytest.mark.parametrize("turns", range(4))
def test_the_network_tells_how_a_crop_is_turned(astronaut: Uint8, turns: int) -> None:
    (face,) = make_detector("centerface", turned=False).detect(astronaut)
    moved = face.turned(*astronaut.shape[:2], turns)
    told = OrientationNet().probabilities(turn(astronaut, turns), [moved])[0]
    assert int(told.argmax()) == turns
    assert told.sum() == pytest.approx(1)


def test_the_crop_is_square_and_ignores_the_landmarks(astronaut: Uint8) -> None:
    (face,) = make_detector("centerface", turned=False).detect(astronaut)
    crop = orientation_crop(astronaut, face, size=40)
    assert crop.shape == (40, 40, 3)
    assert face.landmarks is not None
    wrong = replace(face, landmarks=face.landmarks[::-1].copy())
    assert np.array_equal(orientation_crop(astronaut, wrong, size=40), crop)


def test_crops_are_taken_as_they_are(astronaut: Uint8) -> None:
    """``none``: whoever gives a crop says what is up."""
    assert make_detector("none").detect(turn(astronaut, 1))[0].turns == 0


def test_a_doubtful_turn_that_nothing_confirms_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The face stays as it was found; where the network is sure of the turn, it is turned on its word alone."""

    class Everywhere:
        """Finds one face in the middle of an upright picture, and in turned ones what ``turned`` says."""

        name = "everywhere"

        def __init__(self, *, turned: bool) -> None:
            self.turned, self.calls = turned, 0

        def detect(self, image: Uint8) -> list[Detection]:
            self.calls += 1
            return [Detection(Box(30, 30, 40, 40), 0.9)] if self.calls == 1 or self.turned else []

    def answers(row: list[float]) -> None:
        monkeypatch.setattr(
            OrientationNet,
            "probabilities",
            lambda self, image, found, *, geometry: np.asarray([row] * len(found), np.float32),
        )

    picture = np.zeros((100, 100, 3), np.uint8)
    for turned in (False, True):
        answers([0.3, 0.6, 0, 0, 0.1])
        (face,) = UprightDetector(Everywhere(turned=turned)).detect(picture)
        assert face.turns == 0
        answers([0.01, 0.98, 0, 0, 0.01])
        (face,) = UprightDetector(Everywhere(turned=turned)).detect(picture)
        assert face.turns == 3
    answers([0.02, 0.02, 0, 0, 0.96])
    assert UprightDetector(Everywhere(turned=True)).detect(picture) == []  # the control: surely no face
