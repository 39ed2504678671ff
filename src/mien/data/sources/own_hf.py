"""A data set that Hugging Face ``datasets`` saved with ``save_to_disk``: Arrow files, read without that package.

    DIR/dataset_dict.json    the names of its splits, each a folder of its own; absent where there is one split alone
    SPLIT/state.json         its Arrow files, in order, and the name of the split
    SPLIT/dataset_info.json  its features: the class names of a ClassLabel, the pictures of an Image
    SPLIT/data-00000-of-00001.arrow   Arrow's stream format

Columns, labels and pictures are what they are in a table of the user's own (``own_tables.py``). ``save_to_disk`` puts
the pictures' bytes into the files; one that it left as a path is looked for there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.data.sources import own_tables as tables
from mien.data.sources.base import Drop, Sample
from mien.data.sources.found import not_found
from mien.data.sources.own_labels import Labels
from mien.data.sources.trees import split_name
from mien.errors import DataError

_AGAIN = "save it again with datasets.save_to_disk"


def open_saved(path: Path) -> tuple[tables.Table, dict[Path, str]]:
    """The table of a saved data set, and the split of each of its files. Raises DataError."""
    if not path.is_dir() or not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        raise not_found(
            "data set saved by datasets",
            path,
            ("dataset_dict.json", "state.json"),
            hint="save one with load_dataset(…).save_to_disk(DIR); for Parquet files use parquet=",
        )
    files: dict[Path, str] = {}
    table: tables.Table | None = None
    features: dict[str, Any] = {}
    rows = 0
    for home, name in _splits(path):
        there = _object(home / "dataset_info.json").get("features")
        if not isinstance(there, dict):  # codes whose names are lost would be taken for mien's
            raise DataError(f"expected the features of its columns in {home / 'dataset_info.json'}", hint=_AGAIN)
        for file in _files(home):
            with arrow_stream(file) as stream:
                schema = stream.schema
                rows += sum(len(batch) for batch in _batches(stream, [schema.names[0]], file))
            one = _table(schema, there, file, path)
            if table is None:
                table, features = one, there
            elif (one.name, one.classes) != (table.name, table.classes):
                raise DataError(f"expected the same columns and classes in every split, got others in {file}")
            files[file] = name
    if table is None or not rows:
        raise DataError(f"expected rows in {path}, found none", hint=_AGAIN)
    table = replace(table, files=tuple(files), rows=rows)
    if not table.classes:
        found = dict.fromkeys(str(cells["label"]) for cells in _cells(table, only=("label",)))
        table = replace(table, labels=tuple(found)[:100])
    above = tables.above((cells["image"] for cells in _cells(table, only=("image",))), path)
    return replace(table, above=above, warnings=(*table.warnings, *_left_out(features, table))), files


def read_saved(table: tables.Table, files: dict[Path, str], labels: Labels, *, photos: bool) -> Iterator[Sample | Drop]:
    """Rows in order, split by split. Their split is the saved one's, unless a column says it."""
    for file, split in files.items():
        yield from tables.rows_of(
            (batch.to_pylist() for batch in _read(file, list(table.name.values()))),
            table,
            labels,
            file=file,
            split=split,
            photos=photos,
        )


