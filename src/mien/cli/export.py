"""``mien export``: from a run directory to an ONNX file that has passed the parity gate."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.evaluation.predictors import RunPredictor
    from mien.reading.probabilities import Calibration


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="A run directory from [bold]mien train[/bold]; with --int8 also an ONNX file or a shipped reader.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="The file to write.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="STORE", help="Fit the calibration on the recipe's validation split of STORE."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits, which halves the file.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="The model's name; the recipe's by default.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where to fit: auto, cpu or gpu.")] = "auto",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Fit on N images, spread over the split; noted in the file.")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise to eight bits; needs --data."),
    ] = False,
    reduce_range: Annotated[
        bool, typer.Option("--reduce-range", help="With --int8: weights of seven bits, for processors without VNNI.")
    ] = False,
    tta: Annotated[
        bool,
        typer.Option("--tta/--no-tta", help="Also fit the calibration for ten crops: takes ten times as long."),
    ] = True,
) -> None:
    """Export a trained network to ONNX, with labels, preprocessing, calibration and provenance in the file.

    No file is written unless torch and ONNX Runtime agree.
    Without --data, probabilities are not calibrated. With it, a temperature and a floor are fitted on the
    validation split: for a single crop, and for the ten crops of mien read --tta. With --no-tta both use the first.

    --int8 calibrates activation ranges on Training; the file is written only if accuracy, agreement, calibration and
    accuracy under corruption stay near those of fp32 (docs/speed.md).

    Example: mien export runs/compact --data stores/fer2013 --half -o compact.onnx
    """
    from mien.errors import require

    require("torch", "timm", "lightning", "onnxscript", "yaml", extra="train")
    from mien.atomic import keep_input
    from mien.errors import UsageError
    from mien.export import check_target, export_run

    check_target(out)
    keep_input(out, [run])
    if limit and data is None:
        raise UsageError("--limit: expected --data STORE with it, got none", hint="there is nothing to fit on")
    if reduce_range and not int8:
        raise UsageError("--reduce-range: expected --int8 with it")
    if int8:
        if data is None:
            raise UsageError("--int8: expected --data STORE with it, got none", hint="ranges and calibration need it")
        _int8(run, out, data, name=name, device=device, reduce_range=reduce_range, tta=tta, limit=limit)
        return
    one, ten, fitted_on = None, None, None
    if data is not None:
        from mien.evaluation.predictors import RunPredictor

        one, ten, fitted_on = _fit(RunPredictor(run, device=device), data, tta=tta, limit=limit)
    else:
        print("note: no --data, so probabilities are not calibrated", file=sys.stderr)
    measured = export_run(
        run,
        out,
        name=name,
        calibration=one,
        calibration_tta=ten,
        half=half,
        fitted_on=fitted_on,
    )
    told = "not calibrated" if one is None else f"{_told(one)} (ten crops {_told(ten or one)})"
    print(
        f"{out}: {measured['bytes'] / 1e6:.2f} MB, {told}, parity {measured['max_probability_difference']:.1e}",
        file=sys.stderr,
    )


def _int8(
    run: Path, out: Path, data: Path, *, name: str | None, device: str, reduce_range: bool, tta: bool, limit: int | None
) -> None:
    """Quantise a run, an ONNX file or a shipped reader."""
    import tempfile

    from mien.cli.progress import Countdown
    from mien.data.store import Store
    from mien.evaluation.analysis.int8 import export_int8
    from mien.onnx_file import metadata
    from mien.reading.classifier import SHIPPED, ModelMeta, model_bytes

    if str(run) in SHIPPED or run.suffix == ".onnx":
        source = model_bytes(str(run))
        recipe = ModelMeta.parse(metadata(source), where=str(run)).provenance.get("recipe", {})
        split = recipe.get("data", {}).get("validation", "public_test")
    else:
        from mien.evaluation.predictors import RunPredictor
        from mien.export import export_run

        split = RunPredictor(run, device=device).validation
        with tempfile.TemporaryDirectory() as folder:
            fp32 = Path(folder) / "fp32.onnx"
            export_run(run, fp32, name=name)
            source = fp32.read_bytes()
    with Countdown("fitting", noun="views") as progress:
        measured = export_int8(
            source,
            out,
            Store.open(data),
            split=split,
            tta=tta,
            limit=limit,
            reduce_range=reduce_range,
            progress=progress,
        )
    print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB, {measured.split}: accuracy {measured.accuracy_int8:.2%} "
        f"(fp32 {measured.accuracy_fp32:.2%}), the same expression for {measured.agreement:.2%}, "
        f"ECE {measured.ece_int8:.4f} ({measured.ece_fp32:.4f}), "
        f"corrupted {measured.corrupted_int8:.2%} ({measured.corrupted_fp32:.2%})",
        file=sys.stderr,
    )


def _fit(
    predictor: "RunPredictor", data: Path, *, tta: bool, limit: int | None
) -> tuple["Calibration", "Calibration | None", str | None]:
    """The calibrations for one crop and for ten, and what they were fitted on where that is not the whole split.

    An estimate of the time is printed first.
    """
    from mien.cli.progress import Countdown, duration
    from mien.data.store import Store
    from mien.evaluation.calibration import FEW
    from mien.evaluation.predict import fit_calibrations
    from mien.evaluation.predictors import seconds_a_view

    split = Store.open(data).read(predictor.validation).labelled()
    images, views = min(limit or len(split), len(split)), 11 if tta else 1
    whole = images == len(split)
    fitted_on = f"{predictor.validation}, {images:,} of {len(split):,} images"
    rows = 32 if predictor.device.type == "cuda" else 4
    expected = images * views * seconds_a_view(predictor, rows=rows)
    if images < FEW:
        print(f"note: {images} images are few to fit a calibration on: it is rough", file=sys.stderr)
    print(
        f"fitting the calibration on {predictor.validation if whole else fitted_on}, "
        f"{views} view{'s' if tta else ''} of each, on the {predictor.device.type}: about {duration(expected)}",
        file=sys.stderr,
        flush=True,
    )
    if expected > 600:
        print("note: --device gpu, --no-tta and --limit N make it shorter", file=sys.stderr, flush=True)
    with Countdown("fitting", noun="views") as progress:
        one, ten = fit_calibrations(predictor, split, tta=tta, limit=limit, progress=progress)
    return one, ten, None if whole else fitted_on


def _told(calibration: "Calibration") -> str:
    return f"temperature {calibration.temperature:.3f}, floor {calibration.floor:.4f}"
