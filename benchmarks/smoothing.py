"""What smoothing over time does to accuracy and calibration: ``mien.video.smoothing`` on labelled frames.

    python benchmarks/smoothing.py ../shared/data/fer2013/public_test.parquet --out results/smoothing.json

No data set of labelled video is at hand, so clips are made from labelled pictures that no reader was trained on
(FER2013 PublicTest): each is shown for ``--hold`` seconds at 25 frames a second while it moves, turns, grows, gets
lighter and darker, noisy and blurred along smooth random paths; a track is six pictures one after another, so that it
also has abrupt changes of expression, where smoothing does harm. Real faces change less abruptly, and their frames
differ in more ways: what is measured is the direction, not what a film will give.

Per window width: accuracy, ECE and NLL of all frames, and of the frames at least 0.3 s from a change; how often the
most probable expression changes a minute within the pictures (there it should not). 95 % intervals: bootstrap over
pictures.
"""

import argparse
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mien import Reader
from mien.evaluation.metrics import ece
from mien.labels import SEVEN
from mien.results import Box, Face, Reading
from mien.video.smoothing import Causal, Centred

RATE, TRACK = 25, 6
WIDTHS = (0.0, 0.2, 0.4, 0.8, 1.6)
Float = NDArray[np.float64]


def paths(rng: np.random.Generator, count: int, kinds: int) -> Float:
    """Smooth random values, count×kinds, mostly from -1 to 1: three sines of 0.2 to 2 Hz each."""
    t = np.arange(count)[:, None, None] / RATE
    f, phase = rng.uniform(0.2, 2.0, (2, 3, kinds)) * [[[1]], [[2 * np.pi]]]
    waves: Float = np.sin(2 * np.pi * f * t + phase).sum(1) / 2
    return waves


def frames(picture: Image.Image, rng: np.random.Generator, count: int) -> list[NDArray[np.uint8]]:
    """A picture in motion: uint8 48×48 each."""
    made = []
    for x, y, turn, size, light, noise, blur in paths(rng, count, 7):
        angle, scale = np.deg2rad(6 * turn), 1 + 0.06 * size
        c, s = np.cos(angle) / scale, np.sin(angle) / scale
        cx, cy = 24 + 2.0 * x, 24 + 2.0 * y
        affine = (c, s, 24 - c * cx - s * cy, -s, c, 24 + s * cx - c * cy)
        moved = picture.transform((48, 48), Image.Transform.AFFINE, affine, resample=Image.Resampling.BICUBIC)
        if blur > 0.3:
            moved = moved.filter(ImageFilter.GaussianBlur(float(blur)))
        grey = np.asarray(moved, np.float32) * (1 + 0.2 * light) + rng.normal(0, 4 + 4 * abs(noise), (48, 48))
        made.append(grey.clip(0, 255).astype(np.uint8))
    return made


def clips(
    path: Path, limit: int, hold: int, *, skip: int = 0, seed: int = 0
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """All frames, and the label of each picture; classes as in the data set."""
    table = pq.read_table(path, columns=["image", "emotion"]).to_pylist()
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(table))[: limit - limit % TRACK]
    crops: list[NDArray[np.uint8]] = []
    for i in chosen:
        image = table[i]["image"]
        picture = Image.open(BytesIO(image["bytes"] if isinstance(image, dict) else image)).convert("L")
        crops += frames(picture, rng, hold)
    return crops, np.array([table[i]["emotion"] for i in chosen])


def smooth(rows: Float, width: float, hold: int, *, causal: bool) -> Float:
    """N×7 probabilities of consecutive tracks → smoothed."""
    out = np.empty_like(rows)
    length = hold * TRACK
    for start in range(0, len(rows), length):
        readings = []
        for n, row in enumerate(rows[start : start + length]):
            p = dict(zip(SEVEN, row.tolist(), strict=True))
            face = Face(Box(0, 0, 9, 9), 1.0, None, 0.0, p, track=1)
            readings.append(Reading("v", 9, 9, (face,), n / RATE))
        if width == 0:
            done = readings
        elif causal:
            causal_one = Causal(width)
            done = [causal_one.push(reading) for reading in readings]
        else:
            done = list(Centred(width)(readings))
        out[start : start + length] = [[r.faces[0].probabilities[name] for name in SEVEN] for r in done]
    return out


def figures(rows: Float, labels: NDArray[np.int64], hold: int) -> dict[str, Any]:
    y = np.repeat(labels, hold)
    place = np.tile(np.arange(hold), len(labels))
    inner = (place >= 0.3 * RATE) & (place < hold - 0.3 * RATE)
    tops = rows.argmax(1).reshape(-1, hold)
    changes = (tops[:, 1:] != tops[:, :-1]).sum() / (len(labels) * hold / RATE) * 60
    result: dict[str, Any] = {"changes_a_minute": round(float(changes), 1)}
    for name, kept in (("all", np.ones(len(y), bool)), ("away_from_changes", inner)):
        p, truth = rows[kept], y[kept]
        picture = np.repeat(np.arange(len(labels)), hold)[kept]
        right, nll = p.argmax(1) == truth, -np.log(p[np.arange(len(truth)), truth].clip(1e-9))
        result[name] = {
            "accuracy": round(float(right.mean()), 4),
            "ece": round(float(ece(truth, p)), 4),
            "ece_interval": [round(v, 4) for v in _interval(truth, p, picture)],
            "nll": round(float(nll.mean()), 4),
        }
    return result


def _interval(truth: NDArray[np.int64], p: Float, picture: NDArray[np.int64], draws: int = 40) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(picture == k) for k in np.unique(picture)]
    drawn = []
    for _ in range(draws):
        index = np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))])
        drawn.append(float(ece(truth[index], p[index])))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, default=1200, help="pictures")
    parser.add_argument("--hold", type=float, default=2.0, help="seconds a picture is shown")
    parser.add_argument("--models", nargs="+", default=["nano", "compact"])
    args = parser.parse_args()
    hold = round(args.hold * RATE)
    crops, labels = clips(args.table, args.limit, hold)
    report: dict[str, Any] = {
        "command": "python benchmarks/smoothing.py PUBLIC_TEST --out results/smoothing.json "
        f"--limit {args.limit} --hold {args.hold:g} --models {' '.join(args.models)}",
        "pictures": len(labels),
        "frames": len(crops),
        "models": {},
    }
    for model in args.models:
        rows = Reader(model, detector="none", threads=1).classify(crops).astype(np.float64)
        rows /= rows.sum(1, keepdims=True)
        found: dict[str, Any] = {}
        for causal in (False, True):
            for width in WIDTHS[causal:]:
                name = f"{'causal' if causal else 'centred'} {width:g} s"
                found[name] = figures(smooth(rows, width, hold, causal=causal), labels, hold)
                a, b = found[name]["all"], found[name]["away_from_changes"]
                print(
                    f"{model:8} {name:15} all: {a['accuracy']:.2%} ECE {a['ece']:.3f} NLL {a['nll']:.3f}   "
                    f"away: {b['accuracy']:.2%} ECE {b['ece']:.3f} {b['ece_interval']} NLL {b['nll']:.3f}   "
                    f"{found[name]['changes_a_minute']} changes/min"
                )
        report["models"][model] = found
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
