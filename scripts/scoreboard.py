"""The scoreboard results/README.md, written from what results/ holds: no figure is typed by hand.

    python scripts/scoreboard.py           writes results/README.md
    python scripts/scoreboard.py --check   exit status 1 where it is not up to date (a test runs this)

Shipped readers have a folder each in results/fer2013 (scripts/measure makes them); of all other runs the figures and
the predicted classes are kept (scripts/kept_runs.py). Every shipped recipe that was not run is listed with what it
would take. results/questions.yaml asks what one run is worth beside another; the differences are paired, on the same
images. results/paper_*.json are table.json of mien reproduce. results/throughput.json and smoke.json are what
benchmarks/throughput.py and scripts/smoke.py wrote.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from kept_runs import RESULTS, read_predicted, read_runs
from numpy.typing import NDArray

from mien.evaluation.costs import cost_of_recipe
from mien.evaluation.metrics import with_percentiles
from mien.models.packaged.packages import backbone
from mien.reproduce.papers import STUDIES
from mien.training.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes

RECORDS, BLIND = "fer2013", "private_test"
#: The run whose quickest epoch says what this machine computes in a second when nothing else runs.
PACE = "compact-base"
IMAGES, RESAMPLES = 28_709, 2_000
Json = dict[str, Any]


def percent(figure: Json) -> str:
    return f"{figure['value'] * 100:.2f} % [{figure['low'] * 100:.1f}, {figure['high'] * 100:.1f}]"


def count(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:,.0f}"


@cache
def _cost(network: str, args: str, size: int, window: int | None) -> Json:
    model = {"name": network, "args": json.loads(args)}
    return cost_of_recipe({"model": model, "data": {"size": size, "window": window}})


def cost(recipe: Recipe) -> Json:
    """parameters and macs of a picture, one pass forward."""
    args = json.dumps(recipe.model.args, sort_keys=True)
    return _cost(recipe.model.name, args, recipe.data.size, recipe.data.window)


def _recipe(run: Json) -> Recipe | None:
    return parse_recipe(run["recipe"], origin=run["name"]) if run["recipe"] else None


def _trained(run: Json, recipe: Recipe | None) -> str:
    """Epochs, time and hardware of the run itself; what it was made of comes on top."""
    if "mean_of" in run:
        return f"the mean of {run['mean_of']}"
    if recipe is None:
        return "–"
    how = run["trained"]
    seconds = how["seconds"]
    time = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
    on = how["device"].replace("cpu (x86_64)", f"{how['cpu_threads']} CPU threads")
    needs = [run.name for run in recipe.model.start[1]]
    needs += [path.name for path in recipe.distill.runs] if recipe.distill else []
    after = f"; after `{'`, `'.join(dict.fromkeys(needs))}`" if needs else ""
    after += f"; from `{backbone(recipe.model.package).package}`" if recipe.model.package else ""
    votes = f", FER+ votes {recipe.targets.votes:.0%}" if recipe.targets.votes else ""
    return f"{how['epochs']} epochs, {time}, {on}, seed {recipe.seed}{votes}{after}"


def measured(runs: list[Json], home: Path) -> list[str]:
    lines = [
        "| model | parameters | MACs | single crop | leak-free | ten crops | leak-free | macro F1 | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        name, recipe = run["name"], _recipe(run)
        cells = ["–", "–"]
        if recipe is not None:
            figures = cost(recipe)
            cells = [count(figures["parameters"]), count(figures["macs"])]
        for crops in (run["single_crop"], run["ten_crops"]):
            cells += [percent(crops[part]["accuracy"]) if crops else "–" for part in ("all", "leak_free")]
        cells += [percent(run["single_crop"]["all"]["macro_f1"]), _trained(run, recipe)]
        shown = f"[`{name}`]({RECORDS}/{name})" if (home / name).is_dir() else f"`{name}`"
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return lines


def differences(home: Path, questions: Path) -> list[str]:
    """A row for every question, with the paired difference of both sides in points: of the seeds that both have."""
    lines = [
        "| question | without | with | difference, points | leak-free |",
        "|---|---|---|---|---|",
    ]
    right, leak = read_predicted(home)
    for asked in yaml.safe_load(questions.read_text("utf-8")):
        names = {side: list(asked[side]) for side in ("without", "with")}
        missing = [name for side in names.values() for name in side if name not in right]
        shown = [" ".join(f"`{name}`" for name in side) for side in names.values()]
        left = "not run: " + ", ".join(f"`{name}`" for name in missing)
        cells = [left, ""]
        if len(names["without"]) == len(names["with"]):
            pairs = [pair for pair in zip(names["without"], names["with"], strict=True) if not {*pair} & {*missing}]
            names = {"without": [first for first, _ in pairs], "with": [second for _, second in pairs]}
        if all(names.values()) and not {*names["without"], *names["with"]} & {*missing}:
            without, with_ = (np.mean([right[name] for name in side], axis=0) for side in names.values())
            cells = [_difference((with_ - without)[part]) for part in (slice(None), ~leak)]
            cells[0] += f"; {left}" if missing else ""
        lines.append(f"| {asked['question']} | {' | '.join([*shown, *cells])} |")
    return lines


def _difference(gain: NDArray[np.float64]) -> str:
    """gain: what each image adds, -1 to 1. Their mean in points, with its interval from resampling the images."""
    return points(with_percentiles(float(gain.mean()), _draws(len(gain)) @ gain / len(gain)))


def points(figure: Json) -> str:
    return f"{figure['value'] * 100:+.2f} [{figure['low'] * 100:+.1f}, {figure['high'] * 100:+.1f}]"


@cache
def _draws(n: int) -> NDArray[np.int64]:
    """How often each of n images is drawn in each resample, RESAMPLES×n; the same for every question."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)


