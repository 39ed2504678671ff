"""Reads recipes (YAML) and validates them against their type; an error names every wrong key.

What may stand in a document is a tree of :class:`Section` (pydantic models). One line says what is wrong: the file, the
key, what was expected and what was given. Shipped recipes are in ``recipes/``: build recipes in ``recipes/data/``,
training recipes elsewhere.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mien.errors import RecipeError
from mien.showable import short

MOST_VALUES = 100_000  # of a recipe


class Section(BaseModel):
    """Part of a document: unknown keys are errors, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Document = TypeVar("Document", bound=Section)


def shipped(*, build: bool) -> dict[str, Path]:
    """The recipes that come with mien, by name: "compact", "swin_t_se/paper", …; or the build recipes: "paper_a"."""
    package = Path(__file__).parent
    homes = (package / "recipes", package.parents[1] / "recipes")  # wheel, checkout
    home = next((home for home in homes if home.is_dir()), homes[0])
    data = home / "data"
    files = [file for file in home.rglob("*.yaml") if file.is_relative_to(data) == build]
    found = {file.relative_to(data if build else home).with_suffix("").as_posix(): file for file in files}
    return {name: found[name] for name in sorted(found, key=lambda name: ("/" in name, name))}


def find_recipe(path: str | Path, *, build: bool) -> Path:
    """The file itself, or the shipped recipe of that name. Raises RecipeError, which knows the other kind."""
    if (file := Path(path)).is_file():
        return file
    name, ours = str(path), shipped(build=build)
    plain = name.removeprefix("data/") if build else name  # recipes/data/paper_a.yaml goes by either name
    if plain in ours:
        return ours[plain]
    if (name if build else name.removeprefix("data/")) in shipped(build=not build):
        raise _other_kind(name, build=build)
    if build:
        hint = "a data set is given by --source NAME=PATH" if file.exists() else None
        raise RecipeError(f"expected a recipe file or one of {', '.join(ours)}; got {name!r}", hint=hint)
    raise RecipeError(
        f"expected a recipe file or the name of a shipped recipe, got {name!r}",
        hint=f"{_guess(name, list(ours))}mien models lists them",
    )


def _guess(name: str, known: Sequence[str]) -> str:
    """The recipes of that network, or the nearest names."""
    near = [one for one in known if one.startswith(f"{name.rstrip('/')}/")]
    near = near or get_close_matches(name.removeprefix("recipes/").removesuffix(".yaml"), known, n=3, cutoff=0.6)
    return f"did you mean {', '.join(near)}? " if near else ""


def check_kind(raw: Mapping[str, Any], *, origin: str, build: bool) -> None:
    """Raises RecipeError for a recipe of the other kind: builds have sources, trainings have a model."""
    if ("model" in raw and "sources" not in raw) if build else ("sources" in raw and "model" not in raw):
        raise _other_kind(origin, build=build)


def _other_kind(name: str, *, build: bool) -> RecipeError:
    if build:
        return RecipeError(f"expected a build recipe, got the training recipe {name}", hint="it is for: mien train")
    return RecipeError(f"expected a training recipe, got the build recipe {name}", hint="it is for: mien data build")


def load_yaml(text: str) -> Any:
    """What a YAML text holds: plain values alone. Raises ValueError, in one line, for what is none.

    Whole numbers have 64 bits at most, and references may not multiply to more than MOST_VALUES: both would otherwise
    take hours where they are copied, compared or printed.
    """
    import yaml

    try:
        content = yaml.load(text, Loader=_loader())
        if _values(content) > MOST_VALUES:
            raise ValueError(f"references that stand for more than {MOST_VALUES:,} values")
        return content
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a day that does not exist is a ValueError
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("lists that are too deep, or contain themselves") from error


def _values(content: Any, known: dict[int, int] | None = None) -> int:
    """How many values there are, each reference counted as what it stands for. Raises RecursionError for a loop."""
    known = {} if known is None else known
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in known:
        inner = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_values(one, known) for one in inner)
    return known[id(content)]


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Of plain values, and of numbers that a machine has."""

        def construct_yaml_int(self, node: Any) -> int:
            text = str(node.value)
            value = int(super().construct_yaml_int(node)) if len(text) <= 80 else 1 << 64
            if abs(value) >= 1 << 63:
                raise ValueError(f"a whole number of more than 64 bits: {text[:24]}…")
            return value

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
    return Loader


def read_mapping(file: Path) -> dict[str, Any]:
    """The keys and values of a YAML file. Raises RecipeError where it cannot be read or holds something else."""
    try:
        raw = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"expected a readable recipe, got {file}: {error}") from error
    except ValueError as error:
        raise RecipeError(f"{file}: expected YAML, got {error}") from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{file}: expected keys and values, got {type(raw).__name__}")
    return raw


def parse_value(key: str, text: str) -> Any:
    """The value of ``--set key=text``: YAML, and 1e-3, which YAML 1.1 reads as a word. Raises RecipeError."""
    try:
        value = load_yaml(text)
    except ValueError as error:
        raise RecipeError(f"--set {key}: expected a YAML value, got {short(text)}") from error
    if isinstance(value, str) and "e" in value.lower():
        with suppress(ValueError):
            return float(value)
    return value


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    """Put a value under a dotted key, whose sections are made where they are missing. Raises RecipeError."""
    *parents, leaf = key.split(".")
    place = raw
    for number, parent in enumerate(parents):
        if place.get(parent) is None:
            place[parent] = {}
        if not isinstance(place[parent], dict):
            raise RecipeError(f"--set {key}: {'.'.join(parents[: number + 1])} holds a value, not a section")
        place = place[parent]
    place[leaf] = value


def parse(kind: type[Document], raw: Mapping[str, Any], *, origin: str) -> Document:
    """Validate a mapping. Raises RecipeError that names each wrong key, what was expected and what was given."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        # a union reports a miss for each of its members; one line a key is enough
        lines = dict.fromkeys(_explain(one, kind) for one in error.errors())
        raise RecipeError(f"{origin}: {'; '.join(lines)}") from error
    except RecursionError as error:
        raise RecipeError(f"{origin}: expected a recipe, got a value that contains itself") from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Of a file of ours that does not validate: where (dotted keys; "JSON" for the whole), and what is wrong there."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) or "JSON", first["msg"]


def _explain(error: Any, kind: type[Section]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        section: Any = kind
        for part in error["loc"][:-1]:
            if part in section.model_fields:
                section = next(iter(_sections(section.model_fields[part].annotation)), section)
        return f"{where}: no such key; expected one of {', '.join(section.model_fields)}"
    if error["type"] == "missing":
        return f"{where}: this key is required"
    if error["type"] == "value_error":  # a rule of ours
        given = error["input"]
        said = isinstance(given, dict) or (isinstance(given, list) and any(isinstance(one, dict) for one in given))
        came = "" if said else f", got {short(given)}"
        return ": ".join(part for part in (where, str(error["ctx"]["error"]) + came) if part)
    return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, got {short(error['input'])}"


def _sections(annotation: Any) -> list[type[Section]]:
    """The sections that an annotation names, however deep: ``list[S]``, ``S | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _sections(part)]
