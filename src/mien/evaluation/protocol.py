"""What is scored, on which images, under which reading: the rules that make two evaluations comparable.

- Every figure twice: on *all* images, and on the *leak-free* ones, which have no near-duplicate in Training.
- A failure counts as wrong. Images without a label, and those whose label the model has no class for (contempt, for a
  model of seven), are left out and counted; nothing else ever leaves the denominator.
- An eight-class model is scored among eight, and read with seven classes in both ways of ``Predictions.as_seven``.
- Classes are in label order everywhere, whatever the model's own order.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mien.arrays import Bool, Int64
from mien.errors import DataError
from mien.evaluation import metrics
from mien.evaluation.agreement import agreement
from mien.evaluation.comparisons import compare
from mien.evaluation.groups import by_group
from mien.evaluation.label_permutation import better_names
from mien.evaluation.leak import leak_effect
from mien.evaluation.predictions import CONTEMPT, Predictions, SevenClassReading
from mien.labels import EIGHT

#: Figures that need probabilities; a file of answers alone has none.
NEED_PROBABILITIES = ("top2_accuracy", "nll", "brier", "ece")
SEVEN_CLASS_READINGS: dict[SevenClassReading, str] = {
    "closed": "contempt images left out, contempt's probability set aside",
    "open": "contempt images left out, an answer of contempt is wrong",
}


def scorable(truth: Int64, labels: tuple[str, ...], *, split: str, label_set: tuple[str, ...] = EIGHT) -> Bool | None:
    """bool N: the images that have a label among the model's; None where all labels are held back.

    truth: int64 N, codes of ``label_set``, −1 without a label. labels: the model's. Contempt is the one label that a
    model may lack. Raises DataError for another one, or where nothing is left.
    """
    if (truth < 0).all():
        return None
    known = np.array([name in labels for name in label_set] + [False])[truth]
    lacking = sorted({label_set[code] for code in truth[truth >= 0]} - set(labels))
    if set(lacking) - {CONTEMPT} or not known.any():
        raise DataError(
            f"expected a model with the labels of {split}, got one of {', '.join(labels)} without {', '.join(lacking)}"
        )
    return known


def score(found: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """The sections of a report that come from predictions alone: figures, leak, seven_classes, votes, groups, warnings.

    found: scorable images only.
    """
    near, parts = found.near_duplicate, found.parts()
    result: dict[str, Any] = {"figures": figures(found, seed=seed)}
    result["leak"] = None if near is None else leak_effect(found.predicted == found.y, near, seed=seed)
    if found.has_contempt:
        result["seven_classes"] = _seven_classes(found, seed=seed)
    votes = {
        name: agreement(part.y, part.predicted, part.votes, part.labels, seed=seed) for name, part in parts.items()
    }
    if votes["all"] is not None:
        result["votes"] = votes
    if found.groups:
        result["groups"] = {
            grouping: {
                name: by_group(part.y, part.probabilities, part.groups[grouping], part.labels, seed=seed)
                for name, part in parts.items()
            }
            for grouping in found.groups
        }
    result["warnings"] = _warnings(result["figures"]["all"]["confusion"], found.labels)
    return result


def figures(found: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """``metrics.summary`` of all and of leak-free images; no probability figures for answers alone."""
    result = {}
    for name, part in found.parts().items():
        scored = metrics.summary(part.y, part.probabilities, part.labels, seed=seed)
        result[name] = scored | (dict.fromkeys(NEED_PROBABILITIES, metrics.UNDEFINED) if found.answers_only else {})
    return result


def difference(first: Predictions, second: Predictions, *, seed: int = 0) -> dict[str, Any]:
    """Second against first predictions of the same images, on all and on leak-free ones (``comparisons.compare``)."""
    others = second.parts()
    return {
        name: compare(part.y, part.predicted, others[name].predicted, classes=len(part.labels), seed=seed)
        for name, part in first.parts().items()
    }


def _seven_classes(found: Predictions, *, seed: int) -> dict[str, Any]:
    if (found.truth == EIGHT.index(CONTEMPT)).all():
        return {}
    result: dict[str, Any] = {}
    for reading, what in SEVEN_CLASS_READINGS.items():
        read = found.as_seven(reading)
        read = replace(read, probabilities=read.probabilities.astype(np.float32))  # as every figure of a report
        result[reading] = {"what": what, "figures": figures(read, seed=seed)}
    return result


def _warnings(confusion: list[list[int]], labels: tuple[str, ...]) -> list[str]:
    found = better_names(np.array(confusion), labels)
    if found is None:
        return []
    renamed = ", ".join(f"{column} as {meaning}" for column, meaning in found["renamed"].items())
    return [
        f"the columns look mixed up: reading {renamed} would raise the accuracy from {found['accuracy']:.1%} to "
        f"{found['accuracy_renamed']:.1%}; are the labels in another order?"
    ]
