"""Several models on the same images: one table, with McNemar's test of each against the first.

A *target* is a directory that ``mien evaluate`` wrote, a run directory, an ONNX file or a shipped reader's name. Runs
are evaluated once; the evaluation stays in ``RUN/evaluation/<split>[-tta][-limit<N>]-<store>/`` and is used again as
long as store, checkpoint, seed and the format of reports are the same. ONNX files take seconds and are evaluated anew.

All rows are over the same images in the same order, or there is no table. Where some models have eight classes and
others seven, all are read with seven, closed; where all have seven, images of contempt are left out. The table says so.
Figures are computed here, from the predictions; parameters, speed and the cross-fitted ECE come from the reports.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from mien.data.store import Store
from mien.errors import DataError, UsageError
from mien.evaluation import metrics
from mien.evaluation.comparisons import holm
from mien.evaluation.costs import cost_of_recipe, sha256
from mien.evaluation.evaluate import evaluate
from mien.evaluation.predictions import CONTEMPT, PREDICTIONS, Predictions, same_images
from mien.evaluation.predictors import Progress, load_predictor
from mien.evaluation.protocol import SEVEN_CLASS_READINGS, difference
from mien.evaluation.report import REPORT_FORMAT, Report
from mien.labels import EIGHT
from mien.reading.classifier import SHIPPED

FIGURES = ("macro_f1", "weighted_precision", "weighted_recall", "weighted_f1", "ece")
Reading = Literal["as_predicted", "without_contempt", "closed"]
#: What the table says of it.
READINGS: dict[Reading, str] = {
    "as_predicted": "as answered",
    "without_contempt": "as answered; contempt images left out, no model has that class",
    "closed": f"seven classes, closed: {SEVEN_CLASS_READINGS['closed']}",
}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """A target with its report and its predictions."""

    target: str
    report: Report
    predictions: Predictions


def collect(
    targets: Sequence[str],
    *,
    store: Store | None = None,
    split: str | None = None,
    tta: bool = False,
    limit: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "cpu",
    command: str = "",
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Evaluated]:
    """Every target, evaluated where it was not (runs on ``device``). Raises UsageError where that needs a store.

    A finished evaluation has to be of the store, split, limit and views that are asked for: DataError. Without ``tta``
    and ``limit`` its own are taken, so that ten crops can stand beside one. command: for the reports. say: is told what
    is evaluated.
    """
    for target in targets:  # before the first one takes its minutes
        if not Path(target).exists() and target not in SHIPPED:
            raise DataError(
                f"expected a run, an evaluation, an ONNX file or one of {', '.join(SHIPPED)}; got {target}, "
                "which does not exist"
            )
    rows = []
    for target in targets:
        folder = Path(target)
        shipped = target in SHIPPED  # a reader's name, also where a folder has it: ./compact is the folder
        if not shipped and (folder / PREDICTIONS).is_file():
            rows.append(read_evaluation(folder, target))
            _check_options(rows[-1], store, split, tta=tta, limit=limit)
            continue
        if store is None or split is None:
            raise UsageError(f"{target} is no finished evaluation: expected --data STORE and --split NAME to make one")
        keep = None
        if not shipped and (folder / "recipe.yaml").is_file():
            some = "" if limit is None else f"-limit{limit}"
            keep = folder / "evaluation" / f"{split}{'-tta' if tta else ''}{some}-{store.fingerprint}"
            if is_current(keep, folder, seed=seed):
                say(f"{target}: evaluated before, in {keep}")
                rows.append(read_evaluation(keep, target))
                continue
        say(f"{target}: evaluating on {split}")
        if keep is not None and not os.access(keep.parent if keep.parent.exists() else folder, os.W_OK):
            say(f"note: {folder} is write-protected; its evaluation is not kept")
            keep = None
        predictor = load_predictor(target, threads=threads, device=device)
        with TemporaryDirectory() as temporary:
            out = keep or Path(temporary)
            evaluate(
                predictor, store, split, out,
                tta=tta, limit=limit, seed=seed, threads=threads, command=command, progress=progress,
            )  # fmt: skip
            rows.append(read_evaluation(out, target))
    return rows


def read_evaluation(folder: Path, target: str) -> Evaluated:
    """What ``mien evaluate -o folder`` wrote. Raises DataError."""
    return Evaluated(target, Report.read(folder), Predictions.read(folder))


def _check_options(row: Evaluated, store: Store | None, split: str | None, *, tta: bool, limit: int | None) -> None:
    """Raises DataError where a finished evaluation is of something else than the options say."""
    data, views = row.report.data, row.report.views
    wanted: tuple[tuple[str, object, object], ...] = (
        ("--data: expected an evaluation of store", store and store.fingerprint, data.store),
        ("--split: expected an evaluation of", split, data.split),
        ("--limit: expected an evaluation of images:", limit and min(limit, data.of), data.images),
        # of a file of predictions nobody knows the views
        ("--tta: expected an evaluation with views:", 10 if tta and views is not None else None, views),
    )
    for what, asked, found in wanted:
        if asked is not None and asked != found:
            raise DataError(
                f"{what} {asked}, got {found} in {row.target}",
                hint="leave the option away, or name the model itself to evaluate it anew",
            )


def is_current(folder: Path, run: Path, *, seed: int) -> bool:
    """Whether a cached evaluation is whole, of this checkpoint, and of this format. The store is in its name."""
    try:
        report = Report.read(folder)
        same = report.report_format == REPORT_FORMAT and report.seed == seed
        return same and report.model.sha256 == sha256(run / "best.ckpt")
    except (DataError, OSError):
        return False


def compare_models(rows: Sequence[Evaluated], *, seed: int = 0) -> dict[str, Any]:
    """The table: ``data``, ``reading`` and ``rows``, each with its figures and its test against the first.

    Raises DataError where the rows are not over the same labelled images.
    """
    read, reading = _aligned(rows)
    parts = read[0].parts()
    table = [
        _row(row, found, reading=reading, leak_free="leak_free" in parts, seed=seed)
        for row, found in zip(rows, read, strict=True)
    ]
    tests = [difference(read[0], other, seed=seed) for other in read[1:]]
    for part in parts:  # p-values by Holm within each of the two
        key = "against_first" if part == "all" else f"against_first_{part}"
        table[0][key] = None
        adjusted = holm([test[part]["mcnemar"]["p"] for test in tests])
        for entry, test, p in zip(table[1:], tests, adjusted, strict=True):
            entry[key] = test[part] | {"p_holm": p}
    _unlike_names(table)
    data = rows[0].report.data
    clean = len(parts["leak_free"]) if "leak_free" in parts else None
    return {
        "data": {"store": data.store, "split": data.split, "images": len(read[0]), "leak_free": clean},
        "reading": READINGS[reading],
        "seed": seed,
        "rows": table,
    }


def _aligned(rows: Sequence[Evaluated]) -> tuple[list[Predictions], Reading]:
    """The labelled images that all models can be asked about, in one reading. Raises UsageError or DataError."""
    if len(rows) < 2:
        raise UsageError(f"expected two or more models to compare, got {len(rows)}")
    first = rows[0]
    truth = first.predictions.truth
    if (truth < 0).all():
        raise DataError(
            f"expected images with labels, got {first.report.data.split}, whose labels are held back",
            hint="compare on another split",
        )
    for row in rows[1:]:
        for what in ("store", "split"):
            a, b = getattr(first.report.data, what), getattr(row.report.data, what)
            if a != b:
                raise DataError(
                    f"expected evaluations of the same {what}, got {a} for {first.target} and {b} for {row.target}",
                    hint="give --data and --split with run directories or ONNX files",
                )
        same_images({first.target: first.predictions, row.target: row.predictions})
    label_sets = {row.predictions.label_set for row in rows}
    if len(label_sets) > 1:
        raise DataError("expected evaluations of one label set, got several", hint="evaluate on one store")
    label_set = first.predictions.label_set
    contempt = (truth == EIGHT.index(CONTEMPT)) & (label_set == EIGHT)
    reading: Reading = "as_predicted"
    if len({row.predictions.labels for row in rows}) > 1:
        reading = "closed"
    elif contempt.any() and CONTEMPT not in first.predictions.labels:
        reading = "without_contempt"
    asked = truth >= 0 if reading == "as_predicted" else (truth >= 0) & ~contempt
    read = [row.predictions.subset(asked) for row in rows]
    if reading == "closed":
        read = [found.as_seven("closed") for found in read]
    if len({found.labels for found in read}) > 1:
        listed = "; ".join(", ".join(labels) for labels in sorted({found.labels for found in read}))
        raise DataError(f"expected models with the same labels, got {listed}")
    if (read[0].y < 0).any():
        raise DataError(f"expected labels among {', '.join(read[0].labels)}, got others")
    return read, reading


def _row(row: Evaluated, found: Predictions, *, reading: Reading, leak_free: bool, seed: int) -> dict[str, Any]:
    model, report, calibration = row.report.model, row.report, row.report.calibration
    everything = metrics.summary(found.y, found.probabilities, found.labels, seed=seed)
    cost: dict[str, Any] = {key: getattr(model, key) for key in ("parameters", "macs") if getattr(model, key)}
    if "macs" not in cost:
        cost = cost_of_recipe((model.provenance or {}).get("recipe", {})) | cost
    pace, held_out = report.images_per_second, None
    if calibration is not None and reading != "closed":
        held_out = calibration.held_out["all"].ece
    figures = {key: everything[key] for key in FIGURES}
    if report.predictions is not None and report.predictions.answers_only:
        figures["ece"] = None
    return {
        "model": _name(report),
        "target": row.target,
        "kind": model.kind,
        "parameters": cost.get("parameters"),
        "macs": cost.get("macs"),
        "ms_per_image": None if not pace else round(1000 / pace, 3),
        "hardware": report.cpu or report.hardware,
        "views": report.views,
        "failures": everything["failures"],
        "accuracy": everything["accuracy"],
        "accuracy_leak_free": found.parts()["leak_free"].accuracy() if leak_free else None,
        **figures,
        "ece_cross_fitted": None if held_out is None else held_out.model_dump(),
    }


def _name(report: Report) -> str:
    how = ", ten crops" if report.views == 10 else ""
    pipeline = "" if report.detector in ("none", None) else ", whole pipeline"
    return f"{report.model.name}{how}{pipeline}"


def _unlike_names(table: list[dict[str, Any]]) -> None:
    """Models of one name are told apart by what they are, and where that is not enough by what was typed."""
    for key in ("kind", "target"):
        names = [row["model"] for row in table]
        for row in table:
            if names.count(row["model"]) > 1 and row[key] != row["model"]:
                row["model"] = f"{row['model']} ({row[key]})"
