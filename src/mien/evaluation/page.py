"""report.html: what ``report.json`` says, for people. One file, offline, printable; it computes nothing of its own."""

from typing import Any

from mien.evaluation import html
from mien.evaluation.page_figures import slug
from mien.evaluation.page_parts import groups_section, predictions_section, seven_section, votes_section
from mien.labels import EIGHT

Report = dict[str, Any]

_HEADLINE = (
    ("accuracy", "accuracy", html.share),
    ("balanced accuracy", "balanced_accuracy", html.share),
    ("macro F1", "macro_f1", html.share),
    ("weighted precision", "weighted_precision", html.share),
    ("weighted recall (= accuracy)", "weighted_recall", html.share),
    ("weighted F1", "weighted_f1", html.share),
    ("top-2 accuracy", "top2_accuracy", html.share),
    ("NLL (nats)", "nll", html.number),
    ("Brier score (0–2)", "brier", html.number),
    ("ECE, 15 bins", "ece", html.number),
)
_COLUMN = {"all": "all images", "leak_free": "leak-free"}
_TILE = {"all": "accuracy", "leak_free": "leak-free"}
CONVENTIONS = (
    "Intervals are 95 %: Wilson's for shares of images, otherwise the 2.5 and 97.5 percentiles of 2,000 bootstrap "
    "resamples of images. They say nothing about another training run.",
    "Leak-free leaves out every image with a near-duplicate in Training (correlation above 0.99 of contrast-normalised "
    "12×12 block averages, mirrored copies included).",
    "An image without an answer (no face found, missing from a predictions file) is wrong. It stays in the "
    "denominator of accuracy, recall and F1; NLL, Brier score and ECE are over the answered ones.",
    "Macro averages are over the classes that occur, weighted ones by their images; weighted recall is accuracy.",
    "ECE: 15 equal-width bins of the top probability. Brier score: sum over classes of squared differences.",
)


def render(report: Report, figures: dict[str, bytes]) -> str:
    """The page. report: as ``evaluate`` makes it. figures: name → SVG, those of ``page_figures.draw``."""
    title = _title(report)
    body = [f"<h1>{html.text(title)}</h1>", f'<p class="soft">{html.text(_subtitle(report))}</p>']
    body += [f'<p class="warning">{html.text(line)}</p>' for line in report.get("warnings", [])]
    if report["figures"] is None:
        body.append(
            "<p>The labels of this split are held back: it was predicted blind, and nothing is scored. The answers are "
            "in <code>predictions.csv</code> and <code>predictions.parquet</code>.</p>"
        )
        body += [_about(report), predictions_section(report), _not_measured(report)]
    else:
        body += [_tiles(report), _headline(report), _about(report), predictions_section(report), _leak(report)]
        body += [_confusion(report, figures), _classes(report, figures), _probabilities(report, figures)]
        body += [votes_section(report, figures), seven_section(report)]
        body += [groups_section(name, parts, figures[f"groups-{slug(name)}"]) for name, parts in _groups(report)]
        body += [_not_measured(report), _conventions()]
    return html.document(title, [part for part in body if part])


def _title(report: Report) -> str:
    return f"{report['model']['name']} on {report['data']['split']}"


def _subtitle(report: Report) -> str:
    how = {1: "single crop", 10: "ten crops", None: "predictions of another tool"}[report["views"]]
    found = {"none": "", None: ""}.get(report["detector"], f", faces found by {report['detector']}")
    return (
        f"{report['data']['images']:,} images, {how}{found} · {report['date']} · apparent expression, not felt emotion"
    )


def _groups(report: Report) -> list[tuple[str, Any]]:
    return list(report.get("groups", {}).items())


def _tiles(report: Report) -> str:
    scored = report["figures"]
    parts = []
    for name, figures in scored.items():
        value = figures["accuracy"]
        words = f"{100 * value['low']:.1f} – {100 * value['high']:.1f} (95 %)"
        parts.append(html.tile(f"{_TILE[name]}, {figures['n']:,} images", f"{100 * value['value']:.2f} %", words))
    f1 = scored["all"]["macro_f1"]
    words = f"{100 * f1['low']:.1f} – {100 * f1['high']:.1f} (95 %)"
    parts.append(html.tile("macro F1, all images", f"{100 * f1['value']:.2f} %", words))
    ece = scored["all"]["ece"]
    if ece["value"] is not None:
        words = f"{ece['low']:.3f} – {ece['high']:.3f} (95 %)"
        parts.append(html.tile("ECE, all images", f"{ece['value']:.3f}", words))
    return f'<div class="tiles">{"".join(parts)}</div>'


