"""The one evaluation path: a model, or a file of predictions, × a split of a store → predictions, report, figures.

    DIR/predictions.parquet, predictions.csv    as ``predictions.py`` has them
    DIR/report.json          every figure with its 95 % interval, on all and leak-free images (``report.py``)
    DIR/report.html          the same for people: one file, opens offline, prints
    DIR/*.png, DIR/*.svg     its figures

What is scored on which images is ``protocol.py``'s to say. With a detector the whole pipeline is measured: it has to
find the face first, and an image without a found face counts as wrong.
"""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mien
from mien import drawing
from mien.atomic import make_folder, remove_old, write_text
from mien.commit import checkout_commit
from mien.data.near_duplicates import groups_within
from mien.data.store import Split, Store, spread
from mien.errors import UsageError
from mien.evaluation import calibration, metrics, page, page_figures, protocol
from mien.evaluation.costs import sha256
from mien.evaluation.groups import load_groups, store_column
from mien.evaluation.predict import predict_crops, predict_pictures
from mien.evaluation.predictions import CONTEMPT, Predictions, label_order
from mien.evaluation.predictions_file import match, mean_of
from mien.evaluation.predictors import Predictor, Progress
from mien.evaluation.report import FILE, REPORT_FORMAT, Report
from mien.evaluation.unmeasured import not_measured
from mien.reading.probabilities import Calibration

