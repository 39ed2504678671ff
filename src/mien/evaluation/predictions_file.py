"""Predictions of any tool, from a file: ``path`` and one probability column a label, or ``path`` and ``answer``.

- CSV, TSV or Parquet. Headers are compared without case and outer spaces, labels by ``mien.labels`` (``Happiness`` is
  ``happy``); other columns are ignored. ``source`` stands for ``path``, and ``expression`` or ``prediction`` for
  ``answer``, so that what ``mien read`` writes can be scored as it is; of several faces in an image the first counts.
- Seven probability columns, or eight with contempt. Rows must sum to 1 within 0.04 (tools round) and are then
  renormalised. A row without any number, or an empty answer, is a failure: wrong, like an image that the file does not
  mention. All images of the split stay in the denominator.
- Where the file has both, an ``answer`` that is not the most probable class is refused: the columns would be permuted.
- An image twice is refused. Rows of images outside the split are counted and left alone.
- In a store where one path names several images (sources that were merged), the file needs ``source`` beside ``path``.
- Several files are an ensemble: the mean of their probabilities, image by image.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Float32, Int64
from mien.errors import DataError
from mien.evaluation.predictions import CONTEMPT, Predictions
from mien.labels import EIGHT, SEVEN, canonical, is_own, whole
from mien.tables import Table, read_table

#: How far a row's sum may be from 1: eight numbers of two decimals are off by 8 × 0.005, and floats by a little more.
TOLERANCE = 0.04 + 1e-6
_ANSWER = ("answer", "expression", "prediction", "predicted")
_NOTHING = {"", "none", "null", "nan", "n/a", "no face", "no_face"}
#: What tells images apart: the data set, empty where it is not needed, and the path within it.
_Image = tuple[str, str]


def read_predictions_file(
    path: str | Path, *, labels: tuple[str, ...] | None = None, label_set: tuple[str, ...] = EIGHT
) -> Predictions:
    """The file's rows, one an image; their true labels are not known.

    labels: the classes of the tool, SEVEN or EIGHT; without them columns tell, or whether an answer is contempt.
    label_set: the names of the store's codes; where they are the user's own, the file has to use the same names.
    Raises DataError that names the first row at fault and what is wrong with it.
    """
    if is_own(label_set) and labels is not None:
        raise DataError(f"--labels: expected none for a store of classes of your own ({', '.join(label_set)})")
    table = read_table(path)
    own = "path" if "path" in table.columns else "source"
    if own not in table.columns:
        raise DataError(f"expected a column 'path' in {table.path}, got {', '.join(table.columns)}")
    if own == "source" and "face" in table.columns:  # as `mien read` writes several faces: the first is the largest
        table = _only_first_faces(table)
    columns = table.columns
    if None in columns[own]:
        raise DataError(f"{table.where(columns[own].index(None))}: expected a path, got an empty cell")
    paths = [cell or "" for cell in columns[own]]
    sources = [cell or "" for cell in columns["source"]] if own == "path" and "source" in columns else None
    _refuse_twice(table, paths, sources)

    by_label = _label_columns(table, label_set)
    answer = next((columns[name] for name in _ANSWER if name in columns), None)
    if not by_label and answer is None:
        raise DataError(
            f"expected in {table.path} one probability column a label ({', '.join(_required(label_set))}) or a "
            f"column 'answer', got {', '.join(columns)}"
        )
    codes = None if answer is None else [_code(table, row, cell, label_set) for row, cell in enumerate(answer)]
    found: tuple[str, ...]
    if by_label:
        found, probabilities = tuple(by_label), _probabilities(table, by_label)
        if labels not in (None, found):
            raise DataError(
                f"expected probability columns for {', '.join(labels or ())} in {table.path}, "
                f"got them for {', '.join(found)}",
                hint="--labels is for files without probabilities",
            )
        if codes is not None:
            _check_agreement(table, codes, found, probabilities, label_set)
    else:
        assert codes is not None
        found, probabilities = _one_hot(table, codes, label_set if is_own(label_set) else labels)
    return Predictions(
        paths=paths, sources=sources, labels=found, probabilities=probabilities, truth=np.full(len(paths), -1),
        label_set=label_set,
        file=table.path, answers_only=not by_label,
        labels_assumed=not by_label and labels is None and found == SEVEN,
    )  # fmt: skip


def mean_of(members: Sequence[Predictions]) -> Predictions:
    """An ensemble of files: the mean of their probabilities; where a row of some is empty, that of the others.

    A member with higher confidence weighs more: members are to be calibrated all, or none.
    Raises DataError where a member has no probabilities, other classes or other images than the first.
    """
    first = members[0]
    row_of = {image: row for row, image in enumerate(_images(first))}
    stacked = np.full((len(members), *first.probabilities.shape), np.nan)
    for number, member in enumerate(members):
        if member.answers_only:
            raise DataError(f"expected probabilities in {member.file} to average, got a column 'answer' alone")
        if member.labels != first.labels:
            raise DataError(
                f"expected the classes of {first.file} ({', '.join(first.labels)}) in {member.file}, "
                f"got {', '.join(member.labels)}"
            )
        images = _images(member)
        if strange := set(images) ^ set(row_of):
            raise DataError(
                f"expected the same images in {first.file} and {member.file}, only one of them has "
                f"{next(iter(strange))[1]!r}",
                hint="predict the same split with each tool, without --limit; a row without an answer may be empty",
            )
        stacked[number, [row_of[image] for image in images]] = member.probabilities
    given = ~np.isnan(stacked).any(axis=2, keepdims=True)
    total, count = np.where(given, stacked, 0).sum(0), given.sum(0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return replace(first, probabilities=mean.astype(np.float32))


def match(
    given: Predictions, paths: list[str], sources: list[str] | None, *, chosen: Int64 | None = None
) -> tuple[Float32, dict[str, Any]]:
    """A file's probabilities in the order of a split (float32 N×K, NaN rows where it has none), and facts for a report.

    paths: names in the store; sources: their data sets, where the store knows them. chosen: the rows of the split that
    are asked for, all where None; the file's rows of the others are ``beyond_limit``.
    Raises DataError where not one image is mentioned, or where paths alone do not tell the images apart.
    """
    wanted, own = _keys(given, paths, sources)
    row_of = {image: row for row, image in enumerate(own)}
    rows = np.array([row_of.get(image, -1) for image in wanted], np.int64)
    asked = np.arange(len(paths)) if chosen is None else chosen
    found = rows[asked]
    used, beyond = set(found[found >= 0].tolist()), set(np.delete(rows, asked).tolist()) - {-1}
    if not used and not beyond:
        raise DataError(
            f"expected the paths of the split, such as {paths[0]!r}, in {given.file}, got {given.paths[0]!r} "
            "and no path in common",
            hint=_path_hint(given.paths, paths),
        )
    probabilities = np.full((len(asked), len(given.labels)), np.nan, np.float32)
    probabilities[found >= 0] = given.probabilities[found[found >= 0]]
    missing = [paths[row] for row in asked[found < 0].tolist()]
    extra = [path for row, path in enumerate(given.paths) if row not in used | beyond]
    return probabilities, {
        "rows": len(given),
        "matched": len(used),
        "missing": len(missing),
        "first_missing": missing[:5],
        "beyond_limit": len(beyond),
        "without_answer": int(np.isnan(probabilities).any(1).sum()) - len(missing),
        "not_in_split": len(extra),
        "first_not_in_split": extra[:5],
        "answers_only": given.answers_only,
        "labels_assumed": given.labels_assumed,
    }


def _images(found: Predictions) -> list[_Image]:
    return list(zip(found.sources or [""] * len(found), found.paths, strict=True))


def _keys(given: Predictions, paths: list[str], sources: list[str] | None) -> tuple[list[_Image], list[_Image]]:
    """What tells the split's images, and the file's, apart: their paths, with their sources where that takes them."""
    if len(set(paths)) < len(paths):
        if given.sources is None or sources is None:
            twice = next(path for path, count in Counter(paths).items() if count > 1)
            raise DataError(
                f"expected a column 'source' beside 'path' in {given.file}: {twice!r} names several images of the store"
            )
        return list(zip(sources, paths, strict=True)), _images(given)
    own: list[_Image] = [("", path) for path in given.paths]
    if len(set(given.paths)) < len(own):  # the file has a path of several sources, the store one of them
        source_of = dict(zip(paths, sources or [], strict=False))
        own = [("" if source_of.get(path) == source else "?", path) for source, path in _images(given)]
    return [("", path) for path in paths], own


def _only_first_faces(table: Table) -> Table:
    kept = []
    for row, face in enumerate(table.columns["face"]):
        try:
            first = face is None or float(face) == 0
        except ValueError as error:
            raise DataError(f"{table.where(row)}: expected the number of a face, got {(face or '')[:40]!r}") from error
        if first:
            kept.append(row)
    columns = {name: [cells[row] for row in kept] for name, cells in table.columns.items() if name != "face"}
    return Table(table.path, columns, table.first_row)


def _refuse_twice(table: Table, paths: list[str], sources: list[str] | None) -> None:
    seen: dict[tuple[str, str], int] = {}
    for row, place in enumerate(zip(sources or [""] * len(paths), paths, strict=True)):
        if place in seen:
            first = seen[place] + table.first_row
            raise DataError(f"{table.where(row)}: expected each image once, got {place[1]!r} as in row {first}")
        seen[place] = row


def _required(label_set: tuple[str, ...]) -> tuple[str, ...]:
    """The labels that a file of probabilities must have: all but contempt."""
    return label_set if is_own(label_set) else SEVEN


def _named(text: str, label_set: tuple[str, ...]) -> str:
    """A label by the store's name. Raises DataError."""
    if not is_own(label_set):
        return canonical(text)
    by_key = {name.casefold(): name for name in label_set}
    if (name := by_key.get(text.strip().casefold())) is None:
        raise DataError(f"expected a class of the store ({', '.join(label_set)}), got {text!r}")
    return name


