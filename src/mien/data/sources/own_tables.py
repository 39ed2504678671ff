"""The readers behind ``own.py``'s tables: which columns there are, and a stream of their rows.

Rows come in the table's order. Pictures that a table names are decoded by the build; those that it carries are decoded
here, one at a time.
"""

import json
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import Any

from mien.data.sources import reasons
from mien.data.sources.base import VOTE_NAMES, Drop, LeftOut, Sample, attempt, cells_of
from mien.data.sources.own_labels import Labels, group_of
from mien.data.sources.trees import split_name
from mien.errors import DataError, ImageError
from mien.imaging import load_rgb, plain
from mien.labels import EIGHT, SEVEN, is_empty
from mien.tables import csv_columns, csv_delimiter, csv_encoding, csv_rows, not_pictures, parquet_file, shown

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
    "soft_label": ("soft_label",),
    "generated": ("generated_from",),
    "votes": (),  # these two in stores of ours alone: elsewhere the words mean anything
    "landmarks": (),
}  # fmt: skip
#: An image that mien made from another one, in a store of ours: beside its original it could cross splits.
GENERATED = "generated image"
_NEEDED = ("image", "label")
_RARE = ("generated", "votes", "landmarks", "soft_label")
_OURS = {"label_code", "near_duplicate"}
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")
_LABELS = 100  # different labels that are looked at: more than any label set has, in some spellings
#: Rows that are read at a time: pictures of any size are carried along.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns by role, and what it says of itself. name: column of a role. classes: meaning of its codes.

    root: the source's directory. above: the common parent of the absolute paths that lead out of it. labels: the
    different cells of its label column, the first few of them.
    """

    files: tuple[Path, ...]
    name: dict[str, str]
    root: Path
    above: str = ""
    classes: tuple[str, ...] = ()
    labels: tuple[Any, ...] = ()
    rows: int | None = None
    delimiter: str = ","
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        roles = [role for role in ROLES if role in self.name or role not in _RARE]
        return ", ".join(f"{role}: {self.name.get(role, 'none')}" for role in roles)

    def named(self, path: str) -> str:
        """A picture's path as the store has it: no absolute one, which would tell of a home and change in a move."""
        whole = _absolute(path)
        if whole is None:
            return Path(path).as_posix()
        bases = [base for base in (*_bases(self.root), self.above) if base and whole.startswith(base.rstrip("/") + "/")]
        return whole.removeprefix(bases[0] if bases else whole[: whole.index("/")]).lstrip("/")


def _absolute(path: str) -> str | None:
    """An absolute path, of Windows too, with slashes and without detours; None where it is relative."""
    if _DRIVE.match(path):
        return posixpath.normpath(path.replace("\\", "/"))
    return posixpath.normpath(path) if path.startswith("/") else None


@lru_cache(maxsize=8)
def _bases(root: Path) -> tuple[str, ...]:
    """A directory's absolute path, and the one behind its links."""
    return tuple(str(path).replace("\\", "/") for path in (Path(os.path.abspath(root)), root.resolve()))


def above(paths: Iterable[object], root: Path) -> str:
    """The common parent of those paths that are absolute and not below the root; "" where there is none."""
    parents = {posixpath.dirname(whole) for path in paths if (whole := _absolute(str(path or "").strip())) is not None}
    outside = [each for each in parents if not any(f"{each}/".startswith(base + "/") for base in _bases(root))]
    try:
        return posixpath.commonpath(outside) if outside else ""
    except ValueError:  # several drives
        return ""


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


def own_roles(columns: Sequence[str]) -> dict[str, str]:
    """Roles that a column has in a store of ours alone."""
    return {role: role for role in ("votes", "landmarks") if role in columns} if set(columns) >= _OURS else {}


def check_pictures(kind: Any, column: str, where: Path) -> None:
    """Raises DataError where an Arrow type can hold no pictures."""
    if (problem := not_pictures(kind)) is not None:
        raise DataError(f"expected column {column} of {where} to hold bytes, paths or {{bytes, path}}, got {problem}")


