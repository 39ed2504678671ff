"""A recipe: everything that defines a training run, typed; errors name the wrong key or value and what was expected.

Recipes are YAML documents in ``recipes/``, save ``recipes/data/``, where those of builds are. ``--set a.b=value``
changes one key; the recipe as it was used is written into the run directory.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from mien.documents import Section, check_kind, find_recipe, parse, parse_value, read_mapping, set_key, shipped
from mien.errors import RecipeError
from mien.preprocess import Preprocess
from mien.training.augment import AugmentSettings

Proportion = Annotated[float, Field(ge=0, le=1)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError("expected two numbers above 0, the lower one first")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


_START = r"^(scratch|imagenet|run:.+|mean:[^,]+(,[^,]+)+|(widened|ssl|package|reader):.+)$"
_SHARE = re.compile(r"(?:(\d*\.?\d+)\*)?(.+)")


class ModelSection(Section):
    """Which network, and its builder's arguments (see ``mien models``).

    init: "scratch"; "imagenet": timm's weights of the backbone, where the machine can reach them; "run:DIR": the best
    weights of a finished run of the same network; "mean:DIR,DIR,…": the mean of several runs' weights (a run and one
    fine-tuned from it: Wortsman et al. 2022, arXiv 2109.01903), "mean:0.7*DIR,0.3*DIR": a weighted one; "widened:DIR":
    a wider and deeper compact, nano or pico that computes what the run's does (``models/widening.py``); "ssl:DIR": the
    encoder of a finished masked-image run; "package:NAME": a backbone that comes inside a package
    (``models/packaged/``), the classifier fresh; "reader:NAME": a shipped reader or an exported ONNX file of the same
    network, the classifier fresh where the labels are others.
    logit_adjustment: with ``epochs: 0``, how strongly the logits are corrected for the classes' proportions in training
    (``training/logit_adjustment.py``); 0: not at all, 1: as if all classes were equally frequent.
    """

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    logit_adjustment: float = Field(default=0.0, ge=0, le=1)
    init: str = Field(default="scratch", json_schema_extra={"pattern": _START})

    @field_validator("init", mode="before")
    @classmethod
    def _one_start(cls, raw: Any) -> Any:
        if not isinstance(raw, str) or not re.search(_START, raw):
            raise ValueError(
                "expected scratch, imagenet, run:DIR, mean:DIR,DIR, widened:DIR, ssl:DIR, package:NAME or reader:NAME"
            )
        return raw

    @property
    def start(self) -> tuple[str, list[Path]]:
        """``init`` taken apart: its kind, and the runs that it names."""
        kind, _, where = self.init.partition(":")
        runs = {"package": [], "reader": [], "mean": [run for _, run in self._mean_of]}.get(kind, [where])
        return kind, [Path(run) for run in runs if run]

    @property
    def shares(self) -> list[float]:
        """Of the runs of a mean, how much each counts; they sum to 1."""
        given = [float(share) if share else 1 / len(self._mean_of) for share, _ in self._mean_of]
        return [share / sum(given) for share in given]

    @property
    def _mean_of(self) -> list[tuple[str, str]]:
        kind, _, where = self.init.partition(":")
        found = [_SHARE.fullmatch(run) for run in where.split(",")] if kind == "mean" else []
        return [(match[1] or "", match[2]) for match in found if match]

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        given = [share for share, _ in self._mean_of if share]
        if given and (len(given) < len(self._mean_of) or abs(sum(map(float, given)) - 1) > 1e-6):
            raise ValueError(f"init: expected a share for each run of the mean, 1 in all, got {self.init!r}")
        return self

    @property
    def reader(self) -> str | None:
        """The exported reader that ``init: reader:NAME`` names; None for any other start."""
        kind, _, name = self.init.partition(":")
        return name if kind == "reader" else None

    @property
    def package(self) -> str | None:
        """The backbone that ``init: package:NAME`` names; None for any other start."""
        kind, _, name = self.init.partition(":")
        return name if kind == "package" else None


class DataSection(Section):
    """Splits of the store. Training learns from ``train``; ``validation`` selects the best epoch.

    size: side in pixels to which pictures are resized. window: side of the part that the network takes, where not all.
    stream: "always" leaves the pictures on the disk and decodes them in worker processes, step by step; "never" reads
    them into memory; "auto" chooses by their size. The training is the same (``training/stream.py``).
    balance: "online" shows each class equally often in every epoch; see ``training/online_balance.py``.
    non_faces: of task "orientation", a store of pictures without a face, with splits of the same names.
    """

    train: str = "training"
    validation: str = "public_test"
    size: int = Field(default=48, ge=8, le=1024)
    window: int | None = Field(default=None, ge=8)
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    balance: Literal["none", "online"] = "none"
    stream: Literal["auto", "always", "never"] = "auto"
    non_faces: Path | None = None
    limit: int | None = Field(
        default=None, ge=1, description="only N rows of each split, spread evenly over it (smoke runs)"
    )


class AugmentSection(Section):
    """Strengths of the augmentation, as ``training/augment.py`` describes them."""

    flip: Proportion = 0.5
    rotate: float = Field(default=15.0, ge=0, le=180)
    scale: Range = (0.85, 1.2)
    shift: Proportion = 0.08
    brightness: Proportion = 0.2
    contrast: Proportion = 0.2
    erase: Proportion = 0.5
    erase_area: Range = (0.02, 0.2)
    mixup: float = Field(default=0.2, ge=0)
    degrade: Proportion = 0.0

    def settings(self) -> AugmentSettings:
        return AugmentSettings(**self.model_dump())


class TargetSection(Section):
    """smoothing: label smoothing. votes: weight of P(label | FER+ votes) against the data set's own label.

    class_weights: what an image counts in the cross-entropy; "inverse": as its class is rare, 1 on average.
    """

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    votes: Proportion = 0.0
    class_weights: Literal["none", "inverse"] = "none"


class SamSection(Section):
    """Sharpness-aware minimisation around the optimiser; see ``training/sam.py``. adaptive: ASAM.

    ascent: "global" climbs along the whole batch's gradient; "local" along each process's own (m-sharpness), which is
    the same with one process.
    """

    rho: float = Field(default=0.05, ge=0)
    adaptive: bool = False
    ascent: Literal["global", "local"] = "global"


class OptimizerSection(Section):
    """Biases and norms are never decayed. Decay is decoupled in adamw and radam, part of the gradient in sgd and adam.

    momentum, nesterov: of sgd. betas: of the others. clip_norm: largest norm of the whole gradient.
    """

    name: Literal["sgd", "adam", "adamw", "radam"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: Proportion = 0.9
    nesterov: bool = True
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    weight_decay: float = Field(default=5e-4, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)
    sam: SamSection | None = None

    @field_validator("sam", mode="before")
    @classmethod
    def _settings_of_sam(cls, raw: Any) -> Any:
        if not (raw is None or isinstance(raw, dict | SamSection)):
            raise ValueError("expected settings such as {rho: 0.05} ({} takes the defaults), or null for no SAM")
        return raw


class ScheduleSection(Section):
    """How the learning rate moves.

    cosine, linear, constant: linear warm-up over a proportion of the run, then down to ``final`` × lr, step by step.
    step: × ``factor`` every ``every`` epochs (after an optional warm-up). plateau: × ``factor`` whenever the validated
    figure has not improved for ``patience`` epochs, never below ``floor``; it has no warm-up.
    """

    name: Literal["cosine", "linear", "constant", "step", "plateau"] = "cosine"
    warmup: Proportion = 0.05
    final: Proportion = 0.0
    every: int = Field(default=10, ge=1)
    factor: float = Field(default=0.1, gt=0, lt=1)
    patience: int = Field(default=2, ge=1)
    floor: float = Field(default=0.0, ge=0)

    @property
    def open_ended(self) -> bool:
        """Whether the rate of a step is the same however long the run: then it can be asked for more epochs."""
        return self.name == "plateau" or (self.name in ("step", "constant") and self.warmup == 0)

    @model_validator(mode="before")
    @classmethod
    def _no_warmup_on_a_plateau(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("name") == "plateau":
            if raw.get("warmup"):
                raise ValueError("expected no warmup with plateau")
            return raw | {"warmup": 0.0}
        return raw


class EmaSection(Section):
    """Exponential moving average of the weights; validation and export use it. decay is per step."""

    decay: float = Field(default=0.999, gt=0, lt=1)


class DistillSection(Section):
    """Learn from finished runs: loss = (1 − weight) · CE(targets) + weight · T² · KL(teachers' mean ‖ student).

    The teachers see the student's own pictures, before ``augment.degrade`` degrades them.
    """

    runs: list[Path] = Field(min_length=1)
    weight: Proportion = 0.7
    temperature: float = Field(default=1.0, gt=0)

    @field_validator("runs", mode="before")
    @classmethod
    def _list_of_runs(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            raise ValueError(f"expected a list of run directories, such as [{raw}]")
        return raw


class MaskingSection(Section):
    """What a masked-image run hides: squares of ``patch`` pixels, ``ratio`` of all of them."""

    patch: int = Field(default=32, ge=1)
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.6


class Recipe(Section):
    """One training run. seed fixes weights, order and augmentation.

    needs: the runs that ``model.init`` and ``distill.runs`` name, each with the recipe that trains it: the error for a
    missing one then says the command. It documents the recipe and is no part of the run.
    task: "expression"; "masked_image": pretraining without labels; or "orientation": which way up a face is
    (``training/orientation.py``). batch_size: images of one step, over all processes. accumulate: in how
    many parts each process computes them. epochs: 0 keeps the start, a run or a mean of runs. early_stop: end after
    that many epochs without a better validated figure. precision: of training steps, validation is always in fp32;
    "auto": whichever the machine that begins the run computes faster (``training/precision.py``).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    task: Literal["expression", "masked_image", "orientation"] = "expression"
    model: ModelSection
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    targets: TargetSection = TargetSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    ema: EmaSection | None = EmaSection()
    distill: DistillSection | None = None
    masking: MaskingSection = MaskingSection()
    epochs: int = Field(ge=0)
    early_stop: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=2)
    accumulate: int = Field(default=1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    needs: dict[Path, str] = Field(default_factory=dict, exclude=True)

    def preprocess(self, color: str) -> Preprocess:
        data = self.data
        return Preprocess(size=data.size, color=color, mean=data.mean, std=data.std, window=data.window)

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.epochs == 0 and self.model.start[0] not in ("run", "mean"):
            raise ValueError("expected at least 1 epoch; 0 keeps the weights of model.init: run:DIR or mean:DIR,DIR")
        if self.model.logit_adjustment and (self.epochs or self.task != "expression"):
            raise ValueError(
                "expected model.logit_adjustment with epochs: 0 and task expression alone: steps of training undo it"
            )
        if self.model.logit_adjustment and (self.data.balance != "none" or self.targets.class_weights != "none"):
            raise ValueError("expected model.logit_adjustment without data.balance and targets.class_weights")
        if self.batch_size % self.accumulate:
            raise ValueError(f"expected a batch_size that accumulate divides, got {self.batch_size}/{self.accumulate}")
        if self.data.balance == "online" and self.targets.class_weights != "none":
            raise ValueError("expected data.balance or targets.class_weights, got both: they even out the same thing")
        if self.task != "expression" and self.distill:
            raise ValueError(f"expected no distill section with task {self.task}: teachers read expressions")
        if self.task == "orientation" and (self.data.balance != "none" or self.targets.class_weights != "none"):
            raise ValueError("expected data.balance and targets.class_weights none with task orientation")
        if self.task == "orientation" and self.data.stream == "always":
            raise ValueError("expected data.stream auto or never with task orientation, whose pictures are few")
        if (self.task == "orientation") != (self.data.non_faces is not None):
            raise ValueError("expected data.non_faces with task orientation, and with no other task")
        if self.task == "orientation" and (self.augment.flip not in (0, 0.5) or self.augment.mixup):
            raise ValueError("expected augment.flip 0 or 0.5 and augment.mixup 0 with task orientation")
        return self

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(before: Recipe, now: Recipe) -> list[str]:
    """Each key whose value differs, with both: "optimizer.lr was 0.1, is 0.05".

    A precision of "auto" agrees with any, and where pictures are kept is no difference.
    """
    if now.precision == "auto":
        now = now.model_copy(update={"precision": before.precision})
    old, new = (_leaves(recipe.model_dump(mode="json")) for recipe in (before, now))
    keys = [key for key in {**old, **new} if key != "data.stream" and old.get(key) != new.get(key)]
    return [f"{key} was {_shown(old.get(key))}, is {_shown(new.get(key))}" for key in keys]


def _leaves(raw: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in raw.items():
        found |= _leaves(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)  # a float in full: rounding could hide the difference


def load_recipe(path: str | Path, *, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe, change some of its values, validate it.

    Args:
        path: a YAML file, or the name of a recipe that mien ships (``"own"``, ``"swin_t/paper"``).
        overrides: dotted key → value as YAML, as ``--set`` takes them.

    Raises:
        RecipeError: no such recipe, or a wrong key or value; names each, what was expected and what was given.

    Examples:
        >>> from mien.training.recipe import load_recipe
        >>> recipe = load_recipe("own", overrides={"epochs": "2", "optimizer.lr": "0.01"})
        >>> recipe.model.name, recipe.epochs, recipe.optimizer.lr
        ('nano', 2, 0.01)
    """
    file = find_recipe(path, build=False)
    raw = read_mapping(file)
    check_kind(raw, origin=str(file), build=False)
    for key, value in (overrides or {}).items():
        set_key(raw, key, parse_value(key, value))
    return parse_recipe(raw, origin=f"{file} with --set" if overrides else str(file))


def parse_recipe(raw: Mapping[str, Any], *, origin: str) -> Recipe:
    """Validate a mapping. Raises RecipeError that names each wrong key, what was expected and what was given."""
    return parse(Recipe, raw, origin=origin)


def shipped_recipes() -> dict[str, Path]:
    """The training recipes that come with mien, by name: "compact", "swin_t_se/paper", …"""
    return shipped(build=False)


def recipes_by_network() -> dict[str, list[str]]:
    """Network → the names of the shipped recipes that train it."""
    found: dict[str, list[str]] = {}
    for name, file in shipped_recipes().items():
        network = yaml.safe_load(file.read_text(encoding="utf-8"))["model"]["name"]
        found.setdefault(network, []).append(name)
    return found


def parse_overrides(items: list[str]) -> dict[str, str]:
    """``["epochs=3", "optimizer.lr=0.05"]`` → a mapping. Raises RecipeError for one without "="."""
    overrides = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set: expected key=value, got {item!r}", hint="for example: --set optimizer.lr=0.05")
        overrides[key.strip()] = value
    return overrides
