"""The readers behind ``own.py``'s tables: which columns there are, and a stream of their rows.

Rows come in the table's order. Pictures that a table names are decoded by the build; those that it carries are decoded
here, one at a time.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.sources import reasons
from mien.data.sources.base import Drop, Sample
from mien.data.sources.own_labels import Labels, group_of
from mien.data.sources.tables import csv_columns, csv_delimiter, csv_encoding, csv_rows, shown
from mien.data.sources.trees import split_name
from mien.errors import DataError, ImageError
from mien.imaging import load_rgb

#: What a column may be called, in the order of preference.
ROLES: dict[str, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "path", "file", "file_path", "filepath", "file_name", "filename", "image_name", "img",
        "img_path", "pth",
    ),
    "label": ("label", "expression", "emotion", "class", "category", "target"),
    "split": ("split", "usage", "subset", "partition"),
    "group": ("group", "subject", "subject_id", "person", "person_id", "identity", "participant"),
    "valence": ("valence",),
    "arousal": ("arousal",),
}  # fmt: skip
_NEEDED = ("image", "label")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
_LABELS = 100  # different labels that are looked at: there are at most eight expressions, in some spellings
_BATCH = 64  # rows: pictures of any size are carried along


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns by role, and what it says of itself. name: column of a role. classes: meaning of its codes.

    labels: the different cells of its label column, the first few of them.
    """

    files: tuple[Path, ...]
    name: dict[str, str]
    classes: tuple[str, ...] = ()
    labels: tuple[Any, ...] = ()
    rows: int | None = None
    delimiter: str = ","
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        return ", ".join(f"{role}: {self.name.get(role, 'none')}" for role in ROLES)


def find_columns(columns: Sequence[str], *, where: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """role → column, and a warning for each role that several columns could have.

    Raises DataError that names the columns found and expected where there is no image or no label.
    """
    by_key = {name.strip().lower(): name for name in reversed(columns)}
    found, warnings = {}, []
    for role, names in ROLES.items():
        have = [by_key[name] for name in names if name in by_key]
        if have:
            found[role] = have[0]
        if len(have) > 1:
            warnings.append(f"the columns {', '.join(have)} could each be the {role}; {have[0]} was taken")
    if missing := [role for role in _NEEDED if role not in found]:
        wanted = " and ".join(f"a column for the {role} ({', '.join(ROLES[role])})" for role in missing)
        raise DataError(f"expected {wanted} in {where}, found {shown(list(columns))}", hint="rename a column")
    return found, tuple(warnings)


def _sample(
    cells: dict[str, Any], *, place: str, image: Sample | Drop, labels: Labels, table: Table, split: str, photos: bool
) -> Sample | Drop:
    """One row. image: a bare sample that says what the picture is called and where it is."""
    label = labels.cell(cells["label"], table.classes)
    if isinstance(label, Drop):
        return Drop(place, label.reason, label.detail)
    own = cells.get("split")
    named = split if own is None else "" if str(own).strip() == "" else split_name(str(own))
    if named is None:
        return Drop(place, reasons.SPLIT, str(own)[:40])
    affect: list[float | None] = []
    for role in ("valence", "arousal"):
        value = _affect(cells.get(role))
        if isinstance(value, Drop):
            return Drop(place, value.reason, f"{role} {value.detail}")
        affect.append(value)
    if isinstance(image, Drop):
        return Drop(place, image.reason, image.detail)
    return Sample(
        image.path,
        image.pixels,
        label,
        named,
        group=group_of(cells.get("group")),
        file=image.file,
        is_crop=not photos,
        valence=affect[0],
        arousal=affect[1],
    )


def _affect(value: Any) -> float | Drop | None:
    """-1…1; None where the cell is empty."""
    if value is None or str(value).strip() == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return Drop("", reasons.AFFECT, str(value)[:40])
    if np.isnan(number):
        return None
    return number if abs(number) <= 1 else Drop("", reasons.AFFECT, str(value)[:40])


def _file(text: Any, *, home: Path) -> Sample | Drop:
    """A path in a table, relative to the table; with Windows' backslashes where it is one."""
    name = str(text or "").strip()
    if not name:
        return Drop("", reasons.ROW, "no image named")
    for spelling in (name, name.replace("\\", "/")):
        file = home / spelling
        try:
            if file.is_file():
                return Sample(Path(spelling).as_posix(), None, None, "", file=file)
        except (OSError, ValueError):  # a name that no disk can hold
            break
    return Drop("", reasons.MISSING, name[:120])


def _note(found: dict[Any, None], label: Any) -> None:
    """A label among those that were found."""
    if len(found) < _LABELS:
        found[label] = None


# --- CSV -------------------------------------------------------------------------------------------------------------


def csv_table(path: Path) -> Table:
    """Raises DataError where the file is no CSV, has no row, or lacks a column."""
    delimiter = csv_delimiter(path)
    columns = csv_columns(path, delimiter=delimiter)
    name, warnings = find_columns(columns, where=path)
    at = columns.index(name["label"])
    found: dict[str, None] = {}
    rows = 0
    for _, row in csv_rows(path, delimiter=delimiter):
        if isinstance(row, list) and len(row) > at:
            rows += 1
            _note(found, row[at])
    if not rows:
        raise DataError(f"expected rows in {path}, found the header alone")
    if csv_encoding(path) == "cp1252":
        warnings += ("the table is not in UTF-8 and was read as cp1252; save it as UTF-8 where names come out wrong",)
    return Table((path,), name, labels=tuple(found), delimiter=delimiter, warnings=warnings)


def read_csv(table: Table, labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
    """Paths are relative to the file; a row that names no picture that is there is a counted drop."""
    path = table.files[0]
    columns = csv_columns(path, delimiter=table.delimiter)
    where = {role: columns.index(name) for role, name in table.name.items()}
    for line, row in csv_rows(path, delimiter=table.delimiter):
        place = f"{path.name}:{line}"
        if isinstance(row, str) or len(row) <= max(where.values()):
            yield Drop(place, reasons.ROW, row if isinstance(row, str) else f"{len(row)} of {len(columns)} columns")
            continue
        cells = {role: row[i] for role, i in where.items()}
        image = _file(cells["image"], home=path.parent)
        yield _sample(cells, place=place, image=image, labels=labels, table=table, split="", photos=photos)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet_table(files: tuple[Path, ...]) -> Table:
    """Raises DataError where a file is broken, has other columns than the first, or lacks one that is needed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, table = 0, None
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                rows += file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error
        name, warnings = find_columns(schema.names, where=path)
        if (problem := _not_an_image(schema.field(name["image"]).type)) is not None:
            raise DataError(
                f"expected column {name['image']} of {path} to hold bytes, paths or {{bytes, path}}, got {problem}"
            )
        if table is None:
            integer = pa.types.is_integer(schema.field(name["label"]).type)
            classes = _classes(schema.metadata or {}, name["label"]) if integer else ()
            table = Table(files, name, classes=classes, warnings=warnings)
        elif name != table.name:
            raise DataError(f"expected the columns {table.text()} in every file, found {shown(schema.names)} in {path}")
    assert table is not None
    return replace(table, rows=rows, labels=() if table.classes else _labels(files, table.name["label"]))


def _labels(files: tuple[Path, ...], column: str) -> tuple[Any, ...]:
    """The different cells of a column, as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[Any, None] = {}
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=[column]):
                    for label in batch.column(0).to_pylist():
                        _note(found, str(label))
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error
    return tuple(found)


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"expected a Parquet file, cannot read {path}: {error}", hint="the copy may be incomplete")


