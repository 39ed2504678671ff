"""Accuracy under corruption: nine kinds, five severities each (``corruptions.py``), for one model or several.

Images are corrupted as the store holds them, before the model's own preprocessing; predictions are those of every
evaluation (``evaluation/predictors.py``), one view. Each accuracy has Wilson's interval. *Mean corruption accuracy* is
the mean over kinds and severities 1-5, *kept* that mean divided by the accuracy on clean images; their intervals are
bootstraps over images, each with all of its 46 predictions. What is computed is kept in
``corruptions-MODEL.rows.json``, from which an interrupted call resumes.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import drawing
from mien.data.store import Split
from mien.evaluation.analysis import inputs, outputs
from mien.evaluation.analysis.common_corruptions import KINDS, PARAMETERS, SEVERITIES, TITLES, corrupt
from mien.evaluation.analysis.inputs import Advance, Settings
from mien.evaluation.metrics import bootstrap, proportion, with_percentiles
from mien.evaluation.predictions import label_order
from mien.evaluation.predictors import Predictor, all_logits

Bool = NDArray[np.bool_]


def corruptions(settings: Settings) -> dict[str, Any]:
    """Write ``corruptions.json`` and ``corruptions.png``/``.svg``; returns the report.

    Raises UsageError, ModelError, DataError or OutputError where something does not fit.
    """
    conditions = [("clean", 0)] + [(kind, severity) for kind in KINDS for severity in SEVERITIES]

    def measure(name: str, predictor: Predictor, split: Split, advance: Advance) -> dict[str, Any]:
        question = _question(predictor, split, settings.seed)
        rows = outputs.Rows(settings.out / f"corruptions-{name}.rows.json", question)
        right: dict[tuple[str, int], Bool] = {}
        for step, (kind, severity) in enumerate(conditions):
            key, compute = f"{kind} {severity}", partial(_packed, predictor, split, kind, severity, settings.seed)
            new = key not in rows  # progress is told before and after each: what was there took no time
            if new:
                advance(step)
            right[kind, severity] = _unpacked(rows.get(key, compute), len(split))
            if new:
                advance(step + 1)
        return {"model": predictor.describe()} | summarise(right, seed=settings.seed)

    head = {"parameters": {kind: list(values) for kind, values in PARAMETERS.items()}}
    predictors = inputs.open_predictors(settings)
    return settings.report("corruptions", predictors, measure, head=head, steps=len(conditions), draw=draw)


def rightness(predictor: Predictor, split: Split, kind: str, severity: int, seed: int) -> Bool:
    """bool N: which images are predicted right; kind "clean" for the images themselves."""
    images = split.images if kind == "clean" else corrupt(split.images, kind, severity, seed=seed)
    logits = all_logits(predictor, predictor.preprocess.stack(images), tta=False)[:, 0]
    _, columns = label_order(predictor.labels, split.label_set)
    right: Bool = logits[:, columns].argmax(1) == split.labels
    return right


def summarise(right: dict[tuple[str, int], Bool], *, seed: int = 0) -> dict[str, Any]:
    """The figures of the report, from which predictions are right."""
    clean = right["clean", 0]
    every = np.stack([right[kind, severity] for kind in KINDS for severity in SEVERITIES], 1)  # N×45
    rows = np.column_stack([clean, every.mean(1)]).astype(np.float64)
    drawn = bootstrap(rows, lambda means: np.column_stack([means[:, 1], _ratio(means[:, 1], means[:, 0])]), seed=seed)
    mean = float(rows[:, 1].mean())
    values = (mean, float(_ratio(np.array([mean]), rows[:, :1].mean(0))[0]))
    figures = [with_percentiles(value, drawn[:, i]) for i, value in enumerate(values)]
    return {
        "clean": proportion(int(clean.sum()), len(clean)),
        "mean_corruption_accuracy": figures[0],
        "kept": figures[1],
        "corruptions": {
            kind: {
                "mean": float(np.mean([right[kind, severity].mean() for severity in SEVERITIES])),
                "severities": [proportion(int(bits.sum()), len(bits)) for bits in (right[kind, s] for s in SEVERITIES)],
            }
            for kind in KINDS
        },
    }


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _question(predictor: Predictor, split: Split, seed: int) -> str:
    """A digest of the model's predictions on clean images, of images, labels, parameters and seed."""
    digest = hashlib.sha256(f"2 {seed} {PARAMETERS} {predictor.labels} {predictor.preprocess.to_json()}".encode())
    probe = predictor.preprocess.stack(split.images[:64])
    digest.update(np.round(all_logits(predictor, probe, tta=False), 4).tobytes())
    digest.update(split.images.tobytes() + split.labels.tobytes())
    return digest.hexdigest()[:32]


