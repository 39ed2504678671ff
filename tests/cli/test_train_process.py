"""``mien train`` as a real process: what it says when it is stopped, and that what it says works."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIEN = [sys.executable, "-m", "mien.cli.app"]
CHANGES = {
    "model.args": "{stem: [8], widths: [16, 32], depths: [1, 1]}",
    "model.init": "scratch",
    "distill": "null",
    "targets.votes": "0",
    "epochs": "5000",
    "model.logit_adjustment": "0",
    "batch_size": "20",
    "precision": "fp32",
}
SMALL = [word for key, value in CHANGES.items() for word in ("--set", f"{key}={value}")]
SMALL += ["--device", "cpu", "--threads", "1"]


@contextmanager
def started(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*MIEN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def stop_after(process: subprocess.Popen[str], start: str, number: int) -> list[str]:
    """Everything on stderr; the signal is sent once a line begins with ``start``."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if line.startswith(start):
            process.send_signal(number)
            break
    assert process.stdout is not None
    rest, out = process.stderr.read(), process.stdout.read()
    process.wait(60)
    assert out == ""
    return lines + rest.splitlines()


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.long),
        (signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_stopped_run_says_how_it_goes_on(
    number: int, status: int, word: str, small_store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "a run"
    words = ["train", "nano", "--data", str(small_store), "-o", str(run), *SMALL]
    with started(words) as process:
        lines = stop_after(process, "epoch 2/", number)
    assert process.returncode == status, lines
    assert not any("Traceback" in line for line in lines)
    said, _, command = lines[-1].partition("; resume with: ")
    assert said == word
    assert lines[-2].startswith("epoch ")
    again = shlex.split(command)
    assert again[0] == "mien"
    assert sorted(again[1:]) == sorted([*words, "--resume"])
    if number != signal.SIGINT:
        return  # one resumption is enough
    with started(again[1:]) as process:
        lines = stop_after(process, "epoch ", number)
    first = next(line for line in lines if line.startswith("epoch "))
    assert int(first.removeprefix("epoch ").partition("/")[0]) >= 2  # the checkpoint is written after the line


@pytest.mark.long
def test_sigterm_ends_two_processes(small_store: Path, tmp_path: Path) -> None:
    words = ["train", "nano", "--data", str(small_store), "-o", str(tmp_path / "run"), *SMALL, "--devices", "2"]
    with started(words) as process:
        lines = stop_after(process, "epoch 2/", signal.SIGTERM)  # it waited for ever
    assert process.returncode == 143, lines
    assert [line.partition(";")[0] for line in lines].count("terminated") == 1
