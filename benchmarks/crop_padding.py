"""Compares ways to make a face crop square: squash, cut, or pad (and with what).

    python benchmarks/crop_padding.py --faces ../shared/data/faces/lfw_expressions.parquet

Two minutes on two cores. Faces of LFW are pasted on scikit-image's sample pictures; the detector finds them there,
and the photo's own prediction (turned, cropped as in training) is compared to ``Reader.classify`` for the same
face cut out as the detector's box stands, about 0.8 times as wide as tall. ``same``: proportion of equal predictions.
``TV``: mean total variation between both probabilities.
"""

import argparse
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from mien import Reader
from mien.faces import Detection, make_detector

Uint8 = NDArray[np.uint8]

FILLS = ("squash", "cut", "edge", "reflect", "symmetric", "grey", "black")
BACKGROUNDS = ("coffee.png", "rocket.jpg", "grass.png", "brick.png", "motorcycle_left.png", "gravel.png")
COUNTS = {"happy": 60, "neutral": 60, "surprise": 60, "angry": 50, "sad": 50, "disgust": 10, "fear": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="lfw_expressions.parquet")
    parser.add_argument("--models", nargs="*", default=["compact", "nano"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    detector = make_detector("centerface", threads=2)
    found = [(photo, detector.detect(photo)) for photo in composed(args.faces, args.seed)]
    alone = [(photo, faces[0]) for photo, faces in found if len(faces) == 1]
    crops = [box_of(photo, face) for photo, face in alone]
    ratio = np.percentile([face.box.w / face.box.h for _, face in alone], [5, 50, 95]).round(2)
    print(f"{len(alone)} faces, width / height {ratio[0]}-{ratio[2]}, median {ratio[1]}")
    for model in args.models:
        reader = Reader(model, detector=Known([face for _, face in alone]), threads=2)
        wanted = np.array([list(reader.read(photo).faces[0].probabilities.values()) for photo, _ in alone])
        for fill in FILLS:
            got = reader.classify([squared(crop, fill) for crop in crops])
            same = (got.argmax(1) == wanted.argmax(1)).mean()
            print(f"  {model:8s} {fill:9s} same {same:.1%}  TV {np.abs(got - wanted).sum(1).mean() / 2:.3f}")


class Known:
    """A detector that gives what was found before, one picture after the other."""

    def __init__(self, faces: list[Detection]) -> None:
        self.faces = iter(faces)

    def detect(self, image: Uint8) -> list[Detection]:
        return [next(self.faces)]


def composed(file: Path, seed: int) -> list[Uint8]:
    """Photos of 640×480 with one face of 100 to 260 pixels."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    rng, sample = np.random.default_rng(seed), Path(spec.origin).parent / "data"
    backgrounds = [Image.open(sample / name).convert("RGB").resize((640, 480)) for name in BACKGROUNDS]
    table = pq.read_table(file, columns=["image", "label"])
    labels = np.array(table.column("label").to_pylist())
    rows = [row for label, n in COUNTS.items() for row in rng.permutation(np.flatnonzero(labels == label))[:n]]
    photos = []
    for number, row in enumerate(rows):
        side = int(rng.integers(100, 260))
        face = Image.open(io.BytesIO(table.column("image")[int(row)].as_py()["bytes"])).convert("RGB")
        photo = backgrounds[number % len(backgrounds)].copy()
        at = int(rng.integers(0, 640 - side)), int(rng.integers(0, 480 - side))
        photo.paste(face.resize((side, side), Image.Resampling.BICUBIC), at)
        photos.append(np.asarray(photo))
    return photos


def box_of(picture: Uint8, face: Detection) -> Uint8:
    box = face.box
    x, y = max(0, round(box.x)), max(0, round(box.y))
    return np.ascontiguousarray(picture[y : round(box.y + box.h), x : round(box.x + box.w)])


def squared(crop: Uint8, fill: str) -> Uint8:
    """uint8 H×W×3 → S×S×3, as ``fill`` says."""
    height, width = crop.shape[:2]
    long, short = max(height, width), min(height, width)
    if fill == "squash":
        return np.asarray(Image.fromarray(crop).resize((long, long), Image.Resampling.BILINEAR))
    if fill == "cut":
        top, left = (height - short) // 2, (width - short) // 2
        return np.ascontiguousarray(crop[top : top + short, left : left + short])
    top, left = (long - height) // 2, (long - width) // 2
    beside = ((top, long - height - top), (left, long - width - left), (0, 0))
    if fill in ("grey", "black"):
        return np.pad(crop, beside, constant_values=128 if fill == "grey" else 0)
    return np.pad(crop, beside, mode=fill)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
