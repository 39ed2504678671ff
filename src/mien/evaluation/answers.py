"""Predictions of any tool, from a file: ``path`` and one probability column a label, or ``path`` and ``answer``.

- CSV, TSV or Parquet. Headers are compared without case and outer spaces, labels by ``mien.labels`` (``Happiness`` is
  ``happy``); other columns are ignored. ``source`` stands for ``path``, and ``expression`` or ``prediction`` for
  ``answer``, so that what ``mien read`` writes can be scored as it is; of several faces in a picture the first counts.
- Seven probability columns, or eight with contempt. Rows must sum to 1 within 0.04 (tools round) and are then brought
  to exactly 1. A row without any number, or an empty answer, is *no answer*: wrong, like an image that the file does
  not mention. Images stay in the denominator whatever the file says.
- Where the file has both, an ``answer`` that is not the most probable class is refused: the columns would be mixed up.
- An image twice is refused. Rows of images outside the split are counted and left alone.
- In a store where one path names several images (sources that were merged), the file needs ``source`` beside ``path``.
- Several files are an ensemble: the mean of their probabilities, image by image.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.labels import EIGHT, SEVEN, canonical, whole
from mien.tables import Table, read_table

Float32 = NDArray[np.float32]

#: How far a row's sum may be from 1: eight numbers of two decimals are off by 8 × 0.005, and floats by a little more.
TOLERANCE = 0.04 + 1e-6
_ANSWER = ("answer", "expression", "prediction", "predicted")
_NOTHING = {"", "none", "null", "nan", "n/a", "no face", "no_face"}


@dataclass(frozen=True, slots=True, eq=False)
class FileAnswers:
    """A predictions file as it was read.

    paths: M names; sources: M names of sources, or None where the file has none beside ``path``. labels: of the
    columns, in label order. probabilities: float32 M×K, rows of NaN for no answer; one-hot where ``answers_only``.
    labels_assumed: seven, because no answer is contempt, which a tool of eight classes may just not have said.
    """

    path: Path
    paths: list[str]
    sources: list[str] | None
    labels: tuple[str, ...]
    probabilities: Float32
    answers_only: bool
    labels_assumed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """A file laid beside a split. probabilities: float32 N×K in the split's order; facts: for the report."""

    probabilities: Float32
    facts: dict[str, Any]


def read_answers(path: str | Path, *, labels: tuple[str, ...] | None = None) -> FileAnswers:
    """labels: the classes of the tool, SEVEN or EIGHT; without them columns tell, or whether an answer is contempt.

    Raises DataError that names the first row at fault and what is wrong with it."""
    table = read_table(path)
    columns = table.columns
    own = "path" if "path" in columns else "source"
    if own not in columns:
        raise DataError(f"expected a column 'path' in {table.path}, got {', '.join(columns)}")
    if own == "source" and "face" in columns:  # as `mien read` writes several faces: the first is the largest
        table = _only_first_faces(table)
        columns = table.columns
    paths = [_path(table, row, cell) for row, cell in enumerate(columns[own])]
    sources = None
    if own == "path" and "source" in columns:
        sources = [cell or "" for cell in columns["source"]]
    _refuse_twice(table, paths, sources)

    by_label = _label_columns(table)
    answer = next((columns[name] for name in _ANSWER if name in columns), None)
    if by_label:
        columns_of, probabilities = _probabilities(table, by_label)
        if labels not in (None, columns_of):
            raise DataError(
                f"expected probability columns for {', '.join(labels or ())} in {table.path}, "
                f"got them for {', '.join(columns_of)}",
                hint="--labels is for files with answers alone",
            )
        if answer is not None:
            _check_agreement(table, answer, columns_of, probabilities)
        return FileAnswers(table.path, paths, sources, columns_of, probabilities, False)
    if answer is None:
        raise DataError(
            f"expected in {table.path} one probability column a label ({', '.join(SEVEN)}) or a column 'answer', "
            f"got {', '.join(columns)}"
        )
    found, probabilities = _one_hot(table, answer, labels)
    assumed = labels is None and found == SEVEN
    return FileAnswers(table.path, paths, sources, found, probabilities, True, assumed)