def _label_columns(table: Table, label_set: tuple[str, ...]) -> dict[str, list[str | None]]:
    """Label → its cells. Raises DataError where two columns mean the same label, or some labels have none."""
    found: dict[str, str] = {}
    for name in table.columns:
        try:
            label = _named(name, label_set)
        except DataError:
            continue
        if label in found:
            raise DataError(f"expected one column for {label} in {table.path}, got {found[label]!r} and {name!r}")
        found[label] = name
    missing = [label for label in _required(label_set) if label not in found]
    if found and missing:
        raise DataError(
            f"expected a probability column for each of {', '.join(_required(label_set))} in {table.path}, "
            f"missing {', '.join(missing)} (columns: {', '.join(table.columns)})",
            hint="a tool that never predicts a label has the probability 0 there",
        )
    return {label: table.columns[found[label]] for label in label_set if label in found}


def _probabilities(table: Table, by_label: dict[str, list[str | None]]) -> Float32:
    """float32 N×K, rows renormalised; NaN rows where there are no numbers."""
    values = np.array([[_number(table, row, cell) for row, cell in enumerate(cells)] for cells in by_label.values()]).T
    empty = np.isnan(values)
    partly = empty.any(1) & ~empty.all(1)
    if partly.any():
        first = int(partly.argmax())
        name = list(by_label)[int(empty[first].argmax())]
        raise DataError(f"{table.where(first)}: expected a number for {name}, got an empty cell")
    scored = ~empty.any(1)
    total = np.where(scored, values.sum(1), 1)
    scored &= total != 0  # some tools write zeros where they found no face
    wrong = scored & ((np.abs(total - 1) > TOLERANCE) | (values < 0).any(1) | (values > 1 + TOLERANCE).any(1))
    if wrong.any():
        row = int(wrong.argmax())
        shown = ", ".join(f"{v:.4g}" for v in values[row])
        raise DataError(
            f"{table.where(row)}: expected probabilities of 0 to 1 that sum to 1, got {shown} (sum {total[row]:.4g}), "
            f"and so in {int(wrong.sum()):,} of {len(values):,} rows",
            hint=_scale_hint(values[wrong], total[wrong]),
        )
    result = np.full(values.shape, np.nan, np.float32)
    result[scored] = values[scored] / total[scored, None]
    return result


