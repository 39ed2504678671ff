"""The one type for predictions: what a model says of images, from the prediction to scores, files and comparisons.

An evaluation's directory keeps them in two files (:meth:`Predictions.write`):

    predictions.parquet  path, label, answer, one probability a label, near_duplicate; null where there is none. Its
                         metadata hold the label set, where that is the user's own
    predictions.csv      path and probabilities alone, an empty row for a failure, as a blind test set is scored

An eight-class model can be read with seven classes in two ways (:meth:`Predictions.as_seven`). They agree where the
model never predicts contempt; Paper A's published figures do not say which one they are.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Bool, Float32, Int64
from mien.atomic import write_bytes, write_text
from mien.data.store import Split
from mien.errors import DataError
from mien.evaluation.metrics import predicted, proportion
from mien.labels import EIGHT, SEVEN, canonical, is_own
from mien.reading.probabilities import Calibration

Float = NDArray[np.floating[Any]]

PREDICTIONS = "predictions.parquet"
CONTEMPT = "contempt"
_LABELS = b"mien_labels"
SevenClassReading = Literal["closed", "open"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Predictions:
    """Predictions for N images and what is known of these images, row by row.

    Attributes:
        paths: N names.
        labels: the K classes, in the order of the columns.
        probabilities: float N×K (float32 as predicted); a row of NaN for a failure (no face found, no row in a file).
        truth: int64 N codes, −1 where the label is not known.
        label_set: the names of these codes, those of ``mien.labels`` or the user's own.
        near_duplicate: bool N, whether Training holds a near-duplicate; None where that is not known.
        votes: float32 N×10 FER+ counts, rows of NaN where there are none.
        groups: name of a grouping → N groups.
        logits: float32 N×V×K over V views; None where there are none.
        calibration: what made probabilities of the logits.
        answers_only: probabilities are one-hot; figures that need probabilities are undefined.
        file: of another tool, the file.
        sources: of another tool's file, N names of data sets.
        labels_assumed: the tool is taken for one of seven classes because it never predicts contempt.

    Examples:
        >>> from pathlib import Path
        >>> from mien.data.store import Store
        >>> from mien.evaluation.predictions import Predictions
        >>> found = Predictions.read(Path("evaluation"))
        >>> found.probabilities.shape, found.labels, sorted(found.parts())
        ((8, 2), ('dark', 'light'), ['all', 'leak_free'])
        >>> found.accuracy()["value"] == float((found.predicted == found.y).mean())
        True
        >>> found.subset(found.y == 0).mean_confidence() <= 1, found.in_label_order().labels
        (True, ('dark', 'light'))
        >>> found.has_contempt, found.as_seven("closed") is found  # classes of one's own are read as they are
        (False, True)
        >>> found.write(Path("evaluation"))
        >>> again = Predictions.of_split(Store.open("store").read("test"), found.labels, found.probabilities)
        >>> again.paths == found.paths
        True
    """

    paths: list[str]
    labels: tuple[str, ...]
    probabilities: Float
    truth: Int64
    label_set: tuple[str, ...] = EIGHT
    near_duplicate: Bool | None = None
    votes: Float32 | None = None
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    logits: Float32 | None = None
    calibration: Calibration | None = None
    answers_only: bool = False
    file: Path | None = None
    sources: list[str] | None = None
    labels_assumed: bool = False

    @classmethod
    def of_split(cls, split: Split, labels: Sequence[str], probabilities: Float32, **rest: Any) -> "Predictions":
        """Predictions for the images of a split, in its order.

        Args:
            split: the images.
            labels: the K classes, in the order of the columns.
            probabilities: float32 N×K.
            rest: other attributes.
        """
        return cls(
            paths=split.paths, labels=tuple(labels), probabilities=probabilities, truth=split.labels,
            label_set=split.label_set, near_duplicate=split.leak, votes=split.votes, **rest,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def y(self) -> Int64:
        """int64 N: true classes as columns of ``probabilities``; −1 where the label is unknown or no class has it."""
        columns = [self.labels.index(name) if name in self.labels else -1 for name in self.label_set]
        return np.array([*columns, -1], np.int64)[self.truth]

    @property
    def predicted(self) -> Int64:
        """int64 N: the most probable class as a column of ``probabilities``; K for a failure."""
        return predicted(self.probabilities)

    def accuracy(self) -> dict[str, float]:
        """Proportion of images whose predicted class is the true one, with its 95 % interval (Wilson)."""
        return proportion(int((self.predicted == self.y).sum()), len(self))

    def subset(self, rows: Bool | Int64) -> "Predictions":
        """These rows.

        Args:
            rows: a mask over all, bool N; or different row numbers in the order wanted.

        Raises:
            ValueError: a row number twice.
        """
        if rows.dtype != bool and len(np.unique(rows)) < len(rows):
            raise ValueError("expected a bool mask or different row numbers")
        chosen = np.arange(len(self))[rows].tolist()

        def pick(values: Any) -> Any:
            if values is None:
                return None
            return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in chosen]

        groups = {name: pick(groups) for name, groups in self.groups.items()}
        by_row = ("paths", "probabilities", "truth", "near_duplicate", "votes", "logits", "sources")
        return replace(self, groups=groups, **{name: pick(getattr(self, name)) for name in by_row})

    def parts(self) -> dict[str, "Predictions"]:
        """``all``, and ``leak_free`` (without a near-duplicate in Training) where that is known and there are any."""
        if self.near_duplicate is None or self.near_duplicate.all():
            return {"all": self}
        return {"all": self, "leak_free": self.subset(~self.near_duplicate)}

    def in_label_order(self) -> "Predictions":
        """With our names of the classes, in the order of the codes.

        Raises:
            DataError: labels that are no expressions, two that are the same, or others than the images' own classes.
        """
        labels, order = label_order(self.labels, self.label_set)
        logits = None if self.logits is None else self.logits[:, :, order]
        return replace(self, labels=labels, probabilities=self.probabilities[:, order], logits=logits)

    @property
    def has_contempt(self) -> bool:
        """Whether the seven-class readings apply: the seven expressions and contempt are among the classes."""
        return self.label_set == EIGHT and CONTEMPT in self.labels and set(SEVEN) < set(self.labels)

    def as_seven(self, how: SevenClassReading) -> "Predictions":
        """An eight-class model read with seven; any other model as it is. Images labelled contempt are left out.

        Args:
            how: "open": still eight classes, and predicting contempt is wrong. "closed": contempt's probability is
                removed and the others are renormalised (float64); where contempt had all of it, the row is a failure.
        """
        if not self.has_contempt:
            return self
        kept = self.subset(self.truth != EIGHT.index(CONTEMPT))
        if how == "open":
            return kept
        rest = np.delete(kept.probabilities.astype(np.float64), self.labels.index(CONTEMPT), axis=1)
        total = rest.sum(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            rest = np.where(total > 0, rest / np.where(total > 0, total, 1), np.nan)
        return replace(kept, labels=tuple(name for name in self.labels if name != CONTEMPT), probabilities=rest)

    def mean_confidence(self) -> float | None:
        """The mean of the greatest probability over the images that have a prediction, 0-1; None where none has."""
        greatest = self.probabilities.max(axis=1)
        greatest = greatest[~np.isnan(greatest)]
        return round(float(greatest.mean()), 4) if len(greatest) else None

    def write(self, folder: Path) -> None:
        """Write ``predictions.parquet`` and ``predictions.csv``.

        Args:
            folder: where; an existing directory.

        Raises:
            OutputError: it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        def named(codes: Int64, names: Sequence[str]) -> Any:
            return pa.array([names[code] if 0 <= code < len(names) else None for code in codes], pa.string())

        near = [None] * len(self) if self.near_duplicate is None else self.near_duplicate
        columns = {
            "path": self.paths,
            "label": named(self.truth, self.label_set),
            "answer": named(self.predicted, self.labels),
        }
        for number, name in enumerate(self.labels):
            columns[name] = pa.array(self.probabilities[:, number], pa.float32(), from_pandas=True)  # NaN → null
        columns["near_duplicate"] = pa.array(near, pa.bool_())
        table = pa.table(columns)
        if is_own(self.label_set):
            table = table.replace_schema_metadata({_LABELS: json.dumps(self.label_set)})
        content = io.BytesIO()
        # probabilities hardly repeat: a dictionary of them would make the file two thirds larger
        pq.write_table(table, content, compression="zstd", use_dictionary=["label", "answer"])
        write_bytes(folder / PREDICTIONS, content.getvalue())
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", *self.labels])
        for path, row in zip(self.paths, self.probabilities, strict=True):
            writer.writerow([path, *("" if np.isnan(p) else f"{p:.6f}" for p in row)])
        write_text(folder / "predictions.csv", text.getvalue())

    @classmethod
    def read(cls, folder: Path) -> "Predictions":
        """What :meth:`write` wrote, without votes, groups and logits.

        Args:
            folder: an evaluation's directory.

        Raises:
            DataError: no such file there, or a broken one.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(folder / PREDICTIONS)
            own = (table.schema.metadata or {}).get(_LABELS)
            label_set = EIGHT if own is None else tuple(json.loads(own))
            labels = tuple(name for name in table.schema.names if name in label_set)
            near, truth = table.column("near_duplicate"), table.column("label").to_pylist()
            return cls(
                paths=table.column("path").to_pylist(),
                labels=labels,
                probabilities=np.stack([table.column(name).to_numpy() for name in labels], 1).astype(np.float32),
                truth=np.array([-1 if name is None else label_set.index(name) for name in truth], np.int64),
                label_set=label_set,
                near_duplicate=None if near.null_count else near.to_numpy().astype(bool),
            )
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DataError(
                f"expected an evaluation with {PREDICTIONS} in {folder}, cannot read it: {error}",
                hint="make one with: mien evaluate MODEL --data STORE --split NAME -o DIR",
            ) from error


def label_order(labels: Sequence[str], label_set: Sequence[str] = EIGHT) -> tuple[tuple[str, ...], list[int]]:
    """The labels by our names in label order, and for each the column where the model has it.

    label_set: of the images that are asked about. Raises DataError where a label is no expression, two are the same, or
    the user's own classes are not the model's.
    """
    if tuple(label_set) != EIGHT or is_own_model(labels):
        if set(labels) != set(label_set) or len(labels) != len(label_set):
            shown = SEVEN if tuple(label_set) == EIGHT else label_set
            raise DataError(
                f"expected a model of the classes of the images ({', '.join(shown)}), got one of {', '.join(labels)}",
                hint="train one on this store: mien train own --data STORE -o RUN",
            )
        return tuple(label_set), [list(labels).index(name) for name in label_set]
    names = [canonical(name) for name in labels]
    if len(set(names)) < len(names):
        raise DataError(f"expected each expression once among the model's labels, got {', '.join(labels)}")
    ordered = tuple(name for name in EIGHT if name in names)
    return ordered, [names.index(name) for name in ordered]


def is_own_model(labels: Sequence[str]) -> bool:
    """Whether a model's labels are no expressions, in any spelling."""
    try:
        return not all(canonical(name) for name in labels)
    except DataError:
        return True


def same_images(predictions: Mapping[str, Predictions]) -> None:
    """Raises DataError where not all are of the same images in the same order. predictions: by what to call them."""
    (name, first), *others = predictions.items()
    for other, found in others:
        if found.paths != first.paths or not np.array_equal(found.truth, first.truth):
            raise DataError(
                f"expected predictions of the same images, got {len(first):,} for {name} and {len(found):,} for "
                f"{other}",
                hint="was one made with --limit?",
            )
