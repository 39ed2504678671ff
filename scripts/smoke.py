"""Smoke test of every shipped recipe, reduced, in minutes: train, evaluate, export, read.

    python scripts/smoke.py [--data stores/fer2013] [--out results/smoke.json] [--only NAME …]

Each recipe keeps everything but size: its network in the reduced form, 400 images of each split, 2 epochs, batches of
40. What a recipe stands on (a run to start from, teachers, a pretrained encoder) is made first, in the same way; only
ImageNet weights and packages' trunks are not asked for. A recipe that fails is reported with its error, the others go
on, exit status 1. With --only, the file's other rows stay; each row says when and by which code it was made.
No accuracy is kept: it would mean nothing.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mien.atomic import write_text
from mien.commit import checkout_commit
from mien.data.store import Store
from mien.errors import MienError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.predictors import OnnxPredictor, RunPredictor, all_logits
from mien.export import export_run
from mien.reproduce.plan import reduce
from mien.training.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes
from mien.training.run import train

SHOWN = 40
#: Largest difference of two probabilities between the run and its exported file.
APART = 1e-3


def smaller(recipe: Recipe, work: Path, store: Path) -> tuple[Recipe, list[str]]:
    """The reduced recipe, and the names of the recipes whose runs it stands on.

    store: takes the place of a store of pictures without faces, where the recipe asks for one.
    """
    raw: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
    reduce(raw, {})
    raw["masking"] = {"patch": 8, "ratio": 0.5}
    raw["data"]["limit"] = 400
    raw["model"]["logit_adjustment"] = 0  # which stands alone with no epochs
    raw |= {"epochs": 2, "batch_size": 40}
    if recipe.data.non_faces is not None:
        raw["data"] |= {"train": "training", "validation": "public_test", "non_faces": str(store)}
    needs = []
    kind, runs = recipe.model.start
    if runs:
        needs += [run.name for run in runs]
        raw["model"]["init"] = f"{kind}:{','.join(str(work / run.name) for run in runs)}"
    elif kind in ("imagenet", "package"):
        raw["model"]["init"] = "scratch"
    if recipe.distill:
        teachers = [run.name for run in recipe.distill.runs]
        raw["distill"]["runs"] = [str(work / name) for name in teachers]
        needs += teachers
    return parse_recipe(raw, origin=recipe.name), needs


def go_through(recipe: Recipe, store: Store, run: Path) -> None:
    """Train, and where there are classes: evaluate, export, and find the same predictions in the file."""
    train(recipe, store, run, accelerator="auto")
    if recipe.task != "expression":
        return
    evaluate(RunPredictor(run), store, recipe.data.validation, run / "evaluation", limit=SHOWN)
    file = run / "exported.onnx"
    export_run(run, file, name=None)
    exported, own = OnnxPredictor(str(file)), RunPredictor(run)
    images = own.preprocess.stack(store.read(recipe.data.validation).limited(SHOWN).images)
    apart = np.abs(softmax(all_logits(exported, images, tta=False)) - softmax(all_logits(own, images, tta=False))).max()
    if not apart <= APART:
        raise MienError(f"the exported file differs from the run by {apart:.1e} of probability")


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def in_order(names: list[str], work: Path, store: Path) -> list[tuple[str, Recipe]]:
    """Each recipe after what it stands on."""
    by_own_name = {load_recipe(name).name: name for name in shipped_recipes()}
    ordered: dict[str, Recipe] = {}

    def add(name: str) -> None:
        recipe, needs = smaller(load_recipe(name), work, store)
        for need in needs:
            add(by_own_name[need])
        ordered.setdefault(name, recipe)

    for name in names:
        add(name)
    return list(ordered.items())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("stores/fer2013"))
    parser.add_argument("--out", type=Path, default=Path("results/smoke.json"))
    parser.add_argument("--only", nargs="+", default=list(shipped_recipes()), metavar="NAME")
    options = parser.parse_args()
    store = Store.open(options.data)
    rows: dict[str, dict[str, Any]] = {}
    how = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": checkout_commit(),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        todo = in_order(options.only, work, options.data)
        for number, (name, recipe) in enumerate(todo, start=1):
            print(f"{number}/{len(todo)} {name}", file=sys.stderr, flush=True)
            started, error = time.perf_counter(), None
            try:
                go_through(recipe, store, work / recipe.name)
            except Exception as problem:  # any exception: finding them is the purpose of a smoke run
                error = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
                print(f"error: {name}: {error}", file=sys.stderr, flush=True)
                shutil.rmtree(work / recipe.name, ignore_errors=True)
            seconds = round(time.perf_counter() - started, 1)
            rows[name] = {"recipe": name, "network": recipe.model.name, "seconds": seconds, "error": error, **how}
    known: dict[str, dict[str, Any]] = {}
    if options.out.is_file() and set(options.only) != set(shipped_recipes()):
        known = {row["recipe"]: row for row in json.loads(options.out.read_text("utf-8"))["rows"]}
    kept = [row for _, row in sorted((known | rows).items())]
    write_text(options.out, json.dumps({"command": "python scripts/smoke.py", "rows": kept}, indent=2) + "\n")
    failed = [row for row in rows.values() if row["error"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} recipes go all the way; wrote {options.out}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
