"""Images a second of the project's training step for each network, beside timm's loop on the same network and batch.

    python benchmarks/throughput.py --store stores/fer2013 --out results/throughput.json [RECIPE …] [--profile RECIPE]

    mien           as ``mien train`` does it         mien, SAM           the same with SAM: two passes a step
    mien, compiled as ``--compile`` does it          mien, CUDA graphs   as ``--cuda-graphs`` does it (on CUDA)
    timm           a loop of timm's own parts (``timm_loop.py``), pictures in memory, worker processes

Blocks of steps, all of them in turn, so that a busy machine slows them alike; the first block of each is thrown away,
the median of the others counts. FLOPs of an image: 2 × multiply-accumulates × 3 (forward once, backward twice); SAM's
second pass counts nothing. The share of the chip's peak is of its data sheet's dense bf16 figure. Recipes' teachers are
left out, and timm's loop leaves out what losses a network has of its own. On CUDA every network is profiled and what
bounds it is said, by the rule of ``where_time_goes.py``; on a CPU only those named by --profile, and nothing is said.

Failures are recorded, and the others continue; the file is written after each recipe.
"""

import argparse
import gc
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mien.atomic import write_text
from mien.data.store import Split, Store
from mien.evaluation.costs import cost_of_recipe
from mien.training.compiling import as_written, compiler
from mien.training.device import choose_device
from mien.training.recipe import Recipe
from steps import OwnLoop, decided, device_name, recipe_from_scratch, training_pictures
from timm_loop import TimmLoop
from where_time_goes import peak_tflops, watch

DEFAULT = (
    "compact", "nano-base", "resnet34_unet_eca/scratch", "resmaskingnet/scratch", "swin_t/scratch", "swin_t_se/scratch",
    "vit_hybrid_se/scratch", "cbam_resnet50/scratch", "vggnet/scratch", "vgg_spinalnet/scratch", "lhcnet/scratch",
    "emonext/scratch", "dan/scratch", "efficientnet_b2_multitask/scratch",
)  # fmt: skip
LOOPS = ("mien", "mien, compiled", "mien, CUDA graphs", "mien, SAM", "timm")
Loop = OwnLoop | TimmLoop


def loops(name: str, split: Split, options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], Loop]]:
    """What is compared on a recipe: each is made when it is first needed."""
    changes = {"batch_size": str(options.batch_size)} if options.batch_size else {}
    recipe = recipe_from_scratch(name, optimizer__sam="null", **changes)
    with_sam = recipe_from_scratch(name, optimizer__sam="{rho: 0.05}", **changes)
    data = training_pictures(recipe, split, device=device)

    def own(recipe: Recipe, compile_: Any = as_written) -> Callable[[], Loop]:
        return lambda: OwnLoop(recipe, data, device=device, compiler=compile_)

    return {
        "mien": own(recipe),
        "mien, compiled": own(recipe, compiler()),
        "mien, CUDA graphs": own(recipe, compiler(cuda_graphs=True)),
        "mien, SAM": own(with_sam),
        "timm": lambda: TimmLoop(recipe, split, device=device, workers=options.workers),
    }


