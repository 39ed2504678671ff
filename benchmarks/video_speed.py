"""Frames a second of ``Reader.video`` on one core: an H.264 clip (640×480) with two faces that move.

    python benchmarks/video_speed.py CLIPS [--detectors yunet centerface] [--models nano compact] [--every 1 5]
        [--height 1080] [--peer PYTHON] [--out results/video_speed.json]

CLIPS: the folder of clips from which two heads are cut (``tracking_scenes.py``). The process is bound to one core, one
thread a network; decoding, detection and reading share that core. Seconds are of the processor, so that other work on
the machine matters little; the models are loaded before the clock starts. Rounds alternate between the contestants; a
figure is the median of its rounds. PYTHON: an interpreter with the package ``fer`` and OpenCV, which reads every frame
of the same clip with its own detector in the same rounds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
PEER = """
import sys, time, cv2, os
os.sched_setaffinity(0, {int(sys.argv[2])})
from fer.fer import FER
reader = FER(mtcnn=False)
film = cv2.VideoCapture(sys.argv[1])
ok, frame = film.read()
reader.detect_emotions(frame)
begun, count, faces = time.process_time(), 0, 0
while ok:
    faces += len(reader.detect_emotions(frame)); count += 1
    ok, frame = film.read()
print(count, faces, time.process_time() - begun)
"""


def make_clip(clips: Path, target: Path, seconds: float, height: int) -> None:
    """Two heads that wander over a grey ground, 130 pixels tall in 640×480; enlarged to ``height``."""
    import av

    from mien.faces.detector import DETECTORS, make_detector
    from tracking_scenes import HEIGHT, RATE, WIDTH, Scene, load_heads, render, wander

    heads = load_heads(clips, make_detector(DETECTORS[0]))
    scene = Scene("two", seconds, (lambda t: _left(wander(3, 130)(t)), lambda t: _right(wander(8, 130)(t))))
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream("libx264", rate=RATE, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH * height // HEIGHT, height, "yuv420p"
        for n in range(int(seconds * RATE)):
            rgb, _ = render(scene, heads, n / RATE)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            out.mux(stream.encode(frame.reformat(width=stream.width, height=height)))
        out.mux(stream.encode())


def _left(place: Any) -> tuple[float, float, float]:
    x, y, h = place
    return 160 + (x - 320) * 0.3, y, h


def _right(place: Any) -> tuple[float, float, float]:
    x, y, h = place
    return 480 + (x - 320) * 0.3, y, h


def one(clip: Path, model: str, detector: str, every: int) -> tuple[int, int, float]:
    """Frames, faces, processor seconds."""
    from mien import Reader

    reader = Reader(model, detector=detector, threads=1)
    for _ in reader.video(clip, every=every, end=0.2):  # what is made on the first picture
        pass
    begun = time.process_time()
    frames = faces = 0
    for reading in reader.video(clip, every=every):
        frames, faces = frames + 1, faces + len(reading.faces)
    return frames, faces, time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--detectors", nargs="+", default=["centerface"])
    parser.add_argument("--models", nargs="+", default=["nano", "compact"])
    parser.add_argument("--every", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the clip")
    parser.add_argument("--height", type=int, default=480, help="of the clip, pixels; the width is 4/3 of it")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--peer", help="a Python with fer")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "two.mp4"
        make_clip(args.clips, clip, args.seconds, args.height)
        jobs = [(d, m, n) for d in args.detectors for m in args.models for n in args.every]
        found: dict[str, list[tuple[int, int, float]]] = {}
        for _ in range(args.rounds):
            for detector, model, every in jobs:
                name = f"{detector} {model} every {every}"
                found.setdefault(name, []).append(one(clip, model, detector, every))
            if args.peer:
                call = [args.peer, "-c", PEER, str(clip), str(args.core)]
                done = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()[-3:]
                found.setdefault("own fer every 1", []).append((int(done[0]), int(done[1]), float(done[2])))
    report: dict[str, Any] = {
        "command": " ".join([Path(sys.executable).name, "benchmarks/video_speed.py", "CLIPS", *sys.argv[2:]]),
        "machine": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
        "results": {},
    }
    for name, rounds in found.items():
        rates = [frames / seconds for frames, _, seconds in rounds]
        frames, faces, _ = rounds[0]
        report["results"][name] = {
            "frames_per_second": round(statistics.median(rates), 1),
            "rounds": [round(rate, 1) for rate in rates],
            "frames": frames,
            "faces": faces,
        }
        print(f"{name:32} {statistics.median(rates):7.1f} frames/s   {rates}   {faces} faces in {frames} frames")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
