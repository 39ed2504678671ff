"""Where a training step's time goes, by torch's profiler: which kernels, how busy the device is, what bounds it.

The rule is coarse, and meant to be. The profiler slows the host down, not the kernels; so the kernels' seconds of a
profiled step are set against the seconds of a step that nobody watched:

    host      the device works less than 70 % of a step: it waits for launches, or for data
    compute   it works, and at least half of its time in matrix products and convolutions
    memory    it works, mostly in everything else: norms, activations, copies, whose time is what they read and write
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity

from steps import OwnLoop, now

BUSY, MATRIX = 0.7, 0.5
_MATRIX = re.compile(r"gemm|conv|xmma|cutlass|nvjet|wgrad|dgrad|fprop|flash|fmha|triton_tem|mma_", re.IGNORECASE)
#: dense bf16, TFLOP/s, by NVIDIA's data sheets
_PEAKS = (("H100 PCIe", 756.0), ("H100", 989.0), ("H200", 989.0))


def peak_tflops(device: str) -> float | None:
    """The data sheet's dense bf16 peak of a device, by its name; None for one that is not known, and for a CPU."""
    return next((peak for name, peak in _PEAKS if name.lower() in device.lower()), None)


def device_work(trace: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, start and end (µs) of what ran on the device, from a Chrome trace: kernels, copies and fills alone."""
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    found = (event for event in trace["traceEvents"] if event.get("cat") in kinds and event.get("ph") == "X")
    return [(event["name"], float(event["ts"]), float(event["ts"]) + float(event["dur"])) for event in found]


def busy_seconds(work: Iterable[tuple[str, float, float]]) -> float:
    """How long at least one thing was running."""
    total, until = 0.0, float("-inf")
    for _, start, end in sorted(work, key=lambda item: item[1]):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total / 1e6


def matrix_share(work: Iterable[tuple[str, float, float]]) -> float:
    """Of the time of all kernels, that of matrix products and convolutions, by their names; 0 where nothing ran."""
    spent = Counter[bool]()
    for name, start, end in work:
        spent[_MATRIX.search(name) is not None] += end - start
    return spent[True] / spent.total() if spent else 0.0


def bound(*, busy: float, matrix: float) -> str:
    """busy: share of a step in which the device works. matrix: see :func:`matrix_share`."""
    if busy < BUSY:
        return "host"
    return "compute" if matrix >= MATRIX else "memory"


class _Watch(L.Callback):
    """Profiles the steps after the first ``warmup``."""

    def __init__(self, *, warmup: int) -> None:
        self.warmup, self.steps = warmup, 0
        kinds = [ProfilerActivity.CPU]
        self.profiler = torch.profiler.profile(
            activities=[*kinds, ProfilerActivity.CUDA] if torch.cuda.is_available() else kinds
        )

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps += 1
        if self.steps == self.warmup:
            now()
            self.profiler.start()

    def on_train_end(self, *_: Any) -> None:
        now()
        self.profiler.stop()


def watch(loop: OwnLoop, *, step_seconds: float, warmup: int, steps: int = 5) -> dict[str, Any]:
    """Profile a few steps. step_seconds: what one takes unwatched. On a CPU there is no device to be busy: None."""
    watcher = _Watch(warmup=warmup)
    loop.run(warmup + steps, watcher)
    if loop.device.type != "cuda":
        costs = {row.key: row.self_cpu_time_total for row in watcher.profiler.key_averages()}
        return {"costs_are": "operators, self CPU time", "busy": None, "bound": None, **_largest(costs, steps)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        watcher.profiler.export_chrome_trace(str(file))
        work = device_work(json.loads(file.read_text("utf-8")))
    kernels: dict[str, float] = {}
    for name, start, end in work:
        kernels[name] = kernels.get(name, 0.0) + end - start
    busy, matrix = busy_seconds(work) / steps / step_seconds, matrix_share(work)
    about = {"busy": round(busy, 3), "matrix_share": round(matrix, 3), "bound": bound(busy=busy, matrix=matrix)}
    return about | {
        "costs_are": "kernels, device time",
        "kernels_a_step": len(work) / steps,
        **_largest(kernels, steps),
    }


def _largest(microseconds: Mapping[str, float], steps: int) -> dict[str, Any]:
    """The three largest costs, with their share of all."""
    whole = sum(microseconds.values())
    largest = sorted(microseconds.items(), key=lambda item: -item[1])[:3]
    return {
        "costs": [
            {"name": name[:120], "share": round(spent / whole, 4), "ms_a_step": round(spent / 1e3 / steps, 4)}
            for name, spent in largest
        ]
    }
