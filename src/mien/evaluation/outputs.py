"""The files of an evaluation that hold answers: predictions.parquet for people and tools, predictions.csv for scoring.

predictions.parquet  path, label, answer, one probability a label, near_duplicate; null where there is none
predictions.csv      path and probabilities alone, an empty row for no answer, as a blind test set is scored
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.atomic import write_bytes, write_text
from mien.data.store import Split
from mien.errors import DataError
from mien.labels import EIGHT

Float32 = NDArray[np.float32]
PREDICTIONS = "predictions.parquet"


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """predictions.parquet, read back. paths: N. truth: N names, None where held back. probabilities: float32 N×K,
    rows of NaN for no answer. leak: bool N, or None where that is not known.
    """

    paths: list[str]
    truth: list[str | None]
    labels: tuple[str, ...]
    probabilities: Float32
    leak: NDArray[np.bool_] | None


def write_predictions(out: Path, split: Split, names: tuple[str, ...], probabilities: Float32) -> None:
    """Both files. names: the K labels. probabilities: float32 N×K of ``split``. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = ~np.isnan(probabilities).any(axis=1)
    best = np.where(found, np.nan_to_num(probabilities).argmax(axis=1), -1)
    columns: dict[str, object] = {
        "path": split.paths,
        "label": pa.array([EIGHT[code] if code >= 0 else None for code in split.labels], pa.string()),
        "answer": pa.array([names[code] if code >= 0 else None for code in best], pa.string()),
    }
    for number, name in enumerate(names):
        columns[name] = pa.array(probabilities[:, number], pa.float32(), from_pandas=True)  # NaN → null
    columns["near_duplicate"] = pa.array([None] * len(split) if split.leak is None else split.leak, pa.bool_())
    table = io.BytesIO()
    # probabilities hardly repeat: a dictionary of them would make the file two thirds larger
    pq.write_table(pa.table(columns), table, compression="zstd", use_dictionary=["label", "answer"])
    write_bytes(out / PREDICTIONS, table.getvalue())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *names])
    for path, row in zip(split.paths, probabilities, strict=True):
        writer.writerow([path, *("" if np.isnan(p) else f"{p:.6f}" for p in row)])
    write_text(out / "predictions.csv", text.getvalue())


def read_predictions(folder: Path) -> Written:
    """Raises DataError where ``folder`` holds no evaluation of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / PREDICTIONS
    try:
        table = pq.read_table(file)
        labels = tuple(name for name in table.schema.names if name in EIGHT)
        numbers = [table.column(name).to_numpy() for name in labels]
        near = table.column("near_duplicate")
        return Written(
            paths=table.column("path").to_pylist(),
            truth=table.column("label").to_pylist(),
            labels=labels,
            probabilities=np.stack(numbers, 1).astype(np.float32),
            leak=None if near.null_count else near.to_numpy().astype(bool),
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DataError(
            f"expected an evaluation with {PREDICTIONS} in {folder}, cannot read it: {error}",
            hint="make one with: mien evaluate MODEL --data STORE --split NAME -o DIR",
        ) from error
