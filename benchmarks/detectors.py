"""Compares face detectors on faces of 12 to 400 pixels: recall, false alarms, milliseconds, in one table.

    python benchmarks/detectors.py --photos PHOTOS --faces LFW --fer2013 FER2013 -o results/detectors.json

Scenes are composed: heads from PHOTOS (whole photos and frames of clips, few persons), and, as a harder kind, faces of
LFW's held-out persons cut so tightly that hair, ears and neck are missing, pasted on photos without a person, one to
six in a scene. The height of a face is known from where the picture was pasted: the mean of both detectors' boxes in
the photo, or LFW's usual frame. A find counts where it overlaps the face with an intersection over union above 0.3.
Scenes with heads are searched as they are and once more dark, blurred, with faces half hidden, and with faces tilted by
30°; turned by 90° they are searched by the detector with its search for turned faces. FER2013's PublicTest is searched
with a grey border of half its side around it, and tight. Pictures without a person count the finds that should not be.
Milliseconds are CPU time of one thread, the least of three passes, detectors in turn.
"""

import argparse
import io
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageFilter
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from orientation_data import held_out, pictures, unpacked

from mien.faces import make_detector
from mien.imaging import load_rgb
from mien.results import Box

SIZES = ((640, 480), (1280, 960), (1920, 1440))
HEIGHTS = (12, 16, 20, 24, 32, 48, 80, 140, 240, 400)
FACE = Box(0.1, 0.03, 0.81, 0.99)  # of LFW's square pictures: mean box of YuNet and CenterFace on 300 of them
KINDS = ("plain", "dark", "blurred", "half_hidden", "tilted", "cut_out")


@dataclass
class Scene:
    """rgb: uint8 H×W×3. faces: what is in it."""

    rgb: np.ndarray
    faces: list[Box] = field(default_factory=list)


def proportion(hits: int, n: int) -> dict[str, Any]:
    """With its 95 % Wilson interval."""
    if not n:
        return {"value": None, "n": 0}
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return {"value": round(hits / n, 4), "low": round(interval.low, 4), "high": round(interval.high, 4), "n": n}


@dataclass
class Head:
    """picture: a square. face: where the face is in it, in units of its side."""

    picture: Image.Image
    face: Box


def heads(folder: Path, detectors: list[Any]) -> list[Head]:
    """The largest face of each photo, with as much around it as half the face on each side; where detectors agree."""
    found = []
    for file in sorted(folder.iterdir()):
        rgb = load_rgb(file)
        boxes = [faces[0].box for one in detectors if (faces := one.detect(rgb))]
        if len(boxes) < len(detectors) or any(box.overlap(boxes[0]) < 0.5 for box in boxes):
            continue
        x, y, w, h = np.mean([[box.x, box.y, box.w, box.h] for box in boxes], axis=0)
        side = round(2 * h)
        left, top = round(x + w / 2 - h), round(y + h / 2 - h)
        picture = Image.fromarray(rgb).crop((left, top, left + side, top + side))
        found.append(Head(picture, Box((x - left) / side, (y - top) / side, w / side, h / side)))
    return found


