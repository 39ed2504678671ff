"""``mien models``: the readers that ship, and the networks that a recipe can name."""

from typing import Annotated, Any

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False) -> None:
    """List the shipped readers and, where the train extra is installed, the networks that recipes can name.

    Parameters and multiply-accumulates are counted for one picture at the network's default input size. Any network of
    timm's can be named as well, as timm/NAME.

    Example: mien models --json
    """
    import json

    readers, networks = shipped_readers(), registered_networks()
    if as_json:
        typer.echo(json.dumps({"readers": readers, "networks": networks}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table("reader", "input", "parameters", "what it is", title="mien read --model NAME", title_justify="left")
    for reader in readers:
        table.add_row(reader["name"], reader["input"], _count(reader.get("parameters")), reader["summary"])
    console = Console()
    console = Console(width=max(console.width, 120)) if not console.is_terminal else console
    console.print(table)
    if networks is None:
        typer.echo("networks: install the workbench to list them: pip install 'mien[train]'")
        return
    table = Table(
        Column("network", no_wrap=True),
        "parameters",
        "MACs",
        "input",
        "paper",
        "recipes",
        title="model.name of a recipe",
        title_justify="left",
    )
    for entry in networks:
        recipes = "\n".join(name.removeprefix(f"{entry['name']}/") for name in entry["recipes"])
        table.add_row(
            entry["name"], _count(entry["parameters"]), _count(entry["macs"]), entry["input"], entry["source"], recipes
        )
    console.print(table)
    typer.echo("mien train NETWORK/RECIPE --data STORE -o RUN; any network of timm's as timm/NAME")


def shipped_readers() -> list[dict[str, Any]]:
    """name, summary, labels, input, temperature and, where the file has them, parameters and accuracy."""
    from mien.reading.classifier import SHIPPED, Classifier

    readers = []
    for name, summary in SHIPPED.items():
        meta = Classifier.load(name, threads=1).meta
        readers.append(
            {
                "name": name,
                "summary": summary,
                "labels": list(meta.labels),
                "input": f"{meta.preprocess.input_size}×{meta.preprocess.input_size} {meta.preprocess.color}",
                "temperature": round(meta.temperature, 4),
            }
            | {key: meta.provenance[key] for key in ("parameters", "valid_accuracy") if key in meta.provenance}
        )
    return readers


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


def _count(number: int | None) -> str:
    if number is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number / 1e6:.2f} M"