def _splits(path: Path) -> list[tuple[Path, str]]:
    """Folder and split; "" for a single one whose name says nothing. Raises DataError."""
    if not (path / "dataset_dict.json").is_file():
        return [(path, split_name(str(_object(path / "state.json").get("_split") or "")) or "")]
    names = _object(path / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not names:
        raise DataError(f"expected the names of splits in {path / 'dataset_dict.json'}, got none", hint=_AGAIN)
    unknown = [name for name in names if split_name(str(name)) is None]
    if unknown and len(names) > 1:
        raise DataError(
            f"expected splits named train, validation or test in {path}, found {', '.join(map(str, unknown))}",
            hint="rename them: DatasetDict({'train': …, 'test': …}).save_to_disk(DIR)",
        )
    return [(path / str(name), split_name(str(name)) or "") for name in names]


def _files(home: Path) -> list[Path]:
    """A split's Arrow files, all there. Raises DataError."""
    listed = _object(home / "state.json").get("_data_files")
    try:
        files = [home / str(entry["filename"]) for entry in listed]  # type: ignore[union-attr]
    except (TypeError, KeyError) as error:
        raise DataError(f"expected the list of Arrow files in {home / 'state.json'}, got none", hint=_AGAIN) from error
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DataError(f"expected {len(files)} Arrow files in {home}, missing {', '.join(missing)}", hint=_AGAIN)
    return files


def _table(schema: Any, features: dict[str, Any], file: Path, root: Path) -> tables.Table:
    name, warnings = tables.find_columns(schema.names, where=file)
    name |= tables.own_roles(schema.names)
    tables.check_pictures(schema.field(name["image"]).type, name["image"], file)
    feature, classes = features.get(name["label"]), list[str]()
    if not isinstance(feature, dict):
        raise DataError(f"expected a feature of the column {name['label']} beside {file}, got none", hint=_AGAIN)
    if feature.get("_type") == "ClassLabel":
        classes = feature.get("names") or []
        if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes) or not classes:
            raise DataError(f"expected the class names of {name['label']} beside {file}, got none", hint=_AGAIN)
    return tables.Table((file,), name, root, classes=tuple(classes), warnings=warnings)


def _left_out(features: dict[str, Any], table: tables.Table) -> tuple[str, ...]:
    """A warning for each further column of pictures: one of them is read."""
    pictures = [key for key, value in features.items() if isinstance(value, dict) and value.get("_type") == "Image"]
    others = [name for name in pictures if name != table.name["image"]]
    return (f"the pictures of {', '.join(others)} are left out; {table.name['image']} was read",) if others else ()


def _cells(table: tables.Table, *, only: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Some cells of each row by role; a picture's bytes are not read."""
    columns = {role: table.name[role] for role in only}
    for file in table.files:
        for batch in _read(file, list(columns.values())):
            lists = {}
            for role, name in columns.items():
                column = batch.column(name)
                if role == "image" and "struct" in str(column.type):
                    column = column.field("path") if column.type.get_field_index("path") >= 0 else None
                elif role == "image" and "string" not in str(column.type):
                    column = None
                lists[role] = [None] * len(batch) if column is None else column.to_pylist()
            yield from (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))


def _read(file: Path, columns: list[str]) -> Iterator[Any]:
    with arrow_stream(file) as stream:
        yield from _batches(stream, columns, file)


def _batches(stream: Any, columns: list[str], file: Path) -> Iterator[Any]:
    """Batches of a few rows: the pictures of a whole one may not fit in memory. Raises DataError."""
    import pyarrow as pa

    try:
        for batch in stream:
            chosen = batch.select(columns)
            chosen.validate(full=True)  # a stream may say that a cell lies anywhere in memory
            yield from (chosen.slice(start, tables.BATCH) for start in range(0, len(chosen), tables.BATCH))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"expected a complete Arrow file, cannot read {file}: {error}", hint=_AGAIN) from error


@contextmanager
def arrow_stream(file: Path) -> Iterator[Any]:
    """Mapped into memory, so that what is not looked at is not read. Raises DataError."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            names, _ = stream.schema.names, str(stream.schema)  # the text has every name within, too
            if not names or len(set(names)) < len(names):
                raise DataError(f"expected columns with a name each in {file}, got {', '.join(names) or 'none'}")
            yield stream
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"expected Arrow's stream format in {file}, cannot read it: {error}", hint=_AGAIN) from error


def _object(file: Path) -> dict[str, Any]:
    """A JSON object. Raises DataError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected JSON in {file}, cannot read it: {error}", hint=_AGAIN) from error
    return content if isinstance(content, dict) else {}
