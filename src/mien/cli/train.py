"""``mien train``: recipe + store → run directory."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

#: Exit status by signal, as a shell has it.
_SIGNALS = {130: "interrupted", 143: "terminated"}


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="A store from [bold]mien data build[/bold].")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run directory to write.")],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a key of the recipe, e.g. optimizer.lr=0.05. May repeat."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume RUN; the result equals that of an uninterrupted run.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or gpu.")] = "auto",
    devices: Annotated[
        int | None, typer.Option("--devices", min=1, help="Processes (GPUs) of this machine that share each batch.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, help="Machines, each with so many; started by torchrun or srun.")
    ] = None,
    strategy: Annotated[str, typer.Option("--strategy", help="ddp: each process holds the whole network.")] = "ddp",
    sync_batch_norm: Annotated[
        bool,
        typer.Option(
            "--sync-batch-norm/--own-batch-norm", help="With several processes: batch norm over the whole batch."
        ),
    ] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads of torch.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile: faster steps after minutes of compilation.")
    ] = False,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Also record CUDA graphs: for small networks on a GPU.")
    ] = False,
    save_seconds: Annotated[
        float, typer.Option("--save-seconds", min=0, help="Write last.ckpt at most this often; 0: after each epoch.")
    ] = 0.0,
    save_steps: Annotated[
        int | None, typer.Option("--save-steps", min=1, help="Write last.ckpt within epochs too, every so many steps.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that decode pictures left on disk (data.stream).")
    ] = None,
) -> None:
    """Train a network from a recipe.

    RUN then holds recipe.yaml, log.csv, TensorBoard curves, best.ckpt, last.ckpt and meta.json.
    --resume continues an interrupted run from its last checkpoint: of an epoch's end, or as --save-steps says.

    Example: mien train compact-base --data stores/fer2013 -o runs/compact-base --set epochs=3 --set data.limit=2000
    """
    from mien.cli.extras import require

    require("torch", "timm", "torchvision", "lightning", "sklearn", "yaml", extra="train")
    from mien.data.store import Store
    from mien.training.recipe import load_recipe, parse_overrides

    sets = sets or []
    chosen = load_recipe(recipe, overrides=parse_overrides(sets))
    store = Store.open(data)
    from mien.training.processes import processes_of

    first = processes_of(devices, nodes).first  # all run this same command; one of them prints

    def say(line: str) -> None:
        if first:
            print(line, file=sys.stderr, flush=True)

    epochs = f"{chosen.epochs} epoch{'' if chosen.epochs == 1 else 's'}"
    say(f"{chosen.name}: {chosen.model.name}, {epochs} on {data}")
    from mien.training.run import train as train_run

    try:
        meta = train_run(
            chosen,
            store,
            out,
            resume=resume,
            accelerator=device,
            devices=devices,
            nodes=nodes,
            strategy=strategy,
            sync_batch_norm=sync_batch_norm,
            threads=threads,
            compiled=compiled,
            cuda_graphs=cuda_graphs,
            save_seconds=save_seconds,
            save_steps=save_steps,
            workers=workers,
        )
    except (KeyboardInterrupt, SystemExit) as end:
        status = 130 if isinstance(end, KeyboardInterrupt) else end.code
        if not isinstance(status, int) or status not in _SIGNALS or not (out / "recipe.yaml").is_file():
            raise
        words = ["--data", str(data), "-o", str(out), *(word for item in sets for word in ("--set", item))]
        words += ["--device", device] if device != "auto" else []
        words += ["--devices", str(devices)] if devices else []
        words += ["--nodes", str(nodes)] if nodes else []
        words += [] if sync_batch_norm else ["--own-batch-norm"]
        words += ["--threads", str(threads)] if threads else []
        words += ["--compile"] if compiled else []
        words += ["--cuda-graphs"] if cuda_graphs else []
        words += ["--save-seconds", f"{save_seconds:g}"] if save_seconds else []
        words += ["--save-steps", str(save_steps)] if save_steps else []
        words += ["--workers", str(workers)] if workers is not None else []
        say(f"{_SIGNALS[status]}; resume with: {shlex.join(['mien', 'train', recipe, *words, '--resume'])}")
        raise typer.Exit(status) from end
    figures = {key: value for key, value in meta["result"].items() if key.startswith("best_") and value is not None}
    for key, value in figures.items():
        say(f"{out}: {key} {value} on {chosen.data.validation}")
    if chosen.task == "expression":
        say(f"next: mien export {out} --data {data} -o {chosen.name}.onnx")
    else:
        say(f"next: a recipe of {chosen.model.name} with model.init: ssl:{out}")
