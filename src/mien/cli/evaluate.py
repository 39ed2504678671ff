"""``mien evaluate``: a model, or a file of predictions, × a split → report and figures; the headline on stdout."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from mien.atomic import keep_input
from mien.errors import UsageError
from mien.labels import EIGHT, SEVEN, coded
from mien.showable import one_line, showable

if TYPE_CHECKING:
    from mien.evaluation.report import Figure, Gap, Report

#: Difference in mean confidence above which the members of an ensemble should be calibrated first.
UNEQUAL = 0.05


def evaluate(
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to predict, e.g. public_test.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The directory for report and figures.")],
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A run directory, an ONNX file, compact or nano.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Score another tool's predictions instead: CSV or Parquet with path and a probability per label, or "
            "answer. Several: their mean, an ensemble.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Classes of a tool whose file has no probabilities: seven or eight (with contempt)."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the tool that made --predictions.")] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average ten crops; the single crop is reported beside it.")
    ] = False,
    detector: Annotated[
        str,
        typer.Option(
            "--detector", help="none: the image is the crop. yunet or centerface: measure the whole pipeline."
        ),
    ] = "none",
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            "--group-by",
            metavar="COLUMN",
            help="Results by group: a column of the store, or FILE:COLUMN of a table with path. May repeat.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only N images, spread over the split.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of bootstrap and cross-fitting.")] = 0,
    device: Annotated[str, typer.Option("--device", help="For run directories: auto, cpu or gpu.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="Of ONNX readers: fp32 (the default; the published figures are of it), int8 or auto."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Evaluate a model, with 95 % confidence intervals, on all images and on those with no near-duplicate in Training.

    DIR gets report.html (one file, opens offline), report.json, predictions.parquet, predictions.csv and the figures as
    PNG and SVG. If the labels of the split are held out, it is predicted but not scored.

    Example: mien evaluate compact --data stores/fer2013 --split public_test -o out/compact
    """
    from mien.cli.progress import Countdown
    from mien.cli.streams import typed
    from mien.errors import require

    predictions = predictions or None
    if (model is None) == (predictions is None):
        given = "neither" if model is None else "both"
        raise UsageError(f"expected a MODEL or --predictions FILE, got {given}", hint="give one of them")
    if predictions is not None and (tta or detector != "none" or threads is not None or precision):
        raise UsageError(
            "expected --predictions alone, got --tta, --detector, --threads or --precision, which are for a MODEL"
        )
    if labels not in (None, "seven", "eight"):
        raise UsageError(f"--labels: expected seven or eight, got {labels!r}")
    if predictions is None and labels is not None:
        raise UsageError("expected --labels with --predictions FILE, got it with a MODEL, which has its own labels")
    if predictions is None and name is not None:
        raise UsageError("expected --name with --predictions FILE, got it with a MODEL, which has its own name")
    require("sklearn", "scipy", "matplotlib", "jinja2", extra="train")
    from mien.data.store import Store
    from mien.evaluation.evaluate import evaluate as run
    from mien.evaluation.evaluate import evaluate_file
    from mien.evaluation.predictions_file import read_predictions_file
    from mien.evaluation.predictors import load_predictor
    from mien.reading.classifier import SHIPPED

    store = Store.open(data)
    options: dict[str, Any] = {"limit": limit, "group_by": tuple(group_by or ()), "seed": seed}
    options["command"] = typed()
    if predictions is not None:
        for written in ("predictions.csv", "predictions.parquet"):
            keep_input(out / written, predictions)
        classes = None if labels is None else {"seven": SEVEN, "eight": EIGHT}[labels]
        files = [read_predictions_file(file, labels=classes, label_set=coded(store.labels)) for file in predictions]
        report = evaluate_file(files, store, split, out, name=name, **options)
    else:
        assert model is not None
        if Path(model).is_dir() and model not in SHIPPED:
            require("torch", "timm", "lightning", "yaml", extra="train")
        predictor = load_predictor(model, threads=threads, device=device, precision=precision)
        with Countdown("predicting", noun="images") as advance:
            report = run(
                predictor, store, split, out, tta=tta, detector=detector, threads=threads, progress=advance, **options
            )
    for line in notes(report):
        print(line, file=sys.stderr)
    print(f"wrote {out / 'report.html'}", file=sys.stderr)
    print(json.dumps(report.as_dict(), indent=2, ensure_ascii=False) if as_json else "\n".join(headline(report)))


