"""Training from an exported reader: the weights of an ONNX file of ``mien export``, back in its network.

An exported file holds batch norms folded into the convolutions before them, and no statistics. These are measured on
training pictures, so that the network computes the same (checked against ONNX Runtime) and can be trained further. The
classifier keeps its weights where the labels are the reader's, and is fresh where they are others.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mien.errors import DataError, RecipeError
from mien.models import registry
from mien.models.packaged.statistics import measure_statistics
from mien.onnx_runtime import make_session
from mien.reading.classifier import model_bytes
from mien.training.recipe import Recipe, parse_recipe

log = logging.getLogger(__name__)

_HINT = "readers of compact and nano can be trained further; of others keep the run: model.init: run:DIR"
#: Pictures that are compared, and how far a probability may be from the file's, whose weights may have 16 bits.
PICTURES, TOLERANCE = 256, 5e-3


class Exported:
    """What an ONNX file of ``mien export`` holds. reader: the name of a shipped reader, or a path.

    recipe, labels, provenance: from its metadata; origins: of the packaged weights that it descends from. Raises
    UsageError, ModelError or RecipeError for a file that is none.
    """

    def __init__(self, reader: str) -> None:
        self.reader, self.content = reader, model_bytes(reader)
        try:
            model = onnx.load_model_from_string(self.content)
        except Exception as error:  # protobuf's own exceptions
            raise RecipeError(f"model.init: expected an ONNX file of mien export, cannot read {reader}") from error
        about = {entry.key: entry.value for entry in model.metadata_props}
        try:
            self.provenance: dict[str, Any] = json.loads(about["mien.provenance"])
            self.labels: list[str] = json.loads(about["mien.labels"])
            recipe = self.provenance["recipe"]
            self.origins: list[dict[str, str]] = [dict(origin) for origin in self.provenance.get("origins", [])]
        except (KeyError, ValueError, TypeError) as error:
            raise RecipeError(f"model.init: expected a file of mien export with its recipe, got {reader}") from error
        if about.get("mien.precision", "fp32") != "fp32":
            raise RecipeError(f"model.init: expected a reader in fp32, got {reader} in {about['mien.precision']}")
        self.recipe: Recipe = parse_recipe(recipe, origin=reader)
        self.weights = _folded_weights(model)

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def network(self, pictures: Tensor) -> nn.Module:
        """The network in evaluation mode, with batch norms' statistics of the pictures (float32 N×C×S×S).

        Raises DataError where it does not compute what the file does.
        """
        model, data = self.recipe.model, self.recipe.data
        network = registry.build(
            model.name, model.args, num_classes=len(self.labels), image_size=data.window or data.size
        )
        _unfold(network, self.weights)
        measure_statistics(network, pictures)
        network.eval()
        some = pictures[:PICTURES]
        with torch.no_grad():
            here = network(some).softmax(1).numpy()
        session = make_session(self.content, threads=1)
        logits = session.run(["logits"], {"crops": some.numpy()})[0]
        there = torch.from_numpy(logits).softmax(1).numpy()
        self.difference = float(np.abs(here - there).max())
        if not self.difference <= TOLERANCE:
            raise DataError(
                f"expected the probabilities of {self.reader}, got some that differ by {self.difference:.4f}"
            )
        return network


def start_from_reader(
    network: nn.Module,
    reader: str,
    *,
    recipe: Recipe,
    labels: Sequence[str],
    pictures: Callable[[], Tensor] | None,
) -> None:
    """Copy an exported reader's weights; logs which parameters are newly initialised.

    pictures: some of training's, as the network takes them. Raises RecipeError where the reader is of another network.
    """
    if recipe.task != "expression" or pictures is None:
        raise RecipeError("model.init: reader: expected task expression", hint="use model.init: scratch")
    source = Exported(reader)
    if source.recipe.model.name != recipe.model.name:
        raise RecipeError(
            f"model.init: {reader} is a {source.recipe.model.name}, this recipe has {recipe.model.name}",
            hint=f"--set model.name={source.recipe.model.name}",
        )
    state, own = source.network(pictures()).state_dict(), network.state_dict()
    same = list(labels) == source.labels
    head = [name for name in own if name in state and own[name].shape != state[name].shape]
    head += [] if same else [name for name in own if name.startswith("classifier.") and name not in head]
    wrong = sorted(own.keys() ^ state.keys()) or [name for name in head if not name.startswith("classifier.")]
    if wrong:
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise RecipeError(
            f"model.init: {reader} does not fit this recipe's {recipe.model.name} ({wrong[0]}{others})",
            hint=f"give the recipe the reader's model.args: --set 'model.args={json.dumps(source.recipe.model.args)}'",
        )
    network.load_state_dict(own | {name: value for name, value in state.items() if name not in head})
    log.warning("%s: weights from %s; fresh: %s", recipe.name, reader, ", ".join(head) or "nothing")


def reader_origin(reader: str) -> dict[str, str]:
    """For a run's ``meta.json``: which file it began with."""
    source = Exported(reader)
    return {"reader": reader, "sha256": source.digest}


def _folded_weights(model: onnx.ModelProto) -> dict[str, Tensor]:
    """float32 tensors by the name of the layer and "weight" or "bias", as ``mien export`` writes them."""
    named = {}
    for tensor in model.graph.initializer:
        name, values = tensor.name.removesuffix(".half"), numpy_helper.to_array(tensor)
        if name.endswith((".weight", ".bias")):
            named[name] = torch.from_numpy(values.astype(np.float32))
        elif name.endswith(".weight_bias"):
            named[name.removesuffix(".weight_bias") + ".bias"] = torch.from_numpy(values.astype(np.float32))
    return named


@torch.no_grad()
def _unfold(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Fill a network whose batch norms each follow a convolution without bias. Raises RecipeError where it cannot."""
    left = dict(weights)

    def take(name: str) -> Tensor:
        if name not in left:
            raise RecipeError(
                f"model.init: reader: expected a network whose batch norms follow convolutions, the file has no {name}",
                hint=_HINT,
            )
        return left.pop(name)

    before: tuple[str, nn.Conv2d] | None = None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.copy_(take(f"{name}.weight"))
            if module.bias is not None:
                module.bias.copy_(take(f"{name}.bias"))
            before = (name, module) if isinstance(module, nn.Conv2d) and module.bias is None else None
        elif isinstance(module, nn.BatchNorm2d):
            if before is None or before[1].out_channels != module.num_features:
                raise RecipeError(
                    f"model.init: reader: expected a convolution without bias before the batch norm {name}", hint=_HINT
                )
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.fill_(1.0)
            module.bias.copy_(take(f"{before[0]}.bias"))
            module.running_mean.zero_()
            module.running_var.fill_(1.0 - module.eps)
            before = None
    if left:
        raise RecipeError(f"model.init: reader: expected the layers of the network, got also {', '.join(left)}")
