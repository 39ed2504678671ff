"""The head's turn from five landmarks: closed forms of a projection, symmetries, and the error that is stated."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.faces import make_detector
from mien.faces.pose import MODEL, SYNTHETIC_ERROR, Pose, head_pose, rotation

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from head_pose import ANGLES, errors, synthetic

TOLERANCE = 0.11  # half a step of the finest grid


def seen(yaw: float, pitch: float, roll: float = 0, *, size: float = 40) -> np.ndarray:
    """The mean head's landmarks without perspective, by a product of scipy's rotations."""
    from scipy.spatial.transform import Rotation

    # about y: the face, which looks along -z, goes to +x; about x: to -y, which is up; about z: clockwise on the screen
    turn = Rotation.from_euler("ZYX", [roll, -yaw, -pitch], degrees=True)
    return (turn.apply(MODEL)[:, :2] * size + [200, 100]).astype(np.float32)


def pose_of(points: np.ndarray) -> Pose:
    pose = head_pose(points)
    assert pose is not None
    return pose


@pytest.mark.parametrize("yaw", [-70, -45, -10, 0, 3.3, 30, 60])
@pytest.mark.parametrize("pitch", [-40, -7.7, 0, 25])
@pytest.mark.parametrize("roll", [-179, -90, -30, 0, 60, 135, 180])
def test_a_projected_head_is_found_again(yaw: float, pitch: float, roll: float) -> None:
    pose = pose_of(seen(yaw, pitch, roll))
    assert pose.yaw == pytest.approx(yaw, abs=TOLERANCE)
    assert pose.pitch == pytest.approx(pitch, abs=TOLERANCE)
    assert abs((pose.roll - roll + 180) % 360 - 180) < 0.01  # not held within ±45


def test_the_directions_are_as_they_are_said() -> None:
    """By where the nose goes; x to the right, y down."""
    ahead, right, up = seen(0, 0), seen(30, 0), seen(0, 20)
    middle = ahead[:2].mean(0)
    assert right[2, 0] - right[:2, 0].mean() > ahead[2, 0] - middle[0] + 5
    assert up[2, 1] - up[:2, 1].mean() < ahead[2, 1] - middle[1] - 2
    clockwise = seen(0, 0, 30)
    assert clockwise[1, 1] > clockwise[0, 1]  # the eye on the right is lower
    assert pose_of(right).yaw > 25
    assert pose_of(up).pitch > 15
    assert pose_of(clockwise).roll == pytest.approx(30, abs=0.01)


def test_rotation_agrees_with_scipy() -> None:
    from scipy.spatial.transform import Rotation

    ours = rotation(np.array([20.0]), np.array([-15.0]), np.array([70.0]))[0]
    theirs = Rotation.from_euler("ZYX", [70, -20, 15], degrees=True).as_matrix()
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_symmetries() -> None:
    """Mirroring turns yaw and roll about; moving and enlarging change nothing; turning adds to roll alone."""
    points, _ = synthetic(40, noise=0.03, seed=3)
    for one in points:
        pose = pose_of(one)
        mirrored = pose_of((one * [-1, 1])[[1, 0, 2, 4, 3]])
        assert mirrored.yaw == pytest.approx(-pose.yaw, abs=1e-6)
        assert mirrored.roll == pytest.approx(-pose.roll, abs=1e-6)
        assert mirrored.pitch == pytest.approx(pose.pitch, abs=1e-6)
        assert pose_of(7 * one + [300, -80]).yaw == pytest.approx(pose.yaw, abs=1e-6)
        a = np.radians(100)
        turned = pose_of(one @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]))
        assert turned.yaw == pytest.approx(pose.yaw, abs=1e-6)
        assert turned.roll == pytest.approx((pose.roll + 100 + 180) % 360 - 180, abs=1e-6)


def test_the_error_is_as_stated() -> None:
    """±45 degrees of yaw and ±30 of pitch, other heads than the mean one, perspective, 3 % noise."""
    found = errors(*synthetic(600, noise=0.03)).mean(0)
    for name, error in zip(ANGLES, found, strict=True):
        assert error == pytest.approx(SYNTHETIC_ERROR[name], rel=0.15)
    points, angles = synthetic(600, noise=0.03)
    control = errors(points[::-1], angles).mean(0)  # another head's landmarks tell nothing
    assert (control > 2 * found).all()


def test_the_model_itself_is_found_without_error() -> None:
    found = errors(*synthetic(100, noise=0, vary=False))
    assert found.max() < 0.2


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((5, 2)),
        np.ones((5, 2)) * 7,
        np.full((5, 2), np.nan),
        np.zeros((4, 2)),
        [[1, 1], [1, 1], [2, 2], [3, 3], [4, 5]],
    ],
    ids=["zeros", "one place", "nan", "four points", "eyes at one place"],
)
def test_no_face_has_no_pose(points: np.ndarray) -> None:
    assert head_pose(np.asarray(points)) is None


def test_mirrored_photos_have_the_opposite_yaw(grace_hopper: np.ndarray, astronaut: np.ndarray) -> None:
    detector = make_detector("centerface")
    for photo in (grace_hopper, astronaut):
        (found,), (mirrored,) = detector.detect(photo), detector.detect(np.ascontiguousarray(photo[:, ::-1]))
        assert found.landmarks is not None
        assert mirrored.landmarks is not None
        pose, other = pose_of(found.landmarks), pose_of(mirrored.landmarks)
        assert other.yaw == pytest.approx(-pose.yaw, abs=8)
        assert other.roll == pytest.approx(-pose.roll, abs=5)
        assert abs(pose.yaw) < 30
        assert abs(pose.pitch) < 25


def test_a_turned_photo_has_that_roll(astronaut: np.ndarray) -> None:
    detector = make_detector("centerface")
    photo = Image.fromarray(astronaut)
    rolls = []
    for angle in (-25, 0, 25):
        (found, *_) = detector.detect(np.asarray(photo.rotate(-angle)))  # Pillow turns anticlockwise
        assert found.landmarks is not None
        rolls.append(pose_of(found.landmarks).roll)
    assert rolls[2] - rolls[1] == pytest.approx(25, abs=8)
    assert rolls[1] - rolls[0] == pytest.approx(25, abs=8)
