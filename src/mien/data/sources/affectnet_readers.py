"""The readers behind ``affectnet.py``: the tables and the npy files, each giving samples and counted drops.

Annotations are data from elsewhere: nothing is unpickled, no path leaves the images' folder, and a row that cannot
be right is dropped under a fixed reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite, isnan
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mien.data.sources import reasons
from mien.data.sources.base import Drop, LeftOut, Sample, attempt, cells_of
from mien.data.sources.trees import files_below, is_picture, not_a_picture, read_outside
from mien.errors import DataError
from mien.tables import csv_columns, csv_rows, shown

#: AffectNet's own codes 0-7 …
CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
#: … and what else the annotators could say.
NO_EXPRESSION = {8: reasons.LABEL_NONE, 9: reasons.LABEL_UNCERTAIN, 10: reasons.LABEL_NO_FACE}
COLUMNS = (
    "subdirectory_filepath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip
_MISSING_AFFECT = -2.0

Points = tuple[tuple[float, float], ...]


def label_of(value: Any) -> str:
    """AffectNet's code, a number or its text, → our name. Raises LeftOut."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise LeftOut(reasons.CODE, f"{str(value)[:40]!r}, expected 0-10") from None
    if number in NO_EXPRESSION:
        raise LeftOut(NO_EXPRESSION[int(number)])
    if number not in range(len(CODES)):
        raise LeftOut(reasons.CODE, f"{value}, expected 0-10"[:60])
    return CODES[int(number)]


def affect_of(value: Any) -> float | None:
    """Valence or arousal in -1…1; None for −2, NaN and nothing, which all mean missing. Raises LeftOut."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = inf
    if number == _MISSING_AFFECT or isnan(number):
        return None
    if abs(number) > 1 + 1e-6:
        raise LeftOut(reasons.AFFECT, str(value)[:40])
    return min(max(number, -1.0), 1.0)


# --- training.csv, validation.csv ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """Where a table's columns stand."""

    has_header: bool
    where: dict[str, int]


def head(path: Path) -> Head:
    """Whether the first line is a header: validation.csv was handed out without one. Raises DataError."""
    first = csv_columns(path)
    if "subdirectory_filepath" in first:
        where = {name: first.index(name) for name in COLUMNS if name in first}
        if "expression" in where:
            return Head(True, where)
    elif len(first) == len(COLUMNS) and "/" in first[0].replace("\\", "/") and isinstance(_number(first[6]), float):
        return Head(False, {name: i for i, name in enumerate(COLUMNS)})
    raise DataError(
        f"expected the columns subDirectory_filePath, expression (…) in {path}, or {len(COLUMNS)} columns without a "
        f"header, found {shown(first)}"
    )


def read_csv(path: Path, *, head: Head, images: Path, split: str) -> Iterator[Sample | Drop]:
    """One table in the order of its rows; a sample's name is its path below the images' folder."""
    for line, row in csv_rows(path, header=head.has_header):
        yield attempt(f"{path.name}:{line}", partial(_row, row, head.where, images=images, split=split))


def _row(row: list[str] | str, where: dict[str, int], *, images: Path, split: str) -> Sample:
    cells = {name: cell.strip() for name, cell in cells_of(row, where, columns=len(where)).items()}
    label = label_of(cells["expression"])
    valence, arousal = affect_of(cells.get("valence")), affect_of(cells.get("arousal"))
    name = relative_path(cells["subdirectory_filepath"])
    if name is None:
        raise LeftOut(reasons.ROW, f"path {cells['subdirectory_filepath'][:60]!r}")
    file = images / name
    if not file.exists():
        raise LeftOut(reasons.MISSING, name)
    if drop := not_a_picture(file, ""):
        raise LeftOut(drop.reason, drop.detail)
    return Sample(
        f"{images.name}/{name}",
        None,
        label,
        split,
        file=file,
        is_crop=False,  # the picture has a margin of its own around the box
        box=_box([cells.get(name) for name in COLUMNS[1:5]]),
        landmarks=points(_numbers(cells.get("facial_landmarks", ""))),
        valence=valence,
        arousal=arousal,
    )