def _headline(report: Report) -> str:
    scored = report["figures"]
    single = report.get("single_crop")
    columns = [(("ten crops, " if single else "") + _COLUMN[name], figures) for name, figures in scored.items()]
    if single:
        columns += [(f"single crop, {_COLUMN[name]}", figures) for name, figures in single["figures"].items()]
    rows = [["images", *(f"{figures['n']:,}" for _, figures in columns)]]
    rows.append(["without an answer (wrong)", *(f"{figures['failures']:,}" for _, figures in columns)])
    rows += [[name, *(form(figures[key]) for _, figures in columns)] for name, key, form in _HEADLINE]
    parts = ["<h2>Headline</h2>", html.table(["", *(name for name, _ in columns)], rows, strong=(2,))]
    if single:
        rows = []
        for name, found in single["ten_minus_single"].items():
            change, test = found["difference"], found["mcnemar"]
            cells = [html.points(change[key]) for key in ("accuracy", "macro_f1", "weighted_f1")]
            rows.append([_COLUMN[name], *cells, f"{test['discordant']:,}", html.p_value(test["p"])])
        header = ["", "accuracy", "macro F1", "weighted F1", "discordant images", "McNemar p"]
        parts.append(html.table(header, rows, caption="Ten crops minus the single crop, in points, paired by image"))
    return "\n".join(parts)


def _about(report: Report) -> str:
    model, data, code = report["model"], report["data"], _code
    provenance = model.get("provenance", {})
    trained = provenance.get("data") or model.get("trained_on") or {}
    kind = {"onnx": "ONNX file", "run": "run directory", "predictions": "predictions from a file"}[model["kind"]]
    members = model.get("members", [])
    if members:
        kind = f"the mean of {len(members)} files of predictions"
    parameters = f"{model['parameters']:,}" if "parameters" in model else ""
    macs = f"{model['macs'] / 1e6:,.1f} M multiply-accumulates an image" if model.get("macs") else ""
    left_out = "; ".join(
        f"{count:,} {name}" + (" (the model has no such class)" if name in EIGHT else "")
        for name, count in data.get("left_out", {}).items()
    )
    pace = ""
    if "images_per_second" in report:
        rate = report["images_per_second"]
        pace = f"{report['seconds']} s" + (f", {1000 / rate:.2f} ms an image (no benchmark)" if rate else "")
    images = f"{data['images']:,}" + (f" of {data['of']:,}" if data["images"] < data["of"] else "")
    near = data["near_duplicates_in_training"]
    rows = [
        ("model", f"{html.text(model['name'])} ({kind})"),
        ("parameters", html.text(", ".join(part for part in (parameters, macs) if part))),
        ("SHA-256", code(", ".join(mark["sha256"] for mark in members) if members else model.get("sha256"))),
        ("trained on", html.text(f"{trained['train']} of store {trained['store']}") if trained.get("store") else ""),
        ("its code", code(provenance.get("commit") or model.get("commit"))),
        ("its seed", html.text(_seed(model))),
        ("data", html.text(f"store {data['store']}" + (f" ({', '.join(data['sources'])})" if data["sources"] else ""))),
        ("split", html.text(f"{data['split']}, {images} images")),
        ("near-duplicates", "" if near is None else f"{near:,} of them have one in Training"),
        ("left out", html.text(left_out)),
        ("temperature", "" if report["temperature"] is None else f"{report['temperature']:.4f}"),
        ("command", code(report["command"])),
        ("mien", html.text(f"{report['mien']}, commit {report['commit'] or 'unknown'}")),
        ("hardware", html.text(", ".join(str(part) for part in (report["cpu"], report["hardware"]) if part))),
        ("time", html.text(pace)),
        ("seed", html.text(f"{report['seed']} (of the bootstrap and the cross-fit)")),
    ]
    return f"<h2>What was evaluated</h2>\n{html.facts(rows)}"


def _code(value: object) -> str:
    return f"<code>{html.text(value)}</code>" if value else ""


def _seed(model: Report) -> str:
    seed = model.get("seed", model.get("provenance", {}).get("recipe", {}).get("seed"))
    return "" if seed is None else str(seed)


