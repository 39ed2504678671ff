"""``mien evaluate``: a model, or a file of predictions, × a split → report and figures; the headline on stdout."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import UsageError
from mien.labels import EIGHT

#: Difference in mean confidence above which the members of an ensemble are no equals.
UNEQUAL = 0.05


def evaluate(
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to predict, e.g. public_test.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where report and figures go.")],
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A run directory, an ONNX file, compact or nano.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Score another tool's answers instead: CSV or Parquet with path and a probability a label, or answer. "
            "Several: their mean, an ensemble.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Classes of a tool whose file has answers alone: seven or eight (with contempt)."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call the tool behind --predictions.")] = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average ten crops; the single crop is reported beside it.")
    ] = False,
    detector: Annotated[
        str, typer.Option("--detector", help="none: the image is the crop. centerface: measure the whole pipeline.")
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
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap and the cross-fit.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Of run directories: auto, cpu or gpu.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Measure a model, with 95 % intervals, on all images and on those without a near-duplicate in Training.

    DIR gets report.html (one file, opens offline), report.json, predictions.parquet, predictions.csv and the figures as
    PNG and SVG. A split whose labels are held back is predicted blind.

    Example: mien evaluate compact --data stores/fer2013 --split public_test -o out/compact
    """
    from mien.cli.extras import require
    from mien.cli.progress import Countdown

    predictions = predictions or None
    if (model is None) == (predictions is None):
        given = "neither" if model is None else "both"
        raise UsageError(f"expected a MODEL or --predictions FILE, got {given}", hint="give one of them")
    if predictions is not None and (tta or detector != "none" or threads is not None):
        raise UsageError("expected --predictions alone, got --tta, --detector or --threads, which are for a MODEL")
    if labels not in (None, "seven", "eight"):
        raise UsageError(f"--labels: expected seven or eight, got {labels!r}")
    if predictions is None and labels is not None:
        raise UsageError("expected --labels with --predictions FILE, got it with a MODEL, which has its own labels")
    if predictions is None and name is not None:
        raise UsageError("expected --name with --predictions FILE, got it with a MODEL, which has its own name")
    require("sklearn", "scipy", "matplotlib", "jinja2", extra="train")
    from mien.data.store import Store
    from mien.evaluation.answers import read_answers
    from mien.evaluation.evaluate import evaluate as run
    from mien.evaluation.evaluate import evaluate_answers
    from mien.evaluation.predictors import load_predictor
    from mien.labels import EIGHT, SEVEN
    from mien.reading.classifier import SHIPPED

    command = shlex.join(["mien", *sys.argv[1:]])
    groups = tuple(group_by or ())
    store = Store.open(data)
    if predictions is not None:
        classes = None if labels is None else {"seven": SEVEN, "eight": EIGHT}[labels]
        answers = [read_answers(file, labels=classes) for file in predictions]
        report = evaluate_answers(
            answers, store, split, out, name=name, limit=limit, group_by=groups, seed=seed, command=command
        )
    else:
        assert model is not None
        if Path(model).is_dir() and model not in SHIPPED:
            require("torch", "timm", "lightning", "yaml", extra="train")
        predictor = load_predictor(model, threads=threads, device=device)
        with Countdown("predicting", noun="images") as advance:
            report = run(
                predictor,
                store,
                split,
                out,
                tta=tta,
                detector=detector,
                limit=limit,
                group_by=groups,
                seed=seed,
                threads=threads,
                command=command,
                progress=advance,
            )
    for line in notes(report):
        print(line, file=sys.stderr)
    print(f"wrote {out / 'report.html'}", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(headline(report)))