def _sample(
    cells: dict[str, Any],
    *,
    picture: Callable[[], Sample],
    labels: Labels,
    table: Table,
    split: str,
    photos: bool,
) -> Sample:
    """One row. picture: gives a bare sample that says what the picture is called and where it is. Raises LeftOut."""
    if (original := group_of(cells.get("generated"))) is not None:
        raise LeftOut(GENERATED, f"from {table.named(original)}"[:120])
    label = labels.cell(cells["label"], table.classes)
    own = cells.get("split")
    named = split if own is None else "" if is_empty(own) else split_name(str(own))
    if named is None:
        raise LeftOut(reasons.SPLIT, str(own)[:40])
    valence, arousal = (_affect(cells.get(role), role) for role in ("valence", "arousal"))
    votes, points = cells.get("votes"), cells.get("landmarks")
    if votes is not None and len(votes) != len(VOTE_NAMES):
        raise LeftOut(reasons.ROW, f"{len(votes)} of {len(VOTE_NAMES)} votes")
    return replace(
        picture(),
        label=label,
        split=named,
        votes=None if votes is None or labels.own else tuple(votes),  # on expressions
        group=group_of(cells.get("group")),
        is_crop=not photos,
        landmarks=tuple(zip(points[::2], points[1::2], strict=False)) if points else None,
        valence=valence,
        arousal=arousal,
        soft_label=_distribution(cells.get("soft_label")),
    )


