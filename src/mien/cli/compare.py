"""``mien compare``: one table of several models on the same images, tested against the first."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mien.errors import UsageError


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Run directories, ONNX files, reader names, or what mien evaluate wrote."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="STORE", help="The store, for models that have not been evaluated yet."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="The split to evaluate on.")] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Evaluate with ten crops.")] = False,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="md, csv, json or html.")] = "md",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write here instead of to stdout.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only N images, spread over the split.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of bootstrap and cross-fitting.")] = 0,
    device: Annotated[str, typer.Option("--device", help="For run directories: auto, cpu or gpu.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")] = None,
) -> None:
    """Compare models on the same images: size, accuracy on all and leak-free images, F1, ECE, speed, McNemar's test.

    The others are tested against the first one named. A run's evaluation is kept in RUN/evaluation/ and used
    again while store and checkpoint are the same.

    Example: mien compare runs/compact nano --data stores/fer2013 --split public_test
    """
    from mien.cli.progress import Countdown
    from mien.cli.streams import typed
    from mien.errors import require

    if form not in ("md", "csv", "json", "html"):
        raise UsageError(f"--format: expected md, csv, json or html, got {form!r}")
    if (data is None) != (split is None):
        raise UsageError("expected --data and --split together, got one of them")
    if len(models) < 2:
        raise UsageError(f"expected two or more models to compare, got {len(models)}")
    require("sklearn", "scipy", "matplotlib", "jinja2", extra="train")
    if any((Path(model) / "recipe.yaml").is_file() for model in models):
        require("torch", "timm", "lightning", "yaml", extra="train")
    from mien.atomic import write_text
    from mien.data.store import Store
    from mien.evaluation.compare import collect, compare_models
    from mien.evaluation.compare_table import FORMS

    store = None if data is None else Store.open(data)
    with Countdown("predicting", noun="images") as advance:
        rows = collect(
            models, store=store, split=split, tta=tta, limit=limit, seed=seed, threads=threads, device=device,
            command=typed(), progress=advance, say=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    text = FORMS[form](compare_models(rows, seed=seed))
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        print(f"wrote {out}", file=sys.stderr)
