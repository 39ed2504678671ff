"""``mien reproduce``: a paper's table from one command: every arm is trained, selected, scored and plotted."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    paper: Annotated[str, typer.Argument(metavar="PAPER", help="paper-a or paper-b.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The directory for runs, table and figures.")],
    preset: Annotated[
        str, typer.Option("--preset", help="smoke: minutes on two cores. cpu: hours. full: for a GPU.")
    ] = "smoke",
    recipes: Annotated[
        str | None,
        typer.Option("--recipes", help="Which recipes, instead of the preset's: paper or scratch."),
    ] = None,
    arms: Annotated[str | None, typer.Option("--arms", help="Only these arms, separated by commas.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Seeds, instead of the preset's: e.g. 0,1,2.")] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="SPLIT", help="Split to train on. Default: training or train.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation", metavar="SPLIT", help="Split that selects. Default: public_test, validation or val."
        ),
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", metavar="SPLIT", help="Split to score. Default: private_test or test.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of every arm's recipe. May repeat."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or gpu.")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of torch.")] = None,
) -> None:
    """Train and score every arm of a paper's table. After an interruption, the same command resumes.

    DIR gets table.md, table.csv, table.json, report.html and figures; DIR/runs holds each run.
    Exit status 1: some runs failed; the table shows the others.

    Example: mien reproduce paper-a --data stores/fer2013 -o out/paper-a --preset smoke
    """
    from mien.errors import require

    require("torch", "timm", "torchvision", "lightning", "sklearn", "matplotlib", "jinja2", "yaml", extra="train")
    from mien.data.store import Store
    from mien.reproduce import study as studies

    failed = studies.reproduce(
        paper,
        Store.open(data),
        out,
        preset_name=preset,
        flavour=recipes,
        arms=[name.strip() for name in arms.split(",")] if arms is not None else [],
        seeds=seeds,
        parts=(train, validation, test),
        sets=sets or [],
        accelerator=device,
        threads=threads,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print((out / "table.md").read_text("utf-8"))
    print(f"wrote {out}", file=sys.stderr)
    raise typer.Exit(1 if failed else 0)
