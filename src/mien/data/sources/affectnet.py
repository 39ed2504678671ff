"""AffectNet (Mollahosseini et al. 2017) in each layout that is in circulation.

    csv      training.csv and validation.csv beside Manually_Annotated_Images/: photos with the annotators' face box,
             68 landmarks, valence and arousal; with or without a header line, with Windows' backslashes or without
    npy      {train_set,val_set}/images/<id>.jpg with annotations/<id>_{exp,val,aro,lnd}.npy: crops, eight classes
    folders  {train,val,test}/0..7 in AffectNet's code order, or with folders by name: crops

Codes 8-10 are no expression (none, uncertain, no face): dropped and counted. −2 stands for a missing valence or
arousal. This file finds the layout; ``affectnet_readers.py`` reads the csv and the npy files.
"""

from functools import partial
from pathlib import Path

from mien.data.sources import affectnet_readers as readers
from mien.data.sources.affectnet_readers import CODES, NO_EXPRESSION
from mien.data.sources.base import Counts
from mien.data.sources.found import Found, in_order, named_once, not_found
from mien.data.sources.trees import (
    Classes,
    class_folders,
    expression,
    first_folder,
    read_splits,
    require_classes,
    split_folders,
    split_name,
)

NAME = "affectnet"
LICENCE = (
    "AffectNet (Mollahosseini et al. 2017): for non-commercial research, under the agreement with its owners "
    "(University of Denver); do not redistribute the images"
)
_found = partial(Found, name=NAME, licence=LICENCE)
#: Manually annotated images of the eight classes, as published.
EXPECTED: Counts = {
    "training": in_order(CODES, (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)),
    "validation": in_order(CODES, (500,) * 8),
}
WANTED = (
    "training.csv/validation.csv beside Manually_Annotated_Images/",
    "{train_set,val_set}/images/<id>.jpg with annotations/<id>_exp.npy",
    "{train,val,test}/0..7/ or {train,val,test}/<expression>/",
)
_TABLES = {"training.csv": "training", "validation.csv": "validation"}
_LISTS = "Manually_Annotated_file_lists"
_IMAGES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated")


def open_affectnet(path: Path) -> Found:
    """Detect the layout of a file or directory. Raises DataError that says what was looked for and what was found."""
    if path.is_file():
        if path.name.lower() in _TABLES:
            return _csv([path])
        raise not_found("AffectNet", path, WANTED, hint="a table of AffectNet is called training.csv or validation.csv")
    for root in (path, path / "AffectNet", path / _LISTS):
        if tables := [root / name for name in _TABLES if (root / name).is_file()]:
            return _csv(tables)
        if not root.is_dir():
            continue
        splits = split_folders(root)
        if sets := {split: folder for split, folder in splits.items() if (folder / "annotations").is_dir()}:
            return _npy(root, sets)
        if (root / "annotations").is_dir() and (root / "images").is_dir():
            return _npy(root.parent, {split_name(root.name) or "": root})
        found = {split: class_folders(folder, _meaning) for split, folder in splits.items()}
        if any(found.values()):
            return _folders(root, splits, found)
    raise not_found("AffectNet", path, WANTED)


def _csv(tables: list[Path]) -> Found:
    home = tables[0].parent
    near = (home, home.parent) if home.name == _LISTS else (home,)
    images = first_folder(*(place / name for place in near for name in _IMAGES))
    if images is None:
        raise not_found(
            "AffectNet",
            near[-1],
            tuple(f"{name}/" for name in _IMAGES),
            hint="the tables are there, the images are not",
        )
    heads = {table: readers.head(table) for table in tables}
    bare = [table.name for table, head in heads.items() if not head.has_header]
    return _found(
        layout="csv" + (f" ({', '.join(bare)} without a header)" if bare else ""),
        files=(*tables, images),
        read=lambda: named_once(
            item
            for table, head in heads.items()
            for item in readers.read_csv(table, head=head, images=images, split=_TABLES[table.name.lower()])
        ),
        expected=EXPECTED,
    )


def _npy(root: Path, sets: dict[str, Path]) -> Found:
    for folder in sets.values():
        if not (folder / "images").is_dir():
            raise not_found("AffectNet", folder, ("images/ beside annotations/",), hint="the copy looks incomplete")
    unnamed = "" in sets
    return _found(
        layout="images with npy annotations",
        files=tuple(sets.values()),
        read=lambda: (
            item for split, folder in sets.items() for item in readers.read_npy(folder, root=root, split=split)
        ),
        expected={} if unnamed else EXPECTED,
        warnings=("neither train_set nor val_set in the path: these images got no official split",) if unnamed else (),
    )


def _meaning(name: str) -> str | None:
    if name.isdecimal():
        code = int(name)
        return CODES[code] if code < len(CODES) else NO_EXPRESSION.get(code)
    return expression(name)


def _folders(root: Path, splits: dict[str, Path], found: dict[str, Classes]) -> Found:
    for split, classes in found.items():
        coded = any(path.name.isdecimal() for paths in classes.folders.values() for path in paths)
        names = {label: str(code) for code, label in enumerate(CODES)} if coded else {}
        require_classes(classes, splits[split], CODES[:7], names=names)
    without = [split for split, classes in found.items() if classes.missing(("contempt",))]
    strange = [f"{splits[split].name}/{name}" for split, classes in found.items() for name in classes.unknown]
    warnings = []
    if without:
        warnings.append(f"a seven-class copy: no folder for contempt in {', '.join(splits[s].name for s in without)}")
    if strange:
        warnings.append(f"not read, as it names no class of AffectNet: {', '.join(strange[:8])}")
    return _found(
        layout="folders",
        files=tuple(splits.values()),
        read=lambda: read_splits(root, splits, found),
        expected=EXPECTED,
        warnings=tuple(warnings),
    )
