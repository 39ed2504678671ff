"""A face reader in an ONNX file: pixels of crops → calibrated probabilities.

Labels, preprocessing, calibration and provenance are in the file's metadata; whatever is missing or does not fit is
refused on loading.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mien import weights
from mien.arrays import Float32, Uint8
from mien.errors import MienError, ModelError, UsageError
from mien.onnx_runtime import default_threads, int8_is_exact, make_session
from mien.preprocess import Preprocess
from mien.reading.probabilities import Calibration, probabilities
from mien.results import table_columns
from mien.showable import short, showable

SHIPPED: dict[str, str] = {
    "compact": "the default: the most accurate",
    "nano": "the fastest",
}
DEFAULT_MODEL = "compact"
FORMATS = ("1", "2")  # of a file: 2 has a floor, and must not be read by who does not know it
Model = str | os.PathLike[str] | bytes  # a shipped model's name, a path, or the bytes of a file
PRECISIONS = ("auto", "fp32", "int8")
_REQUIRED = ("mien.format", "mien.labels", "mien.preprocess", "mien.temperature")


@dataclass(frozen=True, slots=True)
class ModelMeta:
    """What a model file says about itself. calibration: of one crop; calibration_tta: of ten.

    precision: "fp32", "int8", or "int8-reduced", whose weights of seven bits suit every processor.
    """

    name: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    calibration: Calibration
    calibration_tta: Calibration
    provenance: Mapping[str, Any]
    precision: str = "fp32"

    @classmethod
    def parse(cls, raw: Mapping[str, str], *, where: str) -> "ModelMeta":
        """From the metadata map of an ONNX file. Raises ModelError that says what is missing or wrong."""
        required = (*_REQUIRED, "mien.floor") if raw.get("mien.format") == "2" else _REQUIRED
        missing = [key for key in required if key not in raw]
        if missing:
            came = ", ".join(sorted(raw)) or "none"
            raise ModelError(
                f"{where}: expected a model exported by mien with metadata {', '.join(required)}; got {came}",
                hint="make one with: mien export RUN -o FILE.onnx",
            )
        if raw["mien.format"] not in FORMATS:
            raise ModelError(
                f"{where}: expected model format {' or '.join(FORMATS)}, got {raw['mien.format']!r}",
                hint="it was written by another version of mien; export it again",
            )
        if (task := raw.get("mien.task", "expression")) != "expression":
            raise ModelError(f"{where}: expected a model that reads expressions, got one of task {task!r}")
        try:
            labels = json.loads(raw["mien.labels"])
            labels = tuple(labels) if isinstance(labels, list) else ()
            provenance = json.loads(raw.get("mien.provenance", "{}"))
            temperature = float(raw["mien.temperature"])
            temperature_tta = float(raw.get("mien.temperature_tta", temperature))
            floor = float(raw.get("mien.floor", 0))
            floor_tta = float(raw.get("mien.floor_tta", floor))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise ModelError(f"{where}: expected readable metadata, got {error}") from error
        if not isinstance(provenance, dict):
            raise ModelError(f"{where}: expected mien.provenance to hold keys and values, got {short(provenance)}")
        reserved = set(table_columns(()))
        if (
            len(labels) < 2
            or not all(isinstance(x, str) and x and x == showable(x) and x not in reserved for x in labels)
            or len(set(labels)) != len(labels)
        ):
            raise ModelError(f"{where}: expected two or more distinct labels, got {raw['mien.labels'][:120]}")
        try:
            one, ten = Calibration(temperature, floor), Calibration(temperature_tta, floor_tta)
            for each in (one, ten):
                each.check(len(labels))
        except UsageError as error:
            raise ModelError(f"{where}: {error.message}") from error
        try:
            preprocess = Preprocess.from_json(raw["mien.preprocess"])
        except ModelError as error:
            raise ModelError(f"{where}: {error.message}", hint=error.hint) from error
        name = raw.get("mien.name", where)
        precision = raw.get("mien.precision", "fp32")
        return cls(name, labels, preprocess, one, ten, provenance, precision)


class Classifier:
    """An ONNX Runtime session with its metadata. Safe to share between threads."""

    def __init__(self, session: Any, meta: ModelMeta, digest: str = "") -> None:
        self._session = session
        self.meta = meta
        self.digest = digest

    @classmethod
    def load(
        cls,
        model: Model = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        device: str = "cpu",
        precision: str | None = None,
    ) -> "Classifier":
        """A shipped model by name, or any model that mien exported, by its path or as the bytes of its file.

        threads: for one run; None takes all cores of the process. device: "cpu" or "cuda". precision: "fp32", "int8",
        or "auto", which of a shipped model takes int8 where the processor computes it exactly and the file is there,
        and fp32 elsewhere; None takes fp32 of a shipped model, to which the published figures belong. A file has its
        own precision: None and "auto" take it, and another one is refused.
        ``digest`` is the SHA-256 of the file. Raises UsageError for an unknown name, a device that cannot be used or a
        precision that the processor or the file has not; ModelError for a file that is broken or not ours.
        """
        where = "<bytes>"
        exact = device == "cpu" and int8_is_exact()
        if precision is not None and precision not in PRECISIONS:
            raise UsageError(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}")
        if not isinstance(model, bytes):
            if os.fspath(model) in SHIPPED and precision == "auto":
                precision = _best_precision(os.fspath(model), exact=exact)
            path, where = _locate(model, int8=precision == "int8")
        try:
            data = model if isinstance(model, bytes) else _content(model, path)
            if isinstance(model, bytes) or os.fspath(model) not in SHIPPED:
                _check_alone(data, where)
            session = make_session(data, threads=threads or default_threads(), device=device)
            raw = dict(session.get_modelmeta().custom_metadata_map)
        except MienError:
            raise
        except OSError as error:
            raise ModelError(f"{where}: cannot read the model file ({error.strerror})") from error
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            reason = str(error).split(" : ")[-1][:160]
            raise ModelError(
                f"{where}: expected an ONNX model, got something ONNX Runtime refuses: {reason}"
            ) from error
        meta = ModelMeta.parse(raw, where=where)
        if meta.precision == "int8" and not exact:
            raise UsageError(
                f"{where}: expected a processor with VNNI for a model in int8: others would give wrong sums",
                hint="--precision fp32 for a shipped model; or export it again with --int8 --reduce-range",
            )
        if precision in ("fp32", "int8") and not meta.precision.startswith(precision):
            raise UsageError(
                f"{where}: expected a model in {precision}, got one in {meta.precision}",
                hint="leave out the precision, or make the other form with mien export (--int8)",
            )
        _check_graph(session, meta, where)
        return cls(session, meta, hashlib.sha256(data).hexdigest())

    @property
    def labels(self) -> tuple[str, ...]:
        return self.meta.labels

    @property
    def preprocess(self) -> Preprocess:
        return self.meta.preprocess

    def logits(self, batch: Float32) -> Float32:
        """Normalised crops float32 N×C×S×S → float32 N×K."""
        crops = np.ascontiguousarray(batch, np.float32)
        try:
            result: Float32 = self._session.run(["logits"], {"crops": crops})[0]
        except Exception as error:  # a node that does not fit the crops, or too large: ONNX Runtime sees it only now
            reason = str(error).split(" : ")[-1][:160]
            raise ModelError(f"{self.meta.name}: expected a network that runs, got one that fails: {reason}") from error
        if result.shape != (len(crops), len(self.labels)):
            raise ModelError(
                f"{self.meta.name}: expected logits {len(crops)}×{len(self.labels)}, got {result.dtype} {result.shape}"
            )
        if not np.isfinite(result).all():
            raise ModelError(f"{self.meta.name}: expected finite numbers from the network, got NaN or infinity")
        return result

    def probabilities(self, pixels: Uint8, *, tta: bool = False) -> Float32:
        """Crops uint8 N×C×S×S (as ``Preprocess.pixels`` gives them) → calibrated probabilities float32 N×K.

        tta: the mean over ten crops of each, with the calibration that was fitted for it.
        """
        if len(pixels) == 0:
            return np.zeros((0, len(self.labels)), np.float32)
        batch = self.preprocess.normalise(pixels)
        if not tta:
            return probabilities(self.logits(self.preprocess.views(batch, tta=False)), self.meta.calibration)
        views = self.preprocess.views(batch, tta=True)
        ten = probabilities(self.logits(views), self.meta.calibration_tta)
        return ten.reshape(len(pixels), 10, -1).mean(axis=1)  # N×10×K → N×K


def model_name(model: str) -> str:
    """What a service and the page call a model: a shipped one's own name, a file's without folder and suffix."""
    return Path(model).stem


def describe(model: str, classifier: Classifier) -> dict[str, Any]:
    """What ``mien models --json`` and ``GET /v1/models`` say of a model; its parameters where the file does."""
    meta, size = classifier.meta, classifier.preprocess.input_size
    told = {
        "name": model_name(model),
        "summary": SHIPPED.get(model, meta.name),
        "labels": list(meta.labels),
        "input": f"{size}×{size} {meta.preprocess.color}",
        "temperature": round(meta.calibration.temperature, 4),
        "floor": round(meta.calibration.floor, 4),
    }
    return told | {key: meta.provenance[key] for key in ("parameters", "valid_accuracy") if key in meta.provenance}


def model_bytes(model: str) -> bytes:
    """The file of a shipped reader, in fp32, or of a path. Raises UsageError or ModelError."""
    path, where = _locate(model)
    try:
        return _content(model, path)
    except OSError as error:
        raise ModelError(f"{where}: cannot read the model file ({error.strerror})") from error


def _content(model: str | os.PathLike[str], path: Path) -> bytes:
    """Of a shipped file, checked by its hash."""
    return weights.read(path.name) if os.fspath(model) in SHIPPED else path.read_bytes()


def _best_precision(name: str, *, exact: bool) -> str:
    """What "auto" means for a shipped model. exact: whether the processor computes int8 exactly."""
    if exact and not _shipped_path(name, int8=True).is_file():
        logging.getLogger("mien").debug("%s: its int8 file is not in this installation; fp32 is used", name)
        return "fp32"
    return "int8" if exact else "fp32"


def _shipped_path(name: str, *, int8: bool) -> Path:
    return Path(str(resources.files("mien.weights") / f"{name}{'.int8' if int8 else ''}.onnx"))


def _locate(name_or_path: str | os.PathLike[str], *, int8: bool = False) -> tuple[Path, str]:
    text = os.fspath(name_or_path)
    if text in SHIPPED:
        path = _shipped_path(text, int8=int8)
        if not path.is_file():
            whole = int8 and _shipped_path(text, int8=False).is_file()
            form = " in int8" if whole else ""
            raise ModelError(
                f"the shipped model {text!r} is not in this installation{form} (expected {path})",
                hint=f"reinstall mien, or {'take --precision fp32' if whole else 'give a file with --model FILE.onnx'}",
            )
        return path, text
    path = Path(text)
    if path.is_file():
        return path, text
    names = ", ".join(SHIPPED)
    if path.suffix.lower() == ".onnx" or path.parent != Path("."):
        raise UsageError(f"no model file {text!r}", hint=f"shipped models: {names}")
    raise UsageError(f"unknown model {text!r}", hint=f"give one of {names}, or a FILE.onnx")


def _check_alone(data: bytes, where: str) -> None:
    """Raises ModelError for a file that reads other files, or that might not end; ``onnx_file`` says why."""
    from mien.onnx_file import outside_or_endless, parse_model

    try:
        more = outside_or_endless(parse_model(data))
    except ValueError as error:
        raise ModelError(
            f"{where}: expected an ONNX model, got another file, or one that was cut off",
            hint="export or copy it again",
        ) from error
    if more is not None:
        raise ModelError(f"{where}: expected a network in one file without loops, got {more}")


def _check_graph(session: Any, meta: ModelMeta, where: str) -> None:
    inputs = {value.name: value.shape for value in session.get_inputs()}
    outputs = {value.name: value.shape for value in session.get_outputs()}
    channels, size, count = meta.preprocess.channels, meta.preprocess.input_size, len(meta.labels)
    wanted = (channels, size, size)
    crops, logits = inputs.get("crops"), outputs.get("logits")
    fits = (
        set(inputs) == {"crops"}
        and crops is not None
        and logits is not None
        and len(crops) == 4
        and not isinstance(crops[0], int)
        and all(not isinstance(got, int) or got == want for got, want in zip(crops[1:], wanted, strict=True))
        and len(logits) == 2
        and (not isinstance(logits[1], int) or logits[1] == count)
    )
    if not fits:
        raise ModelError(
            f"{where}: expected input crops [N, {channels}, {size}, {size}] and output logits [N, {count}], "
            f"got inputs {inputs} and outputs {outputs}"
        )
