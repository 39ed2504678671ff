"""The scoreboard results/README.md, written from what results/ holds: no figure is typed by hand.

    python scripts/scoreboard.py           writes results/README.md
    python scripts/scoreboard.py --check   exit status 1 where it is not up to date (a test runs this)

A record is a folder results/fer2013/NAME/ (scripts/record.py and scripts/measure make them): recipe.yaml, meta.json and
log.csv of the run, report.json of a single crop of PublicTest, tta/report.json of ten. Every shipped recipe
without a record is listed as not run, with what it would take. results/questions.yaml asks what one record is worth
beside another; the answers are paired, from predictions.parquet of both. results/throughput.json and smoke.json are
what benchmarks/throughput.py and scripts/smoke.py wrote.
"""

import csv
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from mien.evaluation.costs import cost_of_recipe
from mien.models.packaged.packages import backbone
from mien.reproduce.scores import Answers, read_answers, score
from mien.training.recipe import Recipe, load_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
RECORDS, BLIND = "fer2013", "private_test"
#: The record whose quickest epoch says what this machine computes in a second when nothing else runs.
PACE = "compact-base"
IMAGES = 28_709
PREDICTIONS = "predictions.parquet"
Json = dict[str, Any]


def records(home: Path) -> list[Path]:
    """Folders of results/fer2013 with a single-crop evaluation, the best accuracy first."""
    found = [path.parent for path in home.glob("*/report.json")]
    return sorted(found, key=lambda path: (-_accuracy(read(path))["value"], path.name))


def read(folder: Path) -> Json:
    return json.loads((folder / "report.json").read_text("utf-8"))


def _accuracy(report: Json, part: str = "all") -> Json:
    return report["figures"][part]["accuracy"]


def share(figure: Json) -> str:
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


def _recipe(record: Path) -> Recipe | None:
    file = record / "recipe.yaml"
    return load_recipe(file) if file.is_file() else None


