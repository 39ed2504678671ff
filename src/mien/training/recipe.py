"""A recipe: everything that makes a training run, typed; a wrong key or value is named, with what was expected.

Recipes are YAML documents in ``recipes/``. ``--set a.b=value`` changes one key; the recipe as it was used is written
into the run directory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mien.data.augment import AugmentSettings
from mien.errors import RecipeError
from mien.preprocess import Preprocess

Share = Annotated[float, Field(ge=0, le=1)]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1]:
        raise ValueError("expected two numbers above 0, the lower one first")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """Which network, and its builder's arguments (see ``mien models``).

    init: "scratch", or "run:DIR": the best weights of a finished run of the same network.
    """

    name: str
    args: dict[str, Any] = {}
    init: str = Field(default="scratch", pattern=r"^(scratch|run:.+)$")


class DataSection(Section):
    """Splits of the store. Training learns from ``train``; ``validation`` selects the best epoch."""

    train: str = "training"
    validation: str = "public_test"
    size: int = Field(default=48, ge=8, le=1024, description="side of the crops in pixels")
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    limit: int | None = Field(default=None, ge=1, description="only the first N rows of each split (smoke runs)")


class AugmentSection(Section):
    flip: Share = 0.5
    rotate: float = Field(default=15.0, ge=0, le=180)
    scale: Range = (0.85, 1.2)
    shift: Share = 0.08
    brightness: Share = 0.2
    contrast: Share = 0.2
    erase: Share = 0.5
    erase_area: Range = (0.02, 0.2)
    mixup: float = Field(default=0.2, ge=0)

    def settings(self) -> AugmentSettings:
        return AugmentSettings(**self.model_dump())


class TargetSection(Section):
    """smoothing: label smoothing. votes: weight of P(label | FER+ votes) against the data set's own label."""

    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    votes: Share = 0.0


class OptimizerSection(Section):
    """SGD or AdamW. Biases and batch-norm weights are never decayed."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    clip_norm: float | None = Field(default=None, gt=0)


class ScheduleSection(Section):
    """Per step: linear warm-up over a share of the run, then a cosine (or a straight line) to ``final`` × lr."""

    name: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Share = 0.05
    final: Share = 0.0


class EmaSection(Section):
    """Exponential moving average of the weights; validation and export use it. decay is per step."""

    decay: float = Field(default=0.999, gt=0, lt=1)


class DistillSection(Section):
    """Learn from finished runs: loss = (1 − weight) · CE(targets) + weight · T² · KL(teachers' mean ‖ student)."""

    runs: list[Path] = Field(min_length=1)
    weight: Share = 0.7
    temperature: float = Field(default=1.0, gt=0)


class Recipe(Section):
    """One training run. seed fixes weights, order and augmentation."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    model: ModelSection
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    targets: TargetSection = TargetSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection = ScheduleSection()
    ema: EmaSection | None = EmaSection()
    distill: DistillSection | None = None
    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=2)
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    def preprocess(self, color: str) -> Preprocess:
        return Preprocess(size=self.data.size, color=color, mean=self.data.mean, std=self.data.std)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, *, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Read, change by ``{"a.b": "value"}`` (values are YAML), validate.

    path: a file, or the name of a recipe that mien ships ("compact"). Raises RecipeError.
    """
    file = find_recipe(path)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"expected a readable recipe, got {file}: {error}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: expected YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise RecipeError(
            f"{file}: expected keys and values, got {type(raw).__name__}", hint="see recipes/compact.yaml"
        )
    for key, value in (overrides or {}).items():
        _set(raw, key, value)
    return parse_recipe(raw, origin=str(file))


def parse_recipe(raw: Mapping[str, Any], *, origin: str) -> Recipe:
    """Validate a mapping. Raises RecipeError that names each wrong key, what was expected and what came."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(f"{origin}: {'; '.join(_explain(e) for e in error.errors())}") from error


def find_recipe(path: str | Path) -> Path:
    """The file itself, or the shipped recipe of that name. Raises RecipeError."""
    file = Path(path)
    if file.is_file():
        return file
    name = f"{path}.yaml"
    homes = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")  # wheel, checkout
    for home in homes:
        if "/" not in name and (home / name).is_file():
            return home / name
    shipped = sorted({f.stem for home in homes if home.is_dir() for f in home.glob("*.yaml")})
    raise RecipeError(f"expected a recipe file or one of {', '.join(shipped)}; got {str(path)!r}")


def parse_overrides(items: list[str]) -> dict[str, str]:
    """``["epochs=3", "optimizer.lr=0.05"]`` → a mapping. Raises RecipeError for one without "="."""
    overrides = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise RecipeError(f"--set: expected key=value, got {item!r}", hint="for example: --set optimizer.lr=0.05")
        overrides[key.strip()] = value
    return overrides


def _set(raw: dict[str, Any], key: str, value: str) -> None:
    *parents, leaf = key.split(".")
    place = raw
    for number, parent in enumerate(parents):
        if place.get(parent) is None:
            place[parent] = {}
        if not isinstance(place[parent], dict):
            raise RecipeError(f"--set {key}: {'.'.join(parents[: number + 1])} holds a value, not a section")
        place = place[parent]
    try:
        place[leaf] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {key}: expected a YAML value, got {value!r}") from error


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = Recipe
        for part in error["loc"][:-1]:
            section = next((c for c in _sections(section.model_fields[part].annotation)), section)
        return f"{where}: no such key; expected one of {', '.join(section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: this key is required"
    return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"


def _sections(annotation: Any) -> list[type[Section]]:
    options = getattr(annotation, "__args__", (annotation,))
    return [option for option in options if isinstance(option, type) and issubclass(option, Section)]
