"""A campaign's options, the state of its runs, and how many epochs fit into a time (``campaign.py`` starts them)."""

import csv
import heapq
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from mien.documents import Section, parse
from mien.errors import RecipeError
from mien.training.recipe import load_recipe


class Job(Section):
    """A training, as the head of ``campaign.py`` shows it."""

    recipe: str
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    seed: int | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    init: str | None = None
    teachers: list[str] | None = None
    epochs: int | None = Field(default=None, ge=1)
    group: str = ""
    compile: bool = False
    cuda_graphs: bool = False
    seconds_per_epoch: float | None = Field(default=None, gt=0)

    def changes(self, at: Callable[[str], str], *, epochs: int | None) -> dict[str, str]:
        """What is laid over the recipe, by dotted key. at: where a run lies that the job names."""
        found: dict[str, Any] = dict(self.overrides)
        found |= {key: value for key, value in (("name", self.name), ("seed", self.seed), ("epochs", epochs)) if value}
        if self.seed is not None:
            found["seed"] = self.seed
        if self.init:
            kind, colon, runs = self.init.partition(":")
            known = colon and kind != "package"
            found["model.init"] = f"{kind}:{','.join(map(at, runs.split(',')))}" if known else self.init
        if self.teachers:
            found["distill.runs"] = [at(teacher) for teacher in self.teachers]
        return {key: json.dumps(value, ensure_ascii=False) for key, value in found.items()}


def read_jobs(file: Path) -> dict[str, Job]:
    """The jobs by name, each with its group. Raises RecipeError: the job, what was expected and what was given."""
    try:
        raw = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"expected a YAML file of jobs, got {file}: {error}") from error
    if not isinstance(raw, list) or not raw or not all(isinstance(one, dict) for one in raw):
        raise RecipeError(f"{file}: expected a list of jobs, such as: - recipe: compact-base")
    jobs: dict[str, Job] = {}
    for number, one in enumerate(raw, 1):
        job = parse(Job, one, origin=f"{file}, job {number}")
        name = job.name or load_recipe(job.recipe).name
        if name in jobs:
            raise RecipeError(f"{file}, job {number}: expected a name of its own, got {name} again", hint="say name:")
        jobs[name] = job.model_copy(update={"name": name, "group": job.group or name})
    return jobs


def finished(run: Path) -> bool:
    """Whether a run's schedule came to its end."""
    meta = run / "meta.json"
    return (run / "best.ckpt").is_file() and meta.is_file() and "result" in json.loads(meta.read_text("utf-8"))


def seconds_of_epochs(run: Path) -> list[float]:
    if not (run / "log.csv").is_file():
        return []
    with (run / "log.csv").open(newline="") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a training. group: those that are compared, and so get the same number of epochs. most: epochs at most. epoch:
    seconds of one. beside: seconds of all else, starting and recording. needs: trainings that must have ended before.
    done: epochs that it has trained already."""

    group: str
    most: int
    epoch: float
    beside: float
    needs: tuple[str, ...] = ()
    done: int = 0


def makespan(costs: Mapping[str, Cost], epochs: Mapping[str, int], *, slots: int) -> float:
    """Seconds until the last job has ended. Each in turn takes the first free slot, and waits in it for its needs."""
    free, ended = [0.0] * slots, dict[str, float]()
    for name, cost in costs.items():
        start = max(heapq.heappop(free), *(ended.get(need, 0.0) for need in cost.needs), 0.0)
        ended[name] = start + cost.beside + cost.epoch * max(0, epochs[cost.group] - cost.done)
        heapq.heappush(free, ended[name])
    return max(ended.values(), default=0.0)


def epochs_that_fit(
    costs: Mapping[str, Cost], seconds: float, *, slots: int, least: int, decided: Mapping[str, int] = {}
) -> dict[str, int]:
    """Group → epochs, so that all jobs end within ``seconds``. Groups that are ``decided`` keep theirs, the others are
    cut by one factor; the last ones are missing where they would get fewer than ``least``."""
    open_ = [group for group in dict.fromkeys(cost.group for cost in costs.values()) if group not in decided]
    most = {group: min(cost.most for cost in costs.values() if cost.group == group) for group in open_}
    while open_:

        def chosen(factor: float) -> dict[str, int]:
            return dict(decided) | {group: max(1, int(most[group] * factor)) for group in open_}

        def fits(factor: float) -> bool:
            kept = {name: cost for name, cost in costs.items() if cost.group in chosen(factor)}
            return makespan(kept, chosen(factor), slots=slots) <= seconds

        low, high = 0.0, 1.0
        for _ in range(0 if fits(1.0) else 30):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        factor = 1.0 if fits(1.0) else low
        if fits(factor) and all(chosen(factor)[group] >= min(least, most[group]) for group in open_):
            return chosen(factor)
        open_.pop()
    return dict(decided)
