"""What results/ keeps of the runs that are not shipped: their figures in one file, what they predicted in another.

    python scripts/kept_runs.py RECORD …    adds records, folders of scripts/record.py; one of that name is replaced

    results/fer2013/runs.json          a row a run: recipe, how it was trained, figures of one crop and of ten
    results/fer2013/predicted.parquet  path, label, near_duplicate of PublicTest; a column a run: the class it predicted

The scoreboard is drawn from these two and from the folders of the shipped readers.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mien.atomic import write_text
from mien.errors import DataError, MienError
from mien.evaluation.predictions import PREDICTIONS
from mien.evaluation.report import Report
from mien.training.recipe import load_recipe

RESULTS = Path(__file__).parents[1] / "results"
RUNS, PREDICTED = "runs.json", "predicted.parquet"
KEPT = ("accuracy", "macro_f1", "weighted_f1", "nll")
KNOWN = ("path", "label", "near_duplicate")
Json = dict[str, Any]


def row_of(record: Path) -> Json:
    """A record's row. Raises DataError where the folder holds no evaluation."""
    report = _report(record)
    if report is None or report["figures"] is None:
        raise DataError(f"expected a record with a scored report.json, got {record}", hint="see scripts/record.py")
    trained = recipe = None
    if (record / "recipe.yaml").is_file():
        recipe = load_recipe(record / "recipe.yaml").model_dump(mode="json")
        meta = json.loads((record / "meta.json").read_text("utf-8"))
        seconds = []  # of a run that kept its start: none
        if (record / "log.csv").is_file():
            with (record / "log.csv").open(newline="") as file:
                seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
        quickest = min(seconds, default=0.0)
        trained = {"epochs": len(seconds), "seconds": round(sum(seconds), 1), "quickest_epoch": quickest}
        trained |= {key: meta[key] for key in ("device", "cpu_threads")}
    row = {"name": record.name} | {key: report[key] for key in ("date", "hardware", "commit", "command")}
    row |= {"mean_of": report["model"]["name"]} if "members" in report["model"] else {}
    ten = _report(record / "tta")
    return row | {
        "recipe": recipe,
        "trained": trained,
        "single_crop": _figures(report),
        "ten_crops": None if ten is None else _figures(ten),
    }


def _report(folder: Path) -> Json | None:
    return Report.read(folder).as_dict() if (folder / "report.json").is_file() else None


def _figures(report: Json) -> Json:
    return {
        part: {key: figures[key] for key in KEPT if key in figures}
        for part, figures in report["figures"].items()
        if part in ("all", "leak_free")
    }


def read_runs(home: Path) -> list[Json]:
    """Every run that has figures, kept here or in a folder of its own; the best accuracy first."""
    file = home / RUNS
    kept = json.loads(file.read_text("utf-8")) if file.is_file() else []
    rows = {row["name"]: row for row in kept} | {
        path.parent.name: row_of(path.parent) for path in home.glob("*/report.json")
    }
    return sorted(rows.values(), key=lambda row: (-row["single_crop"]["all"]["accuracy"]["value"], row["name"]))


def read_predicted(home: Path) -> tuple[dict[str, NDArray[np.bool_]], NDArray[np.bool_]]:
    """Run → whether it is right about each image of PublicTest; and which of them have a near-duplicate in Training.

    Shipped readers by the names of their folders: NAME, NAME/tta (ten crops), NAME/pipeline. Raises DataError where
    one predicts other images than the rest.
    """
    table = pq.read_table(home / PREDICTED)
    right = {name: _right(table, name) for name in table.schema.names if name not in KNOWN}
    for file in home.glob(f"*/**/{PREDICTIONS}"):
        right[str(file.parent.relative_to(home))] = _right(_same_images(pq.read_table(file), table, file), "answer")
    return right, table.column("near_duplicate").to_numpy()


def _right(table: pa.Table, column: str) -> NDArray[np.bool_]:
    """No prediction (null) is wrong."""
    return np.array(table.column(column).to_pylist()) == np.array(table.column("label").to_pylist())


def _same_images(predicted: pa.Table, table: pa.Table, origin: Path) -> pa.Table:
    if not predicted.select(KNOWN).equals(table.select(KNOWN)):
        raise DataError(f"expected predictions of the images of {PREDICTED}, got others in {origin}")
    return predicted


def add(records: list[Path], home: Path) -> None:
    """Take records into both files. Raises DataError where one is none, or predicts other images than the others."""
    rows = {row["name"]: row for row in json.loads((home / RUNS).read_text("utf-8"))} if (home / RUNS).is_file() else {}
    table = pq.read_table(home / PREDICTED) if (home / PREDICTED).is_file() else None
    for record in records:
        row, predicted = row_of(record), pq.read_table(record / PREDICTIONS)
        table = predicted.select(KNOWN) if table is None else table
        _same_images(predicted, table, record)
        if record.name in table.schema.names:
            table = table.drop_columns([record.name])
        table = table.append_column(record.name, predicted.column("answer"))
        rows[record.name] = row
    write_text(home / RUNS, json.dumps([rows[name] for name in sorted(rows)], indent=1, ensure_ascii=False) + "\n")
    pq.write_table(table, home / PREDICTED, compression="zstd")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD")
    parser.add_argument("--home", type=Path, default=RESULTS / "fer2013")
    options = parser.parse_args()
    try:
        add(options.records, options.home)
    except MienError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
