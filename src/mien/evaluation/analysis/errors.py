"""The most confident errors as a gallery, every error as a table, and the pairs that are most confused.

Probabilities are those of ``mien evaluate``: a run directory, an ONNX file or a shipped reader, one view, the model's
own calibration. Errors are sorted by the probability of the wrong prediction. A pair is (true, predicted), in this
order; its proportion is of the true class's images, with Wilson's interval.

    errors.json                       counts, pairs, the most confident errors
    errors-MODEL.csv                  every error: path, label, answer, confidence, p_label, near_duplicate
    errors-MODEL.png, .svg            the gallery (images of the data set: not for publication)
    errors-MODEL-pairs.png, .svg      the pairs, without images
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import drawing
from mien.atomic import write_text
from mien.data.store import Split
from mien.evaluation.analysis import inputs, outputs
from mien.evaluation.analysis.inputs import Advance, Settings
from mien.evaluation.metrics import proportion
from mien.evaluation.predict import predict_crops
from mien.evaluation.predictors import Predictor

Float32 = NDArray[np.float32]
EXAMPLES, PAIRS = 40, 12


def errors(settings: Settings, *, examples: int = EXAMPLES) -> dict[str, Any]:
    """Write the files named above; returns the report. The seed changes nothing here.

    examples: pictures in the gallery. Raises UsageError, ModelError, DataError or OutputError where something does not
    fit.
    """

    def measure(name: str, predictor: Predictor, split: Split, advance: Advance) -> dict[str, Any]:
        predicted = predict_crops(predictor, split, progress=lambda done, _: advance(done))
        probabilities, labels = (
            predicted.probabilities,
            predicted.labels,
        )  # classes in label order, as the split's codes
        found = table(probabilities, split, labels)
        stem, title = settings.out / f"errors-{name}", f"{name} on {split.name}"
        _write_csv(found, stem.with_name(stem.name + ".csv"))
        pairs = confused_pairs(probabilities.argmax(1), split.labels, labels)
        figures = gallery(found[:examples], split, len(found), stem, title=title)
        figures += pairs_figure(pairs[:PAIRS], stem.with_name(stem.name + "-pairs"), title=title)
        return {
            "model": predictor.describe(),
            "errors": len(found),
            "most_confident": [{key: row[key] for key in COLUMNS} for row in found[:examples]],
            "pairs": pairs,
            "figures": figures,
        }

    return settings.report("errors", inputs.open_predictors(settings), measure)


COLUMNS = ("path", "label", "answer", "confidence", "p_label", "near_duplicate")


def table(probabilities: Float32, split: Split, names: Sequence[str]) -> list[dict[str, Any]]:
    """Every error with the keys of :data:`COLUMNS` and ``row``, its number in the split, the most confident first."""
    predicted = probabilities.argmax(1)
    confidence = probabilities.max(1)
    wrong = np.flatnonzero(predicted != split.labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return [
        {
            "row": int(row),
            "path": split.paths[row],
            "label": names[split.labels[row]],
            "answer": names[predicted[row]],
            "confidence": round(float(confidence[row]), 6),
            "p_label": round(float(probabilities[row, split.labels[row]]), 6),
            "near_duplicate": None if split.leak is None else bool(split.leak[row]),
        }
        for row in order
    ]


def confused_pairs(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Every pair of a true and another predicted class that occurs, by its number of images, then in label order."""
    result = []
    for code, label in enumerate(names):
        own = predicted[labels == code]
        for other, answer in enumerate(names):
            count = int((own == other).sum())
            if other != code and count:
                of = proportion(count, len(own))
                result.append({"label": label, "answer": answer, "images": count, "of": len(own), "share": of})
    return sorted(result, key=lambda pair: -pair["images"])


def _write_csv(rows: Sequence[dict[str, Any]], file: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def gallery(rows: Sequence[dict[str, Any]], split: Split, total: int, stem: Path, *, title: str) -> list[str]:
    """A contact sheet in reading order: true → predicted, the prediction's probability, the image's name."""
    columns = min(8, max(4, len(rows)))
    lines = max(1, -(-len(rows) // columns))
    figure = drawing.new_figure(0.3 + 1.5 * columns, 0.8 + 1.95 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for axes, row in zip(grid.ravel(), rows, strict=False):
        axes.imshow(split.images[row["row"]], cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{row['label']} → {row['answer']}\n{row['confidence']:.1%}", fontsize=8, pad=2, linespacing=1.2)
        axes.text(0.5, -0.03, _short(row["path"]), transform=axes.transAxes, ha="center", va="top", fontsize=5.5)
    shown = f"the {len(rows)} most confident of {total:,} errors" if rows else "no errors"
    figure.suptitle(f"{title}: {shown}\ntrue → predicted, probability of the prediction", fontsize=10)
    return outputs.save_figure(figure, stem)


def _short(path: str, length: int = 26) -> str:
    return path if len(path) <= length else "…" + path[-(length - 1) :]


def pairs_figure(pairs: Sequence[dict[str, Any]], stem: Path, *, title: str) -> list[str]:
    """The pairs with most images, as proportions of the true class with their intervals."""
    figure = drawing.new_figure(6.4, 1.3 + 0.33 * max(3, len(pairs)))
    axes = figure.subplots()
    at = np.arange(len(pairs))
    value = np.array([pair["share"]["value"] for pair in pairs])
    ends = np.array([(pair["share"]["low"], pair["share"]["high"]) for pair in pairs]).reshape(-1, 2)
    axes.barh(at, value, color=drawing.SKY, height=0.68)
    axes.hlines(at, ends[:, 0], ends[:, 1], color=drawing.BLACK, linewidth=1.2)
    for y, pair in zip(at, pairs, strict=True):
        axes.text(pair["share"]["high"], y, f"  {pair['images']:,}", va="center", fontsize=9, color=drawing.GREY)
    axes.set_yticks(at, [f"{pair['label']} → {pair['answer']}" for pair in pairs])
    axes.invert_yaxis()
    axes.set_xlim(0, (ends.max() if len(pairs) else 1) * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("proportion of the true class's images, 95 % interval; number of images beside")
    drawing.tidy(axes)
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{title}: pairs most confused (true → predicted)", fontsize=11, loc="left")
    return outputs.save_figure(figure, stem)


def headline(report: dict[str, Any]) -> list[str]:
    """How many errors, the most confused pairs, the most confident errors, in plain text."""
    n = report["data"]["images"]
    lines = [outputs.images_of(report)]
    for name, run in report["runs"].items():
        lines.append(f"{name}: {run['errors']:,} errors ({run['errors'] / n:.2%})")
        for pair in run["pairs"][:5]:
            images = f"{pair['images']:,} of {pair['of']:,}"
            lines.append(f"  {pair['label']} → {pair['answer']}: {images}, {outputs.interval(pair['share'], '.1%')}")
        for row in run["most_confident"][:3]:
            lines.append(f"  {row['path']}: {row['label']} → {row['answer']}, confidence {row['confidence']:.1%}")
    return lines
