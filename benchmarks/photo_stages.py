"""Where the time of one photo goes: CPU milliseconds of each stage, without those of the stages inside it.

    python benchmarks/photo_stages.py PHOTO [--model nano] [--photos 150]

One thread. A figure is the lower quartile over the photos, since other work on the machine only adds; the sum of the
stages is a little more than the whole, which the clock's own calls lengthen.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mien.faces import close_look, close_view, orientation, upright, views, yunet
from mien.reading import cropper
from mien.reading.classifier import Classifier
from mien.reading.reader import Reader

spent: defaultdict[str, float] = defaultdict(float)  # of the photo that is being read, seconds
inner: list[float] = []  # of each stage that is under way, what the stages inside it took


def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        inner.append(0.0)
        start = time.thread_time()
        try:
            return work(*args, **options)
        finally:
            took = time.thread_time() - start
            spent[stage] += took - inner.pop()
            if inner:
                inner[-1] += took

    return run


class Session:
    """An ONNX Runtime session that notes its time by network and shape of the input."""

    def __init__(self, name: str, session: Any) -> None:
        self.name, self.session = name, session

    def run(self, outputs: list[str], feed: dict[str, Any]) -> Any:
        (batch,) = feed.values()
        shape = "×".join(str(side) for side in batch.shape)
        return timed(f"network {self.name} {shape}", self.session.run)(outputs, feed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--photos", type=int, default=150)
    args = parser.parse_args()
    reader, content = Reader(args.model, threads=1), args.photo.read_bytes()
    finder: Any = reader.detector
    finder.inner._session = Session("yunet", finder.inner._session)
    finder._orientation._session = Session("orientation", finder._orientation._session)
    classifier: Any = reader._classifier
    classifier._session = Session(args.model, classifier._session)
    for stage, owner, name in (
        ("decoding the file", cropper, "load_rgb"),
        ("resizing for the views", views, "resized"),
        ("views: canvas, boxes, overlaps", yunet, "search"),
        ("pixels to float", yunet.YuNet, "_run"),
        ("YuNet's heads to boxes", yunet, "decode"),
        ("close views", close_view.CloseView, "of"),
        ("close look at landmarks", close_look, "_looked"),
        ("orientation: crops and softmax", orientation.OrientationNet, "probabilities"),
        ("way up", upright.UprightDetector, "_detect"),
        ("crops for the reader", cropper.FaceCropper, "_pixels"),
        ("head pose and faces", cropper.FaceCropper, "cut"),
        ("reader: normalising and softmax", Classifier, "probabilities"),
    ):
        setattr(owner, name, timed(stage, getattr(owner, name)))
    whole, stages = [], defaultdict[str, list[float]](list)
    for number in range(args.photos + 10):
        spent.clear()
        start = time.thread_time()
        list(reader.read_many([content]))
        if number >= 10:  # the first ones warm up
            whole.append(time.thread_time() - start)
            for stage, seconds in spent.items():
                stages[stage].append(seconds)
    rows = {stage: 1000 * float(np.percentile(seconds, 25)) for stage, seconds in stages.items()}
    for stage, milliseconds in sorted(rows.items(), key=lambda row: -row[1]):
        print(f"{stage:44}{milliseconds:7.2f} ms")
    print(f"{'whole photo':44}{1000 * float(np.percentile(whole, 25)):7.2f} ms, least {1000 * min(whole):.2f}")


if __name__ == "__main__":
    main()
