"""What is scored, on which images, under which reading: the rules that make two evaluations comparable.

- Every figure twice: on *all* images, and on the *leak-free* ones, which have no near-duplicate in Training.
- A failure counts as wrong. Images whose label the model has no class for (contempt, for a model of seven) are left
  out and counted; nothing else ever leaves the denominator.
- An eight-class model is scored among eight, and read with seven classes in both ways of ``seven_class.py``.
- Classes stand in label order everywhere, whatever order the model has them in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation import metrics, seven_class
from mien.evaluation.agreement import agreement
from mien.evaluation.comparisons import compare
from mien.evaluation.groups import by_group
from mien.evaluation.label_permutation import better_names
from mien.evaluation.leak import leak_effect
from mien.evaluation.ranking import with_top2
from mien.labels import EIGHT, canonical

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

#: Figures that need probabilities; a file of answers alone has none.
NEED_PROBABILITIES = ("top2_accuracy", "nll", "brier", "ece")
_UNKNOWN = {"value": None, "low": None, "high": None}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Labelled images and what was said of them; row by row.

    y: int64 N, codes in the order of ``labels``. p: float32 N×K, rows of NaN for failures. leak: bool N, or None.
    votes: float32 N×10. groups: name of a grouping → N groups. answers_only: p is one-hot, its numbers mean nothing.
    """

    y: Int
    p: Float32
    labels: tuple[str, ...]
    leak: Bool | None
    votes: Float32
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    answers_only: bool = False

    def of(self, rows: Bool) -> "Case":
        groups = {
            name: [g for g, keep in zip(values, rows, strict=True) if keep] for name, values in self.groups.items()
        }
        leak = None if self.leak is None else self.leak[rows]
        return Case(self.y[rows], self.p[rows], self.labels, leak, self.votes[rows], groups, self.answers_only)

    def parts(self) -> dict[str, "Case"]:
        """``all``, and ``leak_free`` where it is known which images that are and there are any."""
        if self.leak is None or self.leak.all():
            return {"all": self}
        return {"all": self, "leak_free": self.of(~self.leak)}


def label_order(labels: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The labels by our names in label order, and for each the column where the model has it.

    Raises DataError where a label is no expression or two are the same.
    """
    names = [canonical(name) for name in labels]
    if len(set(names)) < len(names):
        raise DataError(f"expected each expression once among the model's labels, got {', '.join(labels)}")
    ordered = tuple(name for name in EIGHT if name in names)
    return ordered, [names.index(name) for name in ordered]


def codes_for(labels: Int, names: tuple[str, ...], *, split: str) -> tuple[Int, Bool]:
    """Codes of ``mien.labels`` → codes in the order of ``names``, and which images the model can be asked about.

    Contempt is the one label that a model may lack. Raises DataError for another one, or where nothing is left.
    """
    table = np.array([names.index(name) if name in names else -1 for name in EIGHT])
    codes = table[labels]
    lacking = sorted({EIGHT[code] for code in labels[codes < 0]})
    if set(lacking) - {seven_class.CONTEMPT} or (codes < 0).all():
        raise DataError(
            f"expected a model with the labels of {split}, got one of {', '.join(names)} without {', '.join(lacking)}"
        )
    return codes.astype(np.int64), codes >= 0


def score(case: Case, *, seed: int = 0) -> dict[str, Any]:
    """The sections of a report that come from answers alone: figures, leak, seven_classes, votes, groups, warnings."""
    result: dict[str, Any] = {"figures": figures(case, seed=seed)}
    answers = metrics.predicted(case.p)
    result["leak"] = None if case.leak is None else leak_effect(answers == case.y, case.leak, seed=seed)
    if seven_class.applies(case.labels):
        result["seven_classes"] = _seven_classes(case, seed=seed)
    votes = {
        name: agreement(part.y, metrics.predicted(part.p), part.votes, case.labels, seed=seed)
        for name, part in case.parts().items()
    }
    if votes["all"] is not None:
        result["votes"] = votes
    if case.groups:
        result["groups"] = {
            grouping: {
                name: by_group(part.y, part.p, part.groups[grouping], case.labels, seed=seed)
                for name, part in case.parts().items()
            }
            for grouping in case.groups
        }
    result["warnings"] = _warnings(np.array(result["figures"]["all"]["confusion"]), case.labels)
    return result


def figures(case: Case, *, seed: int = 0) -> dict[str, Any]:
    """``metrics.summary`` and top-2 of all and of leak-free images; no probability figures for answers alone."""
    result = {}
    for name, part in case.parts().items():
        scored = with_top2(metrics.summary(part.y, part.p, part.labels, seed=seed), part.y, part.p)
        result[name] = scored | (dict.fromkeys(NEED_PROBABILITIES, _UNKNOWN) if case.answers_only else {})
    return result


def difference(y: Int, first: Float32, second: Float32, leak: Bool | None, *, seed: int = 0) -> dict[str, Any]:
    """Second against first probabilities of the same images, on all and on leak-free ones (``comparisons.compare``)."""
    a, b, k = metrics.predicted(first), metrics.predicted(second), first.shape[1]
    result = {"all": compare(y, a, b, classes=k, seed=seed)}
    if leak is not None and not leak.all():
        result["leak_free"] = compare(y[~leak], a[~leak], b[~leak], classes=k, seed=seed)
    return result


def _seven_classes(case: Case, *, seed: int) -> dict[str, Any]:
    rest = case.of(seven_class.kept(case.y, case.labels))
    if not len(rest.y):
        return {}
    shut, names = seven_class.closed(rest.p, case.labels)
    y = np.array([names.index(case.labels[code]) for code in rest.y], np.int64)
    closed = Case(y, shut.astype(np.float32), names, rest.leak, rest.votes, {}, case.answers_only)
    return {
        reading: {"what": what, "figures": figures(closed if reading == "closed" else rest, seed=seed)}
        for reading, what in seven_class.READINGS.items()
    }


def _warnings(matrix: NDArray[Any], labels: tuple[str, ...]) -> list[str]:
    found = better_names(matrix, labels)
    if found is None:
        return []
    renamed = ", ".join(f"{column} as {meaning}" for column, meaning in found["renamed"].items())
    return [
        f"the columns look mixed up: reading {renamed} would raise the accuracy from {found['accuracy']:.1%} to "
        f"{found['accuracy_renamed']:.1%}; are the labels in another order?"
    ]
