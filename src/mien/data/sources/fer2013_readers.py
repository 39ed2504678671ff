"""The readers behind ``fer2013.py``: one generator a layout, each giving samples and counted drops.

A drop's reason is one of the phrases below or of ``reasons.py``, so that drops can be counted across layouts.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.sources.base import VOTE_NAMES, Drop, LeftOut, Sample, attempt, cells_of
from mien.data.sources.reasons import UNREADABLE
from mien.data.sources.trees import Classes, read_tree
from mien.errors import DataError
from mien.labels import SEVEN, is_empty, whole
from mien.tables import csv_columns, csv_rows, parquet_file

SIDE = 48
FERPLUS_COLUMNS = ("usage", "image name", *(name if name != "not_face" else "nf" for name in VOTE_NAMES))

PIXELS = "wrong number of pixels"
VALUE = "pixel value out of 0-255"
EMOTION, EMOTION_OF_EIGHT = "emotion out of 0-6", "emotion out of 0-7"
USAGE = "unknown usage"

#: For a table that is not FER2013's.
OTHER_TABLE = "any other table of pictures is read by --source csv=PATH or parquet=PATH"

_USAGES = {"training": "training", "publictest": "public_test", "privatetest": "private_test"}


def usage_split(usage: str) -> str | None:
    """``"PublicTest"``, ``"public_test"``, … → the split's name; None where it is none of FER2013's three."""
    return _USAGES.get(usage.strip().lower().replace("_", ""))


# --- CSV -----------------------------------------------------------------------------------------------------------


def read_csv(path: Path, *, votes: Path | None, labels: tuple[str, ...] = SEVEN) -> Iterator[Sample | Drop]:
    """fer2013.csv and its kin. votes: a row-aligned fer2013new.csv.

    A file without ``Usage`` is Kaggle's: with labels it is Training, without them the mixed ``test``. Images are named
    by split and number within it (``training_00000.png``). An empty ``emotion`` is a label held back. labels: what the
    codes mean (copies of CK+ in this format append contempt).
    """
    columns = csv_columns(path)
    where: dict[str, int] = {name: columns.index(name) for name in ("emotion", "pixels", "usage") if name in columns}
    default = None if "usage" in where else "training" if "emotion" in where else "test"
    numbers: dict[str, int] = {}

    def one(row: list[str] | str, of_line: dict[str, str] | None, place: str) -> Sample:
        cells = cells_of(row, where, columns=len(columns))
        split = default or usage_split(cells["usage"])
        if split is None:
            raise LeftOut(USAGE, cells["usage"][:40])
        number = numbers[split] = numbers.get(split, -1) + 1  # a row that is left out keeps its number
        label = _label(cells.get("emotion", ""), labels)
        pixels = _pixels(cells["pixels"])
        found = _votes(of_line, usage=cells.get("usage", split), place=place) if votes else None
        return Sample(f"{split}_{number:05d}.png", pixels, label, split, found)

    for line, row, of_line in _aligned(path, csv_rows(path), votes):
        place = f"{path.name}:{line}"
        yield attempt(place, partial(one, row, of_line, place))


def _aligned(
    path: Path, rows: Iterator[tuple[int, list[str] | str]], votes: Path | None
) -> Iterator[tuple[int, list[str] | str, dict[str, str] | None]]:
    """Each row with FER+'s row of the same number. Raises DataError where one file ends before the other."""
    if votes is None:
        for line, row in rows:
            yield line, row, None
        return
    names = csv_columns(votes)
    for ours, theirs in zip_longest(rows, csv_rows(votes)):
        if ours is None or theirs is None:
            short, long = (path, votes) if ours is None else (votes, path)
            raise DataError(
                f"expected a row of {votes.name} for each row of {path.name}, {short.name} ends before {long.name}",
                hint=f"complete the copy, or move {votes.name} away to build without votes",
            )
        yield *ours, dict(zip(names, theirs[1], strict=False)) if isinstance(theirs[1], list) else {}


def _votes(row: dict[str, str] | None, *, usage: str, place: str) -> tuple[int, ...] | None:
    """FER+'s ten counts of one row; None where nobody voted. Raises DataError where the row is of another data set."""
    row = row or {}
    if usage_split(row.get("usage", "")) != usage_split(usage):
        raise DataError(
            f"expected FER+'s rows in the order of the images, at {place} it has {row.get('usage')!r}, not {usage!r}",
            hint="the two files are of different copies; move fer2013new.csv away to build without votes",
        )
    return _counts([row.get(name, "nothing") or 0 for name in FERPLUS_COLUMNS[2:]], place=place)