#: Readers that were shipped under the names compact and nano: the files in git's history.
FORMER = {
    name: f"git show ad673ec:src/mien/weights/{name.partition('-')[0]}.onnx"
    for name in ("compact-fer2013", "nano-fer2013")
}


def commands(runs: list[Json]) -> list[str]:
    lines = []
    for run in runs:
        of = "" if run["name"] not in FORMER else f" with the reader of then (`{FORMER[run['name']]}`)"
        lines.append(f"- `{run['name']}`: `{run['command']}`{of}")
    return lines


def pace(runs: list[Json]) -> float:
    """Multiply-accumulates of training, forward and backward, that the two cores did a second in the quickest epoch."""
    run = next(run for run in runs if run["name"] == PACE)
    recipe = _recipe(run)
    assert recipe is not None
    return float(3 * cost(recipe)["macs"] * IMAGES / run["trained"]["quickest_epoch"])


def smoked(file: Path) -> tuple[Json, Json]:
    """(what was run, recipe's name → its row) of scripts/smoke.py's file; empty where there is none."""
    if not file.is_file():
        return {}, {}
    smoke = json.loads(file.read_text("utf-8"))
    return smoke, {row["recipe"]: row for row in smoke["rows"]}


def not_run(runs: list[Json], smoke: Json, paces: Json) -> list[str]:
    """A row for every shipped recipe that was not run. paces: recipe → images a second, where they were measured."""
    rate = pace(runs)
    done = {run["name"] for run in runs}
    lines = [
        "| recipe | parameters | MACs | epochs | hours here | needs | smoke run |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in shipped_recipes():
        recipe = load_recipe(name)
        if recipe.name in done or recipe.task == "orientation":
            continue
        figures = cost(recipe)
        passes = 3 * (2 if recipe.optimizer.sam else 1)  # backward costs two forward passes
        hours = figures["macs"] * passes * IMAGES * recipe.epochs / rate / 3600
        known = f"{IMAGES * recipe.epochs / paces[name] / 3600:.1f}, step measured" if name in paces else ""
        missing = "ImageNet weights" if recipe.model.init == "imagenet" else "–"
        if recipe.model.package:
            missing = f"`{backbone(recipe.model.package).package}`"
        row = smoke.get(name)
        state = "–" if row is None else f"{row['seconds']:.0f} s" if row["error"] is None else f"failed: {row['error']}"
        cells = [count(figures["parameters"]), count(figures["macs"]), str(recipe.epochs), known or f"{hours:.1f}"]
        lines.append(f"| `{name}` | {' | '.join([*cells, missing, state])} |")
    return lines


def blind(home: Path) -> list[str]:
    names = sorted(path.stem for path in (home / BLIND).glob("*.parquet"))
    return [f"- [`{name}`]({RECORDS}/{BLIND}/{name}.parquet)" for name in names]


def speed(found: Json) -> list[str]:
    """What benchmarks/throughput.py measured: images a second of each loop. Empty where it was not run."""
    if not found:
        return []
    loops = sorted({loop for row in found["rows"] for loop in row.get("loops", {})})
    lines = [
        "## Speed of training",
        "",
        f"Images a second of the training step, ours and that of a loop of timm's parts, on {found['device']} with "
        f"{found['threads']} threads, torch {found['torch']} (`{found['command']}`, median of {found['blocks']} blocks "
        f"of {found['steps']} steps). SAM: its step in plain ones.",
        "",
        f"| recipe | batch | {' | '.join(loops)} | × timm | of peak | SAM |",
        "|---|---|" + "---|" * (len(loops) + 3),
    ]
    for row in found["rows"]:
        cells = [f"`{row['recipe']}`", str(row["batch"])]
        cells += [f"{rate:,.0f}" if (rate := _loop(row, loop).get("images_per_second")) else "–" for loop in loops]
        own = [_loop(row, loop) for loop in loops if loop.startswith("mien") and "SAM" not in loop]
        best = max(own, key=lambda loop: loop.get("images_per_second") or 0.0, default={})
        peak = best.get("share_of_peak")
        cells += [f"{best['of_timm']:.2f}" if best.get("of_timm") else "–", f"{peak:.0%}" if peak else "–"]
        lines.append(f"| {' | '.join(cells)} | {row['sam_over_plain'] or '–'} |")
    return [*lines, ""]


def _loop(row: Json, name: str) -> Json:
    return row.get("loops", {}).get(name) or {}


def papers(results: Path) -> list[str]:
    """The table of each results/paper_*.json, a table.json of ``mien reproduce``."""
    lines = []
    for file in sorted(results.glob("paper_*.json")):
        table = json.loads(file.read_text("utf-8"))
        all_images, leak_free = (table["figures"]["as_trained"].get(part) for part in ("all", "leak_free"))
        lines += [
            f"{table['table']} of {table['source']}, `--preset {table['preset']}`, on {table['scored_on']}, the epoch "
            f"selected on {table['selected_on']} ([{file.name}]({file.name})):",
            "",
            f"| arm | seeds | parameters | MACs | accuracy | from {table['rows'][0]['title']}, points | leak-free "
            "| macro F1 | published |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in table["rows"]:
            scores, published = all_images[row["arm"]], row["published"].get("accuracy")
            cells = [str(len(row["seeds"])), count(row["parameters"]), count(row["macs"]), percent(scores["accuracy"])]
            cells += [points(scores["difference"]["accuracy"]) if "difference" in scores else "–"]
            cells += [percent(leak_free[row["arm"]]["accuracy"]) if leak_free else "–", percent(scores["macro_f1"])]
            lines.append(
                f"| {row['title']} | {' | '.join(cells)} | {f'{published * 100:.2f} %' if published else '–'} |"
            )
        arms = {arm.key for arm in STUDIES[table["study"]].arms}
        missing = [name for note in table["not_run"] if (name := note.partition(",")[0]) in arms]
        lines += ["", f"Not in this file: `{'`, `'.join(missing)}`." if missing else "All arms.", ""]
    return lines


def scoreboard(results: Path) -> str:
    home = results / RECORDS
    smoke, by_recipe = smoked(results / "smoke.json")
    runs = read_runs(home)
    throughput = results / "throughput.json"
    rates: Json = json.loads(throughput.read_text("utf-8")) if throughput.is_file() else {}
    paces = {
        row["recipe"]: images
        for row in rates.get("rows", [])
        if rates["device"].startswith("cpu") and (images := _loop(row, "mien").get("images_per_second"))
    }
    days, machines = (sorted({row[key] for row in by_recipe.values()}) for key in ("date", "hardware"))
    seen = (
        f"The last column is `{smoke['command']}` ({' and '.join(days)}, {' and '.join(machines)}): the recipe with "
        "its network reduced, trained on 400 images for 2 epochs, evaluated, exported to ONNX and read back; seconds "
        "in all."
        if smoke
        else "The last column stays empty until `python scripts/smoke.py` was run."
    )
    lines = [
        "# Scoreboard",
        "",
        "Written by `python scripts/scoreboard.py` from the reports in this folder; do not edit. What each run was "
        "expected to give, what it gave and what was learnt is in [LOG.md](LOG.md).",
        "",
        f"FER2013: trained on Training ({IMAGES:,} images), the epoch selected on PublicTest, so that the figures "
        "are slightly optimistic. *Leak-free* leaves out the images that have a near-duplicate in Training. Intervals "
        "are 95 % (Wilson for accuracy, bootstrap for macro F1) over images, for one set of weights; another seed was "
        "only measured where it is listed. PrivateTest's labels were never seen.",
        "",
        "## Measured on PublicTest",
        "",
        *measured(runs, home),
        "",
        "Each figure's seed, commit, hardware and date are in [runs.json](fer2013/runs.json), or in the reader's "
        f"`report.json`; the first row was measured on {runs[0]['date']} ({runs[0]['hardware']}). Reports of runs "
        "that are not shipped are in git's history (commit d969b00). The commands:",
        "",
        *commands(runs),
        "",
        "## Paired comparisons",
        "",
        "Paired differences of accuracy on the same images, with 95 % intervals from 2,000 resamples of them. A side "
        "of several seeds is their mean; how seeds differ from one another is seen in the table above, not in these "
        "intervals.",
        "",
        *differences(home, results / "questions.yaml"),
        "",
        "## Predicted blind on PrivateTest",
        "",
        "`path` and seven probabilities a row (float32), of a single crop.",
        "",
        *blind(home),
        "",
        "## Beside the readers",
        "",
        "| network | recipe | what it does |",
        "|---|---|---|",
        "| [`orientation`](../src/mien/weights/orientation.md) | `orientation` | tells which way up a found face is, "
        "or that it is none; figures on its card, from `benchmarks/turned_faces.py` |",
        "",
        "## The papers' tables, at a size for two cores",
        "",
        "`mien reproduce` with `--preset cpu`, and by `--set` pretraining (paper A) or distillation (paper B): every "
        "network narrower or on smaller pictures, for fewer epochs "
        "([how](../docs/reproduce.md)); commands and what was learnt are in [LOG.md](LOG.md). Intervals are from "
        "resampling images; differences are paired. Published figures are of the networks' own size, on other data or "
        "by another protocol, so **they are not reproduced by these**. Each file lists what its arms changed in their "
        "recipes; the preset may have changed since. All stand far below the published figures: what they say of SE, "
        "SAM or masks holds for networks as small and as briefly trained.",
        "",
        *papers(results),
        *speed(rates),
        "## Recipes without a kept record",
        "",
        "No record of these recipes as they stand is kept. `compact-hybrid`, `compact-hints` and those of `nano` are "
        "stages of the readers; some others were trained with fewer epochs or pictures, also in fifteen minutes of a "
        "GPU ([LOG.md](LOG.md)). So **no figure of either paper has been reproduced at its own size**, nor has the "
        "throughput on a GPU been measured. `scripts/campaigns/` lists what to train first on one "
        "(`scripts/campaign.py` keeps to a "
        "time limit). The time is that of the measured step where the table above has one, else calculated: 3 × the "
        "MACs of all images and epochs (6 × with SAM) at the rate of the two cores "
        f"on which `{PACE}` was trained, {pace(runs) / 1e9:.0f} G multiply-accumulates a second. {seen}",
        "",
        *not_run(runs, by_recipe, paces),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    text, target = scoreboard(RESULTS), RESULTS / "README.md"
    if target.is_file() and target.read_text("utf-8") == text:
        return 0
    if "--check" in sys.argv:
        print("results/README.md is not what python scripts/scoreboard.py writes", file=sys.stderr)
        return 1
    target.write_text(text, "utf-8")
    print(f"wrote {target}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