def relative_path(text: str) -> str | None:
    """``689\\a.jpg`` or ``C:\\data\\Manually_Annotated_Images\\689\\a.jpg`` → ``689/a.jpg``; None for no such path."""
    parts = PurePosixPath(text.replace("\\", "/")).parts
    if "Manually_Annotated_Images" in parts:
        parts = parts[parts.index("Manually_Annotated_Images") + 1 :]
    elif parts and (parts[0] == "/" or parts[0].endswith(":")):
        parts = parts[-2:]  # an absolute path of somebody else's machine: AffectNet's own is folder/file
    return "/".join(parts) if parts and ".." not in parts and is_picture(Path(parts[-1])) else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if isfinite(number) else None


def _numbers(text: str) -> list[float | None]:
    return [_number(part) for part in text.split(";")]


def _box(cells: Sequence[str | None]) -> tuple[float, float, float, float] | None:
    x, y, w, h = (_number(cell) for cell in cells)
    return (x, y, w, h) if x is not None and y is not None and w and h and w > 0 and h > 0 else None


def points(values: Sequence[float | None]) -> Points | None:
    """x, y, x, y, … → pairs; None where there are none or one is no number."""
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values) or len(numbers) % 2:
        return None
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


# --- npy annotations -------------------------------------------------------------------------------------------------


def read_npy(folder: Path, *, root: Path, split: str) -> Iterator[Sample | Drop]:
    """images/<id>.jpg with annotations/<id>_{exp,val,aro,lnd}.npy, in order of the ids as numbers."""
    images, annotations = folder / "images", folder / "annotations"
    pictures: dict[str, str] = {}  # names alone, about 25 MB for the whole of AffectNet
    for file in files_below(images):
        place = file.relative_to(root).as_posix()
        if drop := not_a_picture(file, place):
            yield drop
        elif file.parent != images:
            yield Drop(place, reasons.NO_ANNOTATION, "in a folder below images")
        elif file.stem in pictures:
            yield Drop(place, reasons.DUPLICATE_NAME, f"{file.stem}{pictures[file.stem]} is taken")
        else:
            pictures[file.stem] = file.suffix
    labelled = {file.name[:-8] for file in annotations.iterdir() if file.name.endswith("_exp.npy")}
    for name in sorted({*pictures, *labelled}, key=lambda name: (not name.isdecimal(), name.zfill(20))):
        place = (images / f"{name}{pictures.get(name, '.jpg')}").relative_to(root).as_posix()
        if name not in labelled:
            yield Drop(place, reasons.NO_ANNOTATION, f"{name}_exp.npy")
        elif name not in pictures:
            yield Drop(place, reasons.MISSING)
        else:
            file = images / f"{name}{pictures[name]}"
            yield attempt(place, partial(_annotated, file, annotations / name, place=place, split=split))
    yield from read_outside(root, (folder,), (images, annotations), reason=reasons.NO_ANNOTATION)


def _annotated(file: Path, stem: Path, *, place: str, split: str) -> Sample:
    found: dict[str, Any] = {}
    for part in ("exp", "val", "aro", "lnd"):
        array = load_array(stem.with_name(f"{stem.name}_{part}.npy"))
        if part != "lnd" and array is not None:
            if array.size != 1:
                raise LeftOut(reasons.ANNOTATION, f"{part}: {array.size} values, expected one")
            array = array.reshape(-1)[0]
        found[part] = array
    label, valence, arousal = label_of(found["exp"]), affect_of(found["val"]), affect_of(found["aro"])
    landmarks = None
    if found["lnd"] is not None and found["lnd"].dtype.kind in "fiu":
        landmarks = points([float(v) if isfinite(v) else None for v in found["lnd"].reshape(-1).tolist()])
    return Sample(place, None, label, split, file=file, landmarks=landmarks, valence=valence, arousal=arousal)


def load_array(file: Path) -> Any:
    """An npy file as an array; None where it is not there. LeftOut where it is broken or holds pickled objects."""
    if not file.is_file():
        return None
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError) as error:
        raise LeftOut(reasons.ANNOTATION, f"{file.name}: {' '.join(str(error).split())[:80]}") from error
    if not isinstance(array, np.ndarray):
        raise LeftOut(reasons.ANNOTATION, f"{file.name}: not one array")
    return array
