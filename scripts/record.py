"""A finished run as the results directory keeps it: whatever a figure could be asked about, nothing bulky.

    python scripts/record.py RUN NAME [--data STORE] [--to results/fer2013] [--no-tta] [--no-blind] [--training]

    TO/NAME/recipe.yaml, meta.json, log.csv    as the run has them
    TO/NAME/curves.png                         training and validation by epoch
    TO/NAME/report.json, predictions.parquet, confusion.png, reliability.png    a single crop of PublicTest
    TO/NAME/tta/                               the same of ten crops
    TO/private_test/NAME.csv, NAME-tta.csv     blind predictions: path and one probability a label

--training writes recipe, meta, log and curves alone: a shipped reader's figures come from its ONNX file
(scripts/measure). --no-blind is for an arm that answers a question and is no reader. An older record of that name is
replaced. PrivateTest is predicted, never scored: should a store know its labels, nobody looks at them here.
"""

import argparse
import csv
import re
import sys
import tempfile
from pathlib import Path

from palette import shrink

from mien.atomic import write_bytes
from mien.cli.evaluate import headline, notes
from mien.data.store import Store
from mien.drawing import save
from mien.errors import DataError, MienError, UsageError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.predict import predict_crops
from mien.evaluation.predictors import RunPredictor
from mien.reproduce.curves import curves_figure

SCORED, BLIND = "public_test", "private_test"
OF_RUN = ("recipe.yaml", "meta.json", "log.csv")
OF_EVALUATION = ("report.json", "predictions.parquet", "confusion.png", "reliability.png")


def record(
    run: Path,
    name: str,
    store: Store,
    to: Path,
    *,
    device: str = "auto",
    tta: bool = True,
    blind: bool = True,
    limit: int | None = None,
) -> None:
    """Write the record of a run; the report's headline goes to stdout.

    limit: only N images of each split (when the machinery is tried; the report says so). Raises MienError, before
    anything is written where the run or the store is not what it has to be.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name == BLIND:
        raise UsageError(f"expected a name of letters, digits and . _ - (not {BLIND}), got {name!r}")
    _check_run(run)
    if lacking := {SCORED, BLIND} - set(store.splits):
        raise DataError(f"expected {' and '.join(sorted(lacking))} in {store.path}, it has {', '.join(store.splits)}")
    predictor = RunPredictor(run, device=device)
    home = to / name
    record_training(run, name, home)  # first, so that a report never stands there without its recipe
    for kind in ("", "-tta") if tta else ("",):
        with tempfile.TemporaryDirectory() as scratch:
            out, option = (home / "tta", " --tta") if kind else (home, "")
            command = f"mien evaluate {run} --data {store.path} --split {SCORED}{option} -o {out}"
            report = evaluate(predictor, store, SCORED, Path(scratch), tta=bool(kind), limit=limit, command=command)
            for file in OF_EVALUATION:
                _copy(Path(scratch) / file, out / file)
            if blind:
                found = _blind(predictor, store, Path(scratch), tta=bool(kind), limit=limit)
                _copy(found, to / BLIND / f"{name}{kind}.csv")
        print("\n".join([*notes(report), *headline(report)]), flush=True)


def record_training(run: Path, name: str, home: Path) -> None:
    """How a run was trained: its recipe, meta, log and curves. Raises DataError where ``run`` is none."""
    _check_run(run)
    for file in OF_RUN:
        _copy(run / file, home / file)
    with tempfile.TemporaryDirectory() as scratch:
        save(_curves(run, name), Path(scratch) / "curves")
        _copy(Path(scratch) / "curves.png", home / "curves.png")


def _check_run(run: Path) -> None:
    missing = [file for file in OF_RUN if not (run / file).is_file()]
    if missing:
        raise DataError(f"expected a run directory, got {run} without {', '.join(missing)}")


def _blind(predictor: RunPredictor, store: Store, scratch: Path, *, tta: bool, limit: int | None) -> Path:
    """The file of blind predictions, as an evaluation would write it."""
    predict_crops(predictor, store.read(BLIND).limited(limit), tta=tta).write(scratch)
    return scratch / "predictions.csv"


def _curves(run: Path, name: str) -> object:
    with (run / "log.csv").open(newline="") as file:
        epochs = sum(1 for _ in csv.DictReader(file))
    return curves_figure({name: [run]}, title=name, facts=f"{epochs} epoch{'' if epochs == 1 else 's'}, {SCORED}")


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    write_bytes(to, shrink(content) if source.suffix == ".png" else content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, default=Path("stores/fer2013"))
    parser.add_argument("--to", type=Path, default=Path("results/fer2013"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-tta", action="store_true", help="leave out ten crops, ten elevenths of the work")
    parser.add_argument("--no-blind", action="store_true", help="leave out PrivateTest")
    parser.add_argument("--training", action="store_true", help="recipe, meta, log and curves alone")
    options = parser.parse_args()
    try:
        if options.training:
            record_training(options.run, options.name, options.to / options.name)
            return 0
        record(
            options.run, options.name, Store.open(options.data), options.to,
            device=options.device, tta=not options.no_tta, blind=not options.no_blind,
        )  # fmt: skip
    except MienError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