#: Why an image is not scored, in ``left_out`` beside the labels that a model lacks.
NO_LABEL = "without a label"
ASSUMED = (
    "no answer in the file is contempt, so the tool is taken for one of seven classes and images of contempt are left "
    "out; if it has eight, say so with --labels eight, and they count as wrong"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The images of an evaluation. whole: the split as it is; rows: those of it that are evaluated, as ``split``."""

    store: Store
    whole: Split
    rows: NDArray[np.int64]
    split: Split
    groups: dict[str, list[str | None]]

    @classmethod
    def open(cls, store: Store, name: str, *, limit: int | None, group_by: Sequence[str]) -> "_Images":
        whole = store.read(name)
        split = whole.limited(limit)
        rows = spread(len(whole), len(split))
        groups: dict[str, list[str | None]] = {}
        for spec in group_by:
            grouping, found = load_groups(spec, store, name, split.paths, rows=rows)
            if grouping in groups:
                raise UsageError(f"--group-by: expected each name once, got {grouping!r} twice")
            groups[grouping] = found
        return cls(store, whole, rows, split, groups)

    def described(self) -> dict[str, Any]:
        near = self.split.leak
        return {
            "store": self.store.fingerprint,
            "sources": [source["name"] for source in self.store.summary.get("sources", [])],
            "split": self.split.name,
            "images": len(self.split),
            "of": len(self.whole),
            "near_duplicates_in_training": None if near is None else int(near.sum()),
        }


def evaluate(
    predictor: Predictor,
    store: Store,
    split_name: str,
    out: Path,
    *,
    tta: bool = False,
    detector: str = "none",
    limit: int | None = None,
    group_by: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Report:
    """Predict a split, score it, write report, predictions and figures, and return the report.

    Intervals: Wilson's for proportions, bootstrap for the rest. ECE: 15 bins of equal width (Guo et al. 2017, arXiv
    1706.04599).

    Args:
        predictor: from :func:`mien.evaluation.predictors.load_predictor`.
        store: the images and their labels.
        split_name: the split to predict.
        out: the directory for ``report.json``, ``report.html``, predictions and figures; made where it is missing.
        tta: ten crops; the single crop is measured beside them.
        detector: "none": each image is a face crop; else the whole pipeline, where a missed face counts as wrong.
        limit: only so many images, spread evenly over the split; the report says so.
        group_by: columns of the store, or ``FILE:COLUMN`` of a table with ``path``; a fairness section for each.
        seed: of the bootstrap and the cross-fit.
        threads: of reading with a detector.
        command: what was typed; it stands in the report.
        progress: called with (images done, images).

    Raises:
        DataError: a split, labels or groups that do not fit.
        UsageError: a detector with a run directory in place of an ONNX file, or a group twice.
        OutputError: ``out`` cannot be written.
        MissingExtra: matplotlib or Jinja2 are not installed.

    Examples:
        >>> from pathlib import Path
        >>> from mien.data.store import Store
        >>> from mien.evaluation.evaluate import evaluate
        >>> from mien.evaluation.predictors import load_predictor
        >>> report = evaluate(load_predictor("run"), Store.open("store"), "test", Path("evaluation"))
        >>> accuracy = report.figures["all"].accuracy
        >>> 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
        True
    """
    make_folder(out)
    images = _Images.open(store, split_name, limit=limit, group_by=group_by)
    split, single = images.split, None
    _check_labels(predictor.labels, split)  # before any work is done
    started = time.perf_counter()
    if detector == "none":
        found = predict_crops(predictor, split, tta=tta, progress=progress)
    else:
        found = predict_pictures(predictor, split, tta=tta, detector=detector, threads=threads, progress=progress)
    seconds = time.perf_counter() - started
    if tta and detector == "none":
        single = predict_crops(predictor, split)
    head = {
        "model": predictor.describe(),
        "data": images.described(),
        "views": 10 if tta else 1,
        "detector": detector,
        **_told(found.calibration),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(split) / seconds, 1),
    }
    return _score_and_write(head, replace(found, groups=images.groups), split, out, command, seed, single)


def evaluate_file(
    members: Predictions | Sequence[Predictions],
    store: Store,
    split_name: str,
    out: Path,
    *,
    name: str | None = None,
    limit: int | None = None,
    group_by: Sequence[str] = (),
    seed: int = 0,
    command: str = "",
) -> Report:
    """Score another tool's file of predictions, or the mean of several; otherwise as :func:`evaluate`.

    members: from ``predictions_file.read_predictions_file``. name: what it is called in the report; the files' names
    where None.
    """
    members = [members] if isinstance(members, Predictions) else list(members)
    given = members[0] if len(members) == 1 else mean_of(members)
    make_folder(out)
    images = _Images.open(store, split_name, limit=limit, group_by=group_by)
    _check_labels(given.labels, images.split)
    sources = [source or "" for source in store_column(store, split_name, "source")]
    probabilities, facts = match(given, images.whole.paths, sources, chosen=images.rows)
    found = Predictions.of_split(
        images.split, given.labels, probabilities, groups=images.groups, answers_only=given.answers_only
    )
    paths = [member.file for member in members if member.file is not None]
    marks: list[dict[str, Any]] = [{"file": path.name, "sha256": sha256(path)} for path in paths]
    file = marks[0]
    if len(members) > 1:
        for mark, one in zip(marks, members, strict=True):
            empty = int(np.isnan(one.probabilities).any(1).sum())
            mark |= {"mean_confidence": one.mean_confidence(), "without_answer": empty}
        file = {"file": " + ".join(path.name for path in paths), "members": marks}
    head = {
        "model": {"kind": "predictions", "name": name or " + ".join(path.stem for path in paths)} | file,
        "data": images.described(),
        "predictions": file | facts,
        "views": None,
        "detector": None,
        **_told(None),
    }
    return _score_and_write(head, found, images.split, out, command, seed, None)


def _score_and_write(
    report: dict[str, Any],
    found: Predictions,
    split: Split,
    out: Path,
    command: str,
    seed: int,
    single: Predictions | None,
) -> Report:
    """Every file of an evaluation. report: what is known before scoring. single: of one crop, where there are ten."""
    _clear(out)
    found.write(out)
    scorable = protocol.scorable(found.truth, found.labels, split=split.name, label_set=found.label_set)
    scored, sections = None, dict[str, Any](figures=None)  # labels held out: predicted, not scored
    if scorable is not None:
        scored = found.subset(scorable)
        unknown = int((split.labels < 0).sum())
        left_out = {CONTEMPT: len(found) - len(scored) - unknown, NO_LABEL: unknown}
        report["data"]["left_out"] = {why: number for why, number in left_out.items() if number}
        sections = protocol.score(scored, seed=seed)
        if left_out[CONTEMPT] and report.get("predictions", {}).get("labels_assumed"):
            sections["warnings"].append(ASSUMED)
        if single is not None:
            sections["single_crop"] = _single_crop(scored, single.subset(scorable), seed=seed)
        groups = groups_within(split.images[scorable])
        if scored.logits is not None and len(np.unique(groups)) > 1:  # two halves to cross-fit on
            sections["calibration"] = _calibration(scored, groups, seed=seed)
    report |= {"command": command, "seed": seed, "report_format": REPORT_FORMAT, **_origin(), **sections}
    report["not_measured"] = not_measured(report)
    whole = Report.model_validate(report)
    report = whole.as_dict()
    drawn = {} if scored is None else page_figures.draw(report, scored, title=_title(report))
    svgs = {name: drawing.save(figure, out / name) for name, figure in drawn.items()}
    write_text(out / "report.html", page.render(report, svgs))
    # last: an evaluation is whole where its report.json stands
    write_text(out / FILE, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return whole


def _check_labels(labels: Sequence[str], split: Split) -> None:
    """Raises DataError where a model has not the labels of a split."""
    ordered = label_order(labels, split.label_set)[0]
    protocol.scorable(split.labels, ordered, split=split.name, label_set=split.label_set)


def _clear(out: Path) -> None:
    """Takes away an older evaluation: first the file that makes it whole, then figures that this one may not have.

    Only files with the names of ours; other files in the directory stay. Raises OutputError.
    """
    old = [out / FILE, out / "report.html"]
    remove_old([*old, *(file for file in sorted(out.iterdir()) if page_figures.is_ours(file.name))])


def _single_crop(ten: Predictions, single: Predictions, *, seed: int) -> dict[str, Any]:
    """The single crop beside ten: its figures, and what the ten change (ten minus one)."""
    return {
        **_told(single.calibration),
        "figures": protocol.figures(single, seed=seed),
        "ten_minus_single": protocol.difference(single, ten, seed=seed),
    }


def _calibration(found: Predictions, groups: NDArray[np.int64], *, seed: int) -> dict[str, Any]:
    """Calibration on images that it was not fitted on."""
    assert found.logits is not None
    held_out, fitted = calibration.cross_fit(found.logits, found.y, groups, seed=seed)
    scored = protocol.figures(replace(found, probabilities=held_out), seed=seed)
    return {
        "method": "temperature and floor, cross-fitted on two halves, duplicates kept together",
        "temperatures": [one.temperature for one in fitted],
        "floors": [one.floor for one in fitted],
        "held_out": {part: {key: all_[key] for key in ("n", "ece", "nll", "brier")} for part, all_ in scored.items()},
        "uncalibrated_ece": metrics.ece(found.y, calibration.probabilities(found.logits, Calibration())),
    }


def _told(fitted: Calibration | None) -> dict[str, float | None]:
    return {"temperature": fitted.temperature if fitted else None, "floor": fitted.floor if fitted else None}


def _title(report: dict[str, Any]) -> str:
    return f"{report['model']['name']} on {report['data']['split']}" + (", ten crops" if report["views"] == 10 else "")


def _origin() -> dict[str, Any]:
    """The machine, the code and the day."""
    return {
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "cpu": _cpu(),
        "mien": mien.__version__,
        "commit": checkout_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu() -> str | None:
    """The processor's name, if the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