def _leak(report: Report) -> str:
    leak = report["leak"]
    if leak is None:
        return ""
    return (
        "<h2>What the duplicates are worth</h2>\n<p>"
        f"On the {leak['near_duplicates']:,} images with a near-duplicate in Training the accuracy is "
        f"{html.share(leak['accuracy_on_near_duplicates'])}. All images minus leak-free images: "
        f"{html.points(leak['all_minus_leak_free'])} points (Fisher's exact test of the two kinds of image: "
        f"p {_equals(leak['p'])}).</p>"
    )


def _equals(p: float) -> str:
    shown = html.p_value(p)
    return html.text(shown if shown.startswith("<") else f"= {shown}")


def _confusion(report: Report, figures: dict[str, bytes]) -> str:
    parts = [
        "<h2>Confusion matrix</h2>",
        html.svg_figure(figures["confusion"], alt="confusion matrix, all images; the numbers are in the tables below"),
    ]
    for name, scored in report["figures"].items():
        labels, matrix = scored["labels"], scored["confusion"]
        header = ["true, by answer", *labels, "no answer", "images"]
        counts = [[label, *(f"{n:,}" for n in row), f"{sum(row):,}"] for label, row in zip(labels, matrix, strict=True)]
        shares = [
            [label, *(f"{100 * n / max(sum(row), 1):.1f}" for n in row), f"{sum(row):,}"]
            for label, row in zip(labels, matrix, strict=True)
        ]
        tables = html.table(header, counts, caption="counts") + html.table(header, shares, caption="% of the row")
        parts.append(f"<details><summary>As numbers, {_COLUMN[name]}</summary>{tables}</details>")
    return "\n".join(parts)


def _classes(report: Report, figures: dict[str, bytes]) -> str:
    scored = report["figures"]
    clean = scored.get("leak_free")
    header = ["expression", "images", "precision", "recall", "F1", *(["recall, leak-free"] if clean else [])]
    rows = []
    for number, (name, values) in enumerate(scored["all"]["per_class"].items()):
        answered = sum(row[number] for row in scored["all"]["confusion"])
        shown = [html.share(values["precision"] if answered else None, digits=1)]
        shown += [html.share(values[key] if values["support"] else None, digits=1) for key in ("recall", "f1")]
        extra = []
        if clean:
            there = clean["per_class"][name]
            extra = [html.share(there["recall"] if there["support"] else None, digits=1)]
        rows.append([name, f"{values['support']:,}", *shown, *extra])
    drawn = html.svg_figure(figures["recall"], alt="recall by class with 95 % intervals; the numbers are in the table")
    return f"<h2>By class</h2>\n{html.table(header, rows)}\n{drawn}"


def _probabilities(report: Report, figures: dict[str, bytes]) -> str:
    if "reliability" not in figures:
        return ""
    scored = report["figures"]
    parts = ["<h2>Probabilities</h2>"]
    rows = [[name, *(form(part[key]) for part in scored.values())] for name, key, form in _HEADLINE[-4:]]
    parts.append(html.table(["", *(_COLUMN[name] for name in scored)], rows))
    parts.append(html.svg_figure(figures["reliability"], alt="reliability diagram of the top probability"))
    held = report.get("calibration")
    if held:
        rows = [
            [name, *(html.number(part[key]) for part in held["held_out"].values())]
            for name, key in (("NLL (nats)", "nll"), ("Brier score (0–2)", "brier"), ("ECE, 15 bins", "ece"))
        ]
        first, second = held["temperatures"]
        caption = f"Cross-fitted: each half with the temperature of the other ({first:.3f}, {second:.3f})"
        parts.append("<h3>Calibration</h3>")
        parts.append(html.table(["", *(_COLUMN[name] for name in held["held_out"])], rows, caption=caption))
        parts.append(f"<p>Before any calibration (temperature 1) the ECE is {held['uncalibrated_ece']:.3f}.</p>")
    return "\n".join(parts)


def _not_measured(report: Report) -> str:
    lines = "\n".join(f"<li>{html.text(line)}</li>" for line in report["not_measured"])
    return f"<h2>What was not measured</h2>\n<ul>\n{lines}\n</ul>"


def _conventions() -> str:
    lines = "\n".join(f"<li>{html.text(line)}</li>" for line in CONVENTIONS)
    return f'<h2>Conventions</h2>\n<ul class="soft">\n{lines}\n</ul>'