def _trained(record: Path, recipe: Recipe | None) -> str:
    """Epochs, time and hardware of the run itself; what it was made of comes on top."""
    if recipe is None:
        return "–"
    meta = json.loads((record / "meta.json").read_text("utf-8"))
    with (record / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seconds = sum(float(row["seconds"]) for row in rows)
    time = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"
    on = meta["device"].replace("cpu (x86_64)", f"{meta['cpu_threads']} CPU threads")
    needs = [run.name for run in recipe.model.start[1]]
    needs += [path.name for path in recipe.distill.runs] if recipe.distill else []
    after = f"; after `{'`, `'.join(dict.fromkeys(needs))}`" if needs else ""
    after += f"; from `{backbone(recipe.model.package).package}`" if recipe.model.package else ""
    votes = f", FER+ votes {recipe.targets.votes:.0%}" if recipe.targets.votes else ""
    return f"{len(rows)} epochs, {time}, {on}, seed {recipe.seed}{votes}{after}"


def measured(home: Path) -> list[str]:
    lines = [
        "| model | parameters | MACs | single crop | leak-free | ten crops | leak-free | macro F1 | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records(home):
        single, recipe = read(record), _recipe(record)
        cells = ["–", "–"]
        if recipe is not None:
            figures = cost(recipe)
            cells = [count(figures["parameters"]), count(figures["macs"])]
        cells += [share(_accuracy(single, part)) for part in ("all", "leak_free")]
        ten = record / "tta"
        if (ten / "report.json").is_file():
            cells += [share(_accuracy(read(ten), part)) for part in ("all", "leak_free")]
        else:
            cells += ["–", "–"]
        cells.append(share(single["figures"]["all"]["macro_f1"]))
        made = f"the mean of {single['model']['name']}" if "members" in single["model"] else _trained(record, recipe)
        cells.append(made)
        lines.append(f"| [`{record.name}`]({RECORDS}/{record.name}) | {' | '.join(cells)} |")
    return lines


def answers(home: Path, questions: Path) -> list[str]:
    """A row for every question, with the paired difference of both sides in points: of the seeds that both have."""
    lines = [
        "| question | without | with | difference, points | leak-free |",
        "|---|---|---|---|---|",
    ]
    for asked in yaml.safe_load(questions.read_text("utf-8")):
        names = {side: list(asked[side]) for side in ("without", "with")}
        missing = [name for side in names.values() for name in side if not (home / name / PREDICTIONS).is_file()]
        shown = [" ".join(f"`{name}`" for name in side) for side in names.values()]
        left = "not run: " + ", ".join(f"`{name}`" for name in missing)
        cells = [left, ""]
        if len(names["without"]) == len(names["with"]):
            pairs = [pair for pair in zip(names["without"], names["with"], strict=True) if not {*pair} & {*missing}]
            names = {"without": [first for first, _ in pairs], "with": [second for _, second in pairs]}
        if all(names.values()) and not {*names["without"], *names["with"]} & {*missing}:
            arms = {side: [_predicted(home / name) for name in names[side]] for side in names}
            cells = [_difference(score(arms, part=part)["with"]) for part in ("all", "leak_free")]
            cells[0] += f"; {left}" if missing else ""
        lines.append(f"| {asked['question']} | {' | '.join([*shown, *cells])} |")
    return lines


def _predicted(record: Path) -> Answers:
    found = read_answers(record)
    assert found is not None, f"{record}: PublicTest's labels are known"
    return found


def _difference(row: Json) -> str:
    figure = row["difference"]["accuracy"]
    return f"{figure['value'] * 100:+.2f} [{figure['low'] * 100:+.1f}, {figure['high'] * 100:+.1f}]"


def commands(home: Path) -> list[str]:
    return [f"- `{record.name}`: `{read(record)['command']}`" for record in records(home)]


def pace(home: Path) -> float:
    """Multiply-accumulates of training, forward and backward, that the two cores did a second in the quickest epoch."""
    recipe = load_recipe(home / PACE / "recipe.yaml")
    with (home / PACE / "log.csv").open(newline="") as file:
        seconds = min(float(row["seconds"]) for row in csv.DictReader(file))
    return float(3 * cost(recipe)["macs"] * IMAGES / seconds)


def smoked(file: Path) -> tuple[Json, Json]:
    """(what was run, recipe's name → its row) of scripts/smoke.py's file; empty where there is none."""
    if not file.is_file():
        return {}, {}
    smoke = json.loads(file.read_text("utf-8"))
    return smoke, {row["recipe"]: row for row in smoke["rows"]}


def not_run(home: Path, smoke: Json, paces: Json) -> list[str]:
    """A row for every shipped recipe that has no record. paces: recipe → images a second, where they were measured."""
    rate = pace(home)
    done = {record.name for record in records(home)}  # a record's folder has the name of what was trained
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
    names = sorted(path.stem for path in (home / BLIND).glob("*.csv"))
    return [f"- [`{name}`]({RECORDS}/{BLIND}/{name}.csv)" for name in names]


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
        f"| recipe | batch | {' | '.join(loops)} | × timm | share of peak | SAM |",
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


def scoreboard(results: Path) -> str:
    home = results / RECORDS
    smoke, by_recipe = smoked(results / "smoke.json")
    example = read(records(home)[0])
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
        *measured(home),
        "",
        "Each figure's seed, commit, hardware and date are in its `report.json`; the first row was measured on "
        f"{example['date']} ({example['hardware']}). The commands:",
        "",
        *commands(home),
        "",
        "## What was asked",
        "",
        "Paired differences of accuracy on the same images, with 95 % intervals from 2,000 resamples of them. A side "
        "of several seeds is their mean; how seeds differ from one another is seen in the table above, not in these "
        "intervals.",
        "",
        *answers(home, results / "questions.yaml"),
        "",
        "## Predicted blind on PrivateTest",
        "",
        "`path` and seven probabilities a row; `-tta` averages ten crops.",
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
        *speed(rates),
        "## Not run",
        "",
        "No GPU could be had so far. None of the recipes below has been trained as it stands, so that **no figure of "
        "either paper has been reproduced yet**, and neither has the throughput on a GPU been measured; what the first "
        "half hour of one will do is prepared (`python scripts/gpu pack`) and was tried on a CPU alone. The time is "
        "that of the measured step where the table above has one, else calculated: 3 × the MACs of all images and "
        "epochs (6 × with SAM) at the rate of the two cores "
        f"on which `{PACE}` was trained, {pace(home) / 1e9:.0f} G multiply-accumulates a second. {seen}",
        "",
        *not_run(home, by_recipe, paces),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    results = ROOT / "results"
    text, target = scoreboard(results), results / "README.md"
    if target.is_file() and target.read_text("utf-8") == text:
        return 0
    if "--check" in sys.argv:
        print("results/README.md is not what python scripts/scoreboard.py writes", file=sys.stderr)
        return 1
    target.write_text(text, "utf-8")
    print(f"wrote {target.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