def measure(name: str, split: Split, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Everything about one recipe."""
    recipe = decided(recipe_from_scratch(name), device)
    cost = cost_of_recipe(recipe.model_dump(mode="json"))
    flops = 6 * cost["macs"] if cost else None
    makers = loops(name, split, options, device)
    made: dict[str, Loop] = {}
    rates: dict[str, list[float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for number in range(options.blocks + 1):
        for kind in options.loops:
            if "failed" in rows.get(kind, {}):
                continue
            started = time.perf_counter()
            try:
                made[kind] = made.get(kind) or makers[kind]()
                rate, memory = _block(made[kind], options, device)
            except Exception as error:  # one that cannot be compiled or does not fit; the others can
                what = " ".join(str(error).split())[:300]
                rows[kind] = {"failed": f"{type(error).__name__}: {what}"}
                print(f"warning: {name}, {kind}: {rows[kind]['failed']}", file=sys.stderr, flush=True)
                continue
            if number == 0:
                rows[kind] = {"seconds_of_first_block": round(time.perf_counter() - started, 1)}
            else:
                rates.setdefault(kind, []).append(rate)
                rows[kind]["peak_memory_gib"] = memory
    timm = statistics.median(rates["timm"]) if "timm" in rates else None
    peak = peak_tflops(device_name(device))
    for kind, seen in rates.items():
        rate = statistics.median(seen)
        tflops = rate * flops / 1e12 if flops else None
        rows[kind] |= {
            "images_per_second": round(rate, 1),
            "lowest": round(min(seen), 1),
            "highest": round(max(seen), 1),
            "of_timm": round(rate / timm, 3) if timm else None,
            "tflops": round(tflops, 3) if tflops else None,
            "share_of_peak": round(tflops / peak, 4) if tflops and peak else None,
        }
    about: dict[str, Any] = {
        "recipe": name,
        "network": recipe.model.name,
        "input": recipe.data.window or recipe.data.size,
    }
    about |= {"batch": options.batch_size or recipe.batch_size, "precision": recipe.precision}
    about |= {"parameters": cost.get("parameters"), "macs": cost.get("macs"), "flops_a_training_image": flops}
    if {"mien", "mien, SAM"} <= rates.keys():
        about["sam_over_plain"] = round(statistics.median(rates["mien"]) / statistics.median(rates["mien, SAM"]), 3)
    about["loops"] = rows
    if device.type == "cuda" or name in options.profile:
        try:
            about["profiles"] = _profiles(made, rates, options)
        except Exception as error:  # the rates are already measured; a failing profiler does not matter
            print(f"warning: {name}: no profile: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return about


def _block(loop: Loop, options: argparse.Namespace, device: torch.device) -> tuple[float, float | None]:
    """Images a second, and the most memory that torch had in use at once (GiB; None on a CPU)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    rate = loop.images_per_second(options.steps, warmup=options.warmup)
    return rate, round(torch.cuda.max_memory_allocated() / 2**30, 3) if device.type == "cuda" else None


def _profiles(made: dict[str, Loop], rates: dict[str, list[float]], options: argparse.Namespace) -> dict[str, Any]:
    """Of the plain step and of the fastest of ours."""
    own = {kind: statistics.median(seen) for kind, seen in rates.items() if isinstance(made[kind], OwnLoop)}
    own.pop("mien, SAM", None)
    found = {}
    for kind in dict.fromkeys(["mien", max(own, key=lambda kind: own[kind])] if own else []):
        loop = made.get(kind)
        if isinstance(loop, OwnLoop) and kind in own:
            found[kind] = watch(loop, step_seconds=loop.batch / own[kind], warmup=options.warmup)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    head = f"{'recipe':34}{'loop':20}{'images/s':>11}{'range':>20}"
    lines = [f"{head}{'× timm':>8}{'TFLOP/s':>9}{'of peak':>9}{'GiB':>7}  bound"]
    for row in rows:
        for kind, seen in row["loops"].items():
            if "failed" in seen:
                lines.append(f"{row['recipe']:34}{kind:20}  failed: {seen['failed'][:60]}")
                continue
            span = f"{seen['lowest']:,.0f} – {seen['highest']:,.0f}"
            cells = [_cell(seen["of_timm"], "{:.2f}"), _cell(seen["tflops"], "{:.2f}")]
            cells += [_cell(seen["share_of_peak"], "{:.1%}"), _cell(seen["peak_memory_gib"], "{:.2f}")]
            what = row.get("profiles", {}).get(kind, {}).get("bound") or ""
            lines.append(
                f"{row['recipe']:34}{kind:20}{seen['images_per_second']:>11,.0f}{span:>20}"
                f"{cells[0]:>8}{cells[1]:>9}{cells[2]:>9}{cells[3]:>7}  {what}"
            )
        if "sam_over_plain" in row:
            lines.append(f"{row['recipe']:34}{'SAM over plain':20}{row['sam_over_plain']:>11.3f}")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def costs(row: dict[str, Any]) -> str:
    """The largest costs of a profiled recipe, in lines."""
    lines = []
    for kind, found in row.get("profiles", {}).items():
        busy = "" if found["busy"] is None else f"; device busy {found['busy']:.0%}, bound by {found['bound']}"
        lines.append(f"{row['recipe']}, {kind}: {found['costs_are']}{busy}")
        lines += [f"  {cost['share']:6.1%}  {cost['ms_a_step']:8.3f} ms  {cost['name']}" for cost in found["costs"]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=list(DEFAULT))
    parser.add_argument("--store", required=True)
    parser.add_argument("--loops", nargs="+", choices=LOOPS, help="default: all, compiled ones on CUDA alone")
    parser.add_argument(
        "--profile", action="append", default=[], metavar="RECIPE", help="name its three largest costs; may repeat"
    )
    parser.add_argument("--blocks", type=int, default=3, help="that count, beside the first one")
    parser.add_argument("--steps", type=int, default=20, help="of a block, that count")
    parser.add_argument("--warmup", type=int, default=5, help="steps of a block before those (2 or more)")
    parser.add_argument("--batch-size", type=int, help="in place of the recipes' own")
    parser.add_argument("--limit", type=int, help="only N pictures in memory")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="timm's processes")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    parser.add_argument("--seconds", type=float, help="begin no recipe after that long")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device, started = choose_device("auto"), time.perf_counter()
    if not options.loops:
        options.loops = [kind for kind in LOOPS if device.type == "cuda" or kind in ("mien", "mien, SAM", "timm")]
    split = Store.open(options.store).read("training").limited(options.limit)
    about: dict[str, Any] = {
        "what": "images a second of a training step, ours and one of timm's parts, and what they take of the chip",
        "command": shlex.join(["python", *sys.argv]),
        "device": device_name(device),
        "peak_tflops": peak_tflops(device_name(device)),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "workers": options.workers,
        "torch": torch.__version__,
        "blocks": options.blocks,
        "steps": options.steps,
        "not_begun": [],
        "rows": [],
    }
    if about["peak_tflops"] is None:
        print(f"note: the bf16 peak of {about['device']} is not known here; no share of it is given", file=sys.stderr)
    for number, name in enumerate(options.recipes):
        if options.seconds and time.perf_counter() - started > options.seconds:
            about["not_begun"] = options.recipes[number:]
            print(f"note: out of time; not begun: {', '.join(about['not_begun'])}", file=sys.stderr)
            break
        row = measure(name, split, options, device)
        about["rows"].append(row)
        print("\n".join(filter(None, (table([row]), costs(row)))), file=sys.stderr, flush=True)
        if options.out:
            write_text(options.out, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        torch.compiler.reset()
    print("\n".join([table(about["rows"]), *filter(None, map(costs, about["rows"]))]))
    if options.out:
        write_text(options.out, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
