"""The files that an audit writes to its output directory.

    audit.json       every figure; the other files are made from it
    audit.html       the same for people, in one file
    images.parquet   a row an image, in the store's order: its group of copies and all that was found about it
    pairs.parquet    the near-duplicate pairs of different pictures, by image number
    sheets/*.png     the examples of each finding

Each file appears whole or not at all, ``audit.json`` last. ``images.parquet`` has what splits need: images with the
same ``duplicate_group`` are copies of each other, directly or through others, and must not be parted.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.atomic import AtomicFile, write_bytes, write_text
from mien.data.audit import findings
from mien.data.audit.copies import Copies
from mien.data.audit.examples import Sheet
from mien.data.audit.index import Index, fetch, paths
from mien.data.audit.result import Audit
from mien.data.near_duplicates import Pairs
from mien.data.sources import VOTE_NAMES
from mien.data.store import TRAINING_SPLITS, Store
from mien.errors import OutputError

JSON, HTML, IMAGES, PAIRS, SHEETS = "audit.json", "audit.html", "images.parquet", "pairs.parquet", "sheets"


def check_target(out: Path, store: Store) -> None:
    """Make the directory. Raises OutputError where it cannot be, lies in the store, or holds others' files."""
    if out.resolve().is_relative_to(store.path.resolve()):
        raise OutputError(
            f"expected a directory outside of the store {store.path}, got {out}",
            hint="a store's directory holds nothing but the store",
        )
    taken = [name for name in (JSON, HTML, IMAGES, PAIRS, SHEETS) if (out / name).exists()]
    if taken and not _ours(out / JSON):
        raise OutputError(
            f"expected an empty directory or an earlier audit at {out}, found {taken[0]} of something else",
            hint="choose another directory",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"expected a directory at {out}, cannot make it: {error.strerror or error}") from error


def _ours(file: Path) -> bool:
    try:
        return "mien_audit" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


@contextmanager
def pairs_file(out: Path | None) -> Iterator[Callable[[Pairs], None]]:
    """``pairs.parquet``, written while pairs are found: gives the function that takes them. None: they are not kept.

    The file appears when the block has ended well. Raises OutputError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out is None:
        yield lambda pairs: None
        return
    columns = (("first", pa.int64()), ("second", pa.int64()), ("correlation", pa.float32()), ("mirrored", pa.bool_()))
    file, schema = AtomicFile(out / PAIRS), pa.schema(columns)
    try:
        with pq.ParquetWriter(file.stream, schema) as writer:
            yield lambda pairs: writer.write_table(pa.table([pa.array(column) for column in pairs], schema=schema))
    except OSError as error:
        file.discard()
        raise file.failed(error) from error
    except BaseException:
        file.discard()
        raise
    file.commit()


def write_report(
    store: Store,
    index: Index,
    copies: Copies,
    result: Audit,
    sheets: Sequence[Sheet],
    out: Path,
    *,
    faces: NDArray[np.int16] | None,
) -> None:
    """Write all files of the report but the pairs and, which comes last, the figures. Raises OutputError."""
    import pyarrow.parquet as pq

    from mien.data.audit.page import page
    from mien.data.audit.sheets import contact_sheet, thumbnails

    shown = thumbnails(fetch(store, [number for sheet in sheets for number in sheet.numbers]))
    try:
        (out / SHEETS).mkdir(exist_ok=True)
        for old in (out / SHEETS).glob("*.png"):  # of an earlier audit
            old.unlink()
    except OSError as error:
        raise OutputError(f"expected to write {out / SHEETS}, failed: {error.strerror or error}") from error
    for sheet in sheets:
        write_bytes(out / SHEETS / f"{sheet.name}.png", contact_sheet(sheet, shown))
    table = io.BytesIO()
    pq.write_table(_images(index, copies, list(chain.from_iterable(paths(store))), faces), table, row_group_size=2048)
    write_bytes(out / IMAGES, table.getvalue())
    write_text(out / HTML, page(result.content(), sheets, shown))


def write_figures(result: Audit, out: Path) -> None:
    """Write ``audit.json``, which says that the report is whole. Raises OutputError."""
    write_text(out / JSON, json.dumps(result.content(), indent=2, ensure_ascii=False) + "\n")


def _images(index: Index, copies: Copies, names: list[str], faces: NDArray[np.int16] | None) -> Any:
    """images.parquet as an Arrow table. names: N paths."""
    import pyarrow as pa

    def named(codes: NDArray[Any], names: Sequence[str]) -> Any:
        known = np.asarray(codes) >= 0
        return pa.DictionaryArray.from_arrays(
            pa.array(np.where(known, codes, 0).astype(np.int32), mask=~known), pa.array(list(names) or [""])
        ).cast(pa.string())

    training = [index.splits[split] in TRAINING_SPLITS for split, _ in copies.cells]
    votes, voted = index.votes, findings.voted(index.votes)
    answer = np.where(voted, findings.majority(votes), findings.NO_VOTES)
    support = findings.support(votes, index.label, findings.column_of_each_label(index.labels))
    kinds = findings.picture_kinds(index.std, index.spread, index.flat, index.readable).astype(np.int64)
    first = np.arange(len(index)) == copies.first_identical
    columns = {
        "image": pa.array(np.arange(len(index))),
        "split": named(index.split, index.splits),
        "source": named(index.source, index.sources),
        "path": pa.array(names),
        "label": named(index.label, index.labels),
        "group": named(index.group, index.groups),
        "duplicate_group": pa.array(copies.group),
        "identical_to": pa.array(copies.first_identical, mask=first),
        "near_duplicate_in_training": pa.array(copies.has["near"][:, training].any(1)) if any(training) else None,
        "near_duplicate_of_other_label": pa.array(copies.other["near"].any(1)),
        "votes_majority": named(answer, VOTE_NAMES),
        "votes_agreement": _floats(findings.agreement(votes)),
        "votes_for_label": _floats(support),
        "picture": named(kinds - 1, findings.KINDS[1:]),
        "width": pa.array(index.width),
        "height": pa.array(index.height),
        "brightness": pa.array(index.mean),
        "contrast": pa.array(index.std),
        "generated": pa.array(index.generated),
        "faces": None if faces is None else pa.array(faces, mask=faces < 0),
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})


def _floats(values: NDArray[np.float64]) -> Any:
    import pyarrow as pa

    return pa.array(values.astype(np.float32), mask=np.isnan(values))
