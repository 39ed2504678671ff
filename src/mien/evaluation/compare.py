"""Several models on the same images: one table, with McNemar's test of each against the first.

A *target* is a directory that ``mien evaluate`` wrote, a run directory, an ONNX file or a shipped reader's name. Runs
are evaluated once; the evaluation stays in ``RUN/evaluation/<split>[-tta][-limit<N>]-<store>/`` and is used again as
long as store, checkpoint, seed and the format of reports are the same. ONNX files take seconds and are evaluated anew.

All rows are over the same images in the same order, or there is no table. Where some models have eight classes and
others seven, all are read with seven, closed (``seven_class.py``); where all have seven, images of contempt are
left out. The table says so. Figures are computed here, from the predictions; parameters, pace and the cross-fitted ECE
come from the reports.
"""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.store import Store
from mien.errors import DataError, UsageError
from mien.evaluation import comparisons, metrics, seven_class
from mien.evaluation.costs import cost_of_recipe, sha256
from mien.evaluation.evaluate import REPORT_FORMAT, evaluate
from mien.evaluation.outputs import PREDICTIONS, Written, read_predictions
from mien.evaluation.predictors import Progress, load_predictor
from mien.reading.classifier import SHIPPED

FIGURES = ("macro_f1", "weighted_precision", "weighted_recall", "weighted_f1", "ece")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """A target with its report and its answers."""

    target: str
    report: dict[str, Any]
    written: Written


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
    progress: Progress | None = None,
) -> list[Evaluated]:
    """Every target, evaluated where it was not (runs on ``device``). Raises UsageError where that needs a store.

    A finished evaluation has to be of the store, split, limit and views that are asked for: DataError. Without ``tta``
    and ``limit`` its own are taken, so that ten crops can stand beside one.
    """
    for target in targets:  # before the first one takes its minutes
        if not Path(target).exists() and target not in SHIPPED:
            raise DataError(
                f"expected a run, an evaluation, an ONNX file or one of {', '.join(SHIPPED)}; got {target}, "
                "which is not there"
            )
    rows = []
    for target in targets:
        folder = Path(target)
        shipped = target in SHIPPED  # a reader's name, also where a folder has it: ./compact is the folder
        if not shipped and (folder / PREDICTIONS).is_file():
            row = read_evaluation(folder, target)
            _as_asked(row, store, split, tta=tta, limit=limit)
            rows.append(row)
            continue
        if store is None or split is None:
            raise UsageError(f"{target} is no finished evaluation: expected --data STORE and --split NAME to make one")
        options: dict[str, Any] = {"tta": tta, "limit": limit, "seed": seed, "threads": threads, "progress": progress}
        is_run = not shipped and (folder / "recipe.yaml").is_file()
        where = _cache(folder, store, split, tta=tta, limit=limit) if is_run else None
        if where is not None and is_current(where, folder, seed=seed):
            print(f"{target}: evaluated before, in {where}", file=sys.stderr)
            rows.append(read_evaluation(where, target))
            continue
        print(f"{target}: evaluating on {split}", file=sys.stderr)
        if where is not None and _writable(folder):
            where.mkdir(parents=True, exist_ok=True)
            evaluate(load_predictor(target, device=device), store, split, where, command=_command(), **options)
            rows.append(read_evaluation(where, target))
        else:
            with TemporaryDirectory() as passing:
                predictor = load_predictor(target, threads=threads, device=device)
                evaluate(predictor, store, split, Path(passing), command=_command(), **options)
                rows.append(read_evaluation(Path(passing), target))
    return rows


def read_evaluation(folder: Path, target: str) -> Evaluated:
    """What ``mien evaluate -o folder`` wrote. Raises DataError."""
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
        report["model"]["name"], report["data"]["split"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"expected an evaluation with report.json in {folder}, cannot read it") from error
    return Evaluated(target, report, read_predictions(folder))


