"""The run of a reader whose checkpoints are gone, from its ONNX file: to fine-tune it, or to learn from it.

    python scripts/reader_run.py compact --data stores/fer2013 -o runs/compact

Writes recipe.yaml and meta.json from the file's provenance, and best.ckpt (``mien.training.exported``). To train a
reader further, ``model.init: reader:NAME`` of a recipe needs no run.
"""

import argparse
import json
from pathlib import Path

import torch

from mien.atomic import make_folder, write_text
from mien.data.store import Store
from mien.training.datasets import as_inputs
from mien.training.exported import Exported
from mien.training.networks import recipe_preprocess

PICTURES = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", help="the name of a shipped reader, or an ONNX file that mien exported")
    parser.add_argument("--data", type=Path, required=True, metavar="STORE")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RUN")
    options = parser.parse_args()
    reader = Exported(options.reader)
    images = Store.open(options.data).read("training").limited(PICTURES).images
    network = reader.network(as_inputs(images, recipe_preprocess(reader.recipe)))
    make_folder(options.out)
    torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}},
               options.out / "best.ckpt")  # fmt: skip
    write_text(options.out / "recipe.yaml", reader.recipe.to_yaml())
    about = reader.provenance
    result = {"best_valid_accuracy": about.get("valid_accuracy")}
    meta = {"labels": reader.labels, "from_onnx": reader.reader, "result": result, "origins": about.get("origins", [])}
    write_text(options.out / "meta.json", json.dumps(meta | {"data": about.get("data")}, indent=1))
    print(f"{options.out}: probabilities differ from {reader.reader} by {reader.difference:.1e} at most")


if __name__ == "__main__":
    main()