def notes(report: dict[str, Any]) -> list[str]:
    """What a person should know beside the figures: for stderr."""
    lines = [f"warning: {line}" for line in report.get("warnings", [])]
    for label, count in report["data"].get("left_out", {}).items():
        which, why = (f"of {label}", ": the model has no such class") if label in EIGHT else (label, "")
        lines.append(f"note: {count:,} images {which} are left out{why}")
    file = report.get("predictions", {})
    sure = [member for member in report["model"].get("members", ()) if member["mean_confidence"] is not None]
    shares = [member["mean_confidence"] for member in sure]
    if shares and max(shares) - min(shares) > UNEQUAL:
        each = ", ".join(f"{member['file']} {member['mean_confidence']:.2f}" for member in sure)
        lines.append(
            f"warning: the files are unequally sure (mean confidence: {each}), and the surer one weighs more in the "
            "mean; calibrate all of them or none"
        )
    if file.get("missing"):
        lines.append(f"warning: {file['missing']:,} images are missing from the file and count as wrong")
    if file.get("without_answer"):
        lines.append(f"warning: {file['without_answer']:,} rows have no answer and count as wrong")
    if file.get("beyond_limit"):
        lines.append(f"note: {file['beyond_limit']:,} rows are of images beyond --limit and are left alone")
    if file.get("not_in_split"):
        example = file["first_not_in_split"][0]
        lines.append(f"note: {file['not_in_split']:,} rows are of no image in this split and are ignored ({example})")
    return lines


def headline(report: dict[str, Any]) -> list[str]:
    """The figures that one looks for first, in plain text: one column for all images, one for the leak-free ones."""
    data, scored = report["data"], report["figures"]
    about = f"{data['images']:,} images of {data['split']}, "
    about += f"{report['views']} view(s), detector {report['detector']}" if report["views"] else report["model"]["name"]
    if scored is None:
        return [about, "labels held back: predictions written, nothing scored"]
    rows = [
        ("accuracy", "accuracy", 100),
        ("macro F1", "macro_f1", 100),
        ("weighted precision", "weighted_precision", 100),
        ("weighted recall", "weighted_recall", 100),
        ("weighted F1", "weighted_f1", 100),
        ("top-2 accuracy", "top2_accuracy", 100),
        ("ECE", "ece", 1),
    ]
    parts = list(scored)
    lines = [about, f"{'':20}" + "".join(f"{name.replace('_', '-'):>26}" for name in parts)]
    lines.append(f"{'images':20}" + "".join(f"{scored[part]['n']:>26,}" for part in parts))
    for title, key, scale in rows:
        if key in scored[parts[0]]:
            lines.append(f"{title:20}" + "".join(f"{_interval(scored[part][key], scale):>26}" for part in parts))
    for name in scored[parts[0]]["labels"]:
        classes = (scored[part]["per_class"][name] for part in parts)
        cells = (_interval(found["recall"], 100) if found["support"] else "–" for found in classes)
        lines.append(f"{'recall ' + name:20}" + "".join(f"{cell:>26}" for cell in cells))
    if "calibration" in report:
        held = report["calibration"]["held_out"]
        lines.append(f"{'ECE, cross-fitted':20}" + "".join(f"{_interval(held[part]['ece'], 1):>26}" for part in parts))
    if "single_crop" in report:
        single = report["single_crop"]["figures"]
        lines.append(
            f"{'accuracy, one crop':20}" + "".join(f"{_interval(single[part]['accuracy'], 100):>26}" for part in parts)
        )
    for name, reading in report.get("seven_classes", {}).items():
        cells = (_interval(reading["figures"][part]["accuracy"], 100) for part in parts)
        lines.append(f"{'seven, ' + name:20}" + "".join(f"{cell:>26}" for cell in cells))
    if "votes" in report:
        found = report["votes"]
        cells = (_interval(found[part]["majority"], 100) for part in parts)
        lines.append(f"{'majority of votes':20}" + "".join(f"{cell:>26}" for cell in cells))
    for name, groups in report.get("groups", {}).items():
        gap = groups["all"]["gaps"]["accuracy"]
        if gap is not None:
            lines.append(
                f"{('gap by ' + name)[:19]:20}{_interval(gap, 100):>26}  {gap['highest']} over {gap['lowest']}, "
                f"p {gap['p']:.4f}"
            )
    if scored[parts[0]]["failures"]:
        lines.append(f"{'no answer (wrong)':20}" + "".join(f"{scored[part]['failures']:>26,}" for part in parts))
    return lines


def _interval(figure: dict[str, float | None], scale: float) -> str:
    if figure["value"] is None:
        return "–"
    value, low, high = (float(figure[key] or 0) * scale for key in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if scale == 100 else f"{value:.4f} [{low:.4f}, {high:.4f}]"
