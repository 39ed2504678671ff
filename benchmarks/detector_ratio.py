"""CPU time of both detectors for one photo at several sizes, one thread, in alternating rounds; the least of each.

python benchmarks/detector_ratio.py PHOTO [--sizes 1920x1920 512x600] [--rounds 7]
"""

import argparse
import time

import numpy as np
from PIL import Image

from mien.faces import make_detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("--sizes", nargs="+", default=["1920x1920", "512x600"], metavar="WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    photo = Image.open(options.photo).convert("RGB")
    detectors = {name: make_detector(name) for name in ("yunet", "centerface")}
    for size in options.sizes:
        rgb = np.asarray(photo.resize(tuple(int(side) for side in size.split("x"))))
        best = dict.fromkeys(detectors, np.inf)
        for _ in range(options.rounds):
            for name, detector in detectors.items():
                start = time.process_time()
                detector.detect(rgb)
                best[name] = min(best[name], time.process_time() - start)
        numbers = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in best.items())
        print(f"{size}: {numbers}, {best['centerface'] / best['yunet']:.2f} times", flush=True)


if __name__ == "__main__":
    main()