def mean_of(members: Sequence[FileAnswers]) -> FileAnswers:
    """An ensemble: the mean of the members' probabilities. An image without an answer of some has that of the others.

    A member that is surer weighs more (:func:`sureness`): members are to be calibrated all, or none.
    Raises DataError where a member has answers alone, other classes or other images than the first.
    """
    first = members[0]
    rows_of = {place: row for row, place in enumerate(_places(first))}
    stacked = np.full((len(members), *first.probabilities.shape), np.nan, np.float64)
    for number, member in enumerate(members):
        if member.answers_only:
            raise DataError(f"expected probabilities in {member.path} to average, got answers alone")
        if member.labels != first.labels:
            raise DataError(
                f"expected the classes of {first.path} ({', '.join(first.labels)}) in {member.path}, "
                f"got {', '.join(member.labels)}"
            )
        places = _places(member)
        if set(places) != set(rows_of):
            strange = next(iter(set(places) ^ set(rows_of)))[1]
            raise DataError(
                f"expected the same images in {first.path} and {member.path}, only one of them has {strange!r}"
            )
        stacked[number, [rows_of[place] for place in places]] = member.probabilities
    given = np.asarray(~np.isnan(stacked).any(axis=2))
    total = np.where(given[:, :, None], stacked, 0).sum(0)
    count = given.sum(0)[:, None]
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return replace(first, probabilities=mean.astype(np.float32))


def sureness(answers: FileAnswers) -> float | None:
    """The mean of the greatest probability over the images that have an answer, 0-1; None where none has."""
    greatest = answers.probabilities.max(axis=1)
    greatest = greatest[~np.isnan(greatest)]
    return round(float(greatest.mean()), 4) if len(greatest) else None


def _places(answers: FileAnswers) -> list[tuple[str, str]]:
    return list(zip(answers.sources or [""] * len(answers.paths), answers.paths, strict=True))


def match(
    answers: FileAnswers, paths: list[str], sources: list[str] | None, *, chosen: NDArray[np.int64] | None = None
) -> Matched:
    """The file's rows in the order of a split. paths: N names in the store; sources: N, where the store knows them.

    chosen: the images that are asked for, all where None; rows of the split's other ones are ``beyond_limit``.
    Raises DataError where not one image is mentioned, or where paths alone do not tell the images apart.
    """
    wanted: list[tuple[str, str]] = [("", path) for path in paths]
    given: list[tuple[str, str]] = [("", path) for path in answers.paths]
    if len(set(paths)) < len(paths):
        if answers.sources is None or sources is None:
            twice = next(path for path, count in Counter(paths).items() if count > 1)
            raise DataError(
                f"expected a column 'source' beside 'path' in {answers.path}: "
                f"{twice!r} names several images of the store"
            )
        wanted = list(zip(sources, paths, strict=True))
        given = list(zip(answers.sources, answers.paths, strict=True))
    elif len(set(answers.paths)) < len(answers.paths):
        keep = _of_the_right_source(answers, paths, sources)
        given = [place if kept else ("?", place[1]) for place, kept in zip(given, keep, strict=True)]
    row_of = {place: row for row, place in enumerate(given)}
    rows = range(len(wanted)) if chosen is None else chosen.tolist()
    asked = {row: number for number, row in enumerate(rows)}
    probabilities = np.full((len(rows), len(answers.labels)), np.nan, np.float32)
    missing, used, beyond = [], set(), set()
    for number, place in enumerate(wanted):
        row = row_of.get(place)
        if number not in asked:
            if row is not None:
                beyond.add(row)
        elif row is None:
            missing.append(paths[number])
        else:
            probabilities[asked[number]] = answers.probabilities[row]
            used.add(row)
    if not used and not beyond:
        raise DataError(
            f"expected the paths of the split, such as {paths[0]!r}, in {answers.path}, got {answers.paths[0]!r} "
            "and no path in common",
            hint=_path_hint(answers.paths, paths),
        )
    extra = [path for row, path in enumerate(answers.paths) if row not in used and row not in beyond]
    empty = int(np.isnan(probabilities).any(1).sum()) - len(missing)
    facts = {
        "rows": len(answers.paths),
        "matched": len(used),
        "missing": len(missing),
        "first_missing": missing[:5],
        "beyond_limit": len(beyond),
        "without_answer": empty,
        "not_in_split": len(extra),
        "first_not_in_split": extra[:5],
        "answers_only": answers.answers_only,
        "labels_assumed": answers.labels_assumed,
    }
    return Matched(probabilities, facts)


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


def _path(table: Table, row: int, cell: str | None) -> str:
    if cell is None:
        raise DataError(f"{table.where(row)}: expected a path, got an empty cell")
    return cell


def _refuse_twice(table: Table, paths: list[str], sources: list[str] | None) -> None:
    seen: dict[tuple[str, str], int] = {}
    for row, place in enumerate(zip(sources or [""] * len(paths), paths, strict=True)):
        if place in seen:
            first = seen[place] + table.first_row
            raise DataError(f"{table.where(row)}: expected each image once, got {place[1]!r} as in row {first}")
        seen[place] = row


