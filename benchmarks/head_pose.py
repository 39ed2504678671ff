"""Errors of head pose from five landmarks; they are stated in ``mien/faces/pose.py``.

    python benchmarks/head_pose.py                    # synthetic heads
    python benchmarks/head_pose.py --mesh FILE.npz    # against poses of another tool

Synthetic: five points of heads that differ from the mean one (standard deviations as measured between people with
MediaPipe's mesh on 400 photos of LFW, halved for depth, which a mesh guesses), turned at random, seen in perspective
from 4 to 15 eye distances times four, with noise on each landmark. Noise: a detector's landmarks in one face differ by
2 % of the eyes' distance (median) when the picture is moved and enlarged, by 4 % when it is mirrored.

FILE.npz: ``landmarks`` N×5×2 of the detector, and N angles each of ``yaw``, ``pitch`` and ``roll`` in degrees.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from mien.faces.pose import MODEL, head_pose, rotation

Float64 = NDArray[np.float64]
ANGLES = ("roll", "yaw", "pitch")
# standard deviations of one point in eye distances, between people and expressions: x, y, z
NOSE, MOUTH = (0.02, 0.05, 0.06), (0.05, 0.08, 0.05)


def heads(count: int, random: np.random.Generator) -> Float64:
    """N×5×3: mean heads with noses of other lengths and depths, mouths of other widths, heights and depths."""
    points = np.repeat(MODEL[None], count, axis=0)
    points[:, 2] += random.normal(0, NOSE, (count, 3))
    width, height, depth = (random.normal(0, sd, count) for sd in MOUTH)
    points[:, 3] += np.stack([-width, height, depth], 1)
    points[:, 4] += np.stack([width, height, depth], 1)
    return points


def synthetic(
    count: int, *, noise: float, yaw: float = 45, pitch: float = 30, roll: float = 30, seed: int = 0, vary: bool = True
) -> tuple[Float64, Float64]:
    """Landmarks N×5×2 and their angles N×3 (roll, yaw, pitch), drawn evenly within the limits given."""
    random = np.random.default_rng(seed)
    angles = random.uniform(-1, 1, (count, 3)) * [roll, yaw, pitch]
    points = heads(count, random) if vary else np.repeat(MODEL[None], count, axis=0)
    turned = points @ rotation(angles[:, 1], angles[:, 2], angles[:, 0]).transpose(0, 2, 1)
    far = random.uniform(16, 60, (count, 1, 1)) if vary else 1e9  # 1 to 4 metres at an eye distance of 63 mm
    flat = turned[..., :2] * far / (far + turned[..., 2:])
    return 100 * (flat + random.normal(0, noise, flat.shape)), angles


def errors(landmarks: Float64, angles: Float64) -> Float64:
    """Absolute errors N×3 in degrees."""
    poses = [head_pose(points) for points in landmarks]
    found = np.array([[getattr(pose, name) for name in ANGLES] for pose in poses])
    difference = np.abs(found - angles)
    return np.minimum(difference, 360 - difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh")
    parser.add_argument("--count", type=int, default=4000)
    options = parser.parse_args()
    if options.mesh:
        file = np.load(options.mesh)
        found = errors(file["landmarks"], np.stack([file[name] for name in ANGLES], 1))
        print(f"{len(found)} faces:", ", ".join(f"{n} {e:.1f}" for n, e in zip(ANGLES, found.mean(0), strict=True)))
        return
    for noise in (0.0, 0.02, 0.03, 0.05):
        found = errors(*synthetic(options.count, noise=noise))
        print(f"noise {noise:.0%}:", ", ".join(f"{n} {e:.1f}" for n, e in zip(ANGLES, found.mean(0), strict=True)))


if __name__ == "__main__":
    main()
