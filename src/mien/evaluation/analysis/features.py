"""Clusters of features: before and after the squeeze-and-excitation block, and on the vector that is classified.

Vats & Chadha 2023, arXiv 2301.10906, §3.6 claim that "the features before the SE form more compact clusters with
inter-distance lower than the features after the SE". Taken apart: (a) intra is smaller before, (b) inter is smaller
before. The gate is a factor in 0 … 1, so that it always shrinks features; the claim is therefore judged
on unit-norm features, and the raw ones are reported as well. Each part *holds* where the 95 % interval of the
paired difference after − before lies above 0, is *contradicted* where it lies below, else *undecided*.

Measures and intervals: ``clusters.py``. Figure: principal components and t-SNE (scikit-learn) of unit-norm features,
for the eye only; no number comes from it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien import drawing
from mien.data.store import Split
from mien.evaluation.analysis import clusters, hook_points, inputs, outputs
from mien.evaluation.analysis.inputs import Advance, Network, Settings
from mien.evaluation.metrics import with_percentiles

Float = clusters.Float
#: Images in the scatter plots; more would hide each other, and t-SNE takes their number's square.
DRAWN = 1200


def features(settings: Settings, *, resamples: int = clusters.RESAMPLES) -> dict[str, Any]:
    """Write ``features.json`` and ``features-RUN.png``/``.svg``; returns the report.

    Raises UsageError, DataError or OutputError where runs, split or ``out`` do not fit.
    """

    def measure(name: str, network: Network, split: Split, advance: Advance) -> dict[str, Any]:
        clusters.check_classes(split.labels)
        weights = clusters.resample_weights(split.labels, resamples=resamples, seed=settings.seed)
        found = read_features(network, split, advance)
        stem, title = settings.out / f"features-{name}", f"{name} on {split.name}"
        figures = draw(found, split.labels, network.labels, stem, title=title, seed=settings.seed)
        return network.describe() | compare(found, split.labels, network.labels, weights) | {"figures": figures}

    networks = inputs.open_networks(settings)
    return settings.report("features", networks, measure, head={"resamples": resamples})


def read_features(network: Network, split: Split, advance: Advance) -> dict[str, Float]:
    """float N×D features by hook point: "penultimate", and "before", "after" for a network with an SE block.

    An SE on maps (at the stem) gives each channel's mean over positions. Raises UsageError for a network without a
    linear last layer.
    """
    example = network.batch(split.images[:2])
    wanted = {"penultimate": hook_points.penultimate(network.module, example, classes=len(network.labels))}
    after = hook_points.se_layer(network.module)
    if after is not None:
        wanted |= {"before": hook_points.other_side(after), "after": after}
    parts: dict[str, list[Float]] = {name: [] for name in wanted}
    count = 0
    with torch.no_grad(), hook_points.reading(network.module, list(wanted.values())) as found:
        for images, _ in inputs.batches(network, split):
            network.module(images)
            for (name, point), tensor in zip(wanted.items(), found, strict=True):
                parts[name].append(hook_points.as_vector(tensor, point).double().cpu().numpy())
            count += len(images)
            advance(count)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def compare(found: dict[str, Float], labels: clusters.Int, names: Sequence[str], weights: Float) -> dict[str, Any]:
    """Measures of each hook point on raw and on unit-norm features; with an SE block differences and the verdict."""
    result: dict[str, Any] = {"places": {}}
    drawn: dict[str, dict[str, dict[str, Float]]] = {}
    for point, raw in found.items():
        entry: dict[str, Any] = {"dimensions": raw.shape[1], "rms_norm": float(np.sqrt((raw**2).sum(1).mean()))}
        drawn[point] = {}
        for space, x in (("raw", raw), ("unit", clusters.unit_norm(raw))):
            entry[space], drawn[point][space] = clusters.with_intervals(x, labels, weights)
            entry[space]["intra_by_class"] = {
                names[code]: value for code, value in clusters.per_class_intra(x, labels).items()
            }
        result["places"][point] = entry
    if "before" in found:
        result["difference"] = {
            space: {
                key: with_percentiles(
                    result["places"]["after"][space][key]["value"] - result["places"]["before"][space][key]["value"],
                    drawn["after"][space][key] - drawn["before"][space][key],
                )
                for key in clusters.MEASURES
            }
            for space in ("raw", "unit")
        }
        result["claim"] = {space: verdict(result["difference"][space]) for space in ("raw", "unit")}
    return result


def verdict(difference: dict[str, dict[str, float]]) -> dict[str, str]:
    """What the intervals of after − before say about each part of the paper's claim, and about the whole."""
    parts = {"compact_before": _part(difference["intra"]), "inter_lower_before": _part(difference["inter"])}
    verdicts = set(parts.values())
    whole = "undecided" if "undecided" in verdicts else "contradicted in part"
    if len(verdicts) == 1 and "undecided" not in verdicts:
        whole = "supported" if verdicts == {"holds"} else "contradicted"
    return parts | {"claim": whole}


