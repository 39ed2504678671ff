"""Readers outside of FER2013: LFW's held-out persons and GENKI's held-out pictures, which ``stores/hybrid`` holds.

    python benchmarks/further_faces.py compact nano [FILE.onnx …] --data stores/hybrid [--json FILE]

LFW: recall of each expression that the annotators named at least 10 times (neutral is their catch-all, surprise often
an open mouth). GENKI: is *happy* the likeliest expression where they saw a smile, and another where they saw none?
Crops as the store has them, a single crop each; 95 % intervals by Wilson over pictures (persons recur in LFW).
"""

import argparse
import json
from importlib import resources
from pathlib import Path

import numpy as np

from mien.data.store import Store
from mien.evaluation.costs import sha256
from mien.evaluation.metrics import wilson
from mien.labels import SEVEN, code
from mien.reading.classifier import SHIPPED, Classifier

LEAST = 10


def figures(classifier: Classifier, store: Store) -> dict[str, tuple[float, float, float, int]]:
    """Name → accuracy or recall, its interval, and the number of pictures."""

    def of(right: np.ndarray) -> tuple[float, float, float, int]:
        return (float(right.mean()), *wilson(int(right.sum()), len(right)), len(right))

    lfw = store.read("validation").labelled()
    chosen = classifier.probabilities(np.stack([classifier.preprocess.pixels(one) for one in lfw.images])).argmax(1)
    found = {"LFW all": of(chosen == lfw.labels)}
    for name in SEVEN:
        rows = lfw.labels == code(name)
        if rows.sum() >= LEAST:
            found[f"LFW {name}"] = of(chosen[rows] == code(name))
    genki = store.read("test")
    pixels = np.stack([classifier.preprocess.pixels(one) for one in genki.images])
    happy = classifier.probabilities(pixels).argmax(1) == code("happy")
    found["GENKI smile"] = of(happy[genki.labels == code("happy")])
    found["GENKI no smile"] = of(~happy[genki.labels < 0])
    return found


def _file(reader: str) -> Path:
    return Path(str(resources.files("mien.weights") / f"{reader}.onnx")) if reader in SHIPPED else Path(reader)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    store = Store.open(options.data)
    table = {reader: figures(Classifier.load(reader, threads=1, precision="fp32"), store) for reader in options.readers}
    names = list(next(iter(table.values())))
    print("".join([f"{'':16}", *(f"{Path(reader).name:>28}" for reader in table)]))
    for name in names:
        values = (one[name] for one in table.values())
        cells = (f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" for value, low, high, _ in values)
        print(f"{name:16}" + "".join(f"{cell:>28}" for cell in cells))
    if options.json:
        # the files' hashes say whose figures these are: a card takes its own reader's alone
        report = {
            "command": "python benchmarks/further_faces.py compact nano --data stores/hybrid",
            "sha256": {Path(reader).stem: sha256(_file(reader)) for reader in table},
            "figures": {Path(reader).stem: found for reader, found in table.items()},
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
