"""FER2013 (Goodfellow et al. 2013) in each layout that is in circulation.

    csv       fer2013.csv or icml_face_data.csv: emotion, pixels, Usage; FER+'s fer2013new.csv beside it is joined
    kaggle    train.csv (emotion, pixels) and test.csv (pixels alone: both test sets mixed, no labels)
    folders   train|test|validation/<name>/; files named Training_*, PublicTest_*, PrivateTest_* go by that prefix,
              because the popular copy's test folder mixes both test sets; without a prefix the folder decides
    parquet   training.parquet, public_test.parquet, private_test.parquet with an image struct

Classes go by name, never by the alphabetical order of folders. A row that is wrong is dropped and counted; a data set
that is wrong as a whole is a DataError. This file finds the layout; ``fer2013_readers.py`` reads each of them.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mien.data.sources import fer2013_readers as readers
from mien.data.sources.base import Counts, Drop, Sample
from mien.data.sources.found import Found, count_differences, in_order, named_once, not_found
from mien.data.sources.trees import Classes, class_folders, expression, read_outside, require_classes, split_folders
from mien.errors import DataError
from mien.labels import SEVEN
from mien.tables import csv_columns, require_columns

LICENCE = (
    "FER2013: for research (Goodfellow et al. 2013, ICML representation-learning challenge); "
    "do not redistribute the images"
)

#: Images per class in code order, as published.
EXPECTED: Counts = {
    "training": in_order(SEVEN, (3995, 436, 4097, 7215, 4830, 3171, 4965)),
    "public_test": in_order(SEVEN, (467, 56, 496, 895, 653, 415, 607)),
    "private_test": in_order(SEVEN, (491, 55, 528, 879, 594, 416, 626)),
}
#: Kaggle's test.csv: PublicTest and PrivateTest together, and no telling which is which.
_MIXED = {name: EXPECTED["public_test"][name] + EXPECTED["private_test"][name] for name in SEVEN}

_WANTED = (
    "fer2013.csv",
    "icml_face_data.csv",
    "train.csv/test.csv",
    "training/public_test/private_test.parquet",
    "train|test|validation/<expression>/ image folders",
)
_PARQUET = ("training.parquet", "public_test.parquet", "private_test.parquet")
FERPLUS = "fer2013new.csv"


def open_fer2013(path: Path) -> Found:
    """Detect the layout of a file or directory. Raises DataError that says what was looked for and what was found."""
    if path.is_file():
        return _open_file(path)
    for root in (path, path / "fer2013"):  # the original archive unpacks into fer2013/
        for name in ("fer2013.csv", "icml_face_data.csv"):
            if (root / name).is_file():
                return _csv(root / name)
        if (root / "train.csv").is_file():
            return _kaggle(tuple(root / name for name in ("train.csv", "test.csv") if (root / name).is_file()))
        if any((root / name).is_file() for name in _PARQUET):
            return _parquet(tuple(root / name for name in _PARQUET if (root / name).is_file()))
        folders = {
            split: folder for split, folder in split_folders(root).items() if any(map(Path.is_dir, folder.iterdir()))
        }
        if folders:
            return _folders(root, folders)
    raise not_found("FER2013", path, _WANTED, hint=f"give the file or directory that holds it; {readers.OTHER_TABLE}")


def _found(layout: str, files: tuple[Path, ...], read: Callable[[], Iterator[Sample | Drop]], **more: Any) -> Found:
    return Found(name="fer2013", layout=layout, files=files, licence=LICENCE, read=read, compare=differences, **more)


def _open_file(path: Path) -> Found:
    if path.suffix.lower() == ".parquet":
        return _parquet((path,))
    if path.suffix.lower() == ".csv":
        columns = csv_columns(path)
        return _csv(path) if "usage" in columns else _kaggle((path,))
    raise DataError(f"no FER2013: expected a .csv or .parquet file, or a directory, got {path}")


def _csv(path: Path) -> Found:
    require_columns(path, ("emotion", "pixels", "usage"), hint=readers.OTHER_TABLE)
    votes = path.parent / FERPLUS if (path.parent / FERPLUS).is_file() else None
    if votes is None:
        return _found("csv", (path,), lambda: readers.read_csv(path, votes=None))
    require_columns(votes, readers.FERPLUS_COLUMNS)
    return _found("csv with FER+ votes", (path, votes), lambda: readers.read_csv(path, votes=votes), ferplus=True)


def _kaggle(files: tuple[Path, ...]) -> Found:
    for file in files:
        require_columns(file, ("pixels",), hint=readers.OTHER_TABLE)
    warnings = []
    if any((file.parent / FERPLUS).is_file() for file in files):
        warnings.append(
            f"{FERPLUS} is row-aligned with fer2013.csv alone; its votes were not joined to {files[0].name}"
        )
    if any("emotion" not in csv_columns(file) for file in files):
        warnings.append(
            "the rows without labels became the split 'test': PublicTest and PrivateTest cannot be told apart"
        )
    return _found(
        "kaggle csv",
        files,
        lambda: chain.from_iterable(readers.read_csv(file, votes=None) for file in files),
        warnings=tuple(warnings),
    )


def _parquet(files: tuple[Path, ...]) -> Found:
    rows = sum(readers.parquet_rows(file) for file in files)
    return _found(
        "parquet",
        files,
        lambda: named_once(chain.from_iterable(map(readers.read_parquet, files))),
        count=lambda: rows,
        ferplus=True,
    )


def _folders(root: Path, splits: dict[str, Path]) -> Found:
    found = {split: _classes(folder) for split, folder in splits.items()}
    taken = [*splits.values(), *(path for classes in found.values() for path in classes.paths())]
    return _found(
        "folders",
        tuple(splits.values()),
        lambda: chain(readers.read_folders(root, found), read_outside(root, (root, *splits.values()), taken)),
    )


def _classes(folder: Path) -> Classes:
    """The seven class folders of a split. Raises DataError where one is missing, doubled, or no class of FER2013."""
    classes = class_folders(folder, lambda name: label if (label := expression(name)) in SEVEN else None)
    strange = [(name, "no expression of FER2013") for name in classes.unknown]
    strange += [
        (paths[1].name, f"a second folder for {label}") for label, paths in classes.folders.items() if paths[1:]
    ]
    if strange:
        raise DataError(
            f"expected class folders named {', '.join(SEVEN)} in {folder}, found {strange[0][0]!r}: {strange[0][1]}",
            hint="numbers are not taken for classes, because copies number them differently; rename the folders, "
            "or read your own by --source folder=PATH",
        )
    require_classes(classes, folder, SEVEN, names={})
    return classes


def differences(counts: Counts) -> list[str]:
    """What differs from the published counts, one sentence each; the test sets may be mixed and without labels."""
    mixed = "test" in counts and not {"public_test", "private_test"} & set(counts)
    expected = {"training": EXPECTED["training"], "test": _MIXED} if mixed else EXPECTED
    return count_differences(counts, expected, name="FER2013", withheld=("private_test", "test"))
