"""``manifest.json`` of a bulk run: inputs, model, options, versions, counts.

Its JSON schema: ``docs/schemas/manifest.json``.
"""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import Field, ValidationError

from mien import __version__
from mien.atomic import write_text
from mien.documents import Section, first_fault
from mien.errors import DataError, OutputError

NAME = "manifest.json"
_PACKAGES = ("onnxruntime", "numpy", "pillow", "pyarrow", "ray")


class Inputs(Section):
    """What was asked to be read. folder: where the command stood. listing_sha256: over all inputs in order."""

    paths: list[str]
    folder: str
    count: int
    block_size: int
    blocks: int
    listing_sha256: str


class ModelOf(Section):
    """The network. sha256: of its file. labels: in the order of the columns."""

    name: str
    sha256: str
    precision: str
    labels: list[str]


class Counts(Section):
    """failed: type of error → inputs, each with one row."""

    inputs: int = 0
    rows: int = 0
    faces: int = 0
    shards: int = 0
    failed: dict[str, int] = Field(default_factory=dict)


class Start(Section):
    """One start of the command. versions: of Python and packages. time: UTC, ISO 8601."""

    time: str
    versions: dict[str, str]


class Manifest(Section):
    """id: drawn when the run began, and in the metadata of each shard. state: complete when all inputs are read.

    options: of ``mien.Reader``, without those that change no value. starts: of the command, the first and each that
    went on. counts: of all shards, 0 until the run is complete.
    """

    format: Literal[1] = 1
    id: str = Field(pattern=r"^[0-9a-f]{16}$")  # part of a folder's name
    state: Literal["reading", "complete"]
    mien: str
    inputs: Inputs
    model: ModelOf
    options: dict[str, Any]
    counts: Counts
    starts: list[Start]

    def write(self, folder: str) -> None:
        write_text(os.path.join(folder, NAME), self.model_dump_json(indent=2) + "\n")


def read_manifest(folder: str) -> Manifest | None:
    """That of a directory, None where it has none. Raises DataError where it is damaged."""
    path = os.path.join(folder, NAME)
    try:
        with open(path, encoding="utf-8") as file:
            return Manifest.model_validate_json(file.read())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected the manifest of a bulk run, cannot read {path}: {error}") from error
    except ValidationError as error:
        where, said = first_fault(error)
        raise DataError(
            f"expected the manifest of a bulk run, got another content at {where} in {path}: {said}",
            hint="give a new directory",
        ) from error


def start_now() -> Start:
    """This start of the command."""
    versions = {"python": platform.python_version(), "mien": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Start(time=datetime.now(UTC).isoformat(timespec="seconds"), versions=versions)


def counts_of(totals: Counter[str]) -> Counts:
    """From the keys that :func:`mien.bulk.plan.total` makes."""
    failed = {key.partition(":")[2]: count for key, count in sorted(totals.items()) if key.startswith("failed:")}
    plain = {name: totals[name] for name in ("inputs", "rows", "faces", "shards")}
    return Counts(**plain, failed=failed)


def refuse_other_run(kept: Manifest, now: Manifest, folder: str) -> None:
    """Raises OutputError where a directory was begun with another model, other options or other inputs.

    The listings themselves are compared by whoever has listed the inputs.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("mien of version", kept.mien, now.mien),
        ("the model with SHA-256", kept.model.sha256[:16], now.model.sha256[:16]),
        *_changed("the option", kept.options, now.options),
        ("the paths", kept.inputs.paths, now.inputs.paths),
        ("the folder", kept.inputs.folder, now.inputs.folder),
        ("the block size", kept.inputs.block_size, now.inputs.block_size),
    ]
    for what, old, new in pairs:
        if old != new:
            raise OutputError(
                f"expected {what} {_shown(old)}, with which {folder!r} was begun, got {_shown(new)}",
                hint="give another directory, or the same command",
            )


def _changed(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(f"{what} {name} =", old.get(name), new.get(name)) for name in sorted({*old, *new})]


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
