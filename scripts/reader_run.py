"""The run of a reader whose checkpoints are gone, from its ONNX file: to fine-tune it, or to learn from it.

    python scripts/reader_run.py compact --data stores/fer2013 -o runs/compact

Writes recipe.yaml and meta.json from the file's provenance, and best.ckpt. An exported file holds batch norms folded
into the convolutions before them, and no statistics: these are measured on pictures of Training, so that the network
computes the same (checked against ONNX Runtime) and can be trained further.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mien.atomic import make_folder, write_text
from mien.data.store import Store
from mien.errors import DataError
from mien.models.packaged.statistics import measure_statistics
from mien.reading.classifier import Classifier
from mien.training.datasets import as_inputs
from mien.training.networks import build_network, recipe_preprocess
from mien.training.recipe import Recipe, parse_recipe

PICTURES, TOLERANCE = 2048, 2e-3


def folded_weights(file: bytes) -> dict[str, Tensor]:
    """float32 tensors by the name of the layer and "weight" or "bias", as ``mien export`` writes them."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(file).graph.initializer}
    named = {}
    for name, values in found.items():
        name = name.removesuffix(".half")
        if name.endswith((".weight", ".bias")):
            named[name] = torch.from_numpy(values.astype(np.float32))
        elif name.endswith(".weight_bias"):
            named[name.removesuffix(".weight_bias") + ".bias"] = torch.from_numpy(values.astype(np.float32))
    return named


@torch.no_grad()
def unfold(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fill a network whose batch norms each follow a convolution without bias. Raises DataError where it cannot."""
    left = dict(weights)
    before: tuple[str, nn.Conv2d] | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.copy_(left.pop(f"{name}.weight"))
            if module.bias is not None:
                module.bias.copy_(left.pop(f"{name}.bias"))
            before = (name, module) if isinstance(module, nn.Conv2d) and module.bias is None else None
        elif isinstance(module, nn.BatchNorm2d):
            if before is None or before[1].out_channels != module.num_features:
                raise DataError(f"expected a convolution without bias before {name}")
            module.weight.fill_(1.0)
            module.bias.copy_(left.pop(f"{before[0]}.bias"))
            module.running_mean.zero_()
            module.running_var.fill_(1.0 - module.eps)
            before = None
    if left:
        raise DataError(f"expected the layers of the network, got also {', '.join(left)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", help="the name of a shipped reader, or an ONNX file that mien exported")
    parser.add_argument("--data", type=Path, required=True, metavar="STORE")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="RUN")
    options = parser.parse_args()
    file = Path(options.reader)
    if not file.is_file():
        file = Path(__file__).parents[1] / "src/mien/weights" / f"{options.reader}.onnx"
    content = file.read_bytes()
    about = {one.key: one.value for one in onnx.load_from_string(content).metadata_props}
    provenance, labels = json.loads(about["mien.provenance"]), json.loads(about["mien.labels"])
    recipe: Recipe = parse_recipe(provenance["recipe"], origin=str(file))
    network = build_network(recipe, classes=len(labels))
    unfold(network, folded_weights(content))
    pictures = as_inputs(Store.open(options.data).read("training").limited(PICTURES).images, recipe_preprocess(recipe))
    measure_statistics(network, pictures)
    network.eval()
    with torch.no_grad():
        here = network(pictures[:256]).softmax(1).numpy()
    reader = Classifier.load(file)
    there = torch.from_numpy(reader.logits(pictures[:256].numpy())).softmax(1).numpy()
    if (away := float(np.abs(here - there).max())) > TOLERANCE:
        raise DataError(f"expected the probabilities of {file}, got some that differ by {away:.4f}")
    make_folder(options.out)
    torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}},
               options.out / "best.ckpt")  # fmt: skip
    write_text(options.out / "recipe.yaml", recipe.to_yaml())
    result = {"best_valid_accuracy": provenance.get("valid_accuracy")}
    meta = {"labels": labels, "from_onnx": file.name, "result": result, "origins": provenance.get("origins", [])}
    write_text(options.out / "meta.json", json.dumps(meta | {"data": provenance.get("data")}, indent=1))
    print(f"{options.out}: probabilities differ from {file.name} by {away:.1e} at most")


if __name__ == "__main__":
    main()