def compose(
    faces: list[Head], grounds: list[Image.Image], size: tuple[int, int], kind: str, random: np.random.Generator
) -> Scene:
    """One to six faces, their heights drawn evenly on a logarithmic scale, none over another."""
    ground = grounds[int(random.integers(len(grounds)))].convert("RGB").resize(size, Image.Resampling.BICUBIC)
    picture, taken = ground.copy(), []
    scene = Scene(np.empty(0))
    for _ in range(int(random.integers(1, 7))):
        height = float(np.exp(random.uniform(np.log(HEIGHTS[0]), np.log(HEIGHTS[-1] * 1.2))))
        head = faces[int(random.integers(len(faces)))]
        side = round(height / head.face.h)
        if side > min(size):
            continue
        x, y = (int(random.integers(0, n - side + 1)) for n in size)
        if any(Box(x, y, side, side).overlap(other) > 0 for other in taken):
            continue
        taken.append(Box(x, y, side, side))
        face = head.picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        mask = Image.new("L", (side, side), 0)
        inner = max(1, round(side * 0.9))
        mask.paste(Image.new("L", (inner, inner), 255), ((side - inner) // 2, (side - inner) // 2))
        mask = mask.filter(ImageFilter.GaussianBlur(max(0.5, side / 40)))
        if kind == "half_hidden":  # the lower or the left half of the face
            box = head.face
            below, middle = round(side * (box.y + 0.55 * box.h)), round(side * (box.x + box.w / 2))
            mask.paste(0, (0, below, side, side) if random.random() < 0.5 else (0, 0, middle, side))
        if kind == "tilted":
            angle = float(random.choice([-30, 30]))
            face, mask = face.rotate(angle, Image.Resampling.BICUBIC), mask.rotate(angle, Image.Resampling.BICUBIC)
        picture.paste(face, (x, y), mask)
        box = head.face
        scene.faces.append(Box(x + box.x * side, y + box.y * side, box.w * side, box.h * side))
    if kind == "blurred":
        picture = picture.filter(ImageFilter.GaussianBlur(2 * size[0] / 640))
    scene.rgb = np.asarray(picture)
    if kind == "dark":
        noise = random.normal(0, 4, scene.rgb.shape)
        scene.rgb = np.clip(scene.rgb * 0.15 + noise, 0, 255).astype(np.uint8)
    return scene


def recall(detector: Any, scenes: list[Scene]) -> tuple[dict[int, list[bool]], int]:
    """Height class (the greatest of HEIGHTS below) → found or not; and how many finds were no face."""
    found: dict[int, list[bool]] = defaultdict(list)
    false = 0
    for scene in scenes:
        boxes = [detection.box for detection in detector.detect(scene.rgb)]
        for face in scene.faces:
            found[max(h for h in HEIGHTS if h <= face.h + 1)].append(any(face.overlap(b) > 0.3 for b in boxes))
        false += sum(all(face.overlap(b) <= 0.1 for face in scene.faces) for b in boxes)
    return found, false


def bordered(image: np.ndarray) -> np.ndarray:
    """A grey border of half the side around it."""
    pad = image.shape[0] // 2
    return np.pad(image, ((pad, pad), (pad, pad), (0, 0)), constant_values=127)


def milliseconds(detectors: dict[str, Any], rgb: np.ndarray) -> dict[str, float]:
    least = dict.fromkeys(detectors, np.inf)
    for _ in range(3):
        for name, detector in detectors.items():
            start = time.process_time()
            detector.detect(rgb)
            least[name] = min(least[name], 1000 * (time.process_time() - start))
    return {name: round(value, 1) for name, value in least.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with one person each")
    parser.add_argument("--faces", type=Path, required=True, help="folder with lfw_expressions.parquet")
    parser.add_argument("--fer2013", type=Path, required=True, help="folder with public_test.parquet")
    parser.add_argument("--debian", type=Path, default=Path(".carry/orientation/debian"))
    parser.add_argument("--detectors", nargs="+", default=["yunet", "centerface"])
    parser.add_argument("--scenes", type=int, default=60, help="of each size and kind")
    parser.add_argument("--crops", type=int, default=500, help="of PublicTest")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    unseen = [(name, picture) for name, picture in pictures(unpacked(args.debian)) if held_out(name)]
    grounds = [picture for _, picture in unseen if picture.getextrema()[3][0] == 255]
    table = pq.read_table(args.faces / "lfw_expressions.parquet")
    cut_out = [
        Head(Image.open(io.BytesIO(cell["bytes"])), FACE)
        for cell, person in zip(table.column("image").to_pylist(), table.column("person").to_pylist(), strict=True)
        if held_out(person)
    ]
    detectors = {name: make_detector(name, turned=False) for name in args.detectors}
    whole = heads(args.photos, list(detectors.values()))
    print(f"{len(whole)} heads", flush=True)
    scenes = {
        kind: [
            compose(cut_out if kind == "cut_out" else whole, grounds, size, kind, random)
            for size in SIZES
            for _ in range(args.scenes)
        ]
        for kind in KINDS
    }
    rows = pq.read_table(args.fer2013 / "public_test.parquet").column("image").to_pylist()[: args.crops]
    crops = [load_rgb(row["bytes"]) for row in rows]
    upright = {name: make_detector(name) for name in args.detectors}
    result: dict[str, Any] = {"scenes": {kind: len(found) for kind, found in scenes.items()}, "detectors": {}}
    for name, detector in detectors.items():
        one: dict[str, Any] = {"recall": {}, "false_alarms": {}}
        for kind in KINDS:
            found, one["false_alarms"][kind] = recall(detector, scenes[kind])
            one["recall"][kind] = {str(h): proportion(sum(found[h]), len(found[h])) for h in HEIGHTS}
            above = [hit for h, hits in found.items() if h >= 24 for hit in hits]
            one["recall"][kind]["24 and more"] = proportion(sum(above), len(above))
        turned = [upright[name].detect(np.ascontiguousarray(np.rot90(s.rgb))) for s in scenes["plain"]]
        hits = [
            any(face.overlap(d.turned(s.rgb.shape[1], s.rgb.shape[0], -1).box) > 0.3 for d in found)
            for s, found in zip(scenes["plain"], turned, strict=True)
            for face in s.faces
            if face.h >= 24
        ]
        one["recall"]["turned by 90°"] = {"24 and more": proportion(sum(hits), len(hits))}
        for what, shown in (("bordered", [bordered(c) for c in crops]), ("tight", crops)):
            one[f"public_test_{what}"] = proportion(sum(bool(detector.detect(c)) for c in shown), len(shown))
        without = [Image.alpha_composite(Image.new("RGBA", p.size, "white"), p).convert("RGB") for _, p in unseen]
        one["non_faces"] = {
            "pictures": len(without),
            "finds": sum(len(detector.detect(np.asarray(p))) for p in without),
            "finds_with_the_orientation_network": sum(len(upright[name].detect(np.asarray(p))) for p in without),
        }
        result["detectors"][name] = one
        print(name, json.dumps(one, ensure_ascii=False), flush=True)
    result["milliseconds"] = {
        f"{w}×{h}": milliseconds(detectors, scenes["plain"][i * args.scenes].rgb) for i, (w, h) in enumerate(SIZES)
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(json.dumps(result["milliseconds"], ensure_ascii=False))
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
