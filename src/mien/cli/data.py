"""``mien data``: from public data sets to a store, and what a store holds.

The tables go to stdout (``--json`` for a machine); progress, the detected layout and warnings to stderr.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

data_app = typer.Typer(
    name="data", no_args_is_help=True, help="Build a store from public data sets, and look at what it holds."
)

SourceOption = Annotated[
    list[str],
    typer.Option(
        "--source", metavar="NAME=PATH", help="A data set as it lies on the disk, e.g. fer2013=DIR. May repeat."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="STORE", help="The directory to write.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace STORE even where it holds files that are not a store of ours.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")]


@data_app.command("build")
def build(
    source: SourceOption, out: OutOption, overwrite: OverwriteOption = False, as_json: JsonOption = False
) -> None:
    """Turn data sets into one store of Parquet shards.

    The layout of each is detected. The store opens in pandas, DuckDB and `datasets.load_dataset` as well.

    Example: mien data build --source fer2013=data/fer2013 -o stores/fer2013
    """
    from mien.data.build import build_store, check_target
    from mien.data.sources import parse_source
    from mien.errors import UsageError

    check_target(out, overwrite=overwrite)
    sources = [parse_source(text) for text in source]
    names = [found.name for found in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"expected each source once, got {', '.join(names)}")
    for found in sources:
        _say(f"{found.name}: layout {found.layout} ({', '.join(file.name for file in found.files)})")
    with _progress() as bar:
        task = bar.add_task("reading", total=None)
        summary = build_store(
            sources,
            out,
            overwrite=overwrite,
            progress=lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
        )
    for part in summary["sources"]:
        for text in (*part["warnings"], *part["differences"]):
            _say(f"warning: {part['name']}: {text}")
        for reason, number in part["dropped"].items():
            _say(f"warning: {part['name']}: {number:,} dropped: {reason} (listed in {out / 'dropped.csv'})")
    _say(f"wrote {out}")
    _show(summary, as_json=as_json)


@data_app.command("stats")
def stats(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that `mien data build` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Count what a store holds: images by split and class, votes, sizes, near-duplicates of Training, drops."""
    from mien.data.store import Store

    _show(Store.open(store).summary, as_json=as_json)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(summary, indent=2, ensure_ascii=False) if as_json else "\n".join(stats_lines(summary)))


def stats_lines(summary: dict[str, Any]) -> list[str]:
    """The table of a store's summary: one row a class, one column a split, in plain text that pipes and diffs well."""
    splits = summary["splits"]
    rows: list[tuple[str, list[str]]] = [("", list(splits))]
    for name in (*summary["labels"], "unlabelled"):
        numbers = [split["counts"].get(name, 0) for split in splits.values()]
        if name != "unlabelled" or any(numbers):
            rows.append((name, [f"{n:,}" for n in numbers]))
    rows.append(("images", [f"{split['rows']:,}" for split in splits.values()]))
    rows.append(("with FER+ votes", [f"{split['with_votes']:,}" for split in splits.values()]))
    near = [split["near_duplicates_in_training"] for split in splits.values()]
    rows.append(("near-duplicates in Training", ["–" if n is None else f"{n:,}" for n in near]))
    rows.append(("size", [", ".join(split["image_sizes"]) for split in splits.values()]))
    head = max(len(name) for name, _ in rows)
    widths = [max(len(row[i]) for _, row in rows) for i in range(len(splits))]
    lines = [
        "  ".join([name.ljust(head), *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))]).rstrip()
        for name, row in rows
    ]
    for source in summary["sources"]:
        lines += ["", f"source {source['name']}, layout {source['layout']}", f"  {source['licence']}"]
        lines += [f"  differs from the published counts: {text}" for text in source["differences"]]
        lines += [f"  dropped: {number:,} {reason}" for reason, number in source["dropped"].items()]
    return lines