def _part(difference: dict[str, float]) -> str:
    if difference["low"] > 0:
        return "holds"
    return "contradicted" if difference["high"] < 0 else "undecided"


def draw(
    found: dict[str, Float], labels: clusters.Int, names: Sequence[str], stem: Path, *, title: str, seed: int
) -> list[str]:
    """Scatter plots, side by side: before and after the SE, or the penultimate features alone."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    titles = {"before": "before SE", "after": "after SE", "penultimate": "penultimate features"}
    shown = ("before", "after") if "before" in found else ("penultimate",)
    rows = np.sort(np.random.default_rng(seed).permutation(len(labels))[:DRAWN])
    wide = len(shown) == 1  # both projections of the one hook point side by side
    figure = drawing.new_figure(9.0, 4.9 if wide else 8.6)
    grid = figure.subplots(1, 2, squeeze=False).T if wide else figure.subplots(2, 2)
    for column, name in enumerate(shown):
        x = clusters.unit_norm(found[name])[rows]
        pca = PCA(2, random_state=seed, svd_solver="full").fit(x)
        explained = pca.explained_variance_ratio_.sum()
        _scatter(grid[0][column], pca.transform(x), labels[rows], names)
        grid[0][column].set_title(f"{titles[name]}: PCA, {explained:.0%} of the variance", fontsize=10, loc="left")
        perplexity = float(min(30, max(2, (len(rows) - 1) // 4)))
        flat = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(x)
        _scatter(grid[1][column], flat, labels[rows], names)
        grid[1][column].set_title(f"{titles[name]}: t-SNE, perplexity {perplexity:.0f}", fontsize=10, loc="left")
    handles, texts = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside lower center", ncols=len(texts), frameon=False, markerscale=1.6, columnspacing=1.2
    )
    figure.suptitle(f"{title}: {len(rows):,} images, unit-norm features", fontsize=11)
    return outputs.save_figure(figure, stem)


def _scatter(axes: Any, points: Float, labels: clusters.Int, names: Sequence[str]) -> None:
    for code, name in enumerate(names):
        own = points[labels == code]
        colour, marker = drawing.of_class(code)
        axes.scatter(own[:, 0], own[:, 1], s=12, marker=marker, color=colour, alpha=0.65, linewidths=0.8, label=name)
    axes.set_aspect("equal", adjustable="datalim")  # distances mean the same in both directions
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#bbbbbb")


def headline(report: dict[str, Any]) -> list[str]:
    """The figures of unit-norm features, and the verdict, in plain text."""
    lines = [f"{outputs.images_of(report)}; unit-norm features, 95 % intervals"]
    for name, run in report["runs"].items():
        lines.append(f"{name}: {run['model']}")
        for point, entry in run["places"].items():
            lines.append(f"  {point:15}" + _cells(entry["unit"]))
        if "claim" not in run:
            lines.append("  no SE block in this network: nothing to compare (swin_t_se and vit_hybrid_se have one)")
            continue
        lines.append(f"  {'after − before':15}" + _cells(run["difference"]["unit"]))
        for space in ("unit", "raw"):
            said = run["claim"][space]
            lines.append(
                f"  claim on {space} features: {said['claim']} (more compact before: {said['compact_before']}; "
                f"inter-distance lower before: {said['inter_lower_before']})"
            )
    return lines


def _cells(figures: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {outputs.interval(figures[key], '.4g')}" for key in ("intra", "inter", "ratio", "silhouette")
    )
