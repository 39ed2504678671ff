"""Folders of pictures: how splits and classes are found in them, and how their files are read, in a fixed order.

Shared by every source whose label is the name of a folder. Pictures are not opened here: the build decodes them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mien.data.sources import reasons
from mien.data.sources.base import Drop, Sample
from mien.errors import DataError
from mien.imaging import IMAGE_SUFFIXES
from mien.labels import EIGHT, canonical

_SPLITS = {
    "train": "training", "training": "training", "trainset": "training", "trainingset": "training",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "valset": "validation", "validset": "validation", "validationset": "validation",
    "test": "test", "testing": "test", "testset": "test",
    "publictest": "public_test", "privatetest": "private_test",
}  # fmt: skip
_JUNK = ("__MACOSX", "Thumbs.db", "desktop.ini")


def split_name(text: str) -> str | None:
    """``"Train"``, ``"val_set"``, ``"PublicTest"``, … → our name of the split; None where it names none."""
    return _SPLITS.get(text.strip().lower().replace("_", "").replace("-", "").replace(" ", ""))


def children(folder: Path) -> list[Path]:
    """What lies in a folder, by name, without hidden files and what Windows and macOS leave. Raises DataError."""
    try:
        return sorted(child for child in folder.iterdir() if not _is_junk(child.name))
    except OSError as error:
        raise DataError(f"expected a folder, cannot read {folder}: {error}") from error


def _is_junk(name: str) -> bool:
    return name[0] == "." or name in _JUNK


def is_picture(file: Path) -> bool:
    """By its name alone."""
    return file.suffix.lower() in IMAGE_SUFFIXES


def first_folder(*candidates: Path) -> Path | None:
    """The first that is a folder with something in it."""
    return next((path for path in candidates if path.is_dir() and any(path.iterdir())), None)


def split_folders(root: Path) -> dict[str, Path]:
    """split → folder, for each folder of ``root`` that is named after a split. DataError for two of one split."""
    found: dict[str, Path] = {}
    for child in children(root) if root.is_dir() else ():
        split = split_name(child.name)
        if split is None or not child.is_dir():
            continue
        if split in found:
            raise DataError(f"expected one folder for {split} in {root}, found {found[split].name} and {child.name}")
        found[split] = child
    return found


def expression(name: str) -> str | None:
    """``canonical``, or None where the name is no expression."""
    try:
        return canonical(name)
    except DataError:
        return None


@dataclass(frozen=True, slots=True)
class Classes:
    """The class folders of one split. folders: label (or the reason to leave it out) → where its pictures lie."""

    folders: dict[str, list[Path]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.folders)

    def missing(self, wanted: Sequence[str]) -> list[str]:
        return [name for name in wanted if name not in self.folders]


def class_folders(root: Path, meaning: Callable[[str], str | None]) -> Classes:
    """The folders of ``root`` by what their names mean. meaning: name → label, a reason to leave it out, or None."""
    found = Classes()
    for child in children(root) if root.is_dir() else ():
        if child.is_dir():
            label = meaning(child.name)
            if label is None:
                found.unknown.append(child.name)
            else:
                found.folders.setdefault(label, []).append(child)
    return found


def require_classes(classes: Classes, folder: Path, wanted: Sequence[str], *, names: Mapping[str, str]) -> None:
    """Raises DataError where a class has no folder. names: label → how its folder would be called."""
    if missing := [names.get(label, label) for label in classes.missing(wanted)]:
        have = ", ".join(path.name for paths in classes.folders.values() for path in paths) or "none"
        raise DataError(
            f"expected class folders {', '.join(names.get(label, label) for label in wanted)} in {folder}, "
            f"found {have}; missing {', '.join(missing)}",
            hint="the copy looks incomplete; make an empty folder for a class that has no image",
        )


def read_tree(
    root: Path,
    splits: Mapping[str, Classes],
    *,
    subject: Callable[[str], str | None] | None = None,
    is_crop: bool = True,
) -> Iterator[Sample | Drop]:
    """Every picture below the class folders, in order of split, class code and name.

    splits: the official split, "" for none → its class folders. subject: file name → group; where it gives None the
    picture is dropped, because an unknown subject could cross splits.
    """
    for split, classes in splits.items():
        for label in sorted(classes.folders, key=lambda name: (EIGHT.index(name) if name in EIGHT else 99, name)):
            for folder in classes.folders[label]:
                for file in files_below(folder):
                    place = file.relative_to(root).as_posix()
                    if drop := not_a_picture(file, place):
                        yield drop
                    elif label not in EIGHT:
                        yield Drop(place, label)
                    elif subject is not None and (group := subject(file.name)) is None:
                        yield Drop(place, reasons.NAME, "no subject in it")
                    else:
                        group = subject(file.name) if subject else None
                        yield Sample(place, None, label, split, group=group, file=file, is_crop=is_crop)


def not_a_picture(file: Path, place: str) -> Drop | None:
    """Why a file cannot be a picture, seen from outside; None where it can."""
    if not is_picture(file):
        return Drop(place, reasons.NOT_AN_IMAGE, file.suffix)
    if file.is_file():
        return None
    return Drop(place, reasons.NOT_AN_IMAGE, "a folder") if file.is_dir() else Drop(place, reasons.MISSING, "dead link")


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name; links to folders are given as they are, so that no loop is walked."""
    try:
        with os.scandir(folder) as entries:  # names alone: a class of AffectNet has 134,000 files
            names = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries if not _is_junk(e.name))
    except OSError as error:
        raise DataError(f"expected a folder, cannot read {folder}: {error}") from error
    for name, is_folder in names:
        if is_folder:
            yield from files_below(folder / name)
        else:
            yield folder / name