def _scale_hint(values: NDArray[np.float64], total: NDArray[np.float64]) -> str:
    if (values >= 0).all() and (np.abs(total - 100) < 100 * TOLERANCE).all():
        return "these look like per cent: divide them by 100"
    if (values <= 0).all() and (np.abs(np.exp(values).sum(1) - 1) < TOLERANCE).all():
        return "these look like log-probabilities: take exp of them"
    if (values < 0).any() or (values > 1).any():
        return "these look like logits: take a softmax of each row"
    return "these look like independent scores (a sigmoid's): divide each row by its sum, or write an 'answer' column"


def _number(table: Table, row: int, cell: str | None) -> float:
    if cell is None or cell.lower() in _NOTHING:
        return np.nan
    try:
        value = float(cell)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        raise DataError(f"{table.where(row)}: expected a probability, got {cell[:40]!r}")
    return value


def _code(table: Table, row: int, cell: str | None, label_set: tuple[str, ...]) -> int:
    """The code of the label that a cell names; −1 for a failure."""
    if cell is None or (cell.lower() in _NOTHING and cell.casefold() not in map(str.casefold, label_set)):
        return -1
    try:
        return label_set.index(_named(cell, label_set))
    except DataError as error:
        hint = "write names; the order of numbers differs from tool to tool" if whole(cell) is not None else None
        raise DataError(f"{table.where(row)}: {error.message}", hint=hint or error.hint) from error


