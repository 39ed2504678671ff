"""The loss landscape around trained weights, for one run or several on one scale: with and without SAM, say.

Vats & Chadha's Fig. 4 (arXiv 2301.10906) shows landscapes of other networks on ImageNet; this draws those of the runs
that are given. Directions are random and filter-normalised (``directions.py``), the same draw for runs of one
architecture; steps are in units of the weights' own length. Batch norms use their running statistics (eval), so that
the surface is that of the evaluated network. Loss: mean cross-entropy over the images, without smoothing or decay.

    landscape.json               all numbers          landscape.png, .svg        contours, and cuts through them
    landscape-RUN.rows.json      what is computed already; the same call resumes from it
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mien import drawing
from mien.data.store import Split
from mien.errors import UsageError
from mien.evaluation.analysis import inputs, outputs, sharpness
from mien.evaluation.analysis.directions import Batches, along, filter_normalised
from mien.evaluation.analysis.inputs import Advance, Network, Settings

POINTS, SPAN, IMAGES = 21, 1.0, 1000


def landscape(settings: Settings, *, points: int = POINTS, span: float = SPAN) -> dict[str, Any]:
    """Write the files named above; returns the report. ``settings.limit`` is 1,000 where None.

    points: of the grid along each direction, odd, so that the trained weights are one of them; the cut has twice as
    many. span: the last step to each side. Raises UsageError, DataError or OutputError where something does not fit.
    """
    if points < 3 or points % 2 == 0 or not span > 0:
        raise UsageError(f"expected an odd number of points from 3 and a positive span, got {points} and {span}")
    grid, cut = np.linspace(-span, span, points), np.linspace(-span, span, 2 * points - 1)

    def one(name: str, network: Network, split: Split, advance: Advance) -> dict[str, Any]:
        question = _question(network, split, settings.seed, grid)
        rows = outputs.Rows(settings.out / f"landscape-{name}.rows.json", question)
        return network.describe() | measure(network, split, rows, grid, cut, settings.seed, advance)

    return replace(settings, limit=settings.limit or IMAGES).report(
        "landscape",
        inputs.open_networks(settings),
        one,
        head={"grid": grid.tolist(), "cut": cut.tolist()},
        steps=points + 1 + sharpness.ITERATIONS + 2,  # rows, the cut, products, two ascents
        draw=draw,
    )


def _question(network: Network, split: Split, seed: int, grid: Any) -> str:
    """A digest of weights, preprocess, images, labels, seed and grid."""
    digest = hashlib.sha256(f"1 {seed} {grid.tolist()} {network.preprocess.to_json()}".encode())
    for name, value in network.module.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    digest.update(split.images.tobytes() + split.labels.tobytes())
    return digest.hexdigest()[:32]


def measure(
    network: Network, split: Split, rows: outputs.Rows, grid: Any, cut: Any, seed: int, advance: Advance
) -> dict[str, Any]:
    """All numbers of one run. advance: called with the number of steps that are done, before and after each that is
    not among ``rows``."""
    batches: Batches = list(inputs.batches(network, split))
    module, done = network.module, 0
    first, second = (filter_normalised(module, seed=2 * seed + number) for number in (0, 1))

    def step() -> None:
        nonlocal done
        done += 1
        advance(done)

    def row(key: str, compute: Callable[[], Any]) -> Any:
        nonlocal done
        tell = advance if key not in rows else None
        if tell:
            tell(done)
        value = rows.get(key, compute)
        done += 1
        if tell:
            tell(done)
        return value

    line = row("cut", lambda: along(module, batches, [first], [(a,) for a in cut]))
    surface = []
    for b in grid:
        points = [(a, b) for a in grid]
        surface.append(row(f"{b:.6f}", partial(along, module, batches, [first, second], points)))

    def eigenvalue() -> dict[str, Any]:
        return sharpness.top_eigenvalue(
            lambda v: sharpness.hessian_times(module, batches, v), list(module.parameters()), seed=seed, step=step
        )

    top = rows.get("eigenvalue", eigenvalue)
    done = len(grid) + 1 + sharpness.ITERATIONS
    result: dict[str, Any] = {"loss": line[len(cut) // 2], "top_hessian_eigenvalue": top}
    for key, rho, adaptive in (("sam", sharpness.RHO, False), ("asam", sharpness.ADAPTIVE_RHO, True)):

        def ascent(rho: float = rho, adaptive: bool = adaptive) -> dict[str, float]:
            return sharpness.ascent_sharpness(module, batches, rho=rho, adaptive=adaptive, seed=seed)

        result[f"{key}_sharpness"] = row(key, ascent)
    return result | {"cut": line, "surface": surface}


def draw(report: dict[str, Any], stem: Path) -> list[str]:
    """Contours of every run on the same levels, and the cuts along the first direction in one plot below."""
    from matplotlib.colors import LogNorm
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    runs, grid = report["runs"], np.array(report["grid"])
    surfaces = {name: np.array(run["surface"], float) for name, run in runs.items()}
    lowest = max(min(np.nanmin(s) for s in surfaces.values()), 1e-4)
    highest = max(max(np.nanmax(s) for s in surfaces.values()), lowest * 1.05)
    levels = np.geomspace(lowest * 0.999, highest * 1.001, 14)
    columns = min(3, len(runs))
    lines = -(-len(runs) // columns)
    figure = drawing.new_figure(max(5.6, 1.2 + 3.6 * columns), 3.5 * lines + 3.3)
    layout = figure.add_gridspec(lines + 1, columns, height_ratios=[3.4] * lines + [2.9])
    panels = []
    for number, (name, run) in enumerate(runs.items()):
        axes = figure.add_subplot(layout[number // columns, number % columns])
        norm = LogNorm(levels[0], levels[-1])
        filled = axes.contourf(grid, grid, surfaces[name], levels=levels, norm=norm, cmap="cividis_r")
        drawn = axes.contour(grid, grid, surfaces[name], levels=levels[::2], colors="white", linewidths=0.6)
        for text in axes.clabel(drawn, fmt=lambda value: f"{value:.3g}", fontsize=7, colors="black"):
            text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        axes.plot(0, 0, "+", color="black", markersize=9)
        axes.set_aspect("equal")
        axes.set_xticks(np.linspace(grid[0], grid[-1], 5))
        axes.set_yticks(np.linspace(grid[0], grid[-1], 5))
        axes.set_title(f"{name}\ntop eigenvalue {run['top_hessian_eigenvalue']['value']:.3g}", fontsize=10, loc="left")
        axes.set_xlabel("first direction")
        if number % columns == 0:
            axes.set_ylabel("second direction")
        panels.append(axes)
    bar = figure.colorbar(filled, ax=panels, shrink=0.9, aspect=26, ticks=_ticks(levels[0], levels[-1]))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.set_label("loss (nats)")
    axes = figure.add_subplot(layout[lines, :])
    for number, (name, run) in enumerate(runs.items()):
        colour, style, _ = drawing.of_run(number)
        axes.plot(report["cut"], np.array(run["cut"], float), style, color=colour, label=name, linewidth=1.6)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("step along the first direction, in units of the weights' own length")
    axes.set_ylabel("loss (nats)")
    axes.set_xlim(grid[0], grid[-1])
    drawing.tidy(axes)
    axes.legend(frameon=False)
    figure.suptitle(f"Loss around the trained weights: {outputs.images_of(report)}", fontsize=11)
    return outputs.save_figure(figure, stem)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive ones: even steps within a decade, else 1-2-5."""
    if high < 10 * low:
        from matplotlib.ticker import MaxNLocator

        return [float(t) for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high]
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**e for e in decades for m in (1, 2, 5) if low <= m * 10.0**e <= high]


def headline(report: dict[str, Any]) -> list[str]:
    """Loss and sharpness of each run, in plain text."""
    lines = [f"{outputs.images_of(report)}; losses in nats, 95 % intervals"]
    for name, run in report["runs"].items():
        top = run["top_hessian_eigenvalue"]
        sure = "" if top["converged"] else ", not converged"
        cells = [f"loss {_shown(run['loss'])}", f"top eigenvalue {top['value']:.4g} ± {top['residual']:.2g}{sure}"]
        for key, word in (("sam_sharpness", "SAM sharpness"), ("asam_sharpness", "adaptive")):
            cells.append(f"{word} (ρ {run[key]['rho']:g}) {outputs.interval(run[key], '.4f')}")
        cells.append(f"loss at ±{report['cut'][-1]:g}: {_shown(run['cut'][0])}, {_shown(run['cut'][-1])}")
        lines.append(f"{name}: " + "; ".join(cells))
    return lines


def _shown(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.4g}"
