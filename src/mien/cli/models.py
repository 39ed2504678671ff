"""``mien models``: the shipped readers, and the networks that a recipe can name."""

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.pages.format import magnitude

if TYPE_CHECKING:
    from rich.table import Table

#: Columns of text that the whole table needs; output that is no terminal is as wide.
WIDE = 120


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False) -> None:
    """List the shipped readers and, if the extra train is installed, the networks that recipes can name.

    Parameters and multiply-accumulates are counted for one picture at the network's default input size. Any network of
    timm can be named as well, as timm/NAME.

    Example: mien models --json
    """
    import json

    readers, networks = shipped_readers(), registered_networks()
    if as_json:
        typer.echo(json.dumps({"readers": readers, "networks": networks}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("reader", "input", "parameters", "what it is", title="mien read --model NAME", title_justify="left")
    for reader in readers:
        table.add_row(reader["name"], reader["input"], magnitude(reader.get("parameters")), reader["summary"])
    console = Console()
    console = Console(width=max(console.width, WIDE)) if not console.is_terminal else console
    console.print(table)
    if networks is None:
        typer.echo("networks: install the workbench to list them: pip install 'mien[train]'")
        return
    console.print(_network_table(networks, wide=console.width >= WIDE))
    alone = [name for entry in networks for name in entry["recipes"] if "/" not in name]
    by_name = textwrap.fill(
        f"(by name alone: {', '.join(alone)})", 72, initial_indent=16 * " ", subsequent_indent=17 * " ",
        break_on_hyphens=False,
    )  # fmt: skip
    typer.echo(
        "train one:      mien train NETWORK/RECIPE --data STORE -o RUN\n"
        f"{by_name}\n"
        "any of timm's:  mien train cbam_resnet50/scratch --data STORE -o RUN \\\n"
        "                  --set model.name=timm/NAME --set name=MY-RUN"
    )


def _network_table(networks: list[dict[str, Any]], *, wide: bool) -> "Table":
    """One row a network. In a narrow terminal its sizes are stacked, so that no name is cut."""
    from rich.table import Column, Table

    sizes = ("parameters", "MACs", "input") if wide else ("size",)
    table = Table(
        Column("network", no_wrap=True),
        *(Column(name, no_wrap=True) for name in sizes),
        Column("paper", overflow="fold"),
        Column("recipes", no_wrap=True),
        title="model.name of a recipe",
        title_justify="left",
    )
    for entry in networks:
        parameters, macs = magnitude(entry["parameters"]), magnitude(entry["macs"])
        cells = [parameters, macs, entry["input"]] if wide else [f"{parameters}\n{macs}MAC\n{entry['input']}"]
        recipes = "\n".join(name.removeprefix(f"{entry['name']}/") for name in entry["recipes"])
        table.add_row(entry["name"], *cells, entry["source"], recipes)
    return table


def shipped_readers() -> list[dict[str, Any]]:
    """What ``mien.reading.classifier.describe`` says of each."""
    from mien.reading.classifier import SHIPPED, Classifier, describe

    return [describe(name, Classifier.load(name, threads=1)) for name in SHIPPED]


def registered_networks() -> list[dict[str, Any]] | None:
    """name, source, parameters, macs, input, summary and recipes; None where the train extra is not installed."""
    from importlib.util import find_spec

    if any(find_spec(package) is None for package in ("torch", "timm", "torchvision", "yaml")):
        return None
    from mien.models.registry import all_specs, measure
    from mien.training.recipe import recipes_by_network

    recipes, networks = recipes_by_network(), []
    for spec in all_specs():
        parameters, macs = measure(spec)
        networks.append(
            {
                "name": spec.name,
                "source": spec.source,
                "parameters": parameters,
                "macs": macs,
                "input": f"{spec.input_sizes[0]}×{spec.input_sizes[0]} {spec.color}",
                "summary": spec.summary,
                "recipes": recipes.get(spec.name, []),
            }
        )
    return networks
