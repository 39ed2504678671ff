"""Results by group (``--group-by``): the fairness report: is the model equally accurate for all groups?

Groups come from outside (age band, gender, skin tone, source, camera …); mien guesses nothing about people.
Conventions as in ``metrics``, and:

- Groups of fewer than ``SMALL`` images are shown and marked, and enter no gap. Images without a group are shown as
  ``UNKNOWN`` and enter no gap either.
- A *gap* is the highest minus the lowest figure of the groups that enter. Accuracy and recall: Newcombe's (1998)
  hybrid score interval for a difference of two independent proportions; macro-F1: bootstrap within each of the two
  groups. The two are chosen after looking, so the interval alone flatters the gap. ``p`` does not: it is a permutation
  test's, the proportion of 10,000 random assignments of the correct predictions to groups of these sizes whose largest
  gap is at least as large.
- A class enters the gap of its recall where a group has at least ``SMALL`` images of it.
- Macro-F1 is over the classes that a group has images of. Groups with another mix of classes or harder pictures differ
  in accuracy without any unfairness of the model: recall by class is the figure to look at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Int64
from mien.data.store import Store
from mien.errors import DataError
from mien.evaluation.metrics import (
    confusion,
    from_confusion,
    predicted,
    proportion_if_any,
    resampled_counts,
    wilson,
    with_percentiles,
)
from mien.tables import key, read_table

SMALL = 30
MOST = 20
UNKNOWN = "(no group)"
PERMUTATIONS = 10_000


def load_groups(
    spec: str, store: Store, split: str, paths: Sequence[str], *, rows: NDArray[np.int64] | None = None
) -> tuple[str, list[str | None]]:
    """The name of a grouping and the group of each image, None where it has none.

    spec: a column of the store's Parquet (``source``), or ``FILE:COLUMN`` with a CSV or Parquet that has ``path``,
    and ``source`` where the split has a path of several sources.
    paths: the N images wanted; rows: where they stand in the split, all of it where None. Raises DataError for what
    cannot be used.
    """
    colons = [place for place, letter in enumerate(spec) if letter == ":"]
    colon = next((place for place in colons if Path(spec[:place]).is_file()), colons[-1] if colons else None)
    file, column = ("", spec) if colon is None else (spec[:colon], spec[colon + 1 :])
    if colon is not None and not (file and column.strip()):
        raise DataError(f"--group-by: expected COLUMN or FILE:COLUMN, got {spec!r}")
    if colon is not None:
        sources = _chosen(store_column(store, split, "source"), rows) if len(set(paths)) < len(paths) else None
        name, groups = column.strip(), _from_file(Path(file), column, paths, sources)
    else:
        name, groups = spec, _chosen(store_column(store, split, spec), rows)
    found = sorted({group for group in groups if group is not None})
    if not found:
        raise DataError(f"--group-by {spec}: expected groups of the images in {split}, got none of them")
    if UNKNOWN in found:
        raise DataError(
            f"--group-by {spec}: expected no group named {UNKNOWN!r}, which stands for images without a group",
            hint="give it another name, or leave its cells empty",
        )
    if len(found) > MOST:
        raise DataError(
            f"--group-by {spec}: expected at most {MOST} groups, got {len(found)} ({', '.join(found[:4])}, …)",
            hint="put the values into bands first",
        )
    return name, groups


def _chosen(column: list[str | None], rows: Int64 | None) -> list[str | None]:
    return column if rows is None else [column[row] for row in rows.tolist()]


def store_column(store: Store, split: str, column: str) -> list[str | None]:
    """One column of a split as text, row by row. Raises DataError where there is none of simple values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values: list[str | None] = []
    for shard in store.shards(split):
        schema = pq.read_schema(shard)
        simple = [name for name in schema.names if not pa.types.is_nested(schema.field(name).type)]
        if column not in simple:
            raise DataError(
                f"expected a column of the store ({', '.join(simple)}), got {column!r}",
                hint="for a table of your own write FILE:COLUMN",
            )
        cells = pq.read_table(shard, columns=[column]).column(column).to_pylist()
        values += [None if cell is None else str(cell) for cell in cells]
    return values


