"""``mien analyse KIND RUN…``: one of the analyses of ``evaluation/analysis``; its main numbers go to stdout."""

import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import UsageError
from mien.evaluation.analysis import KINDS


def analyse(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS) + ".")],
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Run directories; for errors and corruptions also ONNX files, compact and nano."
        ),
    ],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to analyse, e.g. public_test.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The directory for report and figures.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only N labelled images, spread over the split.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or gpu.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed for resamples, directions, examples and noise.")] = 0,
    points: Annotated[
        int | None, typer.Option("--points", min=3, help="landscape: points along a direction (odd; 21).")
    ] = None,
    span: Annotated[
        float | None, typer.Option("--span", help="landscape: length of a direction to each side (1.0).")
    ] = None,
    examples: Annotated[
        int | None,
        typer.Option("--examples", min=1, help="attention: images per class (4); errors: images on the sheet (40)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Analyse finished runs beyond accuracy. DIR gets KIND.json and figures as PNG and SVG.

    [bold]features[/bold]: clusters before and after the SE block (swin_t_se, vit_hybrid_se), class distances.

    [bold]landscape[/bold]: the loss around the weights, top Hessian eigenvalue, SAM's sharpness; can be resumed.

    [bold]attention[/bold]: Grad-CAM, and U-Net masks (resnet34_unet_eca, resmaskingnet).

    [bold]errors[/bold]: the most confident errors, the pairs most confused.

    [bold]corruptions[/bold]: accuracy under nine corruptions, five severities each; can be resumed.

    [bold]masks[/bold]: accuracy with every U-Net mask replaced by a uniform one.

    Example: mien analyse corruptions compact nano --data stores/fer2013 --split public_test -o out/robustness
    """
    if kind not in KINDS:
        raise UsageError(f"expected a kind of analysis ({', '.join(KINDS)}), got {kind!r}")
    from mien.cli.progress import Countdown
    from mien.cli.streams import typed
    from mien.errors import require

    require("torch", "timm", "lightning", "sklearn", "matplotlib", "yaml", extra="train")
    module = import_module(f"mien.evaluation.analysis.{kind}")
    run = getattr(module, kind)
    own = {"points": points, "span": span, "examples": examples}
    chosen = {name: value for name, value in own.items() if value is not None}
    for name in chosen:
        if name not in inspect.signature(run).parameters:
            raise UsageError(f"--{name}: {kind} has no such option", hint="see mien analyse --help")
    from mien.data.store import Store
    from mien.evaluation.analysis.inputs import Settings

    with Countdown(kind) as advance:
        settings = Settings(runs, Store.open(data), split, out, limit, device, seed, typed(), advance)
        report: dict[str, Any] = run(settings, **chosen)
    print(f"wrote {out}", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(module.headline(report)))
