"""The table of ``mien compare`` in four forms: Markdown, CSV, JSON and one HTML file. It computes nothing."""

import json
from collections.abc import Callable
from typing import Any

from mien import drawing
from mien.evaluation import grid, page_figures
from mien.pages import format
from mien.pages.environment import render

Table = dict[str, Any]
_INTERVALS = (
    "accuracy",
    "accuracy_leak_free",
    "macro_f1",
    "weighted_precision",
    "weighted_recall",
    "weighted_f1",
    "ece",
    "ece_cross_fitted",
)
_PLAIN = ("model", "target", "kind", "parameters", "macs", "ms_per_image", "hardware", "views", "failures")


def markdown(table: Table) -> str:
    """As one reads it, with its notes."""
    header, rows = _cells(table)
    return "\n".join([*grid.markdown([header, *rows]), "", *notes(table)]) + "\n"


def comma_separated(table: Table) -> str:
    """One row a model; figures as value, low and high; differences as proportions, not in points."""
    names = [*_PLAIN, *(f"{key}{end}" for key in _INTERVALS for end in ("", "_low", "_high"))]
    for suffix in ("", "_leak_free"):
        names += [f"{name}{suffix}" for name in _TEST_COLUMNS]
    lines: list[list[Any]] = [names]
    for row in table["rows"]:
        cells: list[Any] = [row[key] for key in _PLAIN]
        for key in _INTERVALS:
            cells += [(row[key] or {}).get(end) for end in ("value", "low", "high")]
        for suffix in ("", "_leak_free"):
            cells += _test_cells(row.get(f"against_first{suffix}"))
        lines.append(cells)
    return grid.comma_separated(lines)


def as_json(table: Table) -> str:
    """All of it; no NaN."""
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def page(table: Table) -> str:
    """One file, offline, with the figure of the accuracies. Raises MissingExtra without Jinja2 or matplotlib."""
    header, rows = _cells(table)
    places = [[0, *(header.index(name) for name in names if name in header)] for names in _PAGE]
    about, *more = notes(table)
    return render(
        "comparison.html.j2",
        title=f"{len(rows)} models on {table['data']['split']}",
        about=about,
        tables=[([header[i] for i in at], [[row[i] for i in at] for row in rows]) for at in places],
        drawn=drawing.svg(figure(table)),
        first=rows[0][0],
        notes=more,
    )


FORMS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": comma_separated, "json": as_json, "html": page}


def figure(table: Table) -> Any:
    """Accuracy of each model on all and on leak-free images, with 95 % whiskers: a matplotlib Figure."""
    rows = table["rows"]
    drawn = drawing.new_figure(7.2, 1.6 + 0.5 * len(rows))
    axes = drawn.subplots()
    kinds = {"all": "accuracy", "leak_free": "accuracy_leak_free"}
    shown = {kind: key for kind, key in kinds.items() if rows[0][key] is not None}
    for number, (kind, key) in enumerate(shown.items()):
        at = [i + 0.16 * (2 * number - len(shown) + 1) for i in range(len(rows))]
        page_figures.whiskers(axes, at, [row[key] for row in rows], kind=kind)
    lows, highs = zip(*((row[key]["low"], row[key]["high"]) for row in rows for key in shown.values()), strict=True)
    axes.set_yticks(range(len(rows)), [page_figures.short(row["model"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    page_figures.proportion_axis(axes, "accuracy (the axis does not start at 0)")
    axes.set_xlim(max(0, min(lows) - 0.02), min(1, max(highs) + 0.02))
    facts = f"n = {table['data']['images']:,}, 95 % intervals"
    drawing.headline(axes, f"Accuracy on {table['data']['split']}", facts, width=60)
    page_figures.legend(drawn, axes)
    return drawn


def notes(table: Table) -> list[str]:
    """What a reader must know to use the table; the first line says what it is over."""
    data = table["data"]
    clean = "" if data["leak_free"] is None else f", {data['leak_free']:,} of them leak-free"
    return [
        f"{data['images']:,} images of {data['split']} (store {data['store']}){clean}; {table['reading']}.",
        "In brackets: 95 % intervals over images (Wilson for accuracy, "
        "Tango for its differences on few discordant images, bootstrap otherwise); "
        "they do not cover "
        "the variation between training runs. A missing prediction counts as wrong.",
        "Difference: this model minus the first, in points, paired by image. p: McNemar's test against the first, "
        "Holm-corrected over the rows; discordant images in brackets.",
        "ECE: of the model's own probabilities; cross-fitted: with the calibration of the other half. "
        "ms an image: measured during the evaluation, in batches; not a benchmark.",
    ]


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    clean = table["data"]["leak_free"] is not None
    header = ["model", "parameters", "MACs", "accuracy", *(["leak-free"] if clean else []), "macro F1"]
    header += ["weighted P", "weighted R", "weighted F1", "ECE", "ECE, cross-fitted", "ms an image"]
    header += ["difference", "p (discordant)", *(["difference, leak-free", "p, leak-free"] if clean else [])]
    rows = []
    for row in table["rows"]:
        cells = [
            row["model"],
            format.magnitude(row["parameters"]),
            format.magnitude(row["macs"]),
            format.percent(row["accuracy"]),
        ]
        cells += [format.percent(row["accuracy_leak_free"])] if clean else []
        cells += [
            format.percent(row[key]) for key in ("macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")
        ]
        cells += [format.number(row["ece"]), format.number(row["ece_cross_fitted"])]
        cells.append("–" if row["ms_per_image"] is None else f"{row['ms_per_image']:.2f}")
        for key in ("against_first", *(["against_first_leak_free"] if clean else [])):
            test = row[key]
            if test is None:
                cells += ["–", "–"]
            else:
                p = format.p_value(test["p_holm"])
                cells += [format.points(test["difference"]["accuracy"]), f"{p} ({test['mcnemar']['discordant']:,})"]
        rows.append(cells)
    return header, rows


_PAGE = (
    ("parameters", "MACs", "ms an image", "accuracy", "leak-free"),
    ("difference", "p (discordant)", "difference, leak-free", "p, leak-free"),
    ("macro F1", "weighted P", "weighted R", "weighted F1"),
    ("ECE", "ECE, cross-fitted"),
)
_TEST_COLUMNS = (
    "accuracy_difference",
    "accuracy_difference_low",
    "accuracy_difference_high",
    "only_first_right",
    "only_this_right",
    "p_mcnemar",
    "p_holm",
)


def _test_cells(test: dict[str, Any] | None) -> list[Any]:
    if test is None:
        return [None] * len(_TEST_COLUMNS)
    change, pairs = test["difference"]["accuracy"], test["mcnemar"]
    change = [change["value"], change["low"], change["high"]]
    return [*change, pairs["only_first"], pairs["only_second"], pairs["p"], test["p_holm"]]
