"""``mien export``: run directory → ONNX file with its meaning inside, through the parity gate."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory from [bold]mien train[/bold].")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="The file to write.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="STORE", help="Fit the temperatures on the recipe's validation split of STORE."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits: half the file.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="The model's name; the recipe's by default.")] = None,
) -> None:
    """Write a trained network as ONNX: labels, preprocess, temperatures and provenance travel inside.

    torch and ONNX Runtime must agree on it, or no file is written.
    Without --data probabilities stay uncalibrated.

    Example: mien export runs/compact --data stores/fer2013 --half -o compact.onnx
    """
    from mien.cli.extras import require

    require("torch", "timm", "lightning", "onnxscript", "yaml", extra="train")
    from mien.data.store import Store
    from mien.evaluation.evaluate import fit_temperatures
    from mien.evaluation.predictors import RunPredictor
    from mien.export import export_run

    temperature, temperature_tta = 1.0, 1.0
    if data is not None:
        store, predictor = Store.open(data), RunPredictor(run)
        print(f"fitting temperatures on {predictor.validation} …", file=sys.stderr)
        temperature, temperature_tta = fit_temperatures(predictor, store.read(predictor.validation))
    else:
        print("note: no --data, so the temperature is 1: probabilities are not calibrated", file=sys.stderr)
    measured = export_run(
        run,
        out,
        name=name,
        temperature=temperature,
        temperature_tta=temperature_tta,
        half=half,
        calibrated=data is not None,
    )
    print(
        f"{out}: {measured['bytes'] / 1e6:.2f} MB, temperature {temperature:.3f} (ten crops {temperature_tta:.3f}), "
        f"parity {measured['max_probability_difference']:.1e}",
        file=sys.stderr,
    )
