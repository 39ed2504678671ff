"""The sections of report.html that only some reports have: votes, seven classes, groups, a predictions file."""

from typing import Any

from mien.evaluation import html
from mien.evaluation.groups import SMALL

Report = dict[str, Any]
_COLUMN = {"all": "all images", "leak_free": "leak-free"}


def predictions_section(report: Report) -> str:
    """What became of a predictions file's rows."""
    file = report.get("predictions")
    if file is None:
        return ""
    missing = ", ".join(file["first_missing"]) + (" …" if file["missing"] > len(file["first_missing"]) else "")
    extra = ", ".join(file["first_not_in_split"]) + (
        " …" if file["not_in_split"] > len(file["first_not_in_split"]) else ""
    )
    beyond = file.get("beyond_limit")
    rows = [
        ("file", f"<code>{html.text(file['file'])}</code>"),
        ("rows", f"{file['rows']:,}, of which {file['matched']:,} are of these images"),
        ("its classes", "seven, assumed: no answer is contempt" if file.get("labels_assumed") else ""),
        ("missing images", f"{file['missing']:,}, counted as wrong" + (f": {html.text(missing)}" if missing else "")),
        ("rows without an answer", f"{file['without_answer']:,}, counted as wrong"),
        ("rows beyond the limit", f"{beyond:,}, of the split's other images, left alone" if beyond else ""),
        ("rows of other images", f"{file['not_in_split']:,}, ignored" + (f": {html.text(extra)}" if extra else "")),
    ]
    return f"<h2>The predictions file</h2>\n{html.facts(rows)}"


def votes_section(report: Report, figures: dict[str, bytes]) -> str:
    """Agreement with FER+ votes."""
    votes = report.get("votes")
    if votes is None:
        return ""
    parts = {name: found for name, found in votes.items() if found is not None}
    everything = parts["all"]
    rows = [
        ["images with votes", *(f"{found['n']:,}" for found in parts.values())],
        ["images with a majority", *(f"{found['majority']['n']:,}" for found in parts.values())],
        ["answer is the majority", *(html.share(found["majority"]) for found in parts.values())],
        ["the label is the majority", *(html.share(found["label"]["majority"]) for found in parts.values())],
        ["mean vote share of the answer", *(html.share(found["vote_share"]) for found in parts.values())],
        ["of the label", *(html.share(found["label"]["vote_share"]) for found in parts.values())],
        ["largest possible", *(f"{100 * found['vote_share']['possible']:.2f} %" for found in parts.values())],
    ]
    left_out = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in everything["majority"]["left_out"].items())
    levels = [
        [row["level"], *(cell for found in parts.values() for cell in _level(found, number))]
        for number, row in enumerate(everything["accuracy_by_level"])
    ]
    header = ["votes that agree", *(name for part in parts for name in (f"images, {_COLUMN[part]}", "accuracy"))]
    return "\n".join(
        [
            "<h2>Agreement with FER+ votes</h2>",
            "<p>Ten people voted on each image (Barsoum et al. 2016); their votes are not the labels. Without "
            f"a majority that the model could match: {html.text(left_out)}.</p>",
            html.table(["", *(_COLUMN[name] for name in parts)], rows),
            html.svg_figure(figures["votes"], alt="accuracy by agreement of the voters; the numbers are in the table"),
            html.table(header, levels, caption="Accuracy against the label, by the votes of the most-voted column"),
        ]
    )


def _level(found: Report, number: int) -> tuple[str, str]:
    row = found["accuracy_by_level"][number]
    return f"{row['n']:,}", html.share(row["accuracy"], digits=1)


def seven_section(report: Report) -> str:
    """Both seven-class readings of an eight-class model."""
    readings = report.get("seven_classes")
    if not readings:
        return ""
    rows, kinds = [], list(next(iter(readings.values()))["figures"])
    for name, reading in readings.items():
        for kind in kinds:
            scored = reading["figures"][kind]
            values = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1", "macro_f1")
            rows.append(
                [f"{name}, {_COLUMN[kind]}", f"{scored['n']:,}", *(html.share(scored[key], digits=2) for key in values)]
            )
    header = ["reading", "images", "accuracy", "weighted precision", "weighted recall", "weighted F1", "macro F1"]
    what = "".join(f"<li>{html.text(name)}: {html.text(reading['what'])}</li>" for name, reading in readings.items())
    return f"<h2>Read with seven classes</h2>\n<ul>{what}</ul>\n{html.table(header, rows)}"


def groups_section(name: str, parts: dict[str, Any], figure: bytes) -> str:
    """One grouping: figures by group, gaps, recall by class."""
    body = [f"<h2>By {html.text(name)}</h2>", html.svg_figure(figure, alt="accuracy and macro-F1 by group")]
    for kind, part in parts.items():
        groups, gaps = part["groups"], part["gaps"]
        rows = [
            [
                group + (f" (small: n < {SMALL})" if values["small"] else ""),
                f"{values['n']:,}",
                f"{values['failures']:,}",
                html.share(values["accuracy"], digits=1),
                html.share(values["macro_f1"], digits=1),
            ]
            for group, values in groups.items()
        ]
        body.append(html.table([_COLUMN[kind], "images", "no answer", "accuracy", "macro F1"], rows))
        rows = [_gap("accuracy", gaps["accuracy"]), _gap("macro F1", gaps["macro_f1"])]
        rows += [_gap(f"recall {label}", gap) for label, gap in gaps["recall"].items()]
        header = ["largest gap", "points", "highest", "lowest", "p by chance"]
        found = [row for row in rows if row]
        body.append(
            html.table(header, found, caption=f"Gaps, {_COLUMN[kind]}")
            if found
            else f'<p class="soft">No gap: it takes two groups of at least {SMALL} images.</p>'
        )
        labels = list(next(iter(groups.values()))["recall"])
        rows = [[group, *(_recall(values["recall"][label]) for label in labels)] for group, values in groups.items()]
        table = html.table(["", *labels], rows, caption="Recall, % [95 %] (images)")
        body.append(f"<details><summary>Recall by class, {_COLUMN[kind]}</summary>{table}</details>")
    body.append(
        f'<p class="soft">Groups of fewer than {SMALL} images enter no gap. The two groups of a gap were chosen after '
        "looking, which its interval does not know; p is the chance of a gap this large where right answers fall on "
        "groups at random. Every row is a test of its own: of twenty, one is below 0.05 by chance. Groups may differ "
        "in their mix of classes and in how hard their pictures are.</p>"
    )
    return "\n".join(body)


def _gap(name: str, gap: dict[str, Any] | None) -> list[str]:
    if gap is None:
        return []
    p = html.p_value(gap["p"]) if "p" in gap else "–"
    return [name, html.points(gap), gap["highest"], gap["lowest"], p]


def _recall(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.0f} [{low:.0f}, {high:.0f}] ({figure['n']:,})"