def notes(report: "Report") -> list[str]:
    """Warnings and notes on the figures, for stderr."""
    lines = [f"warning: {line}" for line in report.warnings or []]
    for label, count in (report.data.left_out or {}).items():
        which, why = (f"of {label}", ": the model has no such class") if label in EIGHT else (label, "")
        lines.append(f"note: {count:,} images {which} are left out{why}")
    means = {one.file: one.mean_confidence for one in report.model.members or () if one.mean_confidence is not None}
    if means and max(means.values()) - min(means.values()) > UNEQUAL:
        each = ", ".join(f"{file} {mean:.2f}" for file, mean in means.items())
        lines.append(
            f"warning: the files differ in mean confidence ({each}), and a more confident one weighs more in the mean; "
            "calibrate all of them or none"
        )
    lines += [
        f"warning: {one.without_answer:,} rows of {one.file} have no answer: there the mean is that of the other files"
        for one in report.model.members or ()
        if one.without_answer
    ]
    file = report.predictions
    if file is not None and file.missing:
        lines.append(f"warning: {file.missing:,} images are missing from the file and count as wrong")
    if file is not None and file.without_answer:
        lines.append(f"warning: {file.without_answer:,} rows have no answer and count as wrong")
    if file is not None and file.beyond_limit:
        lines.append(f"note: {file.beyond_limit:,} rows are of images beyond --limit and are ignored")
    if file is not None and file.not_in_split:
        example = file.first_not_in_split[0]
        lines.append(f"note: {file.not_in_split:,} rows are of no image in this split and are ignored ({example})")
    return lines


def headline(report: "Report") -> list[str]:
    """The figures that one looks for first, in plain text: one column for all images, one for the leak-free ones."""
    data = report.data
    about = f"{data.images:,} images of {data.split}, "
    about += f"{report.views} view(s), detector {report.detector}" if report.views else report.model.name
    if report.figures is None:
        return [about, "labels held back: predictions written, nothing scored"]
    rows = _rows(report)
    wide = max(20, *(cell_len(title) + 2 for title, _ in rows))  # letters of some scripts take two columns
    lines = [about, *(set_cell_size(title, wide) + "".join(f"{cell:>26}" for cell in cells) for title, cells in rows)]
    for name, groups in (report.groups or {}).items():
        if (gap := groups["all"].gaps.accuracy) is not None:
            highest, lowest = (one_line(showable(group), most=40) for group in (gap.highest, gap.lowest))
            where = f"{highest} over {lowest}, p {gap.p:.4f}"
            lines.append(f"{('gap by ' + one_line(showable(name)))[:19]:{wide}}{_interval(gap):>26}  {where}")
    failures = [found.failures for found in report.figures.values()]
    if failures[0]:
        lines.append(f"{'no answer (wrong)':{wide}}" + "".join(f"{number:>26,}" for number in failures))
    return lines


def _rows(report: "Report") -> list[tuple[str, list[str]]]:
    """Title and cells of each line: the parts of the images, then the figures that this report has."""
    scored = report.figures or {}
    rows: list[tuple[str, list[str]]] = [("", [part.replace("_", "-") for part in scored])]
    rows.append(("images", [f"{found.n:,}" for found in scored.values()]))
    for title, key, scale in _HEADLINE:
        rows.append((title, [_interval(getattr(found, key), scale) for found in scored.values()]))
    for name in scored["all"].labels:
        classes = [found.per_class[name] for found in scored.values()]
        rows.append((f"recall {name}", [_interval(found.recall) if found.support else "–" for found in classes]))
    if report.calibration:
        held_out = [report.calibration.held_out[part].ece for part in scored]
        rows.append(("ECE, cross-fitted", [_interval(ece, 1) for ece in held_out]))
    if report.single_crop:
        single = report.single_crop.figures
        rows.append(("accuracy, one crop", [_interval(single[part].accuracy) for part in scored]))
    for reading, seven in (report.seven_classes or {}).items():
        rows.append((f"seven, {reading}", [_interval(seven.figures[part].accuracy) for part in scored]))
    if report.votes:
        votes = [report.votes[part] for part in scored]
        rows.append(("majority of votes", ["–" if found is None else _interval(found.majority) for found in votes]))
    return rows


#: Title, key in a report's figures, and 100 for per cent.
_HEADLINE = (
    ("accuracy", "accuracy", 100),
    ("macro F1", "macro_f1", 100),
    ("weighted precision", "weighted_precision", 100),
    ("weighted recall", "weighted_recall", 100),
    ("weighted F1", "weighted_f1", 100),
    ("top-2 accuracy", "top2_accuracy", 100),
    ("ECE", "ece", 1),
)


def _interval(figure: "Figure | Gap", scale: int = 100) -> str:
    from mien.pages.format import interval

    return interval(figure.model_dump(), scale=scale, digits=2 if scale == 100 else 4)
