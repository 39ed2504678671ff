"""``mien analyse KIND RUN…``: one of the analyses of ``evaluation/analysis``, its headline numbers on stdout."""

import inspect
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.errors import UsageError
from mien.evaluation.analysis import KINDS

_LINE_EVERY_S = 5.0


def analyse(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS) + ".")],
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories; see below for ONNX files.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    split: Annotated[str, typer.Option("--split", metavar="NAME", help="The split to analyse, e.g. public_test.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where report and figures go.")],
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only N labelled images, spread over the split.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or gpu.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of resamples, directions, examples and noise.")] = 0,
    points: Annotated[
        int | None, typer.Option("--points", min=3, help="landscape: points along a direction (odd; 21).")
    ] = None,
    span: Annotated[float | None, typer.Option("--span", help="landscape: how far to each side (1.0).")] = None,
    examples: Annotated[
        int | None, typer.Option("--examples", min=1, help="attention: a class (4); errors: on the sheet (40).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Look into finished runs: what accuracy alone does not say. DIR gets KIND.json and figures as PNG and SVG.

    [bold]features[/bold]: clusters before and after the SE block (swin_t_se, vit_hybrid_se), class distances.

    [bold]landscape[/bold]: the loss around the weights, top Hessian eigenvalue, SAM's sharpness; resumes.

    [bold]attention[/bold]: Grad-CAM, and U-Net masks (resnet34_unet_eca, resmaskingnet).

    [bold]errors[/bold]: the most confident errors, the pairs most confused.

    [bold]corruptions[/bold]: accuracy under nine corruptions, five severities each; resumes.

    [bold]masks[/bold]: accuracy with every U-Net mask replaced by a uniform one.

    errors and corruptions also take ONNX files, compact and nano.

    Example: mien analyse corruptions compact nano --data stores/fer2013 --split public_test -o out/robustness
    """
    if kind not in KINDS:
        raise UsageError(f"expected a kind of analysis ({', '.join(KINDS)}), got {kind!r}")
    from mien.cli.extras import require

    require("torch", "timm", "lightning", "sklearn", "matplotlib", "yaml", extra="train")
    module = import_module(KINDS[kind].module)
    run = getattr(module, KINDS[kind].function)
    own = {"points": points, "span": span, "examples": examples}
    chosen = {name: value for name, value in own.items() if value is not None}
    for name in chosen:
        if name not in inspect.signature(run).parameters:
            raise UsageError(f"--{name}: {kind} has no such option", hint="see mien analyse --help")
    from mien.data.store import Store

    command = " ".join(["mien", *sys.argv[1:]])
    with _Steps(kind) as steps:
        report: dict[str, Any] = run(
            runs,
            Store.open(data),
            split,
            out,
            limit=limit,
            device=device,
            seed=seed,
            command=command,
            progress=steps,
            **chosen,
        )
    print(f"wrote {out}", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(module.headline(report)))


class _Steps:
    """Progress on stderr with the time that is left: one line that renews itself on a terminal, else one every 5 s."""

    def __init__(self, what: str) -> None:
        self._what, self._terminal = what, sys.stderr.isatty()
        self._first: tuple[float, int] | None = None
        self._last = time.monotonic()

    def __enter__(self) -> "_Steps":
        return self

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None or done < self._first[1]:  # what was there already took no time
            self._first = (now, done)
        if now - self._last < (0.2 if self._terminal else _LINE_EVERY_S) and done < total:
            return
        self._last = now
        started, already = self._first
        left = (now - started) / (done - already) * (total - done) if done > already else None
        text = f"{self._what}: {done:,} of {total:,}" + (
            "" if left is None or done == total else f", {_time(left)} left"
        )
        print(
            f"\r{text:70}" if self._terminal else text, file=sys.stderr, end="" if self._terminal else "\n", flush=True
        )

    def __exit__(self, *problem: object) -> None:
        if self._terminal and self._first is not None:
            print("\r" + " " * 70 + "\r", file=sys.stderr, end="", flush=True)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
