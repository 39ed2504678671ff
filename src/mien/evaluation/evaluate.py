"""The one evaluation path: a model × a split of a store → predictions, report, figures.

    DIR/predictions.parquet  path, label, answer, one probability a label, near_duplicate
    DIR/predictions.csv      path and probabilities alone, as FER2013's PrivateTest is scored blind
    DIR/report.json          the truth: every figure with its 95 % interval, on all and on leak-free images
    DIR/confusion.png, DIR/reliability.png

*Leak-free* means: the images without a near-duplicate in Training (``data/duplicates.py``). With a detector the whole
pipeline is measured: it has to find the face first, and an image without a found face counts as wrong.
"""

import csv
import io
import json
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mien
from mien.atomic import write_bytes, write_text
from mien.data.duplicates import groups_within
from mien.data.store import Split, Store
from mien.errors import DataError, OutputError, UsageError
from mien.evaluation import calibration, figures, metrics
from mien.evaluation.predictors import OnnxPredictor, Predictor, Progress, all_logits

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Answers for a split. probabilities: float32 N×K, a row of NaN where no face was found.

    logits: float32 N×V×K, or None where a detector decided on the crops.
    """

    probabilities: Float32
    logits: Float32 | None
    temperature: float


def evaluate(
    predictor: Predictor,
    store: Store,
    split_name: str,
    out: Path,
    *,
    tta: bool = False,
    detector: str = "none",
    limit: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predict, score, write the files named above, and return the report.

    limit: only the first N images (smoke runs; the report says so). seed: of the bootstrap and the cross-fit.
    Raises DataError for a split or labels that do not fit, OutputError where ``out`` cannot be written.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a directory to write to, got {out}: {error.strerror}") from error
    split = store.read(split_name)
    rows = slice(limit)
    images, labels = split.images[rows], split.labels[rows]
    leak = None if split.leak is None else split.leak[rows]
    if len(labels) and labels.max() >= len(predictor.labels):
        raise DataError(
            f"expected labels of {', '.join(predictor.labels)} in {split_name}, got code {int(labels.max())}",
            hint="evaluate on a store with the model's label set",
        )
    started = time.perf_counter()
    if detector == "none":
        found = predict_crops(predictor, images, tta=tta, progress=progress)
    else:
        found = predict_pictures(predictor, images, tta=tta, detector=detector, threads=threads, progress=progress)
    seconds = time.perf_counter() - started

    report: dict[str, Any] = {
        "model": predictor.describe(),
        "data": {
            "store": store.fingerprint,
            "split": split_name,
            "images": len(images),
            "of": len(split),
            "near_duplicates_in_training": None if leak is None else int(leak.sum()),
        },
        "views": 10 if tta else 1,
        "detector": detector,
        "temperature": found.temperature,
        "command": command,
        "seed": seed,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(images) / seconds, 1),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "mien": mien.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    _write_predictions(out, split, rows, predictor.labels, found.probabilities)
    if (labels >= 0).all():
        report["figures"] = _figures(found.probabilities, labels, leak, predictor.labels, seed=seed)
        groups = groups_within(images)
        if found.logits is not None and len(np.unique(groups)) > 1:  # two halves to cross-fit on
            report["calibration"] = _calibration(found.logits, groups, labels, leak, predictor.labels, seed=seed)
        title = f"{predictor.name} on {split_name}" + (", ten crops" if tta else "")
        matrix = np.array(report["figures"]["all"]["confusion"])
        figures.confusion_png(matrix, predictor.labels, out / "confusion.png", title=title)
        figures.reliability_png(labels, found.probabilities, out / "reliability.png", title=title)
    else:
        report["figures"] = None  # labels held back: predicted blind
    write_text(out / "report.json", json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return report


def predict_crops(
    predictor: Predictor, images: NDArray[np.uint8], *, tta: bool = False, progress: Progress | None = None
) -> Predictions:
    """Each image is one face crop: uint8 N×S×S or N×S×S×3."""
    logits = all_logits(predictor, predictor.preprocess.stack(images), tta=tta, progress=progress)
    temperature = predictor.temperature_tta if tta else predictor.temperature
    return Predictions(calibration.probabilities(logits, temperature), logits, temperature)


def predict_pictures(
    predictor: Predictor,
    images: NDArray[np.uint8],
    *,
    detector: str,
    tta: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """The whole pipeline of ``mien read`` on each image; the largest face answers, no face is a row of NaN."""
    if not isinstance(predictor, OnnxPredictor):
        raise UsageError("--detector: expected an ONNX file, got a run directory", hint="export it first")
    from mien.reading.reader import Reader
    from mien.results import Reading

    reader = Reader(predictor.path, detector=detector, tta=tta, threads=threads)
    result = np.full((len(images), len(predictor.labels)), np.nan, np.float32)
    for row, reading in enumerate(reader.read_many(images)):
        if isinstance(reading, Reading) and reading.faces:
            result[row] = [reading.faces[0].probabilities[name] for name in predictor.labels]
        if progress:
            progress(row + 1, len(images))
    return Predictions(result, None, predictor.temperature_tta if tta else predictor.temperature)


def fit_temperatures(
    predictor: Predictor, split: Split, *, tta: bool = True, limit: int | None = None, progress: Progress | None = None
) -> tuple[float, float | None]:
    """The temperatures that ship: fitted on the whole split, for a single crop and for ten.

    Two, because a mean over ten crops is less sure of itself than a single one. tta: False leaves out the second, and
    ten elevenths of the work. limit: fit on that many images, spread evenly over the split. progress counts views.
    """
    chosen = np.arange(len(split))
    if limit is not None and limit < len(split):
        chosen = np.linspace(0, len(split) - 1, limit).round().astype(int)  # also where a split is sorted by label
    pixels, labels = predictor.preprocess.stack(split.images[chosen]), split.labels[chosen]
    total = len(chosen) * (11 if tta else 1)

    def told(views: int, before: int) -> Progress | None:
        return progress and (lambda done, _: progress(before + done * views, total))

    single = all_logits(predictor, pixels, tta=False, progress=told(1, 0))
    temperature = calibration.fit_temperature(single, labels)
    if not tta:
        return temperature, None
    ten = all_logits(predictor, pixels, tta=True, progress=told(10, len(chosen)))
    return temperature, calibration.fit_temperature(ten, labels)


def _figures(
    probabilities: Float32,
    labels: NDArray[np.int64],
    leak: NDArray[np.bool_] | None,
    names: tuple[str, ...],
    *,
    seed: int,
) -> dict[str, Any]:
    result = {"all": metrics.summary(labels, probabilities, names, seed=seed)}
    if leak is not None and not leak.all():
        result["leak_free"] = metrics.summary(labels[~leak], probabilities[~leak], names, seed=seed)
    return result


def _calibration(
    logits: Float32,
    groups: NDArray[np.int64],
    labels: NDArray[np.int64],
    leak: NDArray[np.bool_] | None,
    names: tuple[str, ...],
    *,
    seed: int,
) -> dict[str, Any]:
    """What the calibration is worth on images that it was not fitted on."""
    held_out, temperatures = calibration.cross_fit(logits, labels, groups, seed=seed)
    kept = ("n", "ece", "nll", "brier")
    scored = _figures(held_out, labels, leak, names, seed=seed)
    return {
        "method": "temperature scaling, cross-fitted on two halves, duplicates kept together",
        "temperatures": list(temperatures),
        "held_out": {part: {key: values[key] for key in kept} for part, values in scored.items()},
        "uncalibrated_ece": metrics.ece(labels, calibration.probabilities(logits, 1.0)),
    }


def _write_predictions(out: Path, split: Split, rows: slice, names: tuple[str, ...], probabilities: Float32) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = split.labels[rows]
    found = ~np.isnan(probabilities).any(axis=1)
    best = np.where(found, np.nan_to_num(probabilities).argmax(axis=1), -1)
    columns: dict[str, Any] = {
        "path": split.paths[rows],
        "label": [names[code] if code >= 0 else None for code in labels],
        "answer": [names[code] if code >= 0 else None for code in best],
    }
    for number, name in enumerate(names):
        columns[name] = pa.array(probabilities[:, number], pa.float32(), from_pandas=True)  # NaN → null
    columns["near_duplicate"] = pa.array([None] * len(labels) if split.leak is None else split.leak[rows], pa.bool_())
    table = io.BytesIO()
    pq.write_table(pa.table(columns), table)
    write_bytes(out / "predictions.parquet", table.getvalue())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *names])
    for path, row in zip(split.paths[rows], probabilities, strict=True):
        writer.writerow([path, *("" if np.isnan(p) else f"{p:.6f}" for p in row)])
    write_text(out / "predictions.csv", text.getvalue())
