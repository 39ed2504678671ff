"""Readers of one's own classes on real tasks, by the commands that a user types, and the control of shuffled labels.

    python benchmarks/own_classes.py ../shared/data/faces -o out/own-classes [--task smile] [--recipe own-compact] \
        [--start nano-wide.onnx]

Tasks: ``smile``, GENKI-4K's smile or not (crops of 64 pixels, a folder a class); ``three``, LFW faces that students
labelled happy, surprise or angry, under other names (crops of 112 pixels, a table with a column ``person``, which
keeps people in one split); ``shuffled``, the folders of ``smile`` with the labels dealt anew,
where held-out accuracy must be chance.
--start: a reader to start from. The shipped ones have learnt from most of GENKI and LFW, so that their rows are not of
new data; one that has seen FER2013 alone is in the history: ``git show e8bf146:results/fer2013/nano-wide.onnx``.
Prints a Markdown table of the test split; CPU seconds are those of the training command with one thread.
"""

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

NAMES = {"happy": "cheerful", "surprise": "astonished", "angry": "cross"}
MOST = 600  # of LFW's happy faces, of which there are 5,309


def smile(faces: Path, out: Path, *, shuffled: bool = False) -> Path:
    """A folder a class. shuffled: the same numbers of pictures a class, dealt at random."""
    rows = pq.read_table(faces / "genki4k.parquet").to_pylist()
    labels = ["smile" if row["smile"] else "no smile" for row in rows]
    if shuffled:
        random.Random(0).shuffle(labels)
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        folder = out / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.jpg").write_bytes(row["image"]["bytes"])
    return out


def three(faces: Path, out: Path) -> Path:
    """A table with the columns image, label and person."""
    out.mkdir(parents=True)
    taken: Counter[str] = Counter()
    with (out / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "label", "person"])
        for number, row in enumerate(pq.read_table(faces / "lfw_expressions.parquet").to_pylist()):
            label = row["label"]
            if label in NAMES and taken[label] < MOST:
                taken[label] += 1
                (out / f"{number:05d}.jpg").write_bytes(row["image"]["bytes"])
                table.writerow([f"{number:05d}.jpg", NAMES[label], row["person"]])
    return out / "labels.csv"


TASKS = {
    "smile": smile,
    "three": three,
    "shuffled": lambda faces, out: smile(faces, out, shuffled=True),
}


def mien(*words: str) -> float:
    """Run a command; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "mien.cli.app", *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(task: str, faces: Path, home: Path, recipe: str, start: Path | None) -> dict[str, Any]:
    """Train, evaluate on the test split; what the report says."""
    pictures = TASKS[task](faces, home / task / "pictures")
    run = home / task / "run"
    begin = () if start is None else ("--set", f"model.init=reader:{start}")
    seconds = mien("train", recipe, "--data", str(pictures), "--crops", "-o", str(run), "--threads", "1", *begin)
    data = run.with_name("run-data")
    mien("evaluate", str(run), "--data", str(data), "--split", "test", "-o", str(home / task / "test"))
    report = json.loads((home / task / "test" / "report.json").read_text())
    counts = json.loads((data / "summary.json").read_text())["splits"]["test"]["counts"]
    return {"report": report, "seconds": seconds, "largest": max(counts.values()) / sum(counts.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="the folder of genki4k.parquet and lfw_expressions.parquet")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--task", choices=TASKS, action="append")
    parser.add_argument("--recipe", choices=("own", "own-compact"), default="own")
    parser.add_argument("--start", type=Path, help="FILE.onnx in place of the shipped reader")
    options = parser.parse_args()
    lines = [
        "| task | test images | largest class | accuracy | macro F1 | ECE, cross-fitted | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in options.task or TASKS:
        found = measure(task, options.faces, options.out, options.recipe, options.start)
        part = found["report"]["figures"]["all"]
        accuracy, f1 = part["accuracy"], part["macro_f1"]
        ece = found["report"]["calibration"]["held_out"]["all"]["ece"]["value"]
        lines.append(
            f"| {task}, `{options.recipe}` | {part['n']:,} | {found['largest']:.1%} | {accuracy['value']:.1%} "
            f"[{accuracy['low']:.1%}, {accuracy['high']:.1%}] | {f1['value']:.1%} | {ece:.3f} | "
            f"{found['seconds']:.0f} |"
        )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