def _counts(cells: Sequence[Any], *, place: str) -> tuple[int, ...] | None:
    """Ten counts of votes; None where nobody voted. Raises DataError where a cell is no count."""
    counts = tuple(count for cell in cells if (count := whole(cell)) is not None and 0 <= count <= 1000)
    if len(counts) < len(cells) or len(counts) != len(VOTE_NAMES):
        raise DataError(f"expected ten counts of votes at {place}, got {', '.join(map(str, cells))}")
    return counts if any(counts) else None


def _label(cell: Any, labels: tuple[str, ...] = SEVEN) -> str | None:
    """A code → its label; None where the cell is empty: a label held back."""
    if is_empty(cell):
        return None
    code = whole(cell)
    if code is None or not 0 <= code < len(labels):
        raise LeftOut(EMOTION if labels == SEVEN else EMOTION_OF_EIGHT, str(cell).strip()[:40])
    return labels[code]


def _pixels(text: str) -> NDArray[np.uint8]:
    try:
        values = bytes(map(int, text.split()))
    except ValueError as error:  # not a number, or a number that is no byte
        raise LeftOut(VALUE, str(error)[:80]) from error
    if len(values) != SIDE * SIDE:
        raise LeftOut(PIXELS, f"{len(values)} values, expected {SIDE * SIDE}")
    return np.frombuffer(values, np.uint8).reshape(SIDE, SIDE)


# --- image files -----------------------------------------------------------------------------------------------------


def read_folders(root: Path, classes: Mapping[str, Classes]) -> Iterator[Sample | Drop]:
    """classes: the folder's split → its class folders. A file's own prefix (``PublicTest_``) says more."""
    for item in read_tree(root, classes):
        yield attempt(item.path, partial(_decoded, item)) if isinstance(item, Sample) else item


def _decoded(sample: Sample) -> Sample:
    split = usage_split(Path(sample.path).name.partition("_")[0]) or sample.split
    return replace(sample, pixels=_image(sample.file), split=split, file=None)


def _image(source: Path | bytes | None) -> NDArray[np.uint8]:
    """An image file or its bytes → uint8 48×48 grey. Raises LeftOut."""
    if source is None:
        raise LeftOut(UNREADABLE, "no bytes")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.size != (SIDE, SIDE):  # before decoding: a bomb is never unpacked
                raise LeftOut(PIXELS, f"{image.width}×{image.height}, expected {SIDE}×{SIDE}")
            if image.mode not in ("L", "1", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
                raise LeftOut(UNREADABLE, f"mode {image.mode}")
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise LeftOut(UNREADABLE, str(error).partition(" <")[0][:80]) from error


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet_rows(path: Path) -> int:
    """The number of rows. Raises DataError where the file is broken or has no ``image`` struct with ``bytes``."""
    import pyarrow as pa

    with parquet_file(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    image = schema.field("image").type if "image" in schema.names else None
    if image is None or not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise DataError(
            f"expected an image column {{bytes, path}} in {path}, found {', '.join(schema.names)}", hint=OTHER_TABLE
        )
    return int(rows)


def read_parquet(path: Path) -> Iterator[Sample | Drop]:
    """``image`` {bytes, path}, and if there: ``emotion`` (or ``label``) 0-6, ``usage``, ``ferplus_votes``."""
    stem = usage_split(path.stem)
    number = -1
    with parquet_file(path) as file:
        named = file.schema_arrow.names
        wanted = [c for c in ("image", "emotion", "usage", "ferplus_votes") if c in named]
        if "emotion" not in named and "label" in named:  # the same codes, or the counts will say that they differ
            wanted.append("label")
        if stem is None and "usage" not in wanted:
            raise DataError(
                f"expected a usage column, or a file named {', '.join(_USAGES.values())}.parquet, got {path}",
                hint=OTHER_TABLE,
            )
        for batch in file.iter_batches(batch_size=1024, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                place = f"{path.name}:{number}"
                yield attempt(place, partial(_parquet_sample, row, place=place, number=number, stem=stem))


def _parquet_sample(row: dict[str, Any], *, place: str, number: int, stem: str | None) -> Sample:
    split = usage_split(str(row["usage"])) if row.get("usage") is not None else stem
    if split is None:
        raise LeftOut(USAGE, str(row.get("usage"))[:40])
    image = row["image"] or {}
    label, pixels = _label(row.get("emotion", row.get("label"))), _image(image.get("bytes"))
    counts = row.get("ferplus_votes")
    path = image.get("path") or f"{split}_{number:05d}.png"
    return Sample(path, pixels, label, split, None if counts is None else _counts(counts, place=place))
