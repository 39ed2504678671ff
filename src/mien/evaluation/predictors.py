"""One interface for everything that can be evaluated: a run directory (torch) or an ONNX file (ONNX Runtime).

Both give logits N×V×K of uint8 crops, with V = 1 view or the ten crops of ``Preprocess.ten_crops``, so that one
evaluation path serves both and their difference can be measured.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mien.arrays import Float32, Uint8
from mien.errors import DataError, UsageError
from mien.evaluation.costs import cost_of_recipe, sha256
from mien.labels import SEVEN
from mien.preprocess import Preprocess
from mien.reading.probabilities import Calibration

#: Called with what is done and all that there is: images, views or steps.
Progress = Callable[[int, int], None]
BATCH = 128


class Predictor(Protocol):
    """``describe`` goes into the report. calibration, calibration_tta: what the model would use when it reads."""

    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    calibration: Calibration
    calibration_tta: Calibration

    def run(self, batch: Float32) -> Float32:
        """Normalised crops float32 N×C×S×S → logits float32 N×K."""

    def describe(self) -> dict[str, Any]: ...


class OnnxPredictor:
    """An exported file, or a shipped reader by name; run by the very class that ``mien read`` uses."""

    def __init__(self, model: str | bytes, *, threads: int | None = None, precision: str | None = None) -> None:
        """model: a path, a shipped reader's name, or a file's bytes. precision: as ``Classifier.load`` takes it."""
        from mien.reading.classifier import Classifier

        self.path = model
        self._classifier = Classifier.load(model, threads=threads, precision=precision)
        meta = self._classifier.meta
        self.precision = meta.precision
        self.name, self.labels, self.preprocess = meta.name, meta.labels, meta.preprocess
        self.calibration, self.calibration_tta = meta.calibration, meta.calibration_tta
        self.provenance = dict(meta.provenance)

    def run(self, batch: Float32) -> Float32:
        return self._classifier.logits(batch)

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {"kind": "onnx", "name": self.name, "sha256": self._classifier.digest}
        if "parameters" in self.provenance:
            described["parameters"] = self.provenance["parameters"]
        return described | {"provenance": self.provenance}


class RunPredictor:
    """A run directory's best weights, in torch in single precision. device: "cpu", "gpu" or "auto"."""

    def __init__(self, run: str | Path, *, device: str = "cpu") -> None:
        from mien.training.device import choose_device
        from mien.training.networks import load_network

        self.device = choose_device(device)
        self.path = Path(run)
        network, recipe, self.preprocess, self._meta = load_network(run)
        self._network = network.to(self.device)
        self._recipe = recipe.model_dump(mode="json")
        self.name, self.validation = recipe.name, recipe.data.validation
        self.labels = tuple(self._meta["labels"]) if "labels" in self._meta else SEVEN
        self.calibration = self.calibration_tta = Calibration()  # fitted on export

    def run(self, batch: Float32) -> Float32:
        import torch

        # cuDNN's TF32 has ten bits of mantissa: not what the exported file computes with.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            logits = self._network(torch.from_numpy(np.ascontiguousarray(batch)).to(self.device))
        return logits.float().cpu().numpy()

    def describe(self) -> dict[str, Any]:
        kept = ("model", "parameters", "commit", "torch", "result", "device", "precision", "origins")
        told = {key: self._meta[key] for key in kept if key in self._meta}
        marks = {"kind": "run", "name": self.name, "sha256": sha256(self.path / "best.ckpt")}
        data = {key: self._meta.get("data", {}).get(key) for key in ("store", "train")}
        return marks | cost_of_recipe(self._recipe) | told | {"seed": self._recipe["seed"], "trained_on": data}


def load_predictor(
    model: str, *, threads: int | None = None, device: str = "cpu", precision: str | None = None
) -> Predictor:
    """A model to evaluate: a run directory in torch, or an ONNX file in ONNX Runtime.

    Args:
        model: a run directory, an ONNX file, or the name of a shipped reader.
        threads: of an ONNX file's session; None: all cores.
        device: of a run directory: "cpu", "gpu" or "auto".
        precision: of a shipped reader: "fp32" or "int8"; None: fp32.

    Raises:
        UsageError: a checkpoint in place of its run, or a device that is not there.
        DataError: a directory that is no run.
        ModelError: a file that is missing, broken or not one of mien's.

    Examples:
        >>> from mien.evaluation.predictors import load_predictor
        >>> predictor = load_predictor("nano", threads=1)
        >>> predictor.name, predictor.preprocess.size, len(predictor.labels)
        ('nano', 48, 7)
    """
    from mien.reading.classifier import SHIPPED

    path = Path(model)
    if model not in SHIPPED and not path.exists() and path.suffix.lower() != ".onnx":
        raise UsageError(
            f"unknown model {model!r}", hint=f"give a run directory, one of {', '.join(SHIPPED)}, or a FILE.onnx"
        )
    if path.is_dir() and model not in SHIPPED:
        if not (path / "recipe.yaml").is_file():
            raise DataError(f"expected a run directory (recipe.yaml, best.ckpt), got {path}")
        return RunPredictor(path, device=device)
    if path.suffix == ".ckpt":
        raise UsageError(f"expected a run directory or an ONNX file, got {path}", hint=f"give {path.parent}")
    return OnnxPredictor(model, threads=threads, precision=precision)


def all_logits(predictor: Predictor, pixels: Uint8, *, tta: bool, progress: Progress | None = None) -> Float32:
    """uint8 N×C×S×S → logits float32 N×V×K, V = 10 with ``tta``, else 1. progress is called with (done, total)."""
    views, rows = (10, BATCH // 4) if tta else (1, BATCH)
    parts = []
    for start in range(0, len(pixels), rows):
        batch = predictor.preprocess.normalise(pixels[start : start + rows])
        batch = predictor.preprocess.views(batch, tta=tta)
        parts.append(predictor.run(batch).reshape(-1, views, len(predictor.labels)))
        if progress:
            progress(min(start + rows, len(pixels)), len(pixels))
    return np.concatenate(parts) if parts else np.zeros((0, views, len(predictor.labels)), np.float32)


def seconds_a_view(predictor: Predictor, *, rows: int = 4) -> float:
    """How long one view of one image takes, by a small batch (the second of two: the first one warms up)."""
    side = predictor.preprocess.input_size
    batch = np.zeros((rows, predictor.preprocess.channels, side, side), np.float32)
    predictor.run(batch)
    started = time.perf_counter()
    predictor.run(batch)
    return (time.perf_counter() - started) / rows
