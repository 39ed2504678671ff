"""``mien models``: the readers that ship, and the networks that a recipe can name."""

from typing import Annotated, Any

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """List the shipped readers and, where the train extra is installed, the networks that recipes can name.

    Example: mien models --json
    """
    import json
    from importlib.util import find_spec

    from mien.reading.classifier import SHIPPED, Classifier

    readers = []
    for name, summary in SHIPPED.items():
        meta = Classifier.load(name, threads=1).meta
        readers.append(
            {
                "name": name,
                "summary": summary,
                "labels": list(meta.labels),
                "input": f"{meta.preprocess.size}×{meta.preprocess.size} {meta.preprocess.color}",
                "temperature": round(meta.temperature, 4),
            }
            | {key: meta.provenance[key] for key in ("parameters", "valid_accuracy") if key in meta.provenance}
        )
    networks: list[dict[str, Any]] = []
    if find_spec("torch") is not None and find_spec("timm") is not None:
        from mien.models.registry import all_specs, measure

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
                }
            )
    if as_json:
        typer.echo(json.dumps({"readers": readers, "networks": networks}, indent=2, ensure_ascii=False))
        return
    typer.echo("shipped readers (mien read --model NAME)")
    for reader in readers:
        typer.echo(f"  {reader['name']:10} {reader['input']:14} {reader['summary']}")
    typer.echo("networks (model.name of a recipe)")
    for entry in networks:
        size = f"{entry['parameters'] / 1e6:.2f} M, {entry['macs'] / 1e6:.0f} MMAC"
        typer.echo(f"  {entry['name']:10} {entry['input']:14} {size:20} {entry['source']}: {entry['summary']}")
    if not networks:
        typer.echo("  install torch to list them: pip install 'mien[train]'")
