"""``mien data``: build a store from public data sets, and inspect it.

The tables go to stdout (``--json`` for a machine); progress, the detected layout and warnings to stderr.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.data_audit import audit
from mien.errors import DataError, RecipeError, UsageError
from mien.showable import showable

if TYPE_CHECKING:
    from mien.data.build.recipe import BuildRecipe

data = typer.Typer(name="data", no_args_is_help=True, help="Build a store from public data sets, and inspect it.")

RecipeArgument = Annotated[
    str | None, typer.Argument(metavar="RECIPE", help="A build recipe: a YAML file, or the name of a shipped one.")
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="NAME=PATH", help="A data set as downloaded, e.g. fer2013=DIR. May repeat."),
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="STORE", help="The directory to write.")]
SizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto|keep", help="Side in pixels; auto: the largest common side of the sources, up to 224."
    ),
]
ColorOption = Annotated[str | None, typer.Option(metavar="grey|rgb|auto|keep", help="Colour of every picture.")]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="seven|eight|auto|own",
        help="Label set; auto: eight if a source has contempt; own: classes of your own, from folder names or labels.",
    ),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="yunet or centerface, for sources that are not crops; default: yunet."),
]
JpegOption = Annotated[
    int | None, typer.Option("--jpeg", metavar="QUALITY", help="Store JPEGs (1-100, lossy) in place of PNGs.")
]
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of new splits and generated images; default: 0, or the recipe's.")
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Decoding processes; default: one per core.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace STORE even if it contains files other than a store's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of a table.")]


@data.command("build")
def build(
    out: OutOption,
    recipe: RecipeArgument = None,
    source: SourceOption = None,
    size: SizeOption = None,
    color: ColorOption = None,
    labels: LabelsOption = None,
    detector: DetectorOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn data sets into one store of Parquet shards.

    The layout of each is detected. A recipe can also set splits, balance and a mapping of labels.
    After an interruption, the same command resumes the build.
    pandas, DuckDB and `datasets.load_dataset` can read the store.

    Example: mien data build --source fer2013=data/fer2013 -o stores/fer2013
    """
    if recipe is None and not source:
        raise typer.BadParameter("expected a recipe, or --source NAME=PATH (which may repeat)")
    from mien.cli.progress import Countdown
    from mien.data.build.run import build_store, check_target
    from mien.data.build.staging import home_of
    from mien.errors import require
    from mien.onnx_runtime import default_threads

    require("scipy", "jinja2", extra="train")
    check_target(out, overwrite=overwrite)
    options = {"size": size, "color": color, "labels": labels, "detector": detector, "jpeg": jpeg, "seed": seed}
    plan = _recipe(recipe, source or [], {key: value for key, value in options.items() if value is not None})
    sources = plan.open_sources()
    for found in sources:
        _say(f"{found.name}: layout {found.layout} ({', '.join(file.name for file in found.files)})")
    try:
        with Countdown("reading", noun="images", closing=False) as progress:
            summary = build_store(
                sources,
                out,
                standard=plan.standard(),
                splits=plan.split_settings(),
                balance=plan.balance_settings(),
                workers=workers or default_threads(),
                overwrite=overwrite,
                progress=progress,
                on_note=_say,
            )
    except BaseException as error:
        if (kept := home_of(out)).is_dir():
            # what is wrong with the settings or the data would be wrong again
            same = isinstance(error, DataError | UsageError | RecipeError)
            on = "the next build does not read them again" if same else "the same command resumes"
            _say(f"finished parts are kept in {kept}: {on}; delete it to start over")
        raise
    _warn(summary, out)
    _say(f"wrote {out}")
    _show(summary, as_json=as_json)


@data.command("stats")
def stats(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that `mien data build` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Count what a store holds: images by split and class, votes, sizes, near-duplicates of Training, drops."""
    from mien.data.store import Store

    _show(Store.open(store).summary, as_json=as_json)


data.command("audit")(audit)


def _recipe(recipe: str | None, sources: list[str], options: dict[str, Any]) -> "BuildRecipe":
    """The recipe of this build, from a file, options, or both. Raises UsageError, RecipeError."""
    from mien.data.build.recipe import load_build_recipe, split_source
    from mien.errors import UsageError, require

    if recipe is not None:
        require("yaml", extra="train")
    places: dict[str, Path] = {}
    for text in sources:
        name, path = split_source(text)
        if name in places:
            raise UsageError(f"expected each source once, got {name} twice", hint="a recipe can give each a name")
        places[name] = path
    if isinstance(options.get("size"), str) and options["size"].isdecimal():
        options["size"] = int(options["size"])
    return load_build_recipe(recipe, sources=places, options=options)


def _warn(summary: dict[str, Any], out: Path) -> None:
    """Warnings and notes on the build, on stderr."""
    for text in summary["warnings"]:
        _say(f"warning: {text}")
    for part in summary["sources"]:
        for text in (*part["warnings"], *part["differences"]):
            _say(f"warning: {part['name']}: {text}")
        for reason, number in part["dropped"].items():
            _say(f"warning: {part['name']}: {number:,} dropped: {reason} (listed in {out / 'dropped.csv'})")


def _say(text: str) -> None:
    typer.echo(showable(text), err=True)


def _show(summary: dict[str, Any], *, as_json: bool) -> None:
    from mien.cli.data_stats import stats_lines

    if as_json:
        typer.echo(json.dumps(summary, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        return
    try:
        lines = stats_lines(summary)
    except KeyError as error:
        raise DataError(
            f"expected a store's summary with the key {error}, got one without", hint="build it again"
        ) from error
    typer.echo(showable("\n".join(lines)))
