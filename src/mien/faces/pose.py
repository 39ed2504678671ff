"""Head pose from the five landmarks of a face: roll, yaw and pitch in degrees.

    roll > 0    clockwise on the screen; the angle of the eyes' line, -180 to 180
    yaw > 0     the face turns to the picture's right
    pitch > 0   the face looks up

All three are 0 where a face looks straight into the camera, its line from forehead to chin upright. They are taken in
the order pitch, yaw, roll, as aeroplanes' angles are; so a picture turned by some angle adds it to roll and leaves the
others, and a mirrored picture has the opposite yaw and roll.

How: five points of a mean head (eyes, tip of the nose, corners of the mouth; DEPTH and the other numbers are of the
order of MediaPipe's canonical face, moved to where CenterFace puts its points) are turned, scaled and laid on the
landmarks without perspective; the turn with the least squares of distances is the pose. It is found by search
on a grid, because that has no starting point to go wrong from.

**How well** (``python benchmarks/head_pose.py``; mean absolute errors in degrees, roll, yaw and pitch):

- the method alone, on synthetic heads that differ from the mean one, in perspective, turned by up to 45 degrees of yaw
  and 30 of pitch, landmarks off by 3 % of the eyes' distance: 2.2, 3.6 and 5.5 (SYNTHETIC_ERROR)
- with CenterFace's landmarks, against MediaPipe's mesh of 478 points, which is no truth either: 2.7, 2.4 and 7.3 on 400
  photos of LFW; 2.2, 2.1 and 3.9 on 236 frames of video; 4.6, 3.5 and 14.2 on the 347 most turned of 5,000 heads

**So roll and yaw can be used, and pitch hardly.** CenterFace draws a raised or lowered nose towards its usual place: of
30 degrees of pitch 3 to 10 are left, and the errors are about those of a constant (7.7, 3.4 and 16.0). On MediaPipe's
own five points the method's pitch is off by 4.5, 5.6 and 3.7. Beyond 60 degrees of yaw any landmarks are guesses.
With the landmarks of YuNet, the default detector, only roll was measured (docs/speed.md): yaw and pitch were not.
"""

from dataclasses import dataclass
from functools import cache
from math import atan2, degrees, hypot
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Complex = NDArray[np.complex128]

SYNTHETIC_ERROR = {"roll": 2.2, "yaw": 3.6, "pitch": 5.5}  # degrees
MAX_YAW, MAX_PITCH = 80, 60
DEPTH = 0.5  # of the tip of the nose before the eyes, in eye distances, like all of the model
# x to the picture's right, y down, z into the picture
MODEL: Float64 = np.array(
    [[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.525, -DEPTH], [-0.41, 1.0, -0.03], [0.41, 1.0, -0.03]]
)
WEIGHTS: Float64 = np.array([1.0, 1.0, 1.0, 0.5, 0.5]) / 4  # a mouth moves by itself
STEPS = (5.0, 1.0, 0.2)  # of the grids, in degrees
WIDE = 5  # of a finer grid to either side, in its steps
_AROUND = tuple(step * np.arange(-WIDE, WIDE + 1) for step in STEPS[1:])
_CENTRED: Float64 = (MODEL - WEIGHTS @ MODEL).T


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees; see the module for their directions and errors. roll: -180 to 180, yaw: ±80, pitch: ±60."""

    roll: float
    yaw: float
    pitch: float


def head_pose(landmarks: NDArray[Any]) -> Pose | None:
    """landmarks: 5×2, (x, y) in pixels, in the order of ``Detection.landmarks``; None where they show no face.

    That is where both eyes are at one place, or where a number is not finite.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        return None
    (dx, dy) = (float(v) for v in points[1] - points[0])
    spread = float(np.abs(points - points.mean(axis=0)).max())
    if hypot(dx, dy) <= 1e-6 * max(spread, 1e-9):
        return None
    flat = points[:, 0] + 1j * points[:, 1]
    flat = flat - (WEIGHTS * flat).sum()
    yaw, pitch = _nearest(flat, *_coarse())
    for around in _AROUND:
        yaws = np.minimum(np.maximum(yaw + around, -MAX_YAW), MAX_YAW)
        pitches = np.minimum(np.maximum(pitch + around, -MAX_PITCH), MAX_PITCH)
        yaw, pitch = _nearest(flat, yaws, pitches, _likeness(yaws, pitches))
    return Pose(degrees(atan2(dy, dx)), yaw, pitch)


def rotation(yaw: Float64, pitch: Float64, roll: Float64) -> Float64:
    """N angles each in degrees → N×3×3, which turn the axes of ``MODEL``: first by pitch, then yaw, then roll."""
    y, p, r = (np.radians(np.asarray(angle, np.float64)) for angle in (yaw, pitch, roll))
    one, zero = np.ones_like(y), np.zeros_like(y)

    def matrix(*rows: tuple[Float64, Float64, Float64]) -> Float64:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    turned = matrix((np.cos(y), zero, -np.sin(y)), (zero, one, zero), (np.sin(y), zero, np.cos(y)))
    raised = matrix((one, zero, zero), (zero, np.cos(p), np.sin(p)), (zero, -np.sin(p), np.cos(p)))
    rolled = matrix((np.cos(r), -np.sin(r), zero), (np.sin(r), np.cos(r), zero), (zero, zero, one))
    result: Float64 = rolled @ turned @ raised
    return result


def _likeness(yaws: Float64, pitches: Float64) -> Complex:
    """Y·P×5 of Y yaws and P pitches, the pitches of one yaw in a row.

    Its product with a picture's points is, by absolute value, how well the model fits at each turn.
    """
    x, y, z = _CENTRED
    yaw, pitch = np.radians(yaws)[:, None, None], np.radians(pitches)[:, None]
    cos_pitch, sin_pitch = np.cos(pitch), np.sin(pitch)
    # what rotation() does, without its third row
    turned = np.empty((len(yaws), len(pitches), len(x)), np.complex128)
    turned.real = np.cos(yaw) * x - np.sin(yaw) * (cos_pitch * z - sin_pitch * y)
    turned.imag = -(cos_pitch * y + sin_pitch * z)  # conjugate
    flat = turned.reshape(-1, len(x))
    return np.asarray(flat * WEIGHTS / np.sqrt(np.abs(flat) ** 2 @ WEIGHTS)[:, None])


@cache
def _coarse() -> tuple[Float64, Float64, Complex]:
    step = STEPS[0]
    yaws, pitches = (np.arange(-limit, limit + step, step) for limit in (MAX_YAW, MAX_PITCH))
    return yaws, pitches, _likeness(yaws, pitches)


def _nearest(flat: Complex, yaws: Float64, pitches: Float64, likeness: Complex) -> tuple[float, float]:
    """The turn whose points, scaled and turned in the plane in the best way, lie nearest to those of the picture."""
    # einsum, not @: BLAS would spread this over its threads, which then spin for as long as a photo takes to read
    yaw, pitch = divmod(int(np.abs(np.einsum("ij,j->i", likeness, flat)).argmax()), len(pitches))
    return float(yaws[yaw]), float(pitches[pitch])
