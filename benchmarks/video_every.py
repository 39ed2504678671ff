"""What following faces between searches costs: ``--every N`` against a search in every frame, on real clips.

    python benchmarks/video_every.py CLIP… [--detector yunet] [--model nano] [--every 4 5 8] [--out FILE.json]

For each N: the total variation (half the sum of absolute differences, 0-1) between the probabilities of the same face
in the same frame, mean over frames; in how many frames the number of faces differs, and the most probable expression.
Beside it the total variation of two consecutive frames, both searched: what a face changes by in a frame anyhow.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mien import Reader
from mien.results import Face, Reading


def variation(a: Face, b: Face) -> float:
    p, q = a.raw_probabilities or {}, b.raw_probabilities or {}
    return sum(abs(p[label] - q[label]) for label in p) / 2


def compared(one: list[Reading], other: list[Reading]) -> dict[str, Any]:
    """Frame by frame, largest faces first."""
    values, tops, counts = [], 0, 0
    for a, b in zip(one, other, strict=True):
        counts += len(a.faces) != len(b.faces)
        for f, g in zip(a.faces, b.faces, strict=False):
            values.append(variation(f, g))
            tops += f.top != g.top
    return {
        "total_variation": round(sum(values) / max(len(values), 1), 4),
        "other_expression": tops,
        "other_number_of_faces": counts,
        "faces": len(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--every", type=int, nargs="+", default=[2, 3, 5, 8])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    reader = Reader(args.model, detector=args.detector, threads=1)
    report: dict[str, Any] = {
        "command": f"python benchmarks/video_every.py CLIPS --detector {args.detector} --model {args.model} "
        f"--every {' '.join(map(str, args.every))} --out results/video_every.json",
        "clips": {},
    }
    for clip in args.clips:
        runs = {n: list(reader.video(clip, every=n, smooth=0)) for n in (1, *args.every)}
        found: dict[str, Any] = {"frames": len(runs[1]), "consecutive": compared(runs[1][:-1], runs[1][1:])}
        found |= {f"every {n}": compared(runs[1], runs[n]) for n in args.every}
        report["clips"][clip.name] = found
        print(clip.name, json.dumps(found))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