def _distribution(value: Any) -> tuple[float, ...] | None:
    """Seven or eight probabilities by code, a list or JSON; None where the cell is empty. Raises LeftOut."""
    if value is None or (isinstance(value, str) and is_empty(value)):
        return None
    try:
        numbers = tuple(float(one) for one in (json.loads(value) if isinstance(value, str) else value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        numbers = ()
    if len(numbers) not in (len(SEVEN), len(EIGHT)) or min(numbers) < 0 or not abs(sum(numbers) - 1) < 1e-3:
        raise LeftOut(reasons.SOFT_LABEL, str(value)[:80])
    return numbers


def _affect(value: Any, role: str) -> float | None:
    """-1…1; None where the cell is empty. Raises LeftOut."""
    if is_empty(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = inf
    if not abs(number) <= 1:
        raise LeftOut(reasons.AFFECT, f"{role} {str(value)[:40]}")
    return number


def _file(text: Any, *, table: Table, home: Path) -> Sample:
    """A path in a table, relative to the file that says it; with Windows' backslashes where it is one."""
    name = str(text or "").strip()
    if not name:
        raise LeftOut(reasons.ROW, "no image named")
    for spelling in (name, name.replace("\\", "/")):
        file = home / spelling
        try:
            if file.is_file():
                if _absolute(spelling) is None:
                    spelling = (home.relative_to(table.root) / spelling).as_posix()
                return Sample(table.named(spelling), None, None, "", file=file)
        except (OSError, ValueError):  # a name that no disk can hold
            break
    raise LeftOut(reasons.MISSING, (name if _absolute(name) is None else table.named(name))[:120])


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
    image, label = (columns.index(name[role]) for role in _NEEDED)
    found: dict[str, None] = {}
    absolute: set[str] = set()
    rows = 0
    for _, row in csv_rows(path, delimiter=delimiter):
        if isinstance(row, list) and len(row) > max(image, label):
            rows += 1
            _note(found, row[label])
            if _absolute(row[image].strip()) is not None:
                absolute.add(row[image])
    if not rows:
        raise DataError(f"expected rows in {path}, found the header alone")
    if csv_encoding(path) == "cp1252":
        warnings += ("the table is not in UTF-8 and was read as cp1252; save it as UTF-8 where names come out wrong",)
    return Table(
        (path,),
        name,
        path.parent,
        above=above(absolute, path.parent),
        labels=tuple(found),
        delimiter=delimiter,
        warnings=warnings,
    )


def read_csv(table: Table, labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
    """Paths are relative to the file; a row that names no picture that is there is a counted drop."""
    path = table.files[0]
    columns = csv_columns(path, delimiter=table.delimiter)
    where = {role: columns.index(name) for role, name in table.name.items()}
    for line, row in csv_rows(path, delimiter=table.delimiter):

        def one(row: list[str] | str = row) -> Sample:
            cells = cells_of(row, where, columns=len(columns))
            picture = partial(_file, cells["image"], table=table, home=path.parent)
            return _sample(cells, picture=picture, labels=labels, table=table, split="", photos=photos)

        yield attempt(f"{path.name}:{line}", one)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet_table(files: tuple[Path, ...], root: Path) -> Table:
    """root: the directory that the files lie in.

    Raises DataError where a file is broken, has other columns than the first, or lacks one that is needed.
    """
    import pyarrow as pa

    rows, table = 0, None
    for path in files:
        with parquet_file(path) as file:
            schema = file.schema_arrow
            rows += file.metadata.num_rows
        name, warnings = find_columns(schema.names, where=path)
        name |= own_roles(schema.names)
        check_pictures(schema.field(name["image"]).type, name["image"], path)
        if table is None:
            kind = schema.field(name["label"]).type
            number = pa.types.is_integer(kind) or pa.types.is_floating(kind)  # floats: where a label is missing
            classes = _classes(schema.metadata or {}, name["label"]) if number else ()
            table = Table(files, name, root, classes=classes, warnings=warnings)
        elif name != table.name:
            raise DataError(f"expected the columns {table.text()} in every file, found {shown(schema.names)} in {path}")
    assert table is not None
    found: dict[Any, None] = {}
    if not table.classes:
        for label in _cells(files, table.name["label"]):
            _note(found, label if label is None or isinstance(label, str | int | float) else str(label))
    return replace(table, rows=rows, labels=tuple(found), above=above(_paths(files, table.name["image"]), root))


def _paths(files: tuple[Path, ...], column: str) -> Iterator[Any]:
    """The paths in a column of pictures; the pictures themselves are not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        kind = pq.read_schema(path).field(column).type
        if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            yield from (cell and cell["path"] for cell in _cells((path,), f"{column}.path"))
        elif "string" in str(kind) and not pa.types.is_struct(kind):
            yield from _cells((path,), column)


def _cells(files: tuple[Path, ...], column: str) -> Iterator[Any]:
    """One column of all files."""
    for path in files:
        with parquet_file(path) as file:
            for batch in file.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()


def _classes(metadata: dict[bytes, bytes], column: str) -> tuple[str, ...]:
    """The class names that ``datasets`` writes beside a column of codes; () where it does not say."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        return tuple(str(name) for name in feature["names"]) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def read_parquet(table: Table, labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
    """A split that no column says is taken from file names like ``train-00000-of-00001.parquet``."""
    for path in table.files:
        shard = _SHARD.fullmatch(path.stem)
        split = (split_name(shard[1]) if shard else None) or ""
        with parquet_file(path) as file:
            batches = file.iter_batches(batch_size=BATCH, columns=list(table.name.values()))
            rows = (batch.to_pylist() for batch in batches)
            yield from rows_of(rows, table, labels, file=path, split=split, photos=photos)


def rows_of(
    batches: Iterable[list[dict[str, Any]]], table: Table, labels: Labels, *, file: Path, split: str, photos: bool
) -> Iterator[Sample | Drop]:
    """The rows of one file, in batches, as samples. split: theirs, where no column says it."""
    place_of_file = file.relative_to(table.root).as_posix()
    for number, row in enumerate(row for batch in batches for row in batch):
        place = f"{place_of_file}:{number}"
        cells = {role: row[name] for role, name in table.name.items()}
        picture = partial(_picture, cells["image"], name=place, table=table, home=file.parent)
        one = partial(_sample, cells, picture=picture, labels=labels, table=table, split=split, photos=photos)
        yield attempt(place, one)


def _picture(value: Any, *, name: str, table: Table, home: Path) -> Sample:
    """A cell: bytes, a path, or a struct of both, where the bytes come first."""
    data = value
    if isinstance(value, dict):
        path = value.get("path") or name
        name = path if _absolute(path) is None else table.named(path)
        data = value.get("bytes") or value.get("path")
    if not isinstance(data, bytes):
        return _file(data, table=table, home=home)
    try:
        return Sample(name, plain(load_rgb(data)), None, "")
    except ImageError as error:
        raise LeftOut(reasons.of_image_error(error), error.message) from error