def by_group(
    y: NDArray[np.int64],
    p: NDArray[Any],
    groups: Sequence[str | None],
    labels: Sequence[str],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """``groups``: name → n, small, failures, accuracy, macro_f1, recall by label; and ``gaps`` of each of the three.

    y, p: as in ``metrics``. Figures are ``{"value", "low", "high"}``; a gap has ``highest`` and ``lowest`` beside
    them, and is None where fewer than two groups enter. Groups stand in alphabetical order, UNKNOWN last.
    """
    names = sorted({group for group in groups if group is not None})
    names += [UNKNOWN] if None in groups else []
    member = np.array([UNKNOWN if group is None else group for group in groups])
    result = {name: _group(y[member == name], p[member == name], labels, seed=seed) for name in names}
    return {"groups": result, "gaps": _gaps(y, p, member, result, labels, seed=seed)}


def _group(y: Int64, p: NDArray[Any], labels: Sequence[str], *, seed: int) -> dict[str, Any]:
    matrix = confusion(y, p)
    value, drawn = (from_confusion(m)["macro_f1"] for m in (matrix, resampled_counts(matrix, seed=seed)))
    support = matrix.sum(1)
    return {
        "n": len(y),
        "small": len(y) < SMALL,
        "failures": int(matrix[:, -1].sum()),
        "accuracy": proportion_if_any(int(np.trace(matrix)), len(y)),
        "macro_f1": with_percentiles(float(value), drawn),
        "recall": {
            name: proportion_if_any(int(matrix[i, i]), int(support[i])) | {"n": int(support[i])}
            for i, name in enumerate(labels)
        },
    }


def _gaps(
    y: Int64, p: NDArray[Any], member: NDArray[Any], scored: dict[str, Any], labels: Sequence[str], *, seed: int
) -> dict[str, Any]:
    right = predicted(p) == y
    enter = [name for name, figures in scored.items() if not figures["small"] and name != UNKNOWN]
    rows = [(name, right[member == name]) for name in enter]
    recalls = {}
    for code, label in enumerate(labels):
        classes = [(name, right[(member == name) & (y == code)]) for name in enter]
        recalls[label] = proportion_gap([(name, hits) for name, hits in classes if len(hits) >= SMALL], seed=seed)
    f1_gap = _f1_gap(y, p, member, enter, seed=seed)
    return {"accuracy": proportion_gap(rows, seed=seed), "macro_f1": f1_gap, "recall": recalls}


def proportion_gap(rows: Sequence[tuple[str, NDArray[np.bool_]]], *, seed: int = 0) -> dict[str, Any] | None:
    """The largest gap of accuracy between groups. rows: group, bool n (what is correct). None for fewer than two."""
    if len(rows) < 2:
        return None
    sizes = np.array([len(hits) for _, hits in rows])
    counts = np.array([int(hits.sum()) for _, hits in rows])
    accuracies = counts / sizes
    top, bottom = int(accuracies.argmax()), int(accuracies.argmin())
    value = float(accuracies[top] - accuracies[bottom])
    low, high = newcombe(int(counts[top]), int(sizes[top]), int(counts[bottom]), int(sizes[bottom]))
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(sizes, int(counts.sum()), size=PERMUTATIONS) / sizes
    chance = int((drawn.max(1) - drawn.min(1) >= value - 1e-12).sum())
    return {
        "highest": rows[top][0],
        "lowest": rows[bottom][0],
        "value": value,
        "low": low,
        "high": high,
        "p": (chance + 1) / (PERMUTATIONS + 1),
    }


def newcombe(right_a: int, n_a: int, right_b: int, n_b: int) -> tuple[float, float]:
    """95 % interval of proportion a − proportion b, independent samples: Newcombe 1998, method 10."""
    a, b = right_a / n_a, right_b / n_b
    (low_a, high_a), (low_b, high_b) = wilson(right_a, n_a), wilson(right_b, n_b)
    low = a - b - np.hypot(a - low_a, high_b - b)
    high = a - b + np.hypot(high_a - a, b - low_b)
    return float(low), float(high)


def _f1_gap(y: Int64, p: NDArray[Any], member: NDArray[Any], names: list[str], *, seed: int) -> dict[str, Any] | None:
    if len(names) < 2:
        return None
    values, drawn = [], []
    for number, name in enumerate(names):
        matrix = confusion(y[member == name], p[member == name])
        values.append(float(from_confusion(matrix)["macro_f1"]))
        drawn.append(from_confusion(resampled_counts(matrix, seed=seed + number))["macro_f1"])
    top, bottom = int(np.argmax(values)), int(np.argmin(values))
    gap = with_percentiles(values[top] - values[bottom], drawn[top] - drawn[bottom])
    return {"highest": names[top], "lowest": names[bottom], **gap}


def _from_file(file: Path, column: str, paths: Sequence[str], sources: Sequence[str | None] | None) -> list[str | None]:
    """The group of each path; sources: of each as well, where the same path stands in several."""
    table = read_table(file)
    wanted = ["path", key(column)] if sources is None else ["path", "source", key(column)]
    for name in wanted:
        if name not in table.columns:
            why = "; some paths name pictures of several sources" if name == "source" else ""
            raise DataError(f"expected a column {name!r} in {file}, got {', '.join(table.columns)}{why}")
    group_of: dict[tuple[str | None, str], str | None] = {}
    theirs = [None] * len(table.columns["path"]) if sources is None else table.columns["source"]
    for row, (source, path, group) in enumerate(
        zip(theirs, table.columns["path"], table.columns[key(column)], strict=True)
    ):
        if path is None:
            continue
        if group_of.setdefault((source, path), group) != group:
            raise DataError(f"{table.where(row)}: expected one group an image, got {path!r} in two")
    return [group_of.get(image) for image in zip(sources or [None] * len(paths), paths, strict=True)]