def _as_asked(row: Evaluated, store: Store | None, split: str | None, *, tta: bool, limit: int | None) -> None:
    """Raises DataError where a finished evaluation is of something else than the options say."""
    data, views = row.report["data"], row.report.get("views")
    wanted: list[tuple[str, object, object]] = []
    if store is not None:
        wanted.append(("--data: expected an evaluation of store", store.fingerprint, data["store"]))
    if split is not None:
        wanted.append(("--split: expected an evaluation of", split, data["split"]))
    if limit is not None:
        wanted.append(("--limit: expected an evaluation of images:", min(limit, data["of"]), data["images"]))
    if tta and views is not None:  # of a file of predictions nobody knows
        wanted.append(("--tta: expected an evaluation with views:", 10, views))
    for what, asked, found in wanted:
        if asked != found:
            raise DataError(
                f"{what} {asked}, got {found} in {row.target}",
                hint="leave the option away, or name the model itself to evaluate it anew",
            )


def is_current(folder: Path, run: Path, *, seed: int) -> bool:
    """Whether a cached evaluation is whole, of this checkpoint, and of this format. The store is in its name."""
    try:
        report = json.loads((folder / "report.json").read_text("utf-8"))
        same = report["report_format"] == REPORT_FORMAT and report["seed"] == seed
        return bool(same and report["model"]["sha256"] == sha256(run / "best.ckpt"))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def compare_models(rows: Sequence[Evaluated], *, seed: int = 0) -> dict[str, Any]:
    """The table: ``data``, ``reading`` and ``rows``, each with its figures and its test against the first.

    Raises DataError where the rows are not over the same labelled images.
    """
    _same_images(rows)
    truth = rows[0].written.truth
    reading = "as answered"
    if len({row.written.labels for row in rows}) > 1:
        reading = "seven classes, closed: contempt images left out, contempt's probability set aside"
    elif seven_class.CONTEMPT in truth and seven_class.CONTEMPT not in rows[0].written.labels:
        reading = "as answered; contempt images left out, no model has that class"
    asked = np.array(
        [name is not None and (reading == "as answered" or name != seven_class.CONTEMPT) for name in truth]
    )
    probabilities, labels = zip(*(_read(row, reading) for row in rows), strict=True)
    if len(set(labels)) > 1:
        listed = "; ".join(", ".join(names) for names in sorted(set(labels)))
        raise DataError(f"expected models with the same labels, got {listed}")
    names = labels[0]
    y = np.array([names.index(name) if name in names else -1 for name in truth])[asked]
    if (y < 0).any():
        raise DataError(f"expected labels among {', '.join(names)}, got others")
    leak = rows[0].written.leak
    clean = None if leak is None or leak[asked].all() else ~leak[asked]
    table = [
        _row(row, y, p[asked], names, clean, reading, seed=seed) for row, p in zip(rows, probabilities, strict=True)
    ]
    answers = [metrics.predicted(p[asked]) for p in probabilities]
    _tests(table, y, answers, clean, classes=len(names), seed=seed)
    _unlike_names(table)
    data = rows[0].report["data"]
    return {
        "data": {"store": data["store"], "split": data["split"], "images": len(y)}
        | {"leak_free": None if clean is None else int(clean.sum())},
        "reading": reading,
        "seed": seed,
        "rows": table,
    }


def _row(
    row: Evaluated,
    y: NDArray[np.int64],
    p: NDArray[Any],
    names: tuple[str, ...],
    clean: NDArray[np.bool_] | None,
    reading: str,
    *,
    seed: int,
) -> dict[str, Any]:
    model, report = row.report["model"], row.report
    everything = metrics.summary(y, p, names, seed=seed)
    pace = report.get("images_per_second")
    held = report.get("calibration", {}).get("held_out", {}).get("all", {}).get("ece")
    only_answers = report.get("predictions", {}).get("answers_only", False)
    figures = {key: everything[key] for key in FIGURES} | ({"ece": None} if only_answers else {})
    cost = {key: model[key] for key in ("parameters", "macs") if model.get(key)}
    if "macs" not in cost:
        cost = cost_of_recipe(model.get("provenance", {}).get("recipe", {})) | cost
    return {
        "model": _name(report),
        "target": row.target,
        "kind": model["kind"],
        "parameters": cost.get("parameters"),
        "macs": cost.get("macs"),
        "ms_per_image": None if not pace else round(1000 / pace, 3),
        "hardware": report.get("cpu") or report.get("hardware"),
        "views": report["views"],
        "failures": everything["failures"],
        "accuracy": everything["accuracy"],
        "accuracy_leak_free": None if clean is None else _accuracy(y[clean], p[clean]),
        **figures,
        "ece_cross_fitted": held if reading.startswith("as answered") else None,
    }