def _of_the_right_source(answers: FileAnswers, paths: list[str], sources: list[str] | None) -> list[bool]:
    """For a file with one path under several sources, where the store has it once: which rows are of its source."""
    own = dict(zip(paths, sources or [], strict=False))
    return [own.get(path) == source for path, source in zip(answers.paths, answers.sources or [], strict=True)]


def _label_columns(table: Table) -> dict[str, list[str | None]]:
    """Label → its cells. Raises DataError where two columns mean the same label, or some labels have none."""
    found: dict[str, str] = {}
    for name in table.columns:
        try:
            label = canonical(name)
        except DataError:
            continue
        if label in found:
            raise DataError(f"expected one column for {label} in {table.path}, got {found[label]!r} and {name!r}")
        found[label] = name
    missing = [label for label in SEVEN if label not in found]
    if found and missing:
        raise DataError(
            f"expected a probability column for each of {', '.join(SEVEN)} in {table.path}, "
            f"missing {', '.join(missing)} (columns: {', '.join(table.columns)})",
            hint="a tool that cannot answer a label has the probability 0 there",
        )
    return {label: table.columns[found[label]] for label in EIGHT if label in found}


def _probabilities(table: Table, by_label: dict[str, list[str | None]]) -> tuple[tuple[str, ...], Float32]:
    labels = tuple(by_label)
    values = np.array([[_number(table, row, cell) for row, cell in enumerate(cells)] for cells in by_label.values()]).T
    empty = np.isnan(values)
    torn = empty.any(1) & ~empty.all(1)
    if torn.any():
        first = int(torn.argmax())
        name = labels[int(empty[first].argmax())]
        raise DataError(f"{table.where(first)}: expected a number for {name}, got an empty cell")
    answered = ~empty.any(1)
    total = np.where(answered, values.sum(1), 1)
    answered &= total != 0  # some tools write zeros where they found no face
    wrong = answered & ((np.abs(total - 1) > TOLERANCE) | (values < 0).any(1) | (values > 1 + TOLERANCE).any(1))
    if wrong.any():
        row = int(wrong.argmax())
        shown = ", ".join(f"{v:.4g}" for v in values[row])
        raise DataError(
            f"{table.where(row)}: expected probabilities of 0 to 1 that sum to 1, got {shown} (sum {total[row]:.4g}), "
            f"and so in {int(wrong.sum()):,} of {len(values):,} rows",
            hint=_scale_hint(values[wrong], total[wrong]),
        )
    result = np.full(values.shape, np.nan, np.float32)
    result[answered] = values[answered] / total[answered, None]
    return labels, result


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


def _one_hot(table: Table, answer: list[str | None], labels: tuple[str, ...] | None) -> tuple[tuple[str, ...], Float32]:
    codes = [_answer(table, row, cell) for row, cell in enumerate(answer)]
    contempt = EIGHT.index("contempt")
    if labels == SEVEN and contempt in codes:
        raise DataError(f"{table.where(codes.index(contempt))}: expected an answer among seven, got contempt")
    labels = labels or (EIGHT if contempt in codes else SEVEN)
    result = np.full((len(codes), len(labels)), np.nan, np.float32)
    for row, code in enumerate(codes):
        if code is not None:
            result[row] = np.arange(len(labels)) == code
    return labels, result


def _answer(table: Table, row: int, cell: str | None) -> int | None:
    if cell is None or cell.lower() in _NOTHING:
        return None
    try:
        return EIGHT.index(canonical(cell))
    except DataError as error:
        hint = "write names; the order of numbers differs from tool to tool" if whole(cell) is not None else None
        raise DataError(f"{table.where(row)}: {error.message}", hint=hint or error.hint) from error


def _check_agreement(table: Table, answer: list[str | None], labels: tuple[str, ...], probabilities: Float32) -> None:
    wrong: list[tuple[int, str, str]] = []
    for row, cell in enumerate(answer):
        code = _answer(table, row, cell)
        if code is None or np.isnan(probabilities[row, 0]):
            continue
        given = probabilities[row, labels.index(EIGHT[code])] if EIGHT[code] in labels else -1
        if given < probabilities[row].max() - 1e-6:
            wrong.append((row, EIGHT[code], labels[int(probabilities[row].argmax())]))
    if wrong:
        row, said, most = wrong[0]
        raise DataError(
            f"{table.where(row)}: expected the answer to be the most probable label, got {said} where {most} has the "
            f"largest probability, and so in {len(wrong):,} rows",
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
