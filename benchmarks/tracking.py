"""Tracks on scenes with real faces: identity switches and fragments, beside the trackers of the package ``trackers``.

    python benchmarks/tracking.py CLIPS --out results/tracking.json --reference /tmp/trackers/bin/python

Renders the scenes of ``tracking_scenes.py``, finds the faces in every frame, and keeps the boxes, so that
``tests/video/test_tracking.py`` can count again without clips or detector. The reference (SORT, ByteTrack, OC-SORT and
BoT-SORT without camera motion; a memory of two seconds, a track from its first detection on) runs in its own
environment: ``trackers`` is 556 MB.

switches: a person's number changes from one sight to the next. fragments: numbers beyond one a person. shared:
numbers that were given to more than one person.
"""

import argparse
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from mien.results import Box
from mien.video.tracking import Tracker

HERE = Path(__file__).resolve()
REFERENCES = ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker")
MEMORY_S = 2.0
MATCH = 0.35  # intersection over union of a detection with a true box


def numbers(scene: dict[str, Any], *, memory_s: float = MEMORY_S) -> list[list[int]]:
    """Our track numbers of each detection of each frame."""
    tracker = Tracker(memory_s=memory_s)
    width, height = scene["size"]
    return [
        tracker.update(n / scene["rate"], [Box(*box) for box in boxes], width=width, height=height)
        for n, boxes in enumerate(scene["found"])
    ]


def count(scene: dict[str, Any], tracks: list[list[int]]) -> dict[str, int]:
    """switches, fragments and shared numbers; see the head."""
    from scipy.optimize import linear_sum_assignment

    seen: dict[int, list[int]] = {}
    for boxes, truths, row in zip(scene["found"], scene["true"], tracks, strict=True):
        people = [(person, Box(*box)) for person, box in enumerate(truths) if box is not None]
        if not people or not boxes:
            continue
        costs = [[1 - truth.overlap(Box(*box)) for box in boxes] for _, truth in people]
        for i, j in zip(*linear_sum_assignment(costs), strict=True):
            if costs[i][j] <= 1 - MATCH and row[j] >= 0:
                seen.setdefault(people[i][0], []).append(row[j])
    owners: dict[int, set[int]] = {}
    for person, row in seen.items():
        for number in row:
            owners.setdefault(number, set()).add(person)
    return {
        "switches": sum(a != b for row in seen.values() for a, b in pairwise(row)),
        "fragments": sum(len(set(row)) - 1 for row in seen.values()),
        "shared": sum(len(people) > 1 for people in owners.values()),
    }


def reference(scenes: list[dict[str, Any]]) -> dict[str, list[list[list[int]]]]:
    """Runs in the environment of ``trackers``: name → scene → frame → numbers, -1 where it gives none."""
    import numpy as np
    import supervision as sv
    import trackers

    result: dict[str, list[list[list[int]]]] = {}
    for name in REFERENCES:
        for scene in scenes:
            options: dict[str, Any] = {
                "lost_track_buffer": round(MEMORY_S * 30),  # scaled by frame_rate / 30
                "frame_rate": float(scene["rate"]),
                "minimum_consecutive_frames": 1,
            }
            if name == "BoTSORTTracker":
                options["enable_cmc"] = False
            tracker = getattr(trackers, name)(**options)
            rows = []
            for boxes in scene["found"]:
                corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
                given = sv.Detections(
                    xyxy=corners, confidence=np.full(len(boxes), 0.95), class_id=np.arange(len(boxes)) * 0
                )
                given.data["order"] = np.arange(len(boxes))
                out = tracker.update(given)
                row = [-1] * len(boxes)
                for corner, number in zip(out.xyxy, out.tracker_id if out.tracker_id is not None else [], strict=False):
                    row[int(np.abs(corners - corner).sum(1).argmin())] = int(number)
                rows.append(row)
            result.setdefault(name, []).append(rows)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--reference", help="a Python with the package trackers")
    parser.add_argument("--as-reference", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--show", type=Path, help="save a frame of each scene there")
    args = parser.parse_args()
    if args.as_reference:
        json.dump(reference(json.load(sys.stdin)), sys.stdout)
        return
    if args.clips is None:  # count again on the boxes that are kept
        kept = json.loads(args.out.read_text())["scenes"]
    else:
        kept = detected(args.clips, args.detector, args.show)
    report: dict[str, Any] = {"mien": [count(scene, numbers(scene)) for scene in kept]}
    if args.reference:
        call = [args.reference, str(HERE), "--as-reference"]
        done = subprocess.run(call, input=json.dumps(kept), capture_output=True, text=True, check=True)
        for name, rows in json.loads(done.stdout).items():
            report[name] = [count(scene, row) for scene, row in zip(kept, rows, strict=True)]
    elif args.out and args.out.exists():
        report |= {k: v for k, v in json.loads(args.out.read_text())["counts"].items() if k != "mien"}
    print_table(kept, report)
    if args.out:
        lines = [json.dumps(scene, separators=(",", ":")) for scene in kept]
        command = f"python benchmarks/tracking.py CLIPS --detector {args.detector} --reference PYTHON"
        head = {"command": command, "counts": report}
        args.out.write_text(json.dumps(head)[:-1] + ',\n"scenes": [\n' + ",\n".join(lines) + "\n]}\n")


def detected(clips: Path, name: str, show: Path | None) -> list[dict[str, Any]]:
    """The scenes with what the detector found, rounded to pixels."""
    from mien.faces.detector import make_detector
    from mien.video.search import Search
    from tracking_scenes import HEIGHT, WIDTH, load_heads, render, scenes

    detector = make_detector(name)
    heads = load_heads(clips, detector)
    kept = []
    for scene in scenes():
        found, true = [], []
        search = Search(detector)
        for n in range(int(scene.seconds * scene.rate)):
            picture, boxes = render(scene, heads, n / scene.rate)
            faces = search.between(picture)
            found.append([[round(v) for v in face.box.to_list()] for face in faces])
            true.append([None if box is None else [round(v) for v in box.to_list()] for box in boxes])
            if show is not None and n == int(scene.seconds * scene.rate) // 2:
                from PIL import Image

                show.mkdir(exist_ok=True)
                Image.fromarray(picture).save(show / f"{scene.name.replace(' ', '-').replace('/', '-per-')}.png")
        kept.append({"name": scene.name, "rate": scene.rate, "size": [WIDTH, HEIGHT], "found": found, "true": true})
        print(f"{scene.name}: {sum(map(len, found))} faces found", file=sys.stderr)
    return kept


def print_table(kept: list[dict[str, Any]], report: dict[str, list[dict[str, int]]]) -> None:
    print("switches / fragments / shared".ljust(32), *(name.removesuffix("Tracker").rjust(12) for name in report))
    for n, scene in enumerate(kept):
        cells = [" / ".join(map(str, rows[n].values())).rjust(12) for rows in report.values()]
        print(scene["name"].ljust(32), *cells)
    totals = [[sum(row[k] for row in rows) for k in ("switches", "fragments", "shared")] for rows in report.values()]
    print("all".ljust(32), *(" / ".join(map(str, total)).rjust(12) for total in totals))


if __name__ == "__main__":
    main()
