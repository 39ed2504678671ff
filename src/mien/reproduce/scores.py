"""What the arms of a study are worth: means over seeds, their intervals, and paired differences, from predictions.

An arm's figure is the mean of its seeds'. Its 95 % interval comes from resampling images (2,000 times), the same images
for every arm and seed, so that differences between arms are paired; what another seed would have changed is stated
beside it as the standard deviation over seeds. Conventions of the figures: ``evaluation/metrics.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError
from mien.evaluation import metrics, seven_class
from mien.evaluation.metrics import with_percentiles
from mien.evaluation.outputs import read_predictions

FIGURES = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1", "macro_f1", "balanced_accuracy")
RESAMPLES = 2000

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Predictions of one run for a split. y: int64 N. p: float N×K, NaN rows for failures. leak: bool N or None."""

    paths: list[str]
    labels: tuple[str, ...]
    y: Int
    p: Float
    leak: NDArray[np.bool_] | None


def read_answers(directory: Path) -> Answers | None:
    """An evaluation's ``predictions.parquet``; None where the labels were held back. Raises DataError."""
    try:
        written = read_predictions(directory)
    except DataError as error:
        raise DataError(f"expected predictions in {directory}, cannot read them", hint="evaluate again") from error
    truth = [name for name in written.truth if name is not None]
    if len(truth) < len(written.truth):
        return None
    y = np.array([written.labels.index(name) for name in truth], np.int64)
    return Answers(written.paths, written.labels, y, written.probabilities.astype(np.float64), written.leak)


def seven_of(answers: Answers, *, closed: bool) -> Answers:
    """The seven-class reading of an eight-class model (``evaluation/seven_class.py``); any other model as it is."""
    if not seven_class.applies(answers.labels):
        return answers
    kept = seven_class.kept(answers.y, answers.labels)
    p, labels = answers.p[kept], answers.labels
    if closed:
        p, labels = seven_class.closed(p, labels)
    return Answers(
        paths=[path for path, keep in zip(answers.paths, kept, strict=True) if keep],
        labels=labels,
        y=np.array([labels.index(answers.labels[code]) for code in answers.y[kept]], np.int64),
        p=p,
        leak=None if answers.leak is None else answers.leak[kept],
    )


def score(
    arms: Mapping[str, Sequence[Answers]], *, part: str = "all", resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Figures of each arm, the first of which the others are compared with.

    arms: key → predictions of its seeds, all of the same images in the same order. part: "all" images or "leak_free"
    ones. Returns by arm: each of ``FIGURES`` as value, low, high, ``sd`` over seeds (None for one seed) and ``seeds``;
    ``difference``: the same against the first arm (not in its own); ``n``. Raises DataError where images differ.
    """
    runs = [answers for group in arms.values() for answers in group]
    first = runs[0]
    if any(other.paths != first.paths or not np.array_equal(other.y, first.y) for other in runs):
        raise DataError("expected predictions of the same images by every run, got other ones", hint="evaluate again")
    chosen = np.ones(len(first.y), bool)
    if part == "leak_free":
        if first.leak is None:
            raise DataError("expected to know which images have a near-duplicate in Training, this store does not say")
        chosen = ~first.leak
    n = int(chosen.sum())
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)
    found: dict[str, dict[str, Any]] = {}
    reference: dict[str, tuple[Float, Float]] = {}
    for key, group in arms.items():
        each = [_figures_of(answers, chosen, weights) for answers in group]
        row: dict[str, Any] = {"n": n}
        differences: dict[str, Any] = {}
        for name in FIGURES:
            values = np.array([values[name] for values, _ in each])
            drawn = np.mean([drawn[name] for _, drawn in each], axis=0)
            row[name] = _stated(values, drawn)
            if reference:
                base_values, base_drawn = reference[name]
                differences[name] = with_percentiles(float(values.mean() - base_values.mean()), drawn - base_drawn)
            else:
                found.setdefault("", {})[name] = (values, drawn)
        if not reference:
            reference = found.pop("")
        else:
            row["difference"] = differences
        found[key] = row
    return found


def _figures_of(answers: Answers, chosen: NDArray[np.bool_], weights: NDArray[np.float32]) -> Any:
    """The figures of one run, and the same of each resample."""
    y, p = answers.y[chosen], answers.p[chosen]
    k = len(answers.labels)
    matrix = metrics.confusion(y, p)
    cells = np.zeros((len(y), k * (k + 1)), np.float32)
    cells[np.arange(len(y)), y * (k + 1) + metrics.predicted(p)] = 1
    drawn = np.rint(weights @ cells).astype(np.int64).reshape(-1, k, k + 1)
    exact = {name: float(value) for name, value in metrics.from_confusion(matrix).items() if name in FIGURES}
    return exact, metrics.from_confusion(drawn)


def _stated(values: Float, drawn: Float) -> dict[str, Any]:
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return with_percentiles(float(values.mean()), drawn) | {"sd": sd, "seeds": [float(value) for value in values]}


def readings(labels: Sequence[str]) -> tuple[str, ...]:
    """How a model with these labels is read: as it is, or as one of seven classes, openly and closed."""
    return ("as_trained", "seven_open", "seven_closed") if seven_class.applies(labels) else ("as_trained",)


def read_as(answers: Answers, reading: str) -> Answers:
    """One of :func:`readings`."""
    return answers if reading == "as_trained" else seven_of(answers, closed=reading == "seven_closed")
