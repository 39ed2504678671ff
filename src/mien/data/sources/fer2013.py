"""FER2013 (Goodfellow et al. 2013) in each layout in which it is passed around (SPEC §6).

    csv       fer2013.csv or icml_face_data.csv: emotion, pixels, Usage; FER+'s fer2013new.csv beside it is joined
    kaggle    train.csv (emotion, pixels) and test.csv (pixels alone: both test sets mixed, no labels)
    folders   train|test|validation/<name>/; files named Training_*, PublicTest_*, PrivateTest_* go by that prefix,
              because the popular copy's test folder mixes both test sets; without a prefix the folder decides
    parquet   training.parquet, public_test.parquet, private_test.parquet with an image struct

Classes go by name, never by the alphabetical order of folders. A row that is wrong is dropped and counted; a data set
that is wrong as a whole is a DataError. This file finds the layout; ``fer2013_readers.py`` reads each of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.data.sources import fer2013_readers as readers
from mien.data.sources.base import Counts, Drop, Looked, Sample
from mien.data.sources.found import named_once
from mien.errors import DataError
from mien.labels import SEVEN
from mien.tables import csv_columns, require_columns

LICENCE = (
    "FER2013: for research (Goodfellow et al. 2013, ICML representation-learning challenge); "
    "do not redistribute the images"
)

#: Images per class in code order, as published.
EXPECTED: dict[str, dict[str, int]] = {
    "training": dict(zip(SEVEN, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
    "public_test": dict(zip(SEVEN, (467, 56, 496, 895, 653, 415, 607), strict=True)),
    "private_test": dict(zip(SEVEN, (491, 55, 528, 879, 594, 416, 626), strict=True)),
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


@dataclass(frozen=True, slots=True)
class Fer2013:
    """FER2013 in one layout. A :class:`~mien.data.sources.base.Source`. ferplus: it may have FER+'s votes."""

    layout: str
    files: tuple[Path, ...]
    read: Callable[[], Iterator[Sample | Drop]]
    count: Callable[[], int | None]
    warnings: tuple[str, ...] = ()
    ferplus: bool = False
    name: str = "fer2013"
    licence: str = LICENCE

    def total(self) -> int | None:
        return self.count()

    def stream(self) -> Iterator[Sample | Drop]:
        return self.read()

    def differences(self, counts: Counts) -> list[str]:
        return differences(counts)


def open_fer2013(path: Path) -> Fer2013:
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
        if folders := readers.split_folders(root):
            return _folders(root, folders)
    found = tuple(sorted(child.name + "/" * child.is_dir() for child in path.iterdir() if child.name[0] != "."))
    raise DataError(
        f"no FER2013: {Looked(path, _WANTED, found).text()}",
        hint=f"give the file or directory that holds it; {readers.OTHER_TABLE}",
    )


def _open_file(path: Path) -> Fer2013:
    if path.suffix.lower() == ".parquet":
        return _parquet((path,))
    if path.suffix.lower() == ".csv":
        columns = csv_columns(path)
        return _csv(path) if "usage" in columns else _kaggle((path,))
    raise DataError(f"no FER2013: expected a .csv or .parquet file, or a directory, got {path}")


def _csv(path: Path) -> Fer2013:
    require_columns(path, ("emotion", "pixels", "usage"), hint=readers.OTHER_TABLE)
    votes = path.parent / FERPLUS
    files = (path, votes) if votes.is_file() else (path,)
    if votes.is_file():
        require_columns(votes, readers.FERPLUS_COLUMNS)
    return Fer2013(
        layout="csv with FER+ votes" if votes.is_file() else "csv",
        files=files,
        read=lambda: readers.read_csv(path, votes=votes if votes.is_file() else None),
        count=lambda: None,
        ferplus=votes.is_file(),
    )


def _kaggle(files: tuple[Path, ...]) -> Fer2013:
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
    return Fer2013(
        layout="kaggle csv",
        files=files,
        read=lambda: (item for file in files for item in readers.read_csv(file, votes=None)),
        count=lambda: None,
        warnings=tuple(warnings),
    )


def _parquet(files: tuple[Path, ...]) -> Fer2013:
    rows = sum(readers.parquet_rows(file) for file in files)
    return Fer2013(
        layout="parquet",
        files=files,
        read=lambda: named_once(item for file in files for item in readers.read_parquet(file)),
        count=lambda: rows,
        ferplus=True,
    )


def _folders(root: Path, folders: dict[str, Path]) -> Fer2013:
    classes = {name: readers.class_folders(folder) for name, folder in folders.items()}
    return Fer2013(
        layout="folders",
        files=tuple(folders.values()),
        read=lambda: readers.read_folders(root, classes),
        count=lambda: None,
    )


def differences(counts: Counts) -> list[str]:
    """What differs from the published counts: a split that is missing or unknown, a total, a class; [] if nothing."""
    found = []
    expected: dict[str, dict[str, int]] = dict(EXPECTED)
    if "test" in counts and not {"public_test", "private_test"} & set(counts):
        expected = {"training": EXPECTED["training"], "test": _MIXED}
    for split, classes in expected.items():
        have = counts.get(split)
        if have is None:
            found.append(f"{split}: missing, expected {sum(classes.values())} images")
            continue
        total = sum(have.values())
        if total != sum(classes.values()):
            found.append(f"{split}: {total} images, expected {sum(classes.values())}")
        if not have.get("unlabelled"):
            found += [f"{split}: {have.get(c, 0)} {c}, expected {n}" for c, n in classes.items() if have.get(c, 0) != n]
        elif have["unlabelled"] != total or split in ("training", "public_test"):
            found.append(f"{split}: {have['unlabelled']} of {total} images have no label")
    found += [
        f"{split}: {sum(counts[split].values())} images, not a split of FER2013"
        for split in counts
        if split not in expected
    ]
    return found
