"""Is the machine ready? Versions, room, and a few training steps of every network, before a stage depends on it.

A network passes where its loss is a number, and none of its steps made the host wait for the device (CUDA can tell).
``nano-base`` is taken as it is, compiled, as CUDA graphs and with SAM: all must start from the same loss, and all but
SAM come to the same. Needs no store: the pictures are noise. Several processes share the networks, since most of the
time goes into starting.
"""

import importlib
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch

from mien.data.store import Split
from mien.training.compiling import as_written, compiler
from mien.training.device import choose_device
from steps import OwnLoop, now, recipe_from_scratch, training_pictures

WAYS = ("eager", "compiled", "cuda graphs", "sam")
NETWORKS = (
    "compact", "nano-base", "resnet34_unet_eca/scratch", "resnet34_unet_eca/scratch-sigmoid",
    "resnet34_unet_eca/scratch-doubling", "resnet34_unet_eca/scratch-nomask", "resmaskingnet/scratch", "swin_t/scratch",
    "swin_t_se/scratch", "swin_t/pretrain", "vit_hybrid_se/scratch", "cbam_resnet50/scratch", "vggnet/scratch",
    "vgg_spinalnet/scratch", "lhcnet/scratch", "emonext/scratch", "dan/scratch", "efficientnet_b2_multitask/scratch",
)  # fmt: skip
#: What stages need beside it, whole: a package may be there and lack one of its own needs.
IMPORTS = (
    "sklearn.metrics", "sklearn.linear_model", "scipy.optimize", "matplotlib.figure", "pyarrow.parquet", "tensorboard",
    "torchmetrics", "mien.training.run", "mien.evaluation.evaluate", "record", "running", "timm_loop",
)  # fmt: skip
PACKAGES = ("torch", "torchvision", "triton", "timm", "lightning", "numpy", "pydantic", "pyarrow", "scikit-learn")
BATCH, STEPS = 128, 6


class _Steps(L.Callback):
    """Losses of the first steps, milliseconds of the last three, and where they made the host wait."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.waits: list[str] = []
        self.milliseconds = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        figures = module._train._sums["train_loss"]
        self.losses.append(figures.clone())
        if len(self.losses) == STEPS - 3:
            self._started = now()
            if torch.cuda.is_available():
                self._caught = warnings.catch_warnings(record=True)
                self._said = self._caught.__enter__()
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
        if len(self.losses) == STEPS:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")
                self._caught.__exit__(None, None, None)
                self.waits = [str(one.message) for one in self._said if "called a synchronizing" in str(one.message)]
            self.milliseconds = (now() - self._started) * 1e3 / 3


def step(name: str, way: str, *, batch: int = BATCH) -> dict[str, Any]:
    """A few training steps on noise: first loss, ms a step, what waited."""
    device = choose_device("auto")
    recipe = recipe_from_scratch(name, batch_size=str(batch), optimizer__sam="{rho: 0.05}" if way == "sam" else "null")
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (2 * batch, 48, 48), dtype=np.uint8)
    votes = np.full((2 * batch, 10), np.nan, np.float32)
    paths = [str(row) for row in range(2 * batch)]
    split = Split("training", paths, pictures, np.arange(2 * batch) % 7, votes, None)
    data = training_pictures(recipe, split, device=device)
    compile_ = {"compiled": compiler(), "cuda graphs": compiler(cuda_graphs=True)}.get(way, as_written)
    torch.manual_seed(0)
    loop, watch, started = OwnLoop(recipe, data, device=device, compiler=compile_), _Steps(), time.perf_counter()
    loop.run(STEPS, watch)
    # two batches an epoch, whose sums begin anew: the last step is the second one of its epoch
    first, last = (float(sums) / batch for sums in (watch.losses[0], watch.losses[-1] - watch.losses[-2]))
    return {
        "network": name, "way": way, "first": first, "last": last, "ms": round(watch.milliseconds, 2),
        "seconds": round(time.perf_counter() - started, 1), "waits": watch.waits,
    }  # fmt: skip


def machine(home: Path) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} missing")
    room = ", ".join(
        f"{place} {shutil.disk_usage(place).free / 2**30:.0f} GiB"
        for place in ("/dev/shm", home)
        if Path(place).exists()
    )
    device = "no CUDA device"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        device = f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, CUDA "
        device += f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"python {platform.python_version()}, {', '.join(versions)}\n{device}; {os.cpu_count()} CPUs; free: {room}"


def missing_modules() -> list[str]:
    """What cannot be imported, with why."""
    found = []
    for name in IMPORTS:
        try:
            importlib.import_module(name)
        except Exception as error:
            found.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return found


def check(
    home: Path, *, processes: int, seconds: float, networks: tuple[str, ...] = NETWORKS, batch: int = BATCH
) -> int:
    """Exit status 1 where something does not work, or was not heard of in time; all of it is said."""
    end = time.monotonic() + seconds
    print(machine(home), flush=True)
    cuda = torch.cuda.is_available()
    work = [(name, "eager") for name in networks]
    work += [("nano-base", way) for way in WAYS[1:] if cuda or way == "sam"]
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    few = {"OMP_NUM_THREADS": threads, "TORCHINDUCTOR_COMPILE_THREADS": threads}
    queues = [work[number::processes] for number in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).parent), "steps", json.dumps(queue), "--batch", str(batch)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | few,
        )
        for queue in queues if queue
    ]  # fmt: skip
    absent = missing_modules()
    print(
        "\n".join(f"FAILED import of {what}" for what in absent) or "everything that stages import is there", flush=True
    )
    rows: list[dict[str, Any]] = []
    for process in started:
        try:
            out, err = process.communicate(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        rows += [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        if process.returncode:
            print("\n".join(err.strip().splitlines()[-15:]), flush=True)
    for row in sorted(rows, key=lambda row: (row["network"], row["way"])):
        print(_line(row), flush=True)
    missing = [f"{name} ({way})" for name, way in work if (name, way) not in {(r["network"], r["way"]) for r in rows}]
    nano = {row["way"]: row for row in rows if row["network"] == "nano-base" and "first" in row}
    begin = _apart([row["first"] for row in nano.values()])
    end = _apart([row["last"] for way, row in nano.items() if way != "sam"])  # which climbs before it descends
    wrong = [row for row in rows if "failed" in row or not math.isfinite(row["last"])]
    print(f"nano-base, by {', '.join(nano)}: losses are {begin:.2%} apart at first, {end:.2%} after {STEPS} steps")
    if missing:
        print(f"FAILED nothing was heard of {', '.join(missing)}")
    return int(bool(absent or wrong or missing) or begin > 0.01 or end > 0.05)


def _apart(losses: list[float]) -> float:
    return max(losses) / min(losses) - 1 if losses else 0.0


def _line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"FAILED {row['network']:36}{row['way']:12} {row['failed']}"
    waits = f"; waits {len(row['waits'])}×: {row['waits'][0][:100]}" if row["waits"] else ""
    what = f"{row['first']:.4f} → {row['last']:.4f}{row['ms']:9.1f} ms a step{row['seconds']:7.1f} s in all"
    return f"ok     {row['network']:36}{row['way']:12} {what}{waits}"


def steps(queue: list[tuple[str, str]], *, batch: int) -> int:
    """The work of one process: a line of JSON for each network; one that fails does not stop the others."""
    for name, way in queue:
        try:
            row = step(name, way, batch=batch)
        except Exception as error:
            row = {
                "network": name,
                "way": way,
                "failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            }
        print(json.dumps(row), flush=True)
        torch.compiler.reset()
    return 0
