"""``mien evaluate``: a model × a split → predictions, report and figures; the headline on stdout."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run directory, an ONNX file, compact or nano.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to predict, e.g. public_test.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where report and figures go.")],
    tta: Annotated[bool, typer.Option("--tta", help="Average ten crops of each image.")] = False,
    detector: Annotated[
        str, typer.Option("--detector", help="none: the image is the crop. centerface: measure the whole pipeline.")
    ] = "none",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N images.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap and the cross-fit.")] = 0,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Measure a model, with 95 % intervals, on all images and on those without a near-duplicate in Training.

    DIR gets predictions.parquet, predictions.csv, report.json, confusion.png and reliability.png.
    A split whose labels are held back is predicted blind.

    Example: mien evaluate compact --data stores/fer2013 --split public_test -o out/compact
    """
    from mien.cli.extras import require
    from mien.cli.progress import Countdown

    require("sklearn", "matplotlib", extra="train")
    from mien.data.store import Store
    from mien.evaluation.evaluate import evaluate as run
    from mien.evaluation.predictors import load_predictor
    from mien.reading.classifier import SHIPPED

    if Path(model).is_dir() and model not in SHIPPED:
        require("torch", "timm", "lightning", "yaml", extra="train")
    store = Store.open(data)
    predictor = load_predictor(model, threads=threads)
    with Countdown("predicting", noun="images") as advance:
        report = run(
            predictor,
            store,
            split,
            out,
            tta=tta,
            detector=detector,
            limit=limit,
            seed=seed,
            threads=threads,
            command=" ".join(["mien", *sys.argv[1:]]),
            progress=advance,
        )
    print(f"wrote {out}", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(headline(report)))


def headline(report: dict[str, Any]) -> list[str]:
    """The figures that one looks for first, in plain text: one column for all images, one for the leak-free ones."""
    data, scored = report["data"], report["figures"]
    about = f"{data['images']:,} images of {data['split']}, {report['views']} view(s), detector {report['detector']}"
    if scored is None:
        return [about, "labels held back: predictions written, nothing scored"]
    rows = [
        ("accuracy", "accuracy", 100),
        ("macro F1", "macro_f1", 100),
        ("weighted precision", "weighted_precision", 100),
        ("weighted recall", "weighted_recall", 100),
        ("weighted F1", "weighted_f1", 100),
        ("ECE", "ece", 1),
    ]
    parts = list(scored)
    lines = [about, f"{'':20}" + "".join(f"{name.replace('_', '-'):>26}" for name in parts)]
    lines.append(f"{'images':20}" + "".join(f"{scored[part]['n']:>26,}" for part in parts))
    for title, key, scale in rows:
        if key in scored[parts[0]]:
            lines.append(f"{title:20}" + "".join(f"{_interval(scored[part][key], scale):>26}" for part in parts))
    for name in scored[parts[0]]["labels"]:
        cells = (_interval(scored[part]["per_class"][name]["recall"], 100) for part in parts)
        lines.append(f"{'recall ' + name:20}" + "".join(f"{cell:>26}" for cell in cells))
    if "calibration" in report:
        held = report["calibration"]["held_out"]
        lines.append(f"{'ECE, cross-fitted':20}" + "".join(f"{_interval(held[part]['ece'], 1):>26}" for part in parts))
    if scored[parts[0]]["failures"]:
        lines.append(f"{'no face found':20}" + "".join(f"{scored[part]['failures']:>26,}" for part in parts))
    return lines


def _interval(figure: dict[str, float | None], scale: float) -> str:
    if figure["value"] is None:
        return "–"
    value, low, high = (float(figure[key] or 0) * scale for key in ("value", "low", "high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if scale == 100 else f"{value:.4f} [{low:.4f}, {high:.4f}]"
