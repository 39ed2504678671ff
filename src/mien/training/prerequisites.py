"""What must have been trained before a recipe can be: asked first, and answered with the command that makes it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from mien.errors import RecipeError
from mien.training.recipe import Recipe, shipped_recipes

_COMMAND = re.compile(r"^#\s+mien train (?P<recipe>\S+) --data \S+ -o (?P<run>\S+)$")


def check_prerequisites(recipe: Recipe, store: Path, *, resume: bool = False) -> None:
    """Raises RecipeError where a run that the recipe names is not finished: the key, the run, and how it is made.

    store: where the command would find its data. resume: the first weights are no longer asked for.
    """
    for key, run in _runs(recipe, resume=resume):
        missing = [name for name in ("recipe.yaml", "best.ckpt") if not (run / name).is_file()]
        if not missing:
            continue
        state = f"without {' and '.join(missing)}" if run.exists() else "which is not there"
        command = command_for(run, store)
        hint = f"make it first: {command}" if command else f"train it first, or name another one with --set {key}=…"
        raise RecipeError(f"{key}: expected a finished run, got {run}, {state}", hint=hint)


def command_for(run: Path, store: Path) -> str | None:
    """The command that makes a run of that name, where the head of a shipped recipe gives one."""
    for file in shipped_recipes().values():
        for line in file.read_text(encoding="utf-8").splitlines():
            found = _COMMAND.match(line)
            if found and Path(found["run"]) == run:
                name = found["recipe"].removeprefix("recipes/").removesuffix(".yaml")
                return shlex.join(["mien", "train", name, "--data", str(store), "-o", str(run)])
    return None


def _runs(recipe: Recipe, *, resume: bool) -> Iterator[tuple[str, Path]]:
    for run in () if resume else recipe.model.start[1]:
        yield "model.init", run
    for run in recipe.distill.runs if recipe.distill else ():
        yield "distill.runs", run
