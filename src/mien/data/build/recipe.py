"""A build recipe: one YAML document with the sources, format, splits and balance of a store.

    mien data build hybrid.yaml -o stores/hybrid

Every key but ``sources`` may be left out. Paths are relative to the recipe's own folder; a source without one gets
it on the command line (``--source fer2013=data/fer2013``), so that a recipe can be passed on. What values are possible
is said by the settings that a recipe becomes: ``Standard``, ``SplitSettings``, ``BalanceSettings``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mien.data.build.balance import BalanceSettings, Variation
from mien.data.build.normalise import OWN, Standard
from mien.data.build.splits import Copies, Crossing, SplitSettings
from mien.data.sources import SOURCES, Source, open_source
from mien.documents import Section, check_kind, find_recipe, parse, read_mapping
from mien.errors import DataError, UsageError
from mien.faces.detector import DEFAULT_DETECTOR
from mien.labels import canonical

#: Label → label, or None to leave its images out.
Mapped = dict[str, str | None]


def _as_value_error(make: Callable[[], object]) -> None:
    """The settings' own rules, as pydantic takes them: it adds the key."""
    try:
        make()
    except (UsageError, DataError) as error:
        raise ValueError(str(error)) from error


class SourceSection(Section):
    """One data set. source: as for ``--source``: "fer2013", "folder:photos", …. name: its name in the store.

    names: for the user's own data, what class names or codes mean (null: left out), or how classes
    of your own are called with labels "own". mapping: see :class:`BuildRecipe`.
    """

    source: str
    path: Path | None = None
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._+-]+$")
    names: dict[str | int, str | None] | None = None
    mapping: Mapped = Field(default_factory=dict)

    @property
    def called(self) -> str:
        return self.name or self.source.partition(":")[0].strip().lower()


class SplitsSection(Section):
    """See ``SplitSettings``."""

    official: dict[str, dict[str, str]] = Field(default_factory=dict)
    carve: bool = False
    shares: dict[str, int | float] | None = None
    balanced: dict[str, int | None] = Field(default_factory=dict)
    at_most: float = 0.25
    crossing: Crossing = "keep"
    drop_conflicts: Copies = "none"
    drop_copies: Copies = "none"

    def settings(self, seed: int = 0) -> SplitSettings:
        return SplitSettings(**self.model_dump(), seed=seed)

    @model_validator(mode="after")
    def _works(self) -> "SplitsSection":
        _as_value_error(self.settings)
        return self


class BalanceSection(Section):
    """Training is oversampled to ``target`` images per class by augmented copies of its own.

    target: "largest": as many as the largest class has; a number for all classes, or numbers for some.
    """

    target: Literal["largest"] | int | dict[str, int] = "largest"
    variation: Variation = Variation()

    def settings(self, seed: int) -> BalanceSettings:
        target = None if self.target == "largest" else self.target
        assert not isinstance(target, str)
        return BalanceSettings(target=target, variation=self.variation, seed=seed)


class BuildRecipe(Section):
    """One store.

    size, color, labels, detector, jpeg: see ``normalise.Standard``. mapping: label → another label, or null to leave
    its images out; a source's own mapping wins. balance: absent, Training stays as it is. seed: of splits and
    variations.
    """

    sources: list[SourceSection] = Field(min_length=1)
    size: int | str = "auto"
    color: str = "auto"
    labels: str = "auto"
    mapping: Mapped = Field(default_factory=dict)
    detector: str = DEFAULT_DETECTOR
    jpeg: int | None = None
    splits: SplitsSection = SplitsSection()
    balance: BalanceSection | None = None
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    def standard(self) -> Standard:
        if self.labels == OWN and (self.mapping or any(source.mapping for source in self.sources)):
            raise UsageError("expected no mapping with labels own, got one: a source's names rename its classes")
        mapping: dict[tuple[str, str], str | None] = {}
        for source, table in (("", self.mapping), *((source.called, source.mapping) for source in self.sources)):
            for label, target in table.items():
                mapping[source, canonical(label)] = None if target is None else canonical(target)
        return Standard(
            size=self.size,
            color=self.color,
            labels=self.labels,
            mapping=mapping,
            detector=self.detector,
            jpeg=self.jpeg,
        )

    def split_settings(self) -> SplitSettings:
        return self.splits.settings(self.seed)

    def balance_settings(self) -> BalanceSettings | None:
        return None if self.balance is None else self.balance.settings(self.seed)

    def open_sources(self) -> list[Source]:
        """Each source, found on the disk. Raises DataError where one is not there or not what it should be."""
        found = []
        for section in self.sources:
            if section.path is None:
                raise UsageError(
                    f"expected a path for {section.called}, the recipe has none",
                    hint=f"add --source {section.called}=PATH",
                )
            names = None if section.names is None else {str(word): label for word, label in section.names.items()}
            source = open_source(section.source, section.path, names=names, own=self.labels == OWN)
            # every source of ours is a dataclass; a name of its own tells two folders apart
            found.append(source if source.name == section.called else replace(source, name=section.called))  # type: ignore[type-var]
        return found

    @model_validator(mode="after")
    def _works(self) -> "BuildRecipe":
        _as_value_error(self.standard)
        called = [source.called for source in self.sources]
        if len(set(called)) < len(called):
            raise ValueError(f"expected each source once, got {', '.join(called)}; give alike ones a name each")
        return self


def load_build_recipe(
    path: str | Path | None, *, sources: Mapping[str, Path] | None = None, options: Mapping[str, Any] | None = None
) -> BuildRecipe:
    """A recipe file, or a shipped recipe by name, with what the command line adds; None: the command line alone.

    sources: "fer2013" or "rafdb:zero-based" → path: gives the recipe's source of that name its path, or adds one.
    options: keys of the recipe's top level that win over it. Raises RecipeError.
    """
    raw: dict[str, Any] = {}
    origin, here = "command line", Path()
    if path is not None:
        file = find_recipe(path, build=True)
        raw, origin, here = read_mapping(file), str(file), file.parent
        check_kind(raw, origin=origin, build=True)
    listed = raw.get("sources") or []
    if isinstance(listed, list):
        listed = [dict(entry) if isinstance(entry, dict) else entry for entry in listed]
        for entry in listed:
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                entry["path"] = str(here / Path(entry["path"]).expanduser())
        for text, place in (sources or {}).items():
            name = text.partition(":")[0].strip().lower()
            same = [e for e in listed if isinstance(e, dict) and name == (e.get("name") or _kind(e))]
            if same:
                same[0]["path"] = str(place)
                same[0]["source"] = text if ":" in text else same[0]["source"]
            else:
                listed.append({"source": text, "path": str(place)})
        raw = raw | {"sources": listed}
    return parse(BuildRecipe, raw | dict(options or {}), origin=origin)


def split_source(text: str) -> tuple[str, Path]:
    """``"rafdb:zero-based=data/raf"`` → the source's name with its option, and the path. Raises UsageError."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UsageError(
            f"expected NAME=PATH, got {text!r}", hint=f"for example fer2013=data/fer2013; names: {', '.join(SOURCES)}"
        )
    return name, Path(path).expanduser()


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("source", "")).partition(":")[0].strip().lower()
