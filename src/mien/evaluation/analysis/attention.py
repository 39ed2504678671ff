"""Grad-CAM by class, and the effect of U-Net masks at each position, for networks that have them.

Grad-CAM (``gradcam.py``) is for the true class, on examples drawn at random, and averaged over all images
of the class; every image's map is divided by its largest value first. Numbers beside the pictures: how much of a map's
sum lies in the band of the eyes and in that of the mouth of a FER2013 crop (``corruptions.py`` has the bands), with
bootstrap intervals over images; a uniform map gives each band the fraction that is its area. A map can be empty, where
nothing speaks for the class: it is left out there, and counted.

Masks (``resnet34_unet_eca``, ``resmaskingnet``): a softmax over channels averages exactly 1/C at every position, so its
mean over channels, relative to 1/C, is 1 everywhere and shows nothing. Drawn instead is the *gain*: at each position
Σ_c M_c F_c / (u Σ_c F_c), by how much the mask weighs what is there (F, features after a ReLU) compared to a uniform
mask (u = 1/C, or 1/2 for sigmoid). 1: as a uniform mask would. The mean over channels is reported all the same.

    attention.json                      all numbers
    attention-RUN.png, .svg             examples with overlays (images of the data set: not for publication)
    attention-RUN-average.png, .svg     class averages, maps alone       attention-RUN-masks.png, .svg   gains by stage
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import drawing
from mien.data.store import Split
from mien.evaluation.analysis import gradcam, hook_points, inputs, outputs
from mien.evaluation.analysis.common_corruptions import EYES, MOUTH
from mien.evaluation.analysis.inputs import Advance, Network, Settings
from mien.evaluation.metrics import mean_with_percentiles
from mien.models.hook_points import HookPoint
from mien.models.resnet_unet_eca import MaskedResNet

Float = NDArray[np.float64]
EXAMPLES = 4
BANDS = {"eyes": EYES, "mouth": MOUTH}
#: Pixels of the averaged maps.
SIDE = 48
TILE_LETTERS = 18  # that fit above an example


def attention(settings: Settings, *, examples: int = EXAMPLES) -> dict[str, Any]:
    """Write the files named above; returns the report.

    examples: pictures of each class on the sheet. Raises UsageError, DataError or OutputError where something does
    not fit, a network without a feature map among them.
    """

    def measure(name: str, network: Network, split: Split, advance: Advance) -> dict[str, Any]:
        return _one(network, split, settings.out, examples=examples, seed=settings.seed, advance=advance)

    head = {"bands": {band: list(rows) for band, rows in BANDS.items()}}
    return settings.report("attention", inputs.open_networks(settings), measure, head=head)


def _one(network: Network, split: Split, out: Path, *, examples: int, seed: int, advance: Advance) -> dict[str, Any]:
    module, names = network.module, network.labels
    target = hook_points.target_layer(module, network.batch(split.images[:2]))
    masked = module if isinstance(module, MaskedResNet) and len(module.unets) > 0 else None
    maps: list[Float] = []
    predicted: list[NDArray[np.int64]] = []
    gains: list[list[Float]] = []
    means: list[list[float]] = []
    grid: list[int] = []
    count = 0
    for images, labels in inputs.batches(network, split):
        cams, logits = gradcam.grad_cam(module, images, labels, target)
        grid = list(cams.shape[1:])
        maps.append(gradcam.to_unit(gradcam.enlarge(cams, SIDE)).double().cpu().numpy())
        predicted.append(logits.argmax(1).cpu().numpy())
        if masked is not None:
            by_stage, mean = mask_gains(masked, images)
            gains.append([stage.double().cpu().numpy() for stage in by_stage])
            means.append([value * len(images) for value in mean])
        count += len(images)
        advance(count)
    cam, predictions = np.concatenate(maps), np.concatenate(predicted)
    averages = {name: cam[split.labels == code].mean(0) for code, name in enumerate(names) if code in split.labels}
    result: dict[str, Any] = network.describe() | {
        "map": {"module": target.module, "side": target.side, "layout": target.layout, "grid": grid},
        "inside": {
            name: {band: proportion_inside(cam[split.labels == code], rows, seed=seed) for band, rows in BANDS.items()}
            for code, name in enumerate(names)
            if code in split.labels
        },
        "area": {band: _area(rows) for band, rows in BANDS.items()},
        "empty_maps": int((cam.sum((1, 2)) == 0).sum()),
        "averages": {name: np.round(value, 4).tolist() for name, value in averages.items()},
    }
    stem = out / f"attention-{network.name}"
    chosen = draw_examples(split.labels, len(names), examples=examples, seed=seed)
    title = f"{network.name} on {split.name}"
    result["figures"] = sheet(split, cam, predictions, averages, chosen, names, stem, title=title)
    result["figures"] += average_figure(averages, stem.with_name(stem.name + "-average"), title=title)
    if masked is not None:
        stages = [np.concatenate([part[stage] for part in gains]) for stage in range(len(gains[0]))]
        result["masks"] = [
            {
                "stage": number,
                "gain_mean": float(stage.mean()),
                "gain_low": float(np.percentile(stage, 2.5)),
                "gain_high": float(np.percentile(stage, 97.5)),
                "mean_over_channels": float(np.sum(means, 0)[number - 1] / len(split)),
            }
            for number, stage in enumerate(stages, start=1)
        ]
        result["figures"] += mask_figure(stages, split.labels, names, stem.with_name(stem.name + "-masks"), title=title)
    return result


def mask_gains(network: MaskedResNet, images: torch.Tensor) -> tuple[list[torch.Tensor], list[float]]:
    """By stage: the gain N×H×W as the head says, and the mean of M/u over everything (1 for softmax)."""
    wanted: list[HookPoint] = []
    for number in range(len(network.unets)):
        name = f"unets.{number}"
        wanted += [HookPoint(name, "input", "channels_first"), HookPoint(name, "output", "channels_first")]
    with torch.no_grad(), hook_points.reading(network, wanted) as found:
        network(images)
    gains, means = [], []
    for number, uniform in enumerate(network.uniform_values):
        features, mask = found[2 * number].abs(), found[2 * number + 1]
        total = features.sum(1)
        ratio = (mask * features).sum(1) / (uniform * total).clamp_min(1e-20)
        gains.append(torch.where(total > 0, ratio, torch.ones_like(ratio)))
        means.append(float(mask.mean() / uniform))
    return gains, means


def proportion_inside(maps: Float, rows: tuple[float, float], *, seed: int = 0) -> dict[str, Any]:
    """The proportion of a map's sum in a band of rows (0-1 of the height), mean over images without empty maps."""
    total = maps.sum((1, 2))
    height = maps.shape[1]
    band = maps[:, round(rows[0] * height) : round(rows[1] * height)].sum((1, 2))
    inside = band[total > 0] / total[total > 0]
    if not len(inside):
        return {"n": 0, "value": None, "low": None, "high": None}
    return {"n": len(inside), **mean_with_percentiles(inside, seed=seed)}