def _packed(predictor: Predictor, split: Split, kind: str, severity: int, seed: int) -> str:
    return np.packbits(rightness(predictor, split, kind, severity, seed)).tobytes().hex()


def _unpacked(text: str, n: int) -> Bool:
    bits = np.frombuffer(bytes.fromhex(text), np.uint8)
    return np.unpackbits(bits, count=n).astype(bool)


def draw(report: dict[str, Any], stem: Path) -> list[str]:
    """A panel a kind, a curve a model; the parameter stands under each severity."""
    figure = drawing.new_figure(9.6, 8.6)
    grid = figure.subplots(3, 3, sharey=True)
    runs = report["runs"]
    highest = max(run["clean"]["high"] for run in runs.values())
    for axes, kind in zip(grid.ravel(), KINDS, strict=True):
        for number, run in enumerate(runs.values()):
            points = [run["clean"], *run["corruptions"][kind]["severities"]]
            value, low, high = (np.array([point[key] for point in points]) for key in ("value", "low", "high"))
            colour, style, marker = drawing.of_run(number)
            axes.fill_between(range(6), low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(range(6), value, style, color=colour, marker=marker, markersize=4, linewidth=1.5)
        title, unit = TITLES[kind]
        axes.set_title(title, fontsize=10.5, loc="left")
        axes.set_xticks(range(6), ["clean", *(f"{value:g}" for value in PARAMETERS[kind])], fontsize=9)
        axes.set_xlabel(unit, fontsize=9)
        axes.set_ylim(0, min(1, highest * 1.08))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        drawing.tidy(axes)
    for row in grid:
        row[0].set_ylabel("accuracy")
    handles = [line for line in grid[0][0].get_lines() if len(line.get_xdata()) == 6]
    texts = [
        f"{name}: clean {run['clean']['value']:.1%}, mean corrupted {run['mean_corruption_accuracy']['value']:.1%}"
        for name, run in runs.items()
    ]
    figure.legend(handles, texts, loc="outside lower center", frameon=False)
    figure.suptitle(f"Accuracy under corruption: {outputs.images_of(report)}, 95 % intervals", fontsize=11)
    return outputs.save_figure(figure, stem)


def headline(report: dict[str, Any]) -> list[str]:
    """Clean and mean corruption accuracy, and each kind's mean over severities, in plain text."""
    runs = report["runs"]
    lines = [f"{outputs.images_of(report)}; accuracy, 95 % intervals"]
    lines.append(f"{'':18}" + "".join(f"{name:>26}" for name in runs))
    rows = (("clean", "clean"), ("mean corruption", "mean_corruption_accuracy"), ("kept", "kept"))
    for title, key in rows:
        cells = (outputs.interval(run[key]) for run in runs.values())
        lines.append(f"{title:18}" + "".join(f"{cell:>26}" for cell in cells))
    for kind in KINDS:
        cells = (f"{run['corruptions'][kind]['mean']:.2%}" for run in runs.values())
        lines.append(f"{kind:18}" + "".join(f"{cell:>26}" for cell in cells))
    return lines
