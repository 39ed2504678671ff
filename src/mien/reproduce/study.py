"""One command, one table of a paper: plan, run, tabulate, draw. Everything that it writes can be made again from DIR.

DIR/study.json    what this directory is of     DIR/table.json|md|csv   the table
DIR/runs/*/       each run and its evaluation    DIR/*.png               the figures
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from mien.data.store import Store
from mien.errors import UsageError
from mien.reproduce import curves
from mien.reproduce.execute import Outcome, execute
from mien.reproduce.papers import Study, study
from mien.reproduce.plan import PRESETS, Preset, find_splits
from mien.reproduce.table import tabulate, write_table
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
) -> dict[str, str]:
    """Run a study and write its table and figures. Returns what failed: run → why.

    Raises UsageError, RecipeError and DataError for what cannot be planned, before anything is trained.
    """
    chosen = study(paper)
    preset = _preset(preset_name, flavour, seeds)
    train, validation, test = parts
    splits = find_splits(store, train=train, validation=validation, test=test)
    changes: dict[str, Any] = {key: yaml.safe_load(value) for key, value in parse_overrides(list(sets)).items()}
    outcome = execute(
        chosen, preset, store, splits, home, sets=changes, arms=arms, accelerator=accelerator, threads=threads
    )
    if not outcome.kept:
        raise UsageError(f"expected a run to finish, all failed: {next(iter(outcome.failed.values()))}")
    table = tabulate(chosen, preset, preset_name, store, splits, outcome)
    write_table(table, home)
    draw(chosen, table, outcome, home)
    return outcome.failed


def draw(chosen: Study, table: dict[str, Any], outcome: Outcome, home: Path) -> list[Path]:
    """The study's figures; returns their files."""
    drawn: list[Path] = []
    titles = {arm.key: arm.title for arm in chosen.arms}
    runs = {titles[key]: [done.run.directory for done in kept] for key, kept in outcome.kept.items()}
    seeds = max(len(kept) for kept in outcome.kept.values())
    facts = f"{table['preset']}, {seeds} seed{'s' if seeds > 1 else ''}, selected on {table['selected_on']}"
    if chosen.curves_of in outcome.kept:
        title = titles[chosen.curves_of]
        drawn.append(home / "curves.png")
        curves.curves_png({title: runs[title]}, drawn[-1], title=title, facts=facts)
    drawn.append(home / "curves_all.png")
    curves.curves_png(runs, drawn[-1], title="Validation", facts=facts)
    for reading, parts in table["figures"].items():
        for part in parts:
            if len(table["rows"]) > 1:
                drawn.append(home / f"differences_{reading}_{part}.png")
                curves.differences_png(table, drawn[-1], reading=reading, part=part)
    return drawn


def _preset(name: str, flavour: str | None, seeds: str | None) -> Preset:
    if name not in PRESETS:
        raise UsageError(f"--preset: expected {' or '.join(PRESETS)}, got {name!r}")
    preset = PRESETS[name]
    if flavour:
        if flavour not in ("paper", "scratch"):
            raise UsageError(f"--recipes: expected paper or scratch, got {flavour!r}")
        preset = replace(preset, flavour=flavour)
    if seeds:
        try:
            numbers = tuple(int(word) for word in seeds.split(","))
        except ValueError as error:
            raise UsageError(f"--seeds: expected whole numbers separated by commas, got {seeds!r}") from error
        if len(set(numbers)) < len(numbers) or min(numbers) < 0:
            raise UsageError(f"--seeds: expected different numbers from 0, got {seeds!r}")
        preset = replace(preset, seeds=numbers)
    return preset
