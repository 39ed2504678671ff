"""Fixtures that several rooms share: real photos, a tiny model with known answers, the real data set where it is."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import long_tests
from mien.labels import SEVEN
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from mien.data.store import Split

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the processes that they stop.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(long_tests)


# A label's logit is GAIN × the mean of its own 16×16 cell of the normalised crop, cells counted row by row
GAIN = 4.0
TEMPERATURE = 2.0

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_answer() -> Callable[..., np.ndarray]:
    """What the tiny model must say, in closed form: tiny_answer(pixels, temperature=…) → probabilities N×7.

    pixels: float N×1×48×48 in 0-255, as a file holds them.
    """

    def answer(pixels: np.ndarray, *, temperature: float = TEMPERATURE) -> np.ndarray:
        batch = (np.asarray(pixels, np.float64)[:, 0] / 255 - 0.5) / 0.25
        cells = batch.reshape(len(batch), 3, 16, 3, 16).mean(axis=(2, 4)).reshape(len(batch), 9)
        powers = np.exp(GAIN * cells[:, :7] / temperature)
        return powers / powers.sum(axis=1, keepdims=True)

    return answer


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Builds a tiny ONNX reader: make_model(labels=…, input=…, **metadata to change; None drops a key)."""

    def make(labels: tuple[str, ...] = SEVEN, input: str = "crops", **metadata: str | None) -> Path:
        weight = np.zeros((9, len(labels)), np.float32)
        for i in range(len(labels)):
            weight[i, i] = GAIN
        graph = helper.make_graph(
            [
                helper.make_node("AveragePool", [input], ["cells"], kernel_shape=[16, 16], strides=[16, 16]),
                helper.make_node("Flatten", ["cells"], ["flat"]),
                helper.make_node("Gemm", ["flat", "weight"], ["logits"]),
            ],
            "tiny",
            [helper.make_tensor_value_info(input, TensorProto.FLOAT, ["N", 1, 48, 48])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(labels)])],
            [numpy_helper.from_array(weight, "weight")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        raw: dict[str, str | None] = {
            "mien.format": "1",
            "mien.name": "tiny",
            "mien.labels": json.dumps(labels),
            "mien.preprocess": Preprocess().to_json(),
            "mien.temperature": str(TEMPERATURE),
            "mien.provenance": json.dumps({"made": "by a test"}),
        }
        raw.update({key.replace("__", "."): value for key, value in metadata.items()})
        for key, value in raw.items():
            if value is not None:
                entry = model.metadata_props.add()
                entry.key, entry.value = key, value
        path = tmp_path_factory.mktemp("model") / "tiny.onnx"
        onnx.save(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model: MakeModel) -> Path:
    return make_model()


def _package_file(package: str, relative: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the photo comes with {package}, which is not installed")
    return Path(spec.origin).parent / relative


@pytest.fixture(scope="session")
def grace_hopper() -> Path:
    """A real photo with one face, 512×600 (public domain)."""
    return _package_file("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A real photo with one smiling face, 512×512 (public domain)."""
    return _package_file("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def fer2013_dir() -> Path:
    """The real data set: $MIEN_FER2013, or shared/data/fer2013 beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "fer2013"
    path = Path(os.environ.get("MIEN_FER2013") or beside)
    if not (path / "public_test.parquet").is_file():
        pytest.skip(f"FER2013 is not at {path}; set MIEN_FER2013 to its folder")
    return path


Drawings = list[tuple[object, str, object]]


@pytest.fixture(scope="module")
def without_figures() -> Iterator[Drawings]:
    """Evaluations draw none, which takes most of their time; test_figures.py, test_page.py, test_evaluate.py look."""
    from mien.evaluation import evaluate, figures, page_figures

    drawn = [(figures, "confusion_figure"), (figures, "reliability_figure")]
    drawn += [(page_figures, f"{name}_figure") for name in ("recall", "votes", "groups")]
    with pytest.MonkeyPatch.context() as patch:
        real: Drawings = [(evaluate, "drawing", evaluate.drawing)]
        patch.setattr(evaluate, "drawing", SimpleNamespace(save=lambda figure, stem: b"<svg/>"))
        for module, name in drawn:
            real.append((module, name, getattr(module, name)))
            patch.setattr(module, name, lambda *_, **__: None)
        yield real


@pytest.fixture
def with_figures(without_figures: Drawings, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test whose module draws none: evaluations draw them."""
    for module, name, real in without_figures:
        monkeypatch.setattr(module, name, real)


def _once(factory: pytest.TempPathFactory, name: str, *command: str) -> tuple[Path, str]:
    """A folder that ``mien COMMAND -o FOLDER`` makes once for all of pytest-xdist's workers, and what it printed."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    printed = folder.with_suffix(".txt")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the worker that comes second waits
        if not printed.is_file():
            call = [sys.executable, "-m", "mien.cli.app", *command, "-o", str(folder)]
            printed.write_text(subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return folder, printed.read_text()


@pytest.fixture(scope="session")
def fer2013_store(fer2013_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that ``mien data build`` makes of the real data set, in two processes. Not to be changed."""
    build = ("data", "build", "--source", f"fer2013={fer2013_dir}", "--workers", "2")
    return _once(tmp_path_factory, "fer2013-store", *build)[0]


@pytest.fixture(scope="session")
def fer2013_audit(fer2013_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What ``mien data audit`` writes and prints about it."""
    return _once(tmp_path_factory, "fer2013-audit", "data", "audit", str(fer2013_store))


@pytest.fixture(scope="session")
def fer2013_splits(fer2013_store: Path) -> "dict[str, Split]":
    """Its images in memory, split by split."""
    from mien.data.store import Store

    store = Store.open(fer2013_store)
    return {name: store.read(name) for name in ("training", "public_test", "private_test")}


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 140 training and 70 PublicTest pictures with 35 unlabelled PrivateTest ones; classes are learnable.

    Each class is a bright bar at its own angle, on noise. Training has FER+-like votes for the first 100.
    """
    from mien.data.build.run import build_store
    from mien.data.sources import open_source

    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("source")
    rows, columns = np.mgrid[-24:24, -24:24]
    lines = ["emotion,pixels,Usage"]
    for usage, count in (("Training", 140), ("PublicTest", 70), ("PrivateTest", 35)):
        for i in range(count):
            angle = np.pi * (i % 7) / 7
            bar = 150 * np.exp(-((rows * np.cos(angle) + columns * np.sin(angle)) ** 2) / 30)
            pixels = np.clip(60 + bar + random.normal(0, 25, (48, 48)), 0, 255).astype(int)
            lines.append(f"{i % 7},{' '.join(map(str, pixels.ravel()))},{usage}")
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n")
    store = tmp_path_factory.mktemp("store") / "small"
    build_store([open_source("fer2013", folder)], store)
    return store


@pytest.fixture(scope="session")
def trained_run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was really trained, for everything that comes after training."""
    from mien.data.store import Store
    from mien.training.run import train
    from small_run import small_recipe

    run = tmp_path_factory.mktemp("runs") / "small"
    train(small_recipe(), Store.open(small_store), run, accelerator="cpu", threads=1)
    return run
