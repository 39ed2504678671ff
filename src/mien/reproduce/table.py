"""The study's table, the published figures beside ours: as JSON (complete), Markdown and CSV."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.atomic import write_text
from mien.data.store import Store
from mien.evaluation import grid
from mien.evaluation.comparisons import score_arms
from mien.evaluation.costs import network_cost
from mien.evaluation.predictions import Predictions
from mien.pages import format
from mien.preprocess import Preprocess
from mien.reproduce.execute import Outcome
from mien.reproduce.papers import Study
from mien.reproduce.plan import Preset, Run, Splits
from mien.reproduce.result import Table
from mien.training.networks import recipe_preprocess
from mien.training.recipe import differences, load_recipe

#: The columns of Paper A's Table 2; Paper B prints the first alone.
COLUMNS = {
    "accuracy": "accuracy",
    "weighted_precision": "weighted precision",
    "weighted_recall": "weighted recall",
    "weighted_f1": "weighted F1",
}
#: How predictions are read, and the table's heading; the last two for eight-class models alone.
READINGS = {
    "as_trained": "As trained",
    "seven_open": "Seven classes, open (a contempt answer is wrong)",
    "seven_closed": "Seven classes, closed (contempt masked)",
}
RULE = " --- "
PARTS = {"all": "all images", "leak_free": "images without a near-duplicate in Training"}


def tabulate(study: Study, preset: Preset, name: str, store: Store, splits: Splits, outcome: Outcome) -> dict[str, Any]:
    """Everything that the table says. Figures are on the test split; on the validation split where that is blind."""
    scored, predictions = _predictions(splits, outcome)
    about = {arm.key: arm for arm in study.arms}
    failed = {run.partition(",")[0] for run in outcome.failed}
    rows = []
    for key, runs in outcome.kept.items():
        recipe = runs[0].run.recipe
        preprocess: Preprocess = recipe_preprocess(recipe)
        macs = network_cost(recipe.model.name, recipe.model.args, side=preprocess.input_size)[1]
        valid = [done.valid for done in runs]
        rows.append(
            {
                "arm": key,
                "title": about[key].title,
                "published": dict(about[key].published),
                "caveat": about[key].caveat,
                "network": recipe.model.name,
                "parameters": runs[0].meta["parameters"],
                "macs": macs,
                "learning_rate": recipe.optimizer.lr,
                "tried_rates": {
                    f"{d.run.recipe.optimizer.lr:.3g}": d.valid for d in outcome.first if d.run.arm.key == key
                },
                "changed": _changed(runs[0].run, preset.flavour),
                "seeds": [done.run.seed for done in runs],
                "validated": valid,
                "runs": [done.run.directory.name for done in runs],
                "seconds": [done.meta["result"].get("seconds_of_last_start") for done in runs],
                "device": runs[0].meta.get("device"),
                "precision": runs[0].meta.get("precision"),
                "precision_because": runs[0].meta.get("precision_because"),
            }
        )
    return {
        "study": study.key,
        "source": study.source,
        "table": study.table,
        "claim": study.claim,
        "preset": name,
        "recipes": preset.flavour,
        "reduced": preset.reduced,
        "store": store.fingerprint,
        "train": splits.train,
        "selected_on": splits.validation,
        "scored_on": scored,
        "blind": splits.test if splits.test and scored != splits.test else None,
        "rows": rows,
        "figures": _figures(predictions),
        "failed": outcome.failed,
        "not_run": [
            f"{key}, which {'failed' if key in failed else 'was not asked for'}"
            for key in about
            if key not in outcome.kept
        ],
    }


def _changed(run: Run, flavour: str) -> list[str]:
    """What differs from the shipped recipe, but for what another column shows."""
    shown = ("name ", "seed ", "optimizer.lr ", "data.train ", "data.validation ")
    found = differences(load_recipe(f"{run.arm.recipes}/{flavour}"), run.recipe)
    return [difference for difference in found if not difference.startswith(shown)]


def _predictions(splits: Splits, outcome: Outcome) -> tuple[str, dict[str, list[Predictions]]]:
    """Of every arm, for the first split of (test, validation) whose labels are known; none where neither's are."""
    for split in (splits.test, splits.validation):
        if split is None or not outcome.kept:
            continue
        found = {key: [Predictions.read(d.predictions[split]) for d in runs] for key, runs in outcome.kept.items()}
        if all((one.truth >= 0).all() for group in found.values() for one in group):
            return split, found
    return splits.validation, {}


def _figures(arms: dict[str, list[Predictions]]) -> dict[str, Any]:
    """By reading and part: ``comparisons.score_arms``."""
    if not arms:
        return {}
    first = next(iter(arms.values()))[0]
    read = {"as_trained": arms}
    if first.has_contempt:
        read["seven_open"] = {key: [one.as_seven("open") for one in group] for key, group in arms.items()}
        read["seven_closed"] = {key: [one.as_seven("closed") for one in group] for key, group in arms.items()}
    return {
        reading: {part: score_arms(group, part=part) for part in next(iter(group.values()))[0].parts()}
        for reading, group in read.items()
    }


def write_table(table: Mapping[str, Any], home: Path) -> None:
    """``table.json``, as its types say, ``table.md`` and ``table.csv`` in the study's directory."""
    Table.model_validate(table)
    write_text(home / "table.json", json.dumps(table, indent=2, ensure_ascii=False) + "\n")
    write_text(home / "table.md", markdown(table))
    write_text(home / "table.csv", _csv(table))