def _not_an_image(kind: Any) -> str | None:
    """What a column holds instead of pictures; None where it can hold them."""
    import pyarrow as pa

    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return None if {kind.field(i).name for i in range(kind.num_fields)} & {"bytes", "path"} else str(kind)
    plain = ("binary", "large_binary", "fixed_size_binary", "binary_view", "string", "large_string", "string_view")
    return None if str(kind).split("[")[0] in plain else str(kind)


def _classes(metadata: dict[bytes, bytes], column: str) -> tuple[str, ...]:
    """The class names that ``datasets`` writes beside a column of codes; () where it does not say."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        return tuple(str(name) for name in feature["names"]) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError):
        return ()


def read_parquet(table: Table, labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
    """A split that no column says is taken from file names like ``train-00000-of-00001.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in table.files:
        number = -1
        shard = _SHARD.fullmatch(path.stem)
        split = (split_name(shard[1]) if shard else None) or ""
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH, columns=list(table.name.values())):
                    for row in batch.to_pylist():
                        number += 1
                        place = f"{path.name}:{number}"
                        cells = {role: row[name] for role, name in table.name.items()}
                        image = _picture(cells["image"], name=place, home=path.parent)
                        yield _sample(
                            cells, place=place, image=image, labels=labels, table=table, split=split, photos=photos
                        )
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error


def _picture(value: Any, *, name: str, home: Path) -> Sample | Drop:
    """A cell: bytes, a path, or a struct of both, where the bytes come first."""
    data = value
    if isinstance(value, dict):
        name = value.get("path") or name
        data = value.get("bytes") or value.get("path")
    if not isinstance(data, bytes):
        return _file(data, home=home)
    try:
        return Sample(name, _grey_if_it_is(load_rgb(data)), None, "")
    except ImageError as error:
        return Drop("", reasons.of_image_error(error), error.message)


def _grey_if_it_is(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 H×W×3, or H×W where the picture has no colour: as the build has it for files."""
    red = rgb[..., 0]
    grey = np.array_equal(red, rgb[..., 1]) and np.array_equal(red, rgb[..., 2])
    return np.ascontiguousarray(red) if grey else rgb