def _tests(
    table: list[dict[str, Any]],
    y: NDArray[np.int64],
    answers: list[NDArray[np.int64]],
    clean: NDArray[np.bool_] | None,
    *,
    classes: int,
    seed: int,
) -> None:
    """Each row against the first, on all and on leak-free images; p-values by Holm within each of the two."""
    kinds = {"against_first": np.ones(len(y), bool)} | ({} if clean is None else {"against_first_leak_free": clean})
    for key, rows in kinds.items():
        table[0][key] = None
        found = [
            comparisons.compare(y[rows], answers[0][rows], a[rows], classes=classes, seed=seed) for a in answers[1:]
        ]
        adjusted = comparisons.holm([test["mcnemar"]["p"] for test in found])
        for row, test, p in zip(table[1:], found, adjusted, strict=True):
            row[key] = test | {"p_holm": p}


def _same_images(rows: Sequence[Evaluated]) -> None:
    if len(rows) < 2:
        raise UsageError(f"expected two or more models to compare, got {len(rows)}")
    first = rows[0]
    if not any(first.written.truth):
        raise DataError(
            f"expected images with labels, got {first.report['data']['split']}, whose labels are held back",
            hint="compare on another split",
        )
    for row in rows[1:]:
        for what in ("store", "split"):
            a, b = first.report["data"][what], row.report["data"][what]
            if a != b:
                raise DataError(
                    f"expected evaluations of the same {what}, got {a} for {first.target} and {b} for {row.target}",
                    hint="give --data and --split with run directories or ONNX files",
                )
        if first.written.paths != row.written.paths or first.written.truth != row.written.truth:
            raise DataError(
                f"expected evaluations of the same images, got {len(first.written.paths):,} for {first.target} and "
                f"{len(row.written.paths):,} for {row.target}",
                hint="was one made with --limit?",
            )


def _read(row: Evaluated, reading: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    p, labels = row.written.probabilities, row.written.labels
    return seven_class.closed(p, labels) if reading != "as answered" and seven_class.applies(labels) else (p, labels)


def _accuracy(y: NDArray[np.int64], p: NDArray[Any]) -> dict[str, float]:
    return metrics.share(int((metrics.predicted(p) == y).sum()), len(y))


def _name(report: dict[str, Any]) -> str:
    how = {10: ", ten crops"}.get(report["views"], "")
    found = {"none": "", None: ""}.get(report["detector"], ", whole pipeline")
    return f"{report['model']['name']}{how}{found}"


def _unlike_names(table: list[dict[str, Any]]) -> None:
    """Models of one name are told apart by what they are, and where that is not enough by what was typed."""
    for key in ("kind", "target"):
        names = [row["model"] for row in table]
        for row in table:
            if names.count(row["model"]) > 1 and row[key] != row["model"]:
                row["model"] = f"{row['model']} ({row[key]})"


def _cache(run: Path, store: Store, split: str, *, tta: bool, limit: int | None) -> Path:
    some = "" if limit is None else f"-limit{limit}"
    return run / "evaluation" / f"{split}{'-tta' if tta else ''}{some}-{store.fingerprint}"


def _writable(run: Path) -> bool:
    place = run / "evaluation"
    if os.access(place if place.exists() else run, os.W_OK):
        return True
    print(f"note: {run} is write-protected; its evaluation is not kept", file=sys.stderr)
    return False


def _command() -> str:
    return shlex.join(["mien", *sys.argv[1:]])