def markdown(table: Mapping[str, Any]) -> str:
    """The table as one reads it."""
    lines = [f"# {table['table']} of {table['source']}, run here ({table['preset']})", ""]
    lines += [f"*{table['claim']}.*", "", *(f"- {fact}" for fact in facts(table)), ""]
    for reading, parts in table["figures"].items():
        for part, scores in parts.items():
            n = next(iter(scores.values()))["n"]
            lines += [f"## {READINGS[reading]}; {PARTS[part]} (n = {n:,})", ""]
            lines += [*grid.markdown(cells(table, scores), rule=RULE), ""]
    if not table["figures"]:
        lines += ["No figures: nothing finished, or all labels are held back.", ""]
    lines += ["## Runs", "", *grid.markdown(run_cells(table), rule=RULE), ""]
    told = [f"- {note}" for note in notes(table)]
    return "\n".join([*lines, *(["## Notes", "", *told, ""] if told else [])])


def notes(table: Mapping[str, Any]) -> list[str]:
    """What a published figure is not, how the recipes were changed, and what is missing here."""
    return [
        *(f"{row['title']}: {row['caveat']}." for row in table["rows"] if row["caveat"]),
        *(
            f"{row['title']}, changed from its recipe: {'; '.join(row['changed'])}."
            for row in table["rows"]
            if row["changed"]
        ),
        *(f"Not here: {what}." for what in table["not_run"]),
        *(f"Failed: {run}: {error}" for run, error in table["failed"].items()),
    ]


def facts(table: Mapping[str, Any]) -> list[str]:
    """What is needed to read the table."""
    seeds = max((len(row["seeds"]) for row in table["rows"]), default=0)
    result = [
        f"Store {table['store']}: trained on {table['train']}, selected on {table['selected_on']}, "
        f"scored on {table['scored_on']}.",
        f"Recipes `{table['recipes']}`; {seeds} seed{'s' if seeds != 1 else ''} an arm. Ours: mean over seeds "
        "[95 % interval by resampling images] ± standard deviation over seeds; differences are paired with the first "
        "row.",
        "Published figures are on the papers' own data and test sets; do not compare them with results on other data.",
    ]
    used = {row["precision"]: row["precision_because"] for row in reversed(table["rows"])}
    result += [f"Trained in {precision} ({why})." for precision, why in used.items() if precision]
    if table["scored_on"] == table["selected_on"]:
        result.append("Selected and scored on the same split: slightly optimistic, equally for every arm.")
    if table["blind"]:
        result.append(
            f"{table['blind']}: labels held out, predicted but not scored (`runs/*/evaluation/{table['blind']}`)."
        )
    if table["reduced"]:
        result.append(
            "Reduced networks and few images: this only checks that everything runs; the figures mean nothing."
        )
    return result


def cells(table: Mapping[str, Any], scores: Mapping[str, Any]) -> list[list[str]]:
    """One row an arm: the published figures and ours, where the study publishes them; the paired differences."""
    columns = _columns(table)
    printed = {name: f"{title}, published" for name, title in columns.items() if _published(table, name)}
    head = [""]
    for name, title in columns.items():
        head += [printed[name], title] if name in printed else [title]
    head += [f"{title}, difference" for name, title in columns.items() if name in ("accuracy", "weighted_f1")]
    body = []
    for row in table["rows"]:
        ours = scores[row["arm"]]
        line = [row["title"]]
        for name in columns:
            line += [_percent(row["published"].get(name))] if name in printed else []
            line.append(format.mean_over_seeds(ours[name]))
        gaps = [name for name in columns if name in ("accuracy", "weighted_f1")]
        for name in gaps:
            line.append(format.points(ours["difference"][name], bounds=1, minus="-") if "difference" in ours else "–")
        body.append(line)
    return [head, *body]


def transposed(grid: list[list[str]]) -> list[list[str]]:
    """Columns as rows: few arms stand side by side, as Paper A has them."""
    return [list(column) for column in zip(*grid, strict=True)]


def _columns(table: Mapping[str, Any]) -> dict[str, str]:
    if _published(table, "weighted_f1"):
        return COLUMNS
    return {"accuracy": "accuracy", "macro_f1": "macro F1"}


def _published(table: Mapping[str, Any], name: str) -> bool:
    return any(name in row["published"] for row in table["rows"])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def run_cells(table: Mapping[str, Any]) -> list[list[str]]:
    """One row an arm: its network, how its learning rate was chosen, its runs. The header first."""
    head = ["", "parameters", "MACs", "learning rate (tried: validated)", "seeds", "validated", "seconds a run",
            "device"]  # fmt: skip
    body = []
    for row in table["rows"]:
        tried = ", ".join(f"{rate}: {100 * value:.1f}" for rate, value in row["tried_rates"].items())
        body.append(
            [
                row["title"],
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e9:.3f} G",
                f"{row['learning_rate']:.3g} ({tried})",
                ", ".join(map(str, row["seeds"])),
                ", ".join(f"{100 * value:.2f}" for value in row["validated"]),
                ", ".join(f"{value:.0f}" for value in row["seconds"] if value is not None),
                str(row["device"]),
            ]
        )
    return [head, *body]


def _csv(table: Mapping[str, Any]) -> str:
    rows: list[list[Any]] = [["arm", "reading", "images", "n", "figure", "published", "value", "low", "high", "sd",
                              "difference", "difference_low", "difference_high"]]  # fmt: skip
    ends = ("value", "low", "high")
    published = {row["arm"]: row["published"] for row in table["rows"]}
    for reading, parts in table["figures"].items():
        for part, scores in parts.items():
            for arm, ours in scores.items():
                for name in (key for key in ours if key not in ("n", "difference")):
                    gap, one = ours.get("difference", {}).get(name, {}), ours[name]
                    rows.append([arm, reading, part, ours["n"], name, published[arm].get(name)])
                    rows[-1] += [*(one[end] for end in ends), one["sd"], *(gap.get(end) for end in ends)]
    return grid.comma_separated(rows)
