"""``mien train``: recipe + store → run directory."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.training.recipe import Recipe

#: Exit status by signal, as a shell has it.
_SIGNALS = {130: "interrupted", 143: "terminated"}


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="STORE",
            help="A store from [bold]mien data build[/bold]; for the recipe own also a folder.",
        ),
    ],
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
        int | None,
        typer.Option("--nodes", min=1, help="Machines, each with --devices processes; started by torchrun or srun."),
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
    crops: Annotated[
        bool, typer.Option("--crops", help="With a folder: its pictures are face crops; by default faces are detected.")
    ] = False,
    save_seconds: Annotated[
        float,
        typer.Option(
            "--save-seconds",
            min=0,
            help="Least time between two writes of last.ckpt at ends of epochs; 0: after each epoch.",
        ),
    ] = 0.0,
    save_steps: Annotated[
        int | None, typer.Option("--save-steps", min=1, help="Write last.ckpt within epochs too, every N steps.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that decode pictures left on disk (data.stream).")
    ] = None,
) -> None:
    """Train a network from a recipe.

    RUN then holds recipe.yaml, log.csv, TensorBoard curves, best.ckpt, last.ckpt and meta.json.
    --resume continues an interrupted run from its last checkpoint: the end of an epoch, or as set by --save-steps.

    The recipe own trains a reader of your own classes from a shipped one, in minutes: give it a folder with a folder of
    pictures for each class, or a table. The store is then built beside RUN, as RUN-data.

    Example: mien train own --data pictures -o runs/own

    Example: mien train compact-base --data stores/fer2013 -o runs/compact-base --set epochs=3 --set data.limit=2000
    """
    from mien.errors import require

    require("torch", "timm", "torchvision", "lightning", "sklearn", "yaml", extra="train")
    from mien.cli.streams import typed
    from mien.data.store import Store, is_store
    from mien.errors import UsageError
    from mien.labels import is_own
    from mien.training.recipe import load_recipe, parse_overrides

    sets = sets or []
    chosen = load_recipe(recipe, overrides=parse_overrides(sets))
    from mien.training.processes import processes_of

    first = processes_of(devices, nodes).first  # all run this same command; one of them prints

    def say(line: str) -> None:
        if first:
            print(line, file=sys.stderr, flush=True)

    if chosen.model.reader and not is_store(data):
        data = _own_store(chosen, data, out, crops=crops, resume=resume, first=first, say=say)
    elif crops:
        raise UsageError("--crops: expected a folder of pictures, got a store, whose pictures are crops already")
    store = Store.open(data)
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
        say(f"{_SIGNALS[status]}; resume with: {typed()}{'' if resume else ' --resume'}")
        raise typer.Exit(status) from end
    figures = {key: value for key, value in meta["result"].items() if key.startswith("best_") and value is not None}
    for key, value in figures.items():
        say(f"{out}: {key} {value} on {chosen.data.validation}")
    if chosen.task == "expression":
        if is_own(meta["labels"]) and "test" in store.splits:
            say(f"next: mien evaluate {out} --data {data} --split test -o {out}-test")
        say(f"next: mien export {out} --data {data} -o {chosen.name}.onnx")
    else:
        say(f"next: a recipe of {chosen.model.name} with model.init: ssl:{out}")


def _own_store(
    recipe: "Recipe", pictures: Path, run: Path, *, crops: bool, resume: bool, first: bool, say: "Callable[[str], None]"
) -> Path:
    """The store of a folder or a table, built beside the run, or the one that a resumed run has there."""
    from mien.cli.progress import Countdown
    from mien.data.build.own import build_own_store
    from mien.data.sources.own import TAKEN_FOR_CROPS
    from mien.data.store import is_store
    from mien.errors import UsageError, require
    from mien.onnx_runtime import default_threads
    from mien.training.networks import recipe_preprocess
    from mien.training.run_directory import check_free

    require("scipy", "jinja2", extra="train")
    out = run.with_name(f"{run.name}-data")
    if resume or not first:
        return out
    check_free(run)
    if is_store(out):
        raise UsageError(
            f"expected no store at {out}, which is built from {pictures}, found one",
            hint=f"train on it with --data {out}, or delete it",
        )
    preprocess = recipe_preprocess(recipe)
    with Countdown("reading", noun="images", closing=False) as progress:
        summary = build_own_store(
            pictures, out, crops=crops, size=preprocess.size, color=preprocess.color, workers=default_threads(),
            progress=progress, on_note=say,
        )  # fmt: skip
    for source in summary["sources"]:
        for reason, number in source["dropped"].items():
            say(f"warning: {number:,} pictures dropped: {reason} (listed in {out / 'dropped.csv'})")
        for text in source["warnings"]:
            if not text.startswith(TAKEN_FOR_CROPS):  # as --crops says
                say(f"note: {text}")
    for name, split in summary["splits"].items():
        say(f"{name}: " + ", ".join(f"{label} {number:,}" for label, number in split["counts"].items()))
    return out
