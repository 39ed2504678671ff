"""One command, one table of a paper: plan, run, tabulate, draw. All its output can be rebuilt from DIR.

DIR/study.json    what this directory is of      DIR/table.json, .md, .csv   the table
DIR/runs/*/       each run and its evaluation    DIR/*.png, *.svg            the figures
DIR/analysis/     landscape, clusters, masks     DIR/report.html             all of it on one page
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mien.atomic import remove_abandoned_in, remove_old, write_text
from mien.data.build.balance_figure import balance_figure
from mien.data.store import Store
from mien.documents import parse_value
from mien.drawing import save
from mien.errors import UsageError
from mien.labels import require_expressions
from mien.locks import DirectoryLock
from mien.reproduce import curves
from mien.reproduce.analyses import Analysis, analyse
from mien.reproduce.execute import Outcome, execute
from mien.reproduce.page import read_if_there, render
from mien.reproduce.papers import Study, study
from mien.reproduce.plan import PRESETS, Preset, find_splits
from mien.reproduce.table import tabulate, write_table
from mien.training.device import choose_device
from mien.training.recipe import parse_overrides


def reproduce(
    paper: str,
    store: Store,
    home: Path,
    *,
    preset_name: str,
    flavour: str | None,
    arms: Sequence[str],
    seeds: str | None,
    parts: tuple[str | None, str | None, str | None],
    sets: Sequence[str],
    accelerator: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Run a study and write its table and figures. Returns what failed: run → why. say: is told what begins.

    Raises UsageError, RecipeError and DataError for what cannot be planned, before anything is trained;
    OutputError where another call runs a study in the same directory.
    """
    chosen = study(paper)
    require_expressions(store.labels, f"mien reproduce {paper}")
    preset = _preset(preset_name, flavour, seeds)
    train, validation, test = parts
    splits = find_splits(store, train=train, validation=validation, test=test)
    choose_device(accelerator)
    if threads:  # for the analyses too: with all runs finished nothing else sets it
        torch.set_num_threads(threads)
    changes = {key: parse_value(key, text) for key, text in parse_overrides(list(sets)).items()}
    if home.exists() and not home.is_dir():
        raise UsageError(f"expected a directory, got the file {home}", hint="choose another with -o")
    with DirectoryLock(home, what="mien reproduce", needed=False, remove=True):
        remove_abandoned_in(home, below=True)
        outcome = execute(
            chosen,
            preset,
            store,
            splits,
            home,
            sets=changes,
            arms=arms,
            accelerator=accelerator,
            threads=threads,
            say=say,
        )
        if not outcome.kept:
            raise UsageError(f"expected a run to finish, all failed: {next(iter(outcome.failed.values()))}")
        table = tabulate(chosen, preset, preset_name, store, splits, outcome)
        drawn = draw(chosen, table, outcome, home)
        shown: list[Analysis] = []
        lost: dict[str, str] = {}
        if table["figures"]:
            shown, lost, left_out = analyse(
                chosen, outcome, store, table["scored_on"], home,
                grid=preset.landscape, limit=preset.limit, device=accelerator, say=say,
            )  # fmt: skip
            table["not_run"] += left_out
        table["failed"] |= {f"analysis {kind}": why for kind, why in lost.items()}
        write_table(table, home)
        first = next(iter(outcome.kept.values()))[0].predictions[table["scored_on"]]
        confusion = read_if_there(first / "confusion.svg")
        balance = figure2(store, splits.train, home)
        write_text(home / "report.html", render(table, drawn, shown, balance=balance, confusion=confusion))
        return dict(table["failed"])


def draw(chosen: Study, table: dict[str, Any], outcome: Outcome, home: Path) -> dict[str, bytes]:
    """The study's figures, as PNG and SVG; returns the SVGs by name."""
    titles = {arm.key: arm.title for arm in chosen.arms}
    runs = {titles[key]: [done.run.directory for done in kept] for key, kept in outcome.kept.items()}
    seeds = max(len(kept) for kept in outcome.kept.values())
    facts = f"{table['preset']}, {seeds} seed{'s' if seeds > 1 else ''}, selected on {table['selected_on']}"
    figures: dict[str, Any] = {}
    if chosen.curves_of in outcome.kept:
        title = titles[chosen.curves_of]
        figures["curves"] = curves.curves_figure({title: runs[title]}, title=title, facts=facts)
    figures["curves_all"] = curves.curves_figure(runs, title="Validation", facts=facts)
    for reading, parts in table["figures"].items():
        for part in parts:
            if len(table["rows"]) > 1:
                name = f"differences_{reading}_{part}"
                figures[name] = curves.differences_figure(table, reading=reading, part=part)
    # An earlier call with other arms may have drawn more.
    for kind in ("curves*", "differences_*"):
        remove_old([file for file in home.glob(f"{kind}.[ps][nv]g") if file.stem not in figures])
    return {name: save(figure, home / name) for name, figure in figures.items()}


def figure2(store: Store, split: str, home: Path) -> bytes:
    """Paper A's Figure 2 of the training split as the store has it: ``figure2.png`` and ``.svg``; returns the SVG."""
    import pyarrow.parquet as pq

    originals: dict[str, Counter[str]] = {}
    generated: dict[str, Counter[str]] = {}
    for shard in store.shards(split):
        there = set(pq.read_schema(shard).names)
        wanted = [name for name in ("source", "label", "generated_from") if name in there]
        for row in pq.read_table(shard, columns=wanted).to_pylist():
            if row["label"] is not None:
                counts = generated if row.get("generated_from") else originals
                counts.setdefault(row["source"], Counter())[row["label"]] += 1
    title = "Training images" if generated else "Training images; this store is not balanced"
    return balance_figure(originals, generated, home / "figure2", title=title)


def _preset(name: str, flavour: str | None, seeds: str | None) -> Preset:
    if name not in PRESETS:
        raise UsageError(f"--preset: expected one of {', '.join(PRESETS)}; got {name!r}")
    preset = PRESETS[name]
    if flavour is not None:
        if flavour not in ("paper", "scratch"):
            raise UsageError(f"--recipes: expected paper or scratch, got {flavour!r}")
        preset = replace(preset, flavour=flavour)
    if seeds is not None:
        try:
            numbers = tuple(int(word) for word in seeds.split(","))
        except ValueError as error:
            raise UsageError(f"--seeds: expected whole numbers separated by commas, got {seeds!r}") from error
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise UsageError(f"--seeds: expected different numbers from 0, got {seeds!r}")
        preset = replace(preset, seeds=numbers)
    return preset
