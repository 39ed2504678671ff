"""``mien read --engine ray`` with a real Ray on this machine, one of whose workers is killed; and its refusals."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bulk_inputs import png
from called import Call
from mien.bulk import engine
from mien.bulk.engine import EngineError, RayEngine
from mien.errors import MissingExtra

Plain = Callable[..., Any]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'mien[ray]'")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the worker in /proc")


def worker_below(scheduler_of: int) -> int | None:
    """The process id of a worker that reads, of a command."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
            session = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[3])
            if words.startswith(b"ray::BlockReader.read"):
                parent = int(Path(f"/proc/{session}/stat").read_text().rpartition(")")[2].split()[1])
                if parent == scheduler_of:
                    return int(entry)
        except (OSError, ValueError):
            continue
    return None


@pytest.mark.long
@needs_ray
@needs_proc
def test_rows_are_those_of_a_plain_read_though_a_worker_is_killed(
    tiny_model: Path, plain: Plain, tmp_path: Path
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for i in range(60):
        (folder / f"{i:03d}.png").write_bytes(png(i))
    (folder / "broken.jpg").write_bytes(b"no picture")
    os.mkfifo(folder / "slow.png")  # a pipe: the worker waits two seconds for it, and can be killed meanwhile
    command = [sys.executable, "-m", "mien.cli.app", "read", str(folder), "--engine", "ray", "--workers", "1"]
    command += ["--block-size", "20", "--model", str(tiny_model), "--detector", "none", "-o", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 150
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(out.glob("rows/*.parquet"))) == 3 and (worker := worker_below(process.pid)) is not None:
                os.kill(worker, signal.SIGKILL)
                break
            time.sleep(0.02)
        _, err = process.communicate(timeout=150)
    assert process.returncode == 1  # two inputs failed
    expected = plain(folder)
    assert pq.read_table(out / "rows").equals(expected)
    assert "a worker ended unasked in block 3" in err
    assert "62 pictures, 60 faces, 4 shards; 2 could not be read" in err
    assert len(err.splitlines()) <= 5, err  # nothing of Ray's own talk


def test_without_ray_it_says_what_to_install(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    call = Call(tiny_model)("read", tmp_path, "--engine", "ray", "-o", tmp_path / "out")
    assert call.status == 2
    assert call.err.strip().endswith("install it with: pip install 'mien[ray]'")
    with pytest.raises(MissingExtra, match="ray"):
        RayEngine()


@pytest.fixture
def pretended_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray seems to be installed: what is refused before it starts needs none."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "expected a directory for the shards; give one with -o DIR"),
        (["-o", "s3://bucket/out"], "expected a directory for the shards, got the URL s3://bucket/out"),
        (["-o", "out", "--annotate", "seen"], "--annotate does not go with --engine ray"),
        (["-o", "out", "--threads", "2"], "--threads does not go with --engine ray: each worker has one"),
        (["-o", "out", "--format", "csv"], "expected the format parquet with --engine ray, got csv"),
        (["-o", "out", "--device", "cuda"], "expected --device cpu with --engine ray"),
        (["-o", "out", "--address", "ray://head:10001"], "expected the address HOST:PORT"),
        (["-o", "out", "--workers", "0"], "expected workers of at least 1, got 0"),
    ],
)
@pytest.mark.usefixtures("pretended_ray")
def test_what_does_not_go_together_is_one_sentence(
    words: list[str], sentence: str, tiny_model: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call = Call(tiny_model)("read", inputs, "--engine", "ray", "--detector", "none", *words)
    assert call.status == 2
    assert sentence in call.err
    assert len(call.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_its_options_are_refused_without_it(tiny_model: Path, inputs: Path) -> None:
    call = Call(tiny_model)("read", inputs, "--workers", "2")
    assert call.status == 2
    assert "--workers belongs to --engine ray" in call.err


@pytest.mark.usefixtures("pretended_ray")
def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but nobody listens
        started = time.monotonic()
        with pytest.raises(EngineError, match="nobody answers"):
            RayEngine(address=f"127.0.0.1:{free.getsockname()[1]}")
        assert time.monotonic() - started < engine.CONNECT_S + 2


def test_a_ray_that_does_not_come_up_is_one_sentence(tiny_model: Path, inputs: Path, tmp_path: Path) -> None:
    package = tmp_path / "ray"
    package.mkdir()
    (package / "__init__.py").write_text("def init(**options): raise RuntimeError('no memory')\ndef shutdown(): pass\n")
    command = [sys.executable, "-m", "mien.cli.app", "read", str(inputs), "--engine", "ray", "--detector", "none"]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*command, "--model", str(tiny_model), "-o", str(tmp_path / "out"), "-q"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: Ray did not come or stay up")
    assert "cannot start Ray: no memory" in done.stderr
    assert len(done.stderr.splitlines()) == 1
