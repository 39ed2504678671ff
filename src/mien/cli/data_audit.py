"""``mien data audit``: what is wrong with a store. The findings go to stdout, progress to stderr."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mien.data.audit.result import Audit


def audit(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that `mien data build` wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write the report here; it will contain images.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of the findings.")] = False,
    threshold: Annotated[
        float, typer.Option(metavar="R", help="Correlation above which images are near-duplicates, 0.5-1.")
    ] = 0.99,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="D", help="Largest mean difference (grey levels, 0-255) between images that count as equal."
        ),
    ] = 1.0,
    faces: Annotated[
        bool, typer.Option("--faces", help="Also run the face detector on every image: takes minutes.")
    ] = False,
    examples: Annotated[int, typer.Option(min=1, metavar="N", help="Images shown for each finding.")] = 48,
) -> None:
    """Find what is wrong with a store: copies across splits, contradicting labels, blank pictures, imbalance.

    With -o DIR: audit.html (one file, with examples), audit.json, contact sheets, and a table of all images
    with their groups of copies. The report contains images of the data set.

    Example: mien data audit stores/fer2013 -o audits/fer2013
    """
    from mien.cli.progress import Countdown
    from mien.data.audit.run import audit_store
    from mien.errors import require

    require("scipy", extra="train")
    detector: Any = None
    workers = 1
    if faces:
        from mien.faces.detector import DEFAULT_DETECTOR, make_detector
        from mien.onnx_runtime import default_threads

        detector, workers = make_detector(DEFAULT_DETECTOR), default_threads()
    with Countdown("reading", noun="images", closing=False) as progress:
        result = audit_store(
            store,
            out=out,
            threshold=threshold,
            tolerance=tolerance,
            examples=examples,
            detector=detector,
            workers=workers,
            progress=progress,
        )
    if out is not None:
        typer.echo(f"wrote {out / 'audit.html'}; it contains images of the data set", err=True)
    typer.echo(
        json.dumps(result.content(), indent=2, ensure_ascii=False) if as_json else "\n".join(audit_lines(result))
    )


def audit_lines(result: "Audit") -> list[str]:
    """The findings, one a line, the gravest first, under a line that says what was searched."""
    head = f"{result.images.all:,} images, {result.images.searched:,} searched for copies"
    width = max(len(item.level) for item in result.findings)
    return [head, *(f"{item.level.ljust(width)}  {item.text}" for item in result.findings)]
