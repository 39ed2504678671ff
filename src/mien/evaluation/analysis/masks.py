"""The effect of U-Net masks: the same weights with every mask replaced by a uniform one (1/C; 1/2 for sigmoid).

For ``resnet34_unet_eca`` and ``resmaskingnet``. Accuracy with the masks and with uniform ones, the difference on the
same images and McNemar's test of who is right where the other is wrong, both as ``comparisons`` defines them; and
std(M/u) for every stage, u the value of a uniform mask: 0 where a mask does nothing that a constant factor would not
do. The network was trained with its masks: the difference says what this network's masks contribute, not how well a
network without any would have learnt.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mien import drawing
from mien.data.store import Split
from mien.errors import UsageError
from mien.evaluation.analysis import inputs, outputs
from mien.evaluation.analysis.inputs import Advance, Network, Settings
from mien.evaluation.comparisons import mcnemar, right_difference
from mien.evaluation.metrics import proportion
from mien.models.resnet_unet_eca import MaskedResNet

Bool = NDArray[np.bool_]


def masks(settings: Settings) -> dict[str, Any]:
    """Write ``masks.json`` and ``masks.png``/``.svg``; returns the report.

    Raises UsageError for a network without masks, DataError or OutputError where split or ``out`` do not fit.
    """

    def measure(name: str, network: Network, split: Split, advance: Advance) -> dict[str, Any]:
        with_, without, spread = both_ways(network, split, advance)
        figures = compare(with_, without, seed=settings.seed)
        return network.describe() | figures | {"std_relative_to_uniform": spread}

    networks = inputs.open_networks(settings)
    for network in networks.values():
        masked(network)
    return settings.report("masks", networks, measure, draw=draw)


def masked(network: Network) -> MaskedResNet:
    """Raises UsageError that names the networks with masks."""
    if isinstance(network.module, MaskedResNet) and len(network.module.unets):
        return network.module
    raise UsageError(
        f"expected a network with U-Net masks, got {network.model} in {network.run}",
        hint="resnet34_unet_eca (mask: softmax or sigmoid) and resmaskingnet have them",
    )


def both_ways(network: Network, split: Split, advance: Advance | None = None) -> tuple[Bool, Bool, dict[str, float]]:
    """bool N each: predicted right with its masks, and with uniform ones; and std(M/u) by stage over all images."""
    module = masked(network)
    right: dict[bool, list[Bool]] = {False: [], True: []}
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for images, labels in inputs.batches(network, split):
        for uniform in (False, True):
            module.uniform_masks = uniform
            try:
                with torch.no_grad():
                    right[uniform].append((module(images).argmax(1) == labels).cpu().numpy())
            finally:
                module.uniform_masks = False
        for stage, (mask, level) in enumerate(zip(module.masks(images), module.uniform_values, strict=True), start=1):
            relative = mask.double() / level
            part = np.array([relative.numel(), float(relative.sum()), float(relative.square().sum())])
            sums[f"stage{stage}"] = sums.get(f"stage{stage}", np.zeros(3)) + part
        count += len(images)
        if advance:
            advance(count)
    spread = {stage: float(np.sqrt(max(s[2] / s[0] - (s[1] / s[0]) ** 2, 0))) for stage, s in sums.items()}
    return np.concatenate(right[False]), np.concatenate(right[True]), spread


def compare(with_: Bool, without: Bool, *, seed: int = 0) -> dict[str, Any]:
    """Accuracies, their paired difference (with − without) and McNemar's test; from bool N each."""
    test = mcnemar(without, with_)
    return {
        "with_masks": proportion(int(with_.sum()), len(with_)),
        "uniform_masks": proportion(int(without.sum()), len(without)),
        "difference": right_difference(without, with_, seed=seed),
        "mcnemar": {"only_with": test["only_second"], "only_uniform": test["only_first"]}
        | {key: test[key] for key in ("p", "method")},
    }


def draw(report: dict[str, Any], stem: Path) -> list[str]:
    """Left: accuracy with and without; right: std(M/u) by stage, a line a run."""
    runs = report["runs"]
    figure = drawing.new_figure(4.9 + 0.9 * len(runs) + 3.0, 3.9)
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.2 + 0.6 * len(runs), 2.2]})
    kinds = (("with_masks", "its masks", drawing.BLUE), ("uniform_masks", "uniform masks", drawing.ORANGE))
    for shift, (key, label, colour) in zip((-0.2, 0.2), kinds, strict=True):
        at = np.arange(len(runs)) + shift
        value, low, high = (np.array([run[key][k] for run in runs.values()]) for k in ("value", "low", "high"))
        left.bar(at, value, width=0.36, color=colour, label=label)
        left.vlines(at, low, high, color=drawing.BLACK, linewidth=1.3)
    left.set_xticks(range(len(runs)), list(runs))
    left.set_xlim(-0.7, len(runs) - 0.3)
    left.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    left.set_ylabel("accuracy, 95 % interval")
    for number, (name, run) in enumerate(runs.items()):
        stages = run["std_relative_to_uniform"]
        colour, style, marker = drawing.of_run(number)
        right.plot(range(1, 1 + len(stages)), list(stages.values()), style, color=colour, marker=marker, label=name)
    right.set_xticks(range(1, 1 + max(len(run["std_relative_to_uniform"]) for run in runs.values())))
    right.set_ylim(bottom=0)
    right.set_xlabel("stage")
    right.set_ylabel("std of M relative to a uniform mask")
    for axes in (left, right):
        drawing.tidy(axes)
    left.grid(axis="x", visible=False)
    left.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2, columnspacing=1.2)
    right.legend(frameon=False)
    figure.suptitle(f"What the masks do: {outputs.images_of(report)}", fontsize=11)
    return outputs.save_figure(figure, stem)


def headline(report: dict[str, Any]) -> list[str]:
    """Accuracy with and without, the difference and the masks' spread, in plain text."""
    lines = [f"{outputs.images_of(report)}; 95 % intervals"]
    for name, run in report["runs"].items():
        cells = (
            f"{t} {outputs.interval(run[k])}" for t, k in (("with masks", "with_masks"), ("uniform", "uniform_masks"))
        )
        test = run["mcnemar"]
        lines.append(f"{name}: " + ", ".join(cells))
        lines.append(
            f"  difference {outputs.interval(run['difference'])}, McNemar p = {test['p']:.3g} "
            f"({test['only_with']} right only with, {test['only_uniform']} only without)"
        )
        spread = run["std_relative_to_uniform"]
        lines.append("  std(M / uniform) " + ", ".join(f"{stage} {value:.3f}" for stage, value in spread.items()))
    return lines
