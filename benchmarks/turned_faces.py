"""Are rotated photos read as upright ones, and non-faces dropped? At what loss of faces, at what cost?

    python benchmarks/turned_faces.py --faces LFW --fer2013 FER2013 [--photos PHOTOS] -o results/turned_faces.json

All of it on what the orientation network has not learnt from: the held-out persons of LFW on held-out pictures
(``held_out`` of ``scripts/orientation_data.py``), FER2013's PublicTest, and whole photos. Each figure stands twice:
without the search for turned faces, and with it.

The card's PHOTOS are six frames, evenly apart, of each clip with a face in ``../shared/data/video``, and the two
portraits of ``make demo``.
"""

import argparse
import hashlib
import io
import json
import sys
import time
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from orientation_data import held_out, pictures, unpacked, with_face

from mien import Reader
from mien.faces import make_detector
from mien.imaging import load_rgb


def proportion(hits: int, n: int) -> dict[str, Any]:
    """A proportion with its 95 % Wilson interval."""
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return {"share": round(hits / n, 6), "interval": [round(interval.low, 6), round(interval.high, 6)], "n": n}


def scenes(folder: Path, grounds: list[Image.Image], n: int, random: np.random.Generator) -> list[np.ndarray]:
    """Photos of 640×480 with one face of a held-out person each, 70 to 400 pixels wide."""
    table = pq.read_table(folder / "lfw_expressions.parquet")
    rows = [row for row, person in enumerate(table.column("person").to_pylist()) if held_out(person)]
    made = []
    for row in random.choice(rows, n, replace=False):
        face = Image.open(io.BytesIO(table.column("image")[int(row)].as_py()["bytes"]))
        ground = grounds[int(random.integers(len(grounds)))]
        picture, _, _ = with_face(face, ground, random, side=int(random.integers(70, 400)), size=(640, 480))
        made.append(np.asarray(picture))
    return made


def turned(photos: list[np.ndarray], reader: Reader) -> dict[str, Any]:
    """Of photos with faces, how many give the same expressions of as many faces when they are turned."""
    same: dict[str, list[bool]] = {"90": [], "180": [], "270": []}
    found: dict[str, list[bool]] = {"90": [], "180": [], "270": []}
    for photo in photos:
        upright = [face.expression for face in reader.read(photo).faces]
        if not upright:
            continue
        for turns, (hits, finds) in enumerate(zip(same.values(), found.values(), strict=True), start=1):
            faces = reader.read(np.ascontiguousarray(np.rot90(photo, turns))).faces
            hits.append([face.expression for face in faces] == upright)
            finds.append(len(faces) > 0)
    everything = [hit for hits in same.values() for hit in hits]
    return {
        "read_as_upright": {turn: proportion(sum(hits), len(hits)) for turn, hits in same.items()}
        | {"all": proportion(sum(everything), len(everything))},
        "a_face_found": {turn: proportion(sum(hits), len(hits)) for turn, hits in found.items()},
    }


def non_faces(sources: list[tuple[str, Image.Image]], detector: Any) -> dict[str, int]:
    """How many finds there are in pictures without a human face: whole in three sizes, and their four corners."""
    counts = {"animals": 0, "others": 0}
    for name, picture in sources:
        kind = "animals" if "animal" in name or "erase" in name or "chelsea" in name else "others"
        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, (0, 0), picture)
        w, h = picture.size
        corners = [(x, y, x + w * 0.6, y + h * 0.6) for x in (0, w * 0.4) for y in (0, h * 0.4)]
        for part in [ground] + [ground.crop(tuple(round(v) for v in corner)) for corner in corners]:
            for side in (160, 320, 560):
                shown = part.resize((max(1, round(part.width * side / max(part.size))),
                                     max(1, round(part.height * side / max(part.size)))))  # fmt: skip
                counts[kind] += len(detector.detect(np.asarray(shown)))
    return counts


def lost(photos: list[np.ndarray], before: Any, after: Any) -> dict[str, Any]:
    """Of the pictures in which a face is found without the network, in how many none is found with it."""
    had = [photo for photo in photos if before.detect(photo)]
    return proportion(sum(not after.detect(photo) for photo in had), len(had))


def milliseconds(photos: list[np.ndarray], readers: dict[str, Reader], rounds: int) -> dict[str, float]:
    """Median milliseconds of reading an upright photo, the readers in turn."""
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for photo in photos:
            for name, reader in readers.items():
                start = time.process_time()
                reader.read(photo)
                taken[name].append(1000 * (time.process_time() - start))
    return {name: round(float(np.median(values)), 2) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--fer2013", type=Path, required=True)
    parser.add_argument("--photos", type=Path, help="folder of whole photos with faces")
    parser.add_argument("--debian", type=Path, default=Path(".carry/orientation/debian"))
    parser.add_argument("--detector", default="yunet", choices=["yunet", "centerface"])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("-o", "--out", type=Path)
    parser.set_defaults(command="python benchmarks/turned_faces.py --faces LFW --fer2013 FER2013 --photos PHOTOS")
    args = parser.parse_args()
    random = np.random.default_rng(1)
    unseen = [(name, picture) for name, picture in pictures(unpacked(args.debian)) if held_out(name)]
    grounds = [picture for _, picture in unseen if picture.getextrema()[3][0] == 255]
    composed = scenes(args.faces, grounds, args.scenes, random)
    photos = [load_rgb(file) for file in sorted(args.photos.iterdir())] if args.photos else []
    rows = pq.read_table(args.fer2013 / "public_test.parquet").column("image").to_pylist()
    crops = [load_rgb(row["bytes"]) for row in rows]
    detectors = {"before": make_detector(args.detector, turned=False), "after": make_detector(args.detector)}
    readers = {name: Reader("nano", detector=detector, threads=1) for name, detector in detectors.items()}
    weights = resources.files("mien.weights") / "orientation.onnx"
    result: dict[str, Any] = {
        "command": args.command,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "model": "nano",
        "detector": args.detector,
        "date": date.today().isoformat(),
    }
    for name, reader in readers.items():
        result[name] = {"scenes": turned(composed, reader)}
        if photos:
            result[name]["photos"] = turned(photos, reader)
        result[name]["non_faces"] = non_faces(unseen, detectors[name])
        print(name, json.dumps(result[name], indent=1), flush=True)
    result["non_face_pictures"] = len(unseen)
    result["faces_lost"] = {
        "scenes": lost(composed, *detectors.values()),
        "public_test": lost(crops, *detectors.values()),
    }
    result["milliseconds_nano"] = milliseconds([p for p in composed if readers["after"].read(p).faces][:40], readers, 3)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
