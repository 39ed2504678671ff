"""From a study and a preset to the runs it needs: the same for every arm, in two rounds.

Round one gives each arm the same grid of learning rates with the first seed; the validated accuracy chooses. Round two
repeats each arm's chosen rate with the other seeds. The test split is looked at when all of that is settled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mien.data.store import TRAINING_SPLITS, Store
from mien.documents import set_key
from mien.errors import DataError, UsageError
from mien.models import registry
from mien.reproduce.papers import Arm, Study
from mien.training.recipe import Recipe, load_recipe, parse_recipe


@dataclass(frozen=True, slots=True)
class Preset:
    """How much of a study is run.

    flavour: the shipped recipe of each network ("paper", "scratch"). reduced: networks in their reduced form at their
    smallest side. small: each arm's changes for a CPU. limit, epochs, batch: in place of the recipe's, where not None.
    rates: False for the recipe's own learning rate alone. landscape: the images and the grid of Paper A's Fig. 4.
    """

    flavour: str
    seeds: tuple[int, ...]
    rates: bool
    reduced: bool = False
    small: bool = False
    limit: int | None = None
    epochs: int | None = None
    batch: int | None = None
    landscape: Mapping[str, int] = field(default_factory=lambda: {"limit": 1000, "points": 21})


PRESETS = {
    "smoke": Preset(
        "scratch",
        seeds=(0, 1),
        rates=False,
        reduced=True,
        limit=400,
        epochs=2,
        batch=40,
        landscape={"limit": 100, "points": 5},
    ),
    "cpu": Preset("scratch", seeds=(0,), rates=False, small=True, landscape={"limit": 500, "points": 11}),
    "full": Preset("paper", seeds=(0, 1, 2), rates=True),
}


@dataclass(frozen=True, slots=True)
class Splits:
    """The splits of a store by their part. test is None where no labelled split is left for it."""

    train: str
    validation: str
    test: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One training of an arm. rate: multiple of its recipe's learning rate."""

    arm: Arm
    rate: float
    seed: int
    recipe: Recipe
    directory: Path

    def __str__(self) -> str:
        return f"{self.arm.key}, learning rate {self.recipe.optimizer.lr:.3g}, seed {self.seed}"


#: What a study decides, and the option that does.
_OWNED = {
    "data.train": "use --train", "data.validation": "use --validation", "seed": "use --seeds", "name": "leave it out",
    "model.name": "use --arms",
}  # fmt: skip


def find_splits(store: Store, *, train: str | None, validation: str | None, test: str | None) -> Splits:
    """Named splits, or the first that a store has of the usual names. Raises DataError where one is missing."""

    def first(part: str, wanted: str | None, usual: tuple[str, ...]) -> str:
        for name in (wanted,) if wanted else usual:
            if name in store.splits:
                return name
        asked = wanted or " or ".join(usual)
        raise DataError(
            f"--{part}: expected split {asked} in {store.path}, it has {', '.join(store.splits)}",
            hint=f"name one with --{part}",
        )

    chosen = Splits(
        first("train", train, TRAINING_SPLITS),
        first("validation", validation, ("public_test", "validation", "val")),
        first("test", test, ("private_test", "test")) if test or {"private_test", "test"} & set(store.splits) else None,
    )
    if len({chosen.train, chosen.validation, chosen.test}) < 3:
        raise UsageError(f"expected three different splits, got {chosen.train}, {chosen.validation}, {chosen.test}")
    return chosen


def plan_run(
    arm: Arm, preset: Preset, splits: Splits, home: Path, *, rate: float, seed: int, sets: Mapping[str, Any]
) -> Run:
    """One run of an arm. sets: dotted keys that the user changes, for all arms alike. Raises RecipeError."""
    recipe = load_recipe(f"{arm.recipes}/{preset.flavour}")
    raw: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
    for key, value in arm.changes.items():
        set_key(raw, key, value)
    if preset.reduced:
        own = {key.rpartition(".")[2]: value for key, value in arm.changes.items() if key.startswith("model.args.")}
        reduce(raw, own)
        raw |= {"distill": None}
    raw["data"] |= {"train": splits.train, "validation": splits.validation}
    for key in sets:
        section = key in ("model", "data", "optimizer") and isinstance(raw.get(key), dict)  # with the study's own keys
        if key in _OWNED or key in arm.changes or section:
            raise UsageError(f"--set {key}: expected a key that is the same for every arm, got one that the study sets",
                             hint=_OWNED.get(key, "leave it out"))  # fmt: skip
    for key, changed in (
        *(arm.small.items() if preset.small else ()),
        ("data.limit", preset.limit),
        ("epochs", preset.epochs),
        ("batch_size", preset.batch),
        *sets.items(),
    ):
        if changed is not None:
            set_key(raw, key, changed)
    parse_recipe(raw | {"name": arm.key}, origin=f"{arm.recipes}/{preset.flavour}")  # before it is calculated with
    raw["optimizer"]["lr"] *= rate
    raw |= {"name": f"{arm.key}-{preset.flavour}", "seed": seed}
    name = f"{arm.key}-lr{raw['optimizer']['lr']:.3g}-seed{seed}"
    raw = json.loads(json.dumps(raw))  # lists for tuples, as a recipe that was read has them
    return Run(arm, rate, seed, parse_recipe(raw, origin=f"{arm.recipes}/{preset.flavour}"), home / "runs" / name)


def reduce(raw: dict[str, Any], own: Mapping[str, Any]) -> None:
    """Change a recipe to its network's reduced form at its smallest side. What is no size stays as it is.

    own: arguments that stay even so.
    """
    entry = registry.spec(raw["model"]["name"])
    smaller = {key: value for key, value in entry.reduced.items() if key != "image_size"}
    raw["model"]["args"] = raw["model"]["args"] | smaller | dict(own)
    raw["data"] |= {"size": entry.reduced.get("image_size", min(entry.input_sizes)), "window": None}
    raw["targets"]["votes"] = 0
    raw["schedule"]["warmup"] = 0
    raw |= {"accumulate": 1, "ema": None}


def first_round(study: Study, preset: Preset, splits: Splits, home: Path, *, sets: Mapping[str, Any]) -> list[Run]:
    """Every arm with every rate, first seed."""
    rates = study.rates if preset.rates else (1.0,)
    return [
        plan_run(arm, preset, splits, home, rate=rate, seed=preset.seeds[0], sets=sets)
        for arm in study.arms
        for rate in rates
    ]


def second_round(
    chosen: Mapping[str, Run], preset: Preset, splits: Splits, home: Path, *, sets: Mapping[str, Any]
) -> list[Run]:
    """The chosen rate of each arm with the other seeds. chosen: by the arm's key."""
    return [
        plan_run(run.arm, preset, splits, home, rate=run.rate, seed=seed, sets=sets)
        for run in chosen.values()
        for seed in preset.seeds[1:]
    ]
