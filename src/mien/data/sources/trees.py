"""Folders of pictures: how splits and classes are found, and how files are read, in a fixed order.

Shared by every source whose label is the name of a folder. Pictures are not opened here: the build decodes them.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_NOT_FOLLOWED = "link to a folder, not followed"


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

    def paths(self) -> list[Path]:
        """Every folder that is read."""
        return [path for paths in self.folders.values() for path in paths]

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
    known: Sequence[str] = EIGHT,
) -> Iterator[Sample | Drop]:
    """Every picture below the class folders, in order of split, class code and name; see also ``read_outside``.

    splits: the official split, "" for none → its class folders. subject: file name → group; where it gives None the
    picture is dropped, because an unknown subject could cross splits. known: the labels, in order; what is none of
    them is a reason to leave the folder out.
    """
    for split, classes in splits.items():
        for label in sorted(classes.folders, key=lambda name: (known.index(name) if name in known else 99, name)):
            for folder in classes.folders[label]:
                for file in files_below(folder):
                    place = file.relative_to(root).as_posix()
                    if drop := not_a_picture(file, place):
                        yield drop
                    elif label not in known:
                        yield Drop(place, label)
                    elif subject is not None and (group := subject(file.name)) is None:
                        yield Drop(place, reasons.NAME, "no subject in it")
                    else:
                        group = subject(file.name) if subject else None
                        yield Sample(place, None, label, split, group=group, file=file, is_crop=is_crop)


def read_outside(
    root: Path, homes: Iterable[Path], taken: Iterable[Path], *, reason: str = reasons.OUTSIDE
) -> Iterator[Drop]:
    """Every picture below ``homes`` that no reader takes: loose files, and what lies in folders of unknown names.

    taken: the folders that are read, or are homes themselves; they are not entered. So kept and dropped pictures
    together are the pictures that are there. A folder that cannot be listed is one drop.
    """
    known = set(taken)
    for home in homes:
        for child in children(home):
            if child in known:
                continue
            place = child.relative_to(root).as_posix()
            if not child.is_dir():
                if is_picture(child):
                    yield Drop(place, reason)
            elif child.is_symlink() and _holds(os.path.realpath(child), os.path.realpath(home)):
                yield Drop(place, reasons.NOT_AN_IMAGE, _NOT_FOLLOWED)
            else:
                try:
                    for file in files_below(child):
                        if file.is_dir():
                            yield Drop(file.relative_to(root).as_posix(), reasons.NOT_AN_IMAGE, _NOT_FOLLOWED)
                        elif is_picture(file):
                            yield Drop(file.relative_to(root).as_posix(), reason)
                except DataError:
                    yield Drop(place, reason, "a folder that cannot be listed")


def read_splits(root: Path, homes: Mapping[str, Path], splits: Mapping[str, Classes]) -> Iterator[Sample | Drop]:
    """Every picture of a data set of crops in class folders below those of its splits, ``homes``: kept or dropped."""
    yield from read_tree(root, splits)
    taken = [*homes.values(), *(path for classes in splits.values() for path in classes.paths())]
    yield from read_outside(root, (root, *homes.values()), taken)


def not_a_picture(file: Path, place: str) -> Drop | None:
    """Why a file cannot be a picture, seen from outside; None where it can."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        return Drop(place, reasons.NOT_AN_IMAGE, _NOT_FOLLOWED if file.is_symlink() else "a folder")
    if not is_picture(file):
        return Drop(place, reasons.NOT_AN_IMAGE, file.suffix)
    if mode is None:
        return Drop(place, reasons.MISSING, "dead link")
    return None if stat.S_ISREG(mode) else Drop(place, reasons.NOT_AN_IMAGE, "not a regular file")


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name; links to folders are followed. Raises DataError.

    A link that leads back into what is read anyway, or to a folder around it, is given as it is, so that no loop is
    walked and no other class is read in passing.
    """
    real = os.path.realpath(folder)
    yield from _below(folder, (real,), [real])


def _below(folder: Path, around: tuple[str, ...], walked: list[str]) -> Iterator[Path]:
    """around: the real folders in which this walk stands; walked: all that it has entered by a link, and its root."""
    try:
        with os.scandir(folder) as entries:  # names alone: a class of AffectNet has 134,000 files
            names = sorted((e.name, _is_folder(e), e.is_symlink()) for e in entries if not _is_junk(e.name))
    except OSError as error:
        raise DataError(f"expected a folder, cannot read {folder}: {error}") from error
    for name, is_folder, is_link in names:
        path = folder / name
        if not is_folder:
            yield path
        elif not is_link:
            yield from _below(path, around, walked)
        else:
            real = os.path.realpath(path)
            if any(_holds(known, real) for known in walked) or any(_holds(real, known) for known in around):
                yield path
            else:
                walked.append(real)
                yield from _below(path, (*around, real), walked)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _holds(folder: str, path: str) -> bool:
    """Whether a real path is a real folder, or lies below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