def _one_hot(table: Table, codes: list[int], labels: tuple[str, ...] | None) -> tuple[tuple[str, ...], Float32]:
    contempt = EIGHT.index(CONTEMPT)  # of classes of one's own, labels are given
    if labels == SEVEN and contempt in codes:
        raise DataError(f"{table.where(codes.index(contempt))}: expected an answer among seven, got contempt")
    labels = labels or (EIGHT if contempt in codes else SEVEN)
    result = np.vstack([np.eye(len(labels), dtype=np.float32), np.full(len(labels), np.nan, np.float32)])
    return labels, result[codes]  # the last row for −1


def _check_agreement(
    table: Table, codes: list[int], labels: tuple[str, ...], probabilities: Float32, label_set: tuple[str, ...]
) -> None:
    by_code = np.stack(
        [probabilities[:, labels.index(n)] if n in labels else -np.ones(len(codes)) for n in label_set], 1
    )
    given = by_code[np.arange(len(codes)), codes]
    wrong = np.flatnonzero((np.array(codes) >= 0) & (given < probabilities.max(1) - 1e-6))  # NaN is less than nothing
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{table.where(row)}: expected the answer to be the most probable label, got {label_set[codes[row]]} where "
            f"{labels[int(probabilities[row].argmax())]} has the largest probability, and so in {len(wrong):,} rows",
            hint="are the columns' names right?",
        )


def _path_hint(given: list[str], wanted: list[str]) -> str:
    """What would make the paths meet, where it can be guessed."""
    names = {path.rsplit("/", 1)[-1] for path in wanted}
    if any(path.replace("\\", "/").rsplit("/", 1)[-1] in names for path in given):
        return "only the folders differ: write the paths as the store has them"
    stems = {name.rsplit(".", 1)[0] for name in names}
    if any(path.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0] in stems for path in given):
        return "the endings differ: write the paths as the store has them"
    return "is this the right split?"
