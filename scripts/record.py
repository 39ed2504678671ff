"""The record of a finished run: everything behind its figures, without large files.

    python scripts/record.py RUN NAME [--data STORE] [--to DIR] [--split NAME] [--no-tta] [--no-blind] [--onnx]
    python scripts/record.py RUN NAME --only training     recipe, meta, log and curves alone
    python scripts/record.py MODEL NAME --only blind      only the predictions of PrivateTest; MODEL may be an ONNX file

    DIR/NAME/recipe.yaml, meta.json, log.csv    as the run has them (without log.csv where it trained no epoch)
    DIR/NAME/curves.png                         training and validation by epoch, likewise
    DIR/NAME/report.json, predictions.parquet, confusion.png    a single crop of the split (PublicTest)
    DIR/NAME/tta/report.json, predictions.parquet               ten crops
    DIR/NAME/NAME.onnx                          as mien export --half --no-tta writes it, where --onnx asks for it
    DIR/private_test/NAME.parquet               blind predictions: path, and a float32 probability a label

scripts/kept_runs.py takes a record's figures into results/. A shipped reader's figures come from its ONNX file
(scripts/measure). --no-blind is for an arm that answers a question and is no reader. An older record of that name is
replaced. PrivateTest is predicted, never scored: should a store know its labels, nobody looks at them here.
"""

import argparse
import csv
import io
import re
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from palette import shrink

from mien.atomic import write_bytes
from mien.cli.evaluate import headline, notes
from mien.cli.export import export
from mien.data.store import Store
from mien.drawing import save
from mien.errors import DataError, MienError, UsageError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.predict import predict_crops
from mien.evaluation.predictors import Predictor, RunPredictor, load_predictor
from mien.reproduce.curves import curves_figure
from mien.training.networks import read_meta

BLIND = "private_test"
LOG = "log.csv"
OF_RUN = ("recipe.yaml", "meta.json", LOG)
OF_EVALUATION = ("predictions.parquet", "report.json")


def record(
    run: Path,
    name: str,
    store: Store,
    to: Path,
    *,
    split: str = "public_test",
    device: str = "auto",
    tta: bool = True,
    blind: bool = True,
    onnx: bool = False,
) -> None:
    """Write the record of a run, its report last; the report's headline goes to stdout.

    Raises MienError, before anything is written where the run or the store is not what it has to be.
    """
    _check_run(run)
    if lacking := {split, *([BLIND] if blind else [])} - set(store.splits):
        raise DataError(f"expected {' and '.join(sorted(lacking))} in {store.path}, it has {', '.join(store.splits)}")
    predictor = RunPredictor(run, device=device)
    home = to / name
    record_training(run, name, home)  # first, so that a report never stands there without its recipe
    if onnx:
        file = home / f"{name}.onnx"
        export(run, file, data=store.path, half=True, name=None, device=device, limit=None, tta=False)
    if blind:
        predict_blind(predictor, store, to / BLIND / f"{name}.parquet")
    for ten in (True, False) if tta else (False,):
        with tempfile.TemporaryDirectory() as scratch:
            out = home / "tta" if ten else home
            command = f"mien evaluate {run} --data {store.path} --split {split}{' --tta' if ten else ''} -o {out}"
            report = evaluate(predictor, store, split, Path(scratch), tta=ten, command=command)
            for file in OF_EVALUATION if ten else ("confusion.png", *OF_EVALUATION):
                _copy(Path(scratch) / file, out / file)
        print("\n".join([*notes(report), *headline(report)]), flush=True)


def predict_blind(predictor: Predictor, store: Store, file: Path) -> None:
    """PrivateTest's paths and probabilities, of a single crop, in a Parquet file."""
    found = predict_crops(predictor, store.read(BLIND), tta=False).in_label_order()
    columns = {
        label: pa.array(column, pa.float32()) for label, column in zip(found.labels, found.probabilities.T, strict=True)
    }
    table = io.BytesIO()
    pq.write_table(pa.table({"path": found.paths} | columns), table, compression="zstd", use_dictionary=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, table.getvalue())


def record_training(run: Path, name: str, home: Path) -> None:
    """How a run was trained: its recipe, meta, log and curves. Raises DataError where ``run`` is none."""
    _check_run(run)
    trained = (run / LOG).is_file()
    for file in OF_RUN if trained else OF_RUN[:-1]:
        _copy(run / file, home / file)
    if not trained:  # epochs: 0
        for file in (LOG, "curves.png"):
            (home / file).unlink(missing_ok=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        save(_curves(run, name), Path(scratch) / "curves")
        _copy(Path(scratch) / "curves.png", home / "curves.png")


def _check_run(run: Path) -> None:
    meta = read_meta(run) if (run / "meta.json").is_file() else {}
    optional = {LOG} if meta.get("result", {}).get("epochs") == 0 else set()
    missing = [file for file in OF_RUN if file not in optional and not (run / file).is_file()]
    if missing:
        raise DataError(f"expected a run directory, got {run} without {', '.join(missing)}")


def _curves(run: Path, name: str) -> object:
    with (run / "log.csv").open(newline="") as file:
        epochs = sum(1 for _ in csv.DictReader(file))
    return curves_figure({name: [run]}, title=name, facts=f"{epochs} epoch{'' if epochs == 1 else 's'}")


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    write_bytes(to, shrink(content) if source.suffix == ".png" else content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, default=Path("stores/fer2013"))
    parser.add_argument("--to", type=Path, default=Path("runs/records"))
    parser.add_argument("--split", default="public_test")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no-tta", action="store_true", help="leave out ten crops, ten elevenths of the work")
    parser.add_argument("--no-blind", action="store_true", help="leave out PrivateTest")
    parser.add_argument("--onnx", action="store_true", help="the network as well, in half precision")
    parser.add_argument("--only", choices=("training", "blind"))
    options = parser.parse_args()
    try:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", options.name) or options.name == BLIND:
            raise UsageError(f"expected a name of letters, digits and . _ - (not {BLIND}), got {options.name!r}")
        if options.only == "training":
            record_training(Path(options.run), options.name, options.to / options.name)
        elif options.only == "blind":
            predictor = load_predictor(options.run, device=options.device)
            predict_blind(predictor, Store.open(options.data), options.to / BLIND / f"{options.name}.parquet")
        else:
            record(
                Path(options.run), options.name, Store.open(options.data), options.to, split=options.split,
                device=options.device, tta=not options.no_tta, blind=not options.no_blind, onnx=options.onnx,
            )  # fmt: skip
    except MienError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
