"""What ``summary.json`` of a store holds, as types: sources and their counts, drops, options, versions, licences.

For ``mien data stats``, the card, and whoever asks in a year. Nothing in it depends on the clock or the machine, so
that the same build gives the same bytes. The same as a JSON schema: ``docs/schemas/summary.json``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mien.documents import Section
from mien.errors import DataError
from mien.labels import EIGHT
from mien.showable import short, showable

SUMMARY = "summary.json"
#: Stands for the label in counts where a source holds it back.
UNLABELLED = "unlabelled"
_SPLITS = ("training", "train", "validation", "public_test", "private_test", "test")
#: Label (or "unlabelled") → images, in label order.
Counts = dict[str, int]


class SplitSummary(Section):
    """One split. near_duplicates_in_training: null for Training itself, and where there is none.

    image_sizes: "48×48 grey" → images. content_sha256: of pixels, labels and votes, independent of the file.
    """

    rows: int
    counts: Counts
    generated: int
    with_votes: int
    near_duplicates_in_training: int | None
    image_sizes: dict[str, int]
    content_sha256: str
    files: list[str]


class SourceSummary(Section):
    """One source. read: its official split → counts, as it gave them. counts: the store's split → counts of originals.

    dropped: reason → images. differences: from the published counts, one sentence each.
    """

    name: str
    layout: str
    files: list[str]
    read: dict[str, Counts]
    counts: dict[str, Counts]
    generated: int
    dropped: dict[str, int]
    differences: list[str]
    warnings: list[str]
    licence: str


class BuildOptions(Section):
    """What was asked for. jpeg: quality; absent: PNG. settled: how "auto" was, one sentence each. classes: the user's
    own, with labels "own". splits, balance: see ``data/build/recipe.py``.
    """

    size: int | str
    color: str
    labels: str
    mapping: dict[str, dict[str, str | None]]
    detector: str
    jpeg: int | None = None
    settled: list[str]
    classes: list[str] | None = None
    splits: dict[str, Any]
    balance: dict[str, Any] | None


class Balance(Section):
    """Training without and with generated images."""

    before: Counts
    after: Counts


class Summary(Section):
    """The whole of ``summary.json``. mien_store: version of the format. balance: absent where nothing was balanced."""

    mien_store: int
    mien: str
    labels: list[str]
    splits: dict[str, SplitSummary]
    sources: list[SourceSummary]
    dropped: dict[str, int]
    warnings: list[str]
    options: BuildOptions
    versions: dict[str, str]
    balance: Balance | None = None

    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json", exclude_unset=True)

    def write(self, store: Path) -> None:
        """Into the directory of the store. Raises OSError."""
        text = json.dumps(self.content(), indent=2, ensure_ascii=False) + "\n"
        (store / SUMMARY).write_text(text, encoding="utf-8", errors="backslashreplace")


def in_label_order(counts: Mapping[str, int], labels: Sequence[str] = EIGHT) -> Counts:
    """Without zeros. labels: names by code."""
    return {name: counts[name] for name in (*labels, UNLABELLED) if counts.get(name)}


def split_order(name: str) -> tuple[int, str]:
    """The order in which splits are listed: Training, what selects, what is reported, the rest by name."""
    return (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name)


def check_summary(summary: dict[str, Any], file: Path) -> None:
    """Raises DataError where a key has a value of another type, or where a shard is said to lie outside the store.

    A key that is missing is no error: stores of older versions lack some.
    """
    try:
        Summary.model_validate(summary)
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["type"] not in ("missing", "extra_forbidden")]
        if wrong:
            where = ".".join(map(str, wrong[0]["loc"]))
            raise DataError(
                f"expected a store's summary in {file}, got {where}: {wrong[0]['msg']}", hint="build it again"
            ) from error
    labels = summary.get("labels", [])
    if len(set(labels)) != len(labels) or not all(label and showable(label) == label for label in labels):
        raise DataError(f"expected distinct labels in {file}, got {short(labels)}", hint="build it again")
    names = [Path(name) for split in summary["splits"].values() for name in split["files"]]
    if outside := [name for name in names if name.is_absolute() or ".." in name.parts]:
        raise DataError(f"expected shards within the store in {file}, got {outside[0]}", hint="build it again")
