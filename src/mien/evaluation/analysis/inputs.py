"""The settings of an analysis (:class:`Settings`) and its inputs: models and labelled images.

Analyses that need gradients or a network's inside take run directories; those that need predictions alone go through
``evaluation/predictors.py`` like every evaluation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import mien
from mien.atomic import make_folder
from mien.data.store import Split, Store
from mien.errors import DataError, UsageError
from mien.evaluation.analysis.outputs import save_report
from mien.evaluation.predictions import label_order
from mien.evaluation.predictors import Predictor, Progress, load_predictor
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.training.device import choose_device
from mien.training.networks import load_network

Model = TypeVar("Model", bound="Network | Predictor")
#: Called with how many of a model's images or steps are done.
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an analysis is asked, the same for every kind.

    models: run directories; for errors and corruptions also ONNX files and shipped readers. split: a split of ``store``
    that has labels. out: the folder to write. limit: at most that many images, spread evenly over the split. device:
    "auto", "cpu" or "gpu". command: what was typed, for the report. progress: called with what is done of all models.
    """

    models: Sequence[str]
    store: Store
    split: str
    out: Path
    limit: int | None = None
    device: str = "auto"
    seed: int = 0
    command: str = ""
    progress: Progress | None = None

    def report(
        self,
        kind: str,
        models: Mapping[str, Model],
        measure: Callable[[str, Model, Split, Advance], dict[str, Any]],
        *,
        head: Mapping[str, Any] | None = None,
        steps: int | None = None,
        draw: Callable[[dict[str, Any], Path], list[str]] | None = None,
    ) -> dict[str, Any]:
        """Measure every model on the images, draw what shows them together, and write ``KIND.json``.

        measure: from a model's name, the model, the images and how to tell its progress to its part of the report.
        head: of the report, beside what every report begins with. steps: of one model's progress, its images where
        None. Raises DataError for a split without labels, UsageError for models of different label sets, OutputError.
        """
        split = labelled(self.store, self.split, limit=self.limit, labels=same_labels(models))
        make_folder(self.out)
        data = {"store": self.store.fingerprint, "split": split.name, "images": len(split), "limit": self.limit}
        today = datetime.now(UTC).date().isoformat()
        report: dict[str, Any] = {"kind": kind, "data": data, "seed": self.seed, "command": self.command}
        report |= {"mien": mien.__version__, "date": today, **(head or {}), "runs": {}}
        each = steps or len(split)
        for number, (name, model) in enumerate(models.items()):

            def advance(done: int, number: int = number) -> None:
                if self.progress:
                    self.progress(number * each + done, len(models) * each)

            report["runs"][name] = measure(name, model, split, advance)
        if draw:
            report["figures"] = draw(report, self.out / kind)
        save_report(report, self.out)
        return report


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


def open_networks(settings: Settings) -> dict[str, Network]:
    """By name. Raises DataError where one is no run directory, UsageError for an ONNX file or no run at all."""
    if not settings.models:
        raise UsageError("expected one run directory or more, got none")
    where, found = choose_device(settings.device), dict[str, Network]()
    names = unique_names([Path(run).resolve().name for run in settings.models])
    for run, name in zip(settings.models, names, strict=True):
        path = Path(run)
        if path.suffix in (".onnx", ".ckpt") or not path.is_dir():
            raise UsageError(
                f"expected a run directory (recipe.yaml, best.ckpt), got {run}",
                hint="this analysis looks inside the network, which an exported file does not allow",
            )
        module, recipe, preprocess, meta = load_network(path)
        labels = tuple(meta["labels"]) if "labels" in meta else SEVEN
        module = module.float().to(where).eval()
        found[name] = Network(name, path, recipe.model.name, module, preprocess, labels, where, meta)
    return found


def open_predictors(settings: Settings) -> dict[str, Predictor]:
    """Run directories, ONNX files and shipped readers, by name. Raises as ``load_predictor``."""
    if not settings.models:
        raise UsageError("expected one model or more, got none")
    choose_device(settings.device)  # a wrong word is wrong for an ONNX file as well
    names = unique_names([Path(m).stem if m.endswith(".onnx") else Path(m).resolve().name for m in settings.models])
    loaded = (load_predictor(model, device=settings.device) for model in settings.models)
    return dict(zip(names, loaded, strict=True))


#: What analyses append to a model's name for further files.
PARTS = ("", "-pairs", "-average", "-masks")


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, repeated ones numbered: a, a → a, a-2; so are those whose files would have the same names."""
    taken, result = set[str](), []
    for name in names:
        chosen, number = name, 1
        while taken & {chosen + part for part in PARTS} or (number > 1 and chosen in names):
            number += 1
            chosen = f"{name}-{number}"
        taken |= {chosen + part for part in PARTS}
        result.append(chosen)
    return result


def labelled(store: Store, split_name: str, *, limit: int | None, labels: Sequence[str]) -> Split:
    """At most ``limit`` labelled images, spread evenly over a split. Raises DataError for none, or odd labels."""
    split = store.read(split_name).labelled().limited(limit)
    code = int(split.labels.max(initial=-1))
    if code < 0:
        raise DataError(f"expected labels in {split_name}, they are held back", hint="choose a split that has them")
    if code >= len(labels):
        raise DataError(
            f"expected label codes below {len(labels)}, the number of the network's classes, got {code} in {split_name}"
        )
    label_order(labels, split.label_set)
    return split


def same_labels(models: Mapping[str, Any]) -> tuple[str, ...]:
    """The label set that all share (anything with ``labels`` and ``name``). Raises UsageError where they differ."""
    first, *others = models.values()
    for other in others:
        if other.labels != first.labels:
            shown = (f"{', '.join(one.labels)} ({one.name})" for one in (first, other))
            raise UsageError(f"expected runs of one label set, got {' and '.join(shown)}")
    return tuple(first.labels)


def batches(network: Network, split: Split, *, size: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    """Images float32 n×C×S×S and labels int64 n, in the split's order, on the network's device."""
    for start in range(0, len(split), size):
        rows = slice(start, start + size)
        yield network.batch(split.images[rows]), torch.from_numpy(split.labels[rows]).to(network.device)
