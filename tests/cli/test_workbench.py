"""The workbench's commands, as a user types them: train → evaluate → export → read, and what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mien.cli.app import app

runner = CliRunner()
CHANGES = {
    "model.args": "{stem: [8], widths: [16, 32], depths: [1, 1]}",
    "model.init": "scratch",
    "distill": "null",
    "targets.votes": "0",
    "epochs": "2",
    "model.logit_adjustment": "0",
    "ema.decay": "0.5",
    "precision": "fp32",
    "batch_size": "20",
    "augment.flip": "0",
}
SMALL = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
SMALL += ["--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by the command itself, from a shipped recipe made small."""
    out = tmp_path_factory.mktemp("runs") / "nano"
    result = runner.invoke(app, ["train", "nano", "--data", str(small_store), "-o", str(out), *SMALL])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""  # stdout is data; training has none
    assert "epoch 2/2" in result.stderr
    return out


def test_evaluate_prints_the_headline_and_writes_the_report(run: Path, small_store: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(run), "--data", str(small_store), "--split", "public_test", "-o", str(tmp_path / "e")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "e" / "report.json").read_text())
    accuracy = report["figures"]["all"]["accuracy"]["value"]
    assert f"{accuracy:.2%}"[:-1] in result.stdout
    assert "leak-free" in result.stdout
    shown = runner.invoke(app, [*arguments, "--json", "--tta"])
    assert json.loads(shown.stdout)["views"] == 10


def test_export_then_read(run: Path, small_store: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.onnx"
    result = runner.invoke(app, ["export", str(run), "--data", str(small_store), "--half", "-o", str(file)])
    assert result.exit_code == 0, result.stderr
    assert "parity" in result.stderr
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(tmp_path / "crop.png")
    read = runner.invoke(app, ["read", str(tmp_path / "crop.png"), "--detector", "none", "--model", str(file)])
    assert read.exit_code == 0, read.stderr
    assert len(json.loads(read.stdout)["faces"]) == 1


def test_export_without_data_says_that_it_is_not_calibrated(run: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["export", str(run), "-o", str(tmp_path / "m.onnx")])
    assert result.exit_code == 0
    assert "not calibrated" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "compact", "--data", "{store}", "-o", "{tmp}/r", "--set", "optimiser.lr=1"],
            "optimiser: no such key",
        ),
        (
            ["train", "compakt", "--data", "{store}", "-o", "{tmp}/r"],
            "did you mean compact, own-compact, compact-base?",
        ),
        (["train", "compact", "--data", "{tmp}", "-o", "{tmp}/r"], "expected a store"),
        (["train", "compact", "--data", "{store}", "-o", "{tmp}/r", "--device", "tpu"], "expected auto, cpu or gpu"),
        (["train", "compact", "--data", "{store}", "-o", "{run}"], "expected a new or empty run directory"),
        (["train", "compact", "--data", "{store}", "-o", "{run}", "--resume"], "was started with another recipe"),
        (
            ["evaluate", "{tmp}", "--data", "{store}", "--split", "public_test", "-o", "{tmp}/e"],
            "expected a run directory",
        ),
        (["evaluate", "{run}", "--data", "{store}", "--split", "test", "-o", "{tmp}/e"], "expected a split"),
        (
            ["evaluate", "{run}", "--data", "{store}", "--split", "public_test", "-o", "/dev/null/x"],
            "expected a directory",
        ),
        (["export", "{tmp}", "-o", "{tmp}/m.onnx"], "expected a run directory"),
        (["export", "{run}", "-o", "{tmp}/no/such/m.onnx"], "does not exist"),
    ],
)
def test_one_line_and_exit_2_for_what_cannot_work(
    arguments: list[str], message: str, run: Path, small_store: Path, tmp_path: Path
) -> None:
    places = {"store": small_store, "tmp": tmp_path, "run": run}
    result = runner.invoke(app, [a.format(**places) if a.startswith("{") else a for a in arguments])
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in result.stderr


def test_models_lists_readers_and_networks(networks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    result = runner.invoke(app, ["models", "--json"])
    assert result.exit_code == 0, result.stderr
    listed = json.loads(result.stdout)
    assert {r["name"] for r in listed["readers"]} == {"compact", "nano"}
    assert {"compact", "nano"} <= {n["name"] for n in listed["networks"]}
    assert listed["networks"] == json.loads(json.dumps(networks))
    monkeypatch.setattr("mien.cli.models.registered_networks", lambda: networks)  # counted above
    assert "compact" in runner.invoke(app, ["models"]).stdout


@pytest.fixture(scope="module")
def networks() -> list[dict[str, Any]]:
    from mien.cli.models import registered_networks

    return registered_networks() or []


@pytest.mark.parametrize("columns", [72, 80, 119, 120, 200])
def test_models_cuts_no_name(columns: int, networks: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.cli.models.registered_networks", lambda: networks)
    for name, value in {"COLUMNS": str(columns), "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", runner.invoke(app, ["models"]).stdout)
    words = set(shown.split())
    assert networks
    for entry in networks:
        assert {entry["name"], *(name.removeprefix(f"{entry['name']}/") for name in entry["recipes"])} <= words
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert "--set model.name=timm/NAME" in shown


@pytest.mark.parametrize("command", [[], ["read"], ["models"], ["train"], ["evaluate"], ["export"], ["data", "build"]])
def test_help_of_every_command_shows_an_example_or_the_commands(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "mien" in result.stdout


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, mien, mien.cli.app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(mien.cli.app.app, ['--help']).exit_code == 0;"
        "print([m for m in ('torch','numpy','onnxruntime','onnx','pyarrow','lightning','sklearn','matplotlib','PIL')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