def _area(rows: tuple[float, float]) -> float:
    return (round(rows[1] * SIDE) - round(rows[0] * SIDE)) / SIDE


def draw_examples(labels: NDArray[np.int64], classes: int, *, examples: int, seed: int) -> list[NDArray[np.int64]]:
    """For every class up to ``examples`` row numbers, drawn at random."""
    random = np.random.default_rng(seed)
    return [random.permutation(np.flatnonzero(labels == code))[:examples] for code in range(classes)]


def sheet(
    split: Split,
    maps: Float,
    predictions: NDArray[np.int64],
    averages: dict[str, Float],
    chosen: Sequence[NDArray[np.int64]],
    names: Sequence[str],
    stem: Path,
    *,
    title: str,
) -> list[str]:
    """One row a class: examples with overlay and prediction, and the class's average map."""
    columns = max(len(rows) for rows in chosen) + 1
    figure = drawing.new_figure(1.1 + 1.35 * columns, 0.9 + 1.62 * len(names))
    grid = figure.subplots(len(names), columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for code, name in enumerate(names):
        for column, row in enumerate(chosen[code]):
            axes = grid[code][column]
            _overlay(axes, split.images[row], maps[row])
            right = predictions[row] == code
            colour = drawing.BLACK if right else drawing.VERMILLION
            told = ("= " if right else "→ ") + names[predictions[row]]
            axes.set_title(textwrap.fill(told, TILE_LETTERS), fontsize=8, color=colour, pad=2)
        if name in averages:
            grid[code][-1].imshow(averages[name], cmap="inferno", vmin=0, vmax=1)
        left = grid[code][0]
        wrapped = textwrap.fill(name, TILE_LETTERS)
        left.text(-0.06, 0.5, wrapped, transform=left.transAxes, ha="right", va="center", fontsize=10)
    grid[0][-1].set_title("class average", fontsize=8, pad=2)
    figure.suptitle(f"Grad-CAM for the true class: {title}\n= predicted right, → predicted otherwise", fontsize=10)
    return outputs.save_figure(figure, stem)


def _overlay(axes: Any, image: NDArray[np.uint8], heat: Float) -> None:
    """The picture in grey under the map, the more opaque the larger its value."""
    grey = image if image.ndim == 2 else image.mean(2)
    extent = (0, 1, 1, 0)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
    axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6 * heat.clip(0, 1), extent=extent)


