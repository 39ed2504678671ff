"""The second look: views and their landmarks against rotations that are known."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.faces import Detection
from mien.faces.align import roll
from mien.faces.close_look import VIEW, with_landmarks
from mien.faces.yunet import YuNet
from mien.results import Box

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]


@pytest.mark.parametrize("degrees", [-25, -12, 0, 12, 25])
def test_landmarks_follow_a_tilt_in_small_and_large_faces(grace_hopper: Uint8, degrees: int) -> None:
    yunet = YuNet()
    for side in (200, 600):
        photo = Image.fromarray(grace_hopper).resize((side, round(side * 600 / 512)))
        turned = np.asarray(photo.rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=(90, 90, 90)))
        first, second = yunet._faces(turned)[0], yunet.detect(turned)[0]
        assert np.degrees(roll(second)) == pytest.approx(degrees, abs=7)
        if side == 200 and abs(degrees) == 25:  # the control: the first look alone sees two thirds at most
            assert abs(np.degrees(roll(first))) < 17
        assert first.box == second.box


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
def test_the_view_and_the_way_back_fit_each_other(angle: float) -> None:
    """A dot of the picture is seen in the view, and its place there is the dot's place in the picture."""
    rows, columns = np.mgrid[:300, :400]
    dot = np.exp(-((columns + 0.5 - 230) ** 2 + (rows + 0.5 - 130) ** 2) / 50)
    picture = np.repeat((200 * dot).astype(np.uint8)[..., None], 3, axis=2)
    face = Detection(Box(150, 80, 80, 110), 0.9)

    def look(views: Uint8) -> list[Float32 | None]:
        weights = views[0, ..., 0].astype(float)
        weights[weights == 127] = 0  # the frame
        y, x = (float((np.arange(VIEW.side) + 0.5) @ weights.sum(axis) / weights.sum()) for axis in (1, 0))
        return [np.full((5, 2), (x, y), np.float32)]

    from mien.faces.close_look import _looked

    (found,) = _looked(picture, [face], [angle], look)
    assert found is not None
    assert np.abs(found - [230, 130]).max() < 1
    assert VIEW.of(picture, face, angle).shape == (VIEW.side, VIEW.side, 3)


@pytest.mark.parametrize("degrees", [-30, 17])
def test_a_tilted_view_is_the_middle_of_what_pillow_rotates(grace_hopper: Uint8, degrees: int) -> None:
    face, wide, angle = Detection(Box(160, 110, 180, 220), 0.9), ceil(VIEW.side * 1.42), np.radians(degrees)
    x, y, half = 250.0, 220.0, wide / 2 * 220 / VIEW.face
    square = Image.fromarray(grace_hopper).resize((wide, wide), 2, box=(x - half, y - half, x + half, y + half))
    edge = round((wide - VIEW.side) / 2)
    for turn in (degrees, -degrees):
        middle = square.rotate(turn, Image.Resampling.BILINEAR).crop((edge, edge, edge + VIEW.side, edge + VIEW.side))
        apart = np.abs(VIEW.of(grace_hopper, face, angle).astype(int) - np.asarray(middle))
        assert (apart.max() <= 3) == (turn == degrees)  # a few: the view is resized from a part; the control: many


def test_a_tilt_is_looked_at_again_and_what_is_not_found_stays() -> None:
    asked = []
    eyes = np.float32([[80, 100], [140, 110], [110, 130], [90, 150], [130, 150]])

    def look(views: Uint8) -> list[Float32 | None]:
        asked.append(len(views))
        return [eyes if len(asked) == 1 else None for _ in views]

    faces = [Detection(Box(20, 20, 60, VIEW.face / 2), 0.9, landmarks=np.zeros((5, 2), np.float32)) for _ in range(3)]
    found = with_landmarks(np.zeros((200, 200, 3), np.uint8), faces, look)
    assert asked == [3, 3]
    assert all(np.degrees(roll(face)) == pytest.approx(9.46, abs=0.1) for face in found)
    kept = with_landmarks(np.zeros((200, 200, 3), np.uint8), faces, lambda views: [None] * len(views))
    assert [face.landmarks is other.landmarks for face, other in zip(kept, faces, strict=True)] == [True] * 3
    assert with_landmarks(np.zeros((9, 9, 3), np.uint8), [], look) == []
    outside = replace(faces[0], box=Box(-500, -500, 50, 50))
    assert (VIEW.of(np.zeros((9, 9, 3), np.uint8), outside, 0.0) == 127).all()
