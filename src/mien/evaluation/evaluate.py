"""The one evaluation path: a model, or a file of predictions, × a split of a store → predictions, report, figures.

    DIR/predictions.parquet  path, label, answer, one probability a label, near_duplicate
    DIR/predictions.csv      path and probabilities alone, as FER2013's PrivateTest is scored blind
    DIR/report.json          the truth: every figure with its 95 % interval, on all and on leak-free images
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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mien
from mien import drawing
from mien.atomic import write_text
from mien.commit import checkout_commit
from mien.data.near_duplicates import groups_within
from mien.data.store import Split, Store, spread
from mien.errors import OutputError, UsageError
from mien.evaluation import calibration, metrics, page, page_figures, protocol
from mien.evaluation.answers import FileAnswers, match, mean_of, sureness
from mien.evaluation.costs import sha256
from mien.evaluation.groups import load_groups, store_column
from mien.evaluation.outputs import write_predictions
from mien.evaluation.predict import Predictions, predict_crops, predict_pictures
from mien.evaluation.predictors import Predictor, Progress
from mien.evaluation.unmeasured import not_measured

Float32 = NDArray[np.float32]
#: Raised where a figure of report.json changes its meaning; a cached evaluation of another format is made again.
REPORT_FORMAT = 2
#: Why an image is not scored, in ``left_out`` beside the labels that a model lacks.
NO_LABEL = "without a label"
ASSUMED = (
    "no answer in the file is contempt, so the tool is taken for one of seven classes and images of contempt are left "
    "out; if it has eight, say so with --labels eight, and they count as wrong"
)


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
) -> dict[str, Any]:
    """Predict, score, write the files named above, and return the report.

    tta: ten crops; the single crop is measured beside them. limit: only N images, spread over the split (smoke
    runs; the report says so). group_by: as ``groups.load_groups`` reads them. seed: of the bootstrap and the cross-fit.
    Raises DataError for a split, labels or groups that do not fit, OutputError where ``out`` cannot be written.
    """
    out = _folder(out)
    labels, order = protocol.label_order(predictor.labels)
    whole = store.read(split_name)
    split = whole.limited(limit)
    images = split.images
    grouping = _groupings(group_by, store, split, _chosen(whole, limit))
    _codes(split, labels)  # before any work is done

    single = None
    started = time.perf_counter()
    if detector == "none":
        found = predict_crops(predictor, images, tta=tta, progress=progress).in_order(order)
        seconds = time.perf_counter() - started
        if tta:
            single = predict_crops(predictor, images).in_order(order)
    else:
        found = predict_pictures(predictor, images, tta=tta, detector=detector, threads=threads, progress=progress)
        found = found.in_order(order)
        seconds = time.perf_counter() - started
    report: dict[str, Any] = {
        "model": predictor.describe(),
        "data": _data(store, split, of=len(whole)),
        "views": 10 if tta else 1,
        "detector": detector,
        "temperature": found.temperature,
        "command": command,
        "seed": seed,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(images) / seconds, 1),
    }
    return _finish(report, found, split, labels, out, single=single, grouping=grouping, answers_only=False)


def evaluate_answers(
    answers: FileAnswers | Sequence[FileAnswers],
    store: Store,
    split_name: str,
    out: Path,
    *,
    name: str | None = None,
    limit: int | None = None,
    group_by: Sequence[str] = (),
    seed: int = 0,
    command: str = "",
) -> dict[str, Any]:
    """Score what another tool predicted, or the mean of several predictions; otherwise as :func:`evaluate`.

    name: what it is called in the report; the files' names where None.
    """
    members = [answers] if isinstance(answers, FileAnswers) else list(answers)
    answers = members[0] if len(members) == 1 else mean_of(members)
    out = _folder(out)
    whole = store.read(split_name)
    split, chosen = whole.limited(limit), _chosen(whole, limit)
    grouping = _groupings(group_by, store, split, chosen)
    _codes(split, answers.labels)
    sources = [name or "" for name in store_column(store, split_name, "source")]
    matched = match(answers, whole.paths, sources, chosen=chosen)
    found = Predictions(matched.probabilities, None, None)
    marks: list[dict[str, Any]] = [{"file": member.path.name, "sha256": sha256(member.path)} for member in members]
    file = marks[0]
    if len(members) > 1:
        for mark, member in zip(marks, members, strict=True):
            mark["mean_confidence"] = sureness(member)
        file = {"file": " + ".join(mark["file"] for mark in marks), "members": marks}
    own_name = " + ".join(member.path.stem for member in members)
    report: dict[str, Any] = {
        "model": {"kind": "predictions", "name": name or own_name} | file,
        "data": _data(store, split, of=len(whole)),
        "predictions": file | matched.facts,
        "views": None,
        "detector": None,
        "temperature": None,
        "command": command,
        "seed": seed,
    }
    only = answers.answers_only
    return _finish(report, found, split, answers.labels, out, single=None, grouping=grouping, answers_only=only)


def _finish(
    report: dict[str, Any],
    found: Predictions,
    split: Split,
    labels: tuple[str, ...],
    out: Path,
    *,
    single: Predictions | None,
    grouping: dict[str, list[str | None]],
    answers_only: bool,
) -> dict[str, Any]:
    """Score, and write every file of an evaluation."""
    report |= {
        "report_format": REPORT_FORMAT,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "cpu": _cpu(),
        "mien": mien.__version__,
        "commit": checkout_commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    _clear(out)
    write_predictions(out, split, labels, found.probabilities)
    codes = _codes(split, labels)
    drawn: dict[str, Any] = {}
    if codes is None:
        report["figures"] = None  # labels held back: predicted blind
    else:
        y, asked = codes
        whole = protocol.Case(y, found.probabilities, labels, split.leak, split.votes, grouping, answers_only)
        case = whole.of(asked)
        unknown = int((split.labels < 0).sum())
        left_out = {"contempt": int((~asked).sum()) - unknown, NO_LABEL: unknown}
        report["data"]["left_out"] = {name: number for name, number in left_out.items() if number}
        seed = report["seed"]
        report |= protocol.score(case, seed=seed)
        if left_out["contempt"] and report.get("predictions", {}).get("labels_assumed"):
            report["warnings"].append(ASSUMED)
        if single is not None:
            report["single_crop"] = _single_crop(case, single, asked, seed=seed)
        groups = groups_within(split.images[asked])
        if found.logits is not None and len(np.unique(groups)) > 1:  # two halves to cross-fit on
            report["calibration"] = _calibration(found.logits[asked], groups, case, seed=seed)
        drawn = page_figures.draw(report, case, title=_title(report))
    report["not_measured"] = not_measured(report)
    svgs = {name: drawing.save(figure, out / name) for name, figure in drawn.items()}
    write_text(out / "report.html", page.render(report, svgs))
    # last: an evaluation is whole where its report.json stands
    write_text(out / "report.json", json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return report


def _folder(out: Path) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a directory to write to, got {out}: {error.strerror}") from error
    return Path(out)


def _clear(out: Path) -> None:
    """Takes away an older evaluation: first the file that makes it whole, then figures that this one may not have.

    Only files with the names of ours; whatever else is in the directory stays. Raises OutputError.
    """
    old = [out / "report.json", out / "report.html"]
    old += [file for file in sorted(out.iterdir()) if page_figures.is_ours(file.name)]
    try:
        for file in old:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"expected to replace {file}, failed: {error.strerror}") from error


def _codes(split: Split, labels: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """As ``protocol.codes_for``, images without a label among those left out; None where all labels are held back."""
    known = split.labels >= 0
    if not known.any():
        return None
    codes, asked = np.full(len(split), -1), known.copy()
    codes[known], asked[known] = protocol.codes_for(split.labels[known], labels, split=split.name)
    return codes, asked


def _chosen(split: Split, limit: int | None) -> NDArray[np.int64] | None:
    """The rows that ``Split.limited`` keeps; None for all."""
    return None if limit is None or limit >= len(split) else spread(len(split), limit)


def _data(store: Store, split: Split, *, of: int) -> dict[str, Any]:
    return {
        "store": store.fingerprint,
        "sources": [source["name"] for source in store.summary.get("sources", [])],
        "split": split.name,
        "images": len(split),
        "of": of,
        "near_duplicates_in_training": None if split.leak is None else int(split.leak.sum()),
    }


def _groupings(
    group_by: Sequence[str], store: Store, split: Split, chosen: NDArray[np.int64] | None
) -> dict[str, list[str | None]]:
    result: dict[str, list[str | None]] = {}
    for spec in group_by:
        name, groups = load_groups(spec, store, split.name, split.paths, rows=chosen)
        if name in result:
            raise UsageError(f"--group-by: expected each name once, got {name!r} twice")
        result[name] = groups
    return result


def _single_crop(case: protocol.Case, single: Predictions, asked: NDArray[np.bool_], *, seed: int) -> dict[str, Any]:
    """The single crop beside ten: its figures, and what the ten change (ten minus one)."""
    alone = protocol.Case(case.y, single.probabilities[asked], case.labels, case.leak, case.votes)
    return {
        "temperature": single.temperature,
        "figures": protocol.figures(alone, seed=seed),
        "ten_minus_single": protocol.difference(case.y, alone.p, case.p, case.leak, seed=seed),
    }


def _calibration(logits: Float32, groups: NDArray[np.int64], case: protocol.Case, *, seed: int) -> dict[str, Any]:
    """What the calibration is worth on images that it was not fitted on."""
    held_out, temperatures = calibration.cross_fit(logits, case.y, groups, seed=seed)
    kept = ("n", "ece", "nll", "brier")
    scored = protocol.figures(protocol.Case(case.y, held_out, case.labels, case.leak, case.votes), seed=seed)
    return {
        "method": "temperature scaling, cross-fitted on two halves, duplicates kept together",
        "temperatures": list(temperatures),
        "held_out": {part: {key: values[key] for key in kept} for part, values in scored.items()},
        "uncalibrated_ece": metrics.ece(case.y, calibration.probabilities(logits, 1.0)),
    }


def _title(report: dict[str, Any]) -> str:
    return f"{report['model']['name']} on {report['data']['split']}" + (", ten crops" if report["views"] == 10 else "")


def _cpu() -> str | None:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