def average_figure(averages: dict[str, Float], stem: Path, *, title: str) -> list[str]:
    """The class averages alone, all on one scale, with the bands of eyes and mouth: no picture of a data set in it."""
    figure = drawing.new_figure(1.0 + 1.6 * len(averages), 2.5)
    panels = figure.subplots(1, len(averages), squeeze=False)[0]
    highest = max(float(value.max()) for value in averages.values()) or 1.0
    for axes, (name, value) in zip(panels, averages.items(), strict=True):
        drawn = axes.imshow(value, cmap="inferno", vmin=0, vmax=highest, extent=(0, 1, 1, 0))
        for low, high in (EYES, MOUTH):
            axes.hlines((low, high), 0, 1, colors="white", linewidth=0.8, linestyles=":")
        axes.set_title(textwrap.fill(name, TILE_LETTERS), fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].set_yticks([sum(EYES) / 2, sum(MOUTH) / 2], ["eyes", "mouth"], fontsize=9)
    panels[0].tick_params(length=0)
    bar = figure.colorbar(drawn, ax=list(panels), shrink=0.72, pad=0.01)
    bar.set_label("mean of maps", fontsize=9)
    figure.suptitle(f"Grad-CAM for the true class, class averages: {title}", fontsize=10)
    return outputs.save_figure(figure, stem)


def mask_figure(
    stages: Sequence[Float], labels: NDArray[np.int64], names: Sequence[str], stem: Path, *, title: str
) -> list[str]:
    """Rows: stages; columns: class averages of the gain, each stage on its own scale around 1."""
    from matplotlib.colors import TwoSlopeNorm

    present = [code for code in range(len(names)) if (labels == code).any()]
    figure = drawing.new_figure(1.6 + 1.3 * len(present), 0.8 + 1.42 * len(stages))
    grid = figure.subplots(len(stages), len(present), squeeze=False)
    for number, stage in enumerate(stages):
        averages = [stage[labels == code].mean(0) for code in present]
        reach = max(max(float(np.abs(value - 1).max()) for value in averages), 1e-6)
        for axes, code, value in zip(grid[number], present, averages, strict=True):
            drawn = axes.imshow(value, cmap="PuOr_r", norm=TwoSlopeNorm(1, max(0, 1 - reach), 1 + reach))
            axes.set_xticks([])
            axes.set_yticks([])
            if number == 0:
                axes.set_title(names[code], fontsize=10)
        grid[number][0].set_ylabel(f"stage {number + 1}", fontsize=10)
        bar = figure.colorbar(drawn, ax=list(grid[number]), shrink=0.85, pad=0.01)
        bar.ax.tick_params(labelsize=8)
    figure.suptitle(f"Gain of the masks over uniform ones, class averages: {title}", fontsize=10)
    return outputs.save_figure(figure, stem)


def headline(report: dict[str, Any]) -> list[str]:
    """How much of each class's Grad-CAM lies on eyes and mouth, and the masks' gains, in plain text."""
    lines = [f"{outputs.images_of(report)}; Grad-CAM for the true class"]
    for name, run in report["runs"].items():
        rows, columns = run["map"]["grid"]
        areas = ", ".join(f"{band} (area {area:.1%})" for band, area in run["area"].items())
        lines.append(f"{name}: map of {rows}×{columns} positions; proportion of it on {areas}")
        wide = max([8, *map(len, run["inside"])])
        for label, bands in run["inside"].items():
            lines.append(f"  {label:{wide}}  " + "  ".join(_shown(band, figure) for band, figure in bands.items()))
        for mask in run.get("masks", []):
            lines.append(
                f"  stage {mask['stage']}: gain {mask['gain_mean']:.3f} (95 % of positions in {mask['gain_low']:.3f} … "
                f"{mask['gain_high']:.3f}), mean over channels {mask['mean_over_channels']:.4f}"
            )
    return lines


def _shown(band: str, figure: dict[str, Any]) -> str:
    if not figure["n"]:
        return f"{band} – (every map is empty)"
    return f"{band} {outputs.interval(figure, '.1%')} (n = {figure['n']})"
