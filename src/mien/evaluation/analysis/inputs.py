"""What an analysis is given: networks of run directories on a device, and labelled images of a store.

Analyses that need gradients or a network's inside take run directories; those that need answers alone go through
``evaluation/predictors.py`` like every evaluation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mien
from mien.data.store import Split, Store, spread
from mien.errors import DataError, OutputError, UsageError
from mien.evaluation.predictors import Predictor, load_predictor
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.training.networks import load_network
from mien.training.run import choose_device


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A finished run, ready to be looked into: single precision, eval mode, on ``device``.

    name: of the directory, made unique among the runs of one analysis. model: the registry's name.
    """

    name: str
    run: Path
    model: str
    module: nn.Module
    preprocess: Preprocess
    labels: tuple[str, ...]
    device: torch.device
    meta: dict[str, Any]

    def batch(self, images: NDArray[np.uint8]) -> Tensor:
        """uint8 N×S×S or N×S×S×3 of a store → what the network takes, float32 on its device."""
        pixels = self.preprocess.normalise(self.preprocess.stack(images))
        return torch.from_numpy(np.ascontiguousarray(self.preprocess.centre(pixels))).to(self.device)

    def describe(self) -> dict[str, Any]:
        kept = ("parameters", "commit", "result")
        about = {"name": self.name, "run": str(self.run), "model": self.model}
        return about | {key: self.meta[key] for key in kept if key in self.meta}


def open_networks(runs: Sequence[str], device: str) -> list[Network]:
    """Raises DataError where one is no run directory, UsageError for an ONNX file or no run at all."""
    if not runs:
        raise UsageError("expected one run directory or more, got none")
    where, found = choose_device(device), list[Network]()
    names = unique_names([Path(run).resolve().name for run in runs])
    for run, name in zip(runs, names, strict=True):
        path = Path(run)
        if path.suffix in (".onnx", ".ckpt") or not path.is_dir():
            raise UsageError(
                f"expected a run directory (recipe.yaml, best.ckpt), got {run}",
                hint="this analysis looks inside the network, which an exported file does not allow",
            )
        module, recipe, preprocess, meta = load_network(path)
        labels = tuple(meta["labels"]) if "labels" in meta else SEVEN
        module = module.float().to(where).eval()
        found.append(Network(name, path, recipe.model.name, module, preprocess, labels, where, meta))
    return found


def open_predictors(models: Sequence[str], device: str) -> tuple[list[str], list[Predictor]]:
    """Names and predictors of run directories, ONNX files and shipped readers. Raises as ``load_predictor``."""
    if not models:
        raise UsageError("expected one model or more, got none")
    choose_device(device)  # a wrong word is wrong for an ONNX file as well
    names = unique_names([Path(m).stem if m.endswith(".onnx") else Path(m).resolve().name for m in models])
    return names, [load_predictor(model, device=device) for model in models]


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, repeated ones numbered: a, a → a, a-2."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return result


def labelled(store: Store, split_name: str, *, limit: int | None, classes: int) -> Split:
    """At most ``limit`` labelled images, spread evenly over a split. Raises DataError for none, or odd labels."""
    split = store.read(split_name)
    rows = np.flatnonzero(split.labels >= 0)
    if limit is not None and limit < len(rows):
        rows = rows[spread(len(rows), limit)]
    if not len(rows):
        raise DataError(f"expected labels in {split_name}, they are held back", hint="choose a split that has them")
    if split.labels[rows].max() >= classes:
        code = int(split.labels[rows].max())
        raise DataError(f"expected label codes below {classes}, the network's answers, got {code} in {split_name}")
    return split.rows(rows)


def same_labels(networks: Sequence[Any]) -> tuple[str, ...]:
    """The label set that all share (anything with ``labels`` and ``name``). Raises UsageError where they differ."""
    first = networks[0]
    for other in networks[1:]:
        if other.labels != first.labels:
            raise UsageError(f"expected runs of one label set, got {first.labels} and {other.labels} ({other.name})")
    return tuple(first.labels)


def batches(network: Network, split: Split, *, size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    """Images float32 n×C×S×S and labels int64 n, in the split's order, on the network's device."""
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield network.batch(split.images[rows]), torch.from_numpy(split.labels[rows]).to(network.device)


def make_folder(out: Path) -> None:
    """Raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a directory to write to, got {out}: {error.strerror}") from error


def heading(kind: str, store: Store, split: Split, *, limit: int | None, seed: int, command: str) -> dict[str, Any]:
    """What every report begins with: which analysis, of which images, by which call."""
    data = {"store": store.fingerprint, "split": split.name, "images": len(split), "limit": limit}
    today = datetime.now(UTC).date().isoformat()
    return {"kind": kind, "data": data, "seed": seed, "command": command, "mien": mien.__version__, "date": today}
