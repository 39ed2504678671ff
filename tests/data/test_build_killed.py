"""Builds that are interrupted at any moment resume: the same bytes, nothing doubled, lost or left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_cases import blob, hidden, tree
from PIL import Image

from list_source import Listed
from mien.data.build import parts
from mien.data.build.balance import BalanceSettings
from mien.data.build.normalise import Standard
from mien.data.build.run import build_store
from mien.data.build.splits import SplitSettings
from mien.data.build.staging import Staging
from mien.data.sources import Sample, open_source
from mien.data.store import Store
from mien.errors import DataError, OutputError

BUILD = """
import os, signal, sys
from mien.data.build import parts, run as build, staging
from mien.data.sources import open_source
from mien.data.build.normalise import Standard
from mien.data.build.balance import BalanceSettings

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def main(folder, out, workers, moment="", number="0"):
    parts.ITEMS = 8
    seen, calls = [], {"n": 0}
    def progress(done, total, what):
        seen.append(what)
        if moment and what.startswith(moment) and sum(w.startswith(moment) for w in seen) == int(number):
            die()
    def counted(function):
        def call(*arguments, **options):
            calls["n"] += 1
            if calls["n"] == int(number):
                die()
            return function(*arguments, **options)
        return call
    if moment == "PICTURE":
        parts._encoded = counted(parts._encoded)
    if moment == "SUMMARY":
        build.Summary.write = die
    if moment == "MOVE":
        staging.Path.rename = counted(staging.Path.rename)
    build.build_store(
        [open_source("folder", folder)], out, standard=Standard(size=48, color="rgb"), workers=int(workers),
        balance=BalanceSettings(target=14), progress=progress,
    )
    print("\\n".join(seen))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def build(folder: Path, out: Path, workers: int = 1) -> list[str]:
    """The same build in this process, to its end; what it said of its progress."""
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ITEMS", 8)
        build_store(
            [open_source("folder", folder)], out, standard=Standard(size=48, color="rgb"), workers=workers,
            balance=BalanceSettings(target=14), progress=lambda done, total, what: seen.append(what),
        )  # fmt: skip
    return seen


def run_build(*words: object) -> subprocess.CompletedProcess:
    """In a process of its own, which can be killed."""
    return subprocess.run(
        [sys.executable, "-c", BUILD, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def unbroken(folder, tmp_path) -> dict[str, bytes]:
    assert not any("from before" in what for what in build(folder, tmp_path / "unbroken"))
    return tree(tmp_path / "unbroken")


@pytest.mark.long
def test_the_number_of_workers_does_not_show(folder, tmp_path, unbroken):
    done = run_build(folder, tmp_path / "two", 2)  # in a process of its own: the way that it is killed below
    assert done.returncode == 0, done.stderr
    assert "from before" not in done.stdout
    assert tree(tmp_path / "two") == unbroken
    assert hidden(tmp_path) == []


MOMENTS = [
    ("reading", 2, 0),
    ("PICTURE", 30, 3),
    pytest.param("reading", 8, 6, marks=pytest.mark.long),
    pytest.param("looking for near-duplicates", 1, 11, marks=pytest.mark.long),
    pytest.param("varying", 3, 11, marks=pytest.mark.long),
    pytest.param("writing shards", 5, 11, marks=pytest.mark.long),
    ("SUMMARY", 0, 11),
]


@pytest.mark.parametrize(("moment", "number", "kept"), MOMENTS, ids=lambda value: str(value).replace(" ", "-"))
def test_a_killed_build_goes_on_and_nothing_is_doubled_or_lost(folder, tmp_path, unbroken, moment, number, kept):
    """Killed by SIGKILL at a known moment. kept: parts of 8 items that must not be made again."""
    out = tmp_path / "store"
    killed = run_build(folder, out, 1, moment, number)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert hidden(tmp_path) == [".store.building"]
    again = "\n".join(build(folder, out))
    assert f"{8 * kept:,} from before" in again or kept in (0, 11)
    assert kept < 11 or "84 from before" in again
    assert tree(out) == unbroken
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "there"), [(1, "old"), pytest.param(2, "nothing", marks=pytest.mark.long), (3, "new")]
)
def test_a_kill_between_the_two_moves_loses_no_store(folder, tmp_path, unbroken, number, there):
    """An old store is moved away, the new one in: rename 1 is a shard's name, so the two moves are the last ones."""
    out = tmp_path / "store"
    build_store([Listed([Sample("a", blob(1), "sad", "training")])], out)
    old = tree(out)
    shard_names = len(Store.open(tmp_path / "unbroken").splits)
    killed = run_build(folder, out, 1, "MOVE", shard_names + number)
    if there == "new":  # nothing left to move: it ends well
        assert killed.returncode == 0
        assert tree(out) == unbroken
        return
    assert killed.returncode == -signal.SIGKILL
    assert out.exists() == (there == "old")
    with pytest.raises(DataError, match="got none"):  # another build that fails puts the old store back
        build_store([Listed([])], out)
    assert tree(out) == old
    build(folder, out)
    assert tree(out) == unbroken


@pytest.mark.long
@pytest.mark.parametrize("wait", [1, 5])
def test_killed_from_outside_with_workers(folder, tmp_path, unbroken, wait):
    """SIGKILL from another process while workers are at it: they go too, and what they leave is whole."""
    out = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(folder), str(out), "2"])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob(".store.building/*/parts/*.parquet"))) < wait and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    while alive := [pid for pid in workers if _runs(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)
    build(folder, out, 2)
    assert tree(out) == unbroken
    assert hidden(tmp_path) == []


@pytest.mark.long
def test_a_killed_worker_is_an_interruption_too(folder, tmp_path, unbroken):
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(tmp_path / "store"), "2"], stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob(".store.building/*/parts/*.parquet")):
        assert process.poll() is None
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "expected worker processes to finish, one was killed; memory may be short: try --workers 1" in said
    assert hidden(tmp_path) == [".store.building"]
    build(folder, tmp_path / "store", 2)
    assert tree(tmp_path / "store") == unbroken


def test_a_full_disk_is_an_interruption_too(folder, tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_, **__):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.ParquetWriter", Full)
        with pytest.raises(OutputError, match=r"expected to write the store .*No space left"):
            build_store([open_source("folder", folder)], tmp_path / "s")
    assert hidden(tmp_path) == [".s.building"]
    build_store([open_source("folder", folder)], tmp_path / "s")
    assert hidden(tmp_path) == []


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.long
def test_another_build_starts_afresh_and_a_changed_file_is_read_again(folder, tmp_path, unbroken):
    out = tmp_path / "store"
    for change in ("nothing", "file", "source"):
        assert run_build(folder, out, 1, "looking", 1).returncode == -signal.SIGKILL
        if change == "file":
            Image.fromarray(blob(1000, channels=1)).save(folder / "sad" / "004.png")
        if change == "source":
            (folder / "happy" / "zzz.png").write_bytes((folder / "happy" / "003.png").read_bytes())
        seen = build(folder, out)
        build(folder, tmp_path / "fresh")
        assert tree(out) == tree(tmp_path / "fresh")
        assert (tree(out) == unbroken) == (change == "nothing")
        before = max([int(line.split(", ")[1].split()[0]) for line in seen if "from before" in line])
        assert before == 84 if change == "nothing" else 0 < before < 84
    assert run_build(folder, out, 1, "looking", 1).returncode == -signal.SIGKILL
    seen = []
    other = Standard(size=32, color="rgb")
    build_store([open_source("folder", folder)], out, standard=other, progress=lambda *call: seen.append(call[2]))
    assert not any("from before" in what for what in seen)
    assert list(Store.open(out).summary["splits"]["training"]["image_sizes"]) == ["32×32 RGB"]
    assert hidden(tmp_path) == []


def test_a_broken_part_is_made_again(folder, tmp_path, unbroken):
    out = tmp_path / "store"
    assert run_build(folder, out, 1, "looking", 1).returncode == -signal.SIGKILL
    part = sorted(tmp_path.glob(".store.building/*/parts/*.parquet"))[3]
    part.write_bytes(part.read_bytes()[:-100])
    assert any("76 from before" in what for what in build(folder, out))
    assert tree(out) == unbroken


def test_two_builds_never_write_one_store(tmp_path):
    out = tmp_path / "store"
    source = Listed([Sample("a", blob(1), "sad", "training")])
    with (
        Staging(out, {"another": "build"}),
        pytest.raises(OutputError, match=r"expected to be alone with .*another build"),
    ):
        build_store([source], out)
    build_store([source], out)
    assert hidden(tmp_path) == []


def test_what_cannot_be_placed_keeps_the_parts(folder, tmp_path):
    """The slow phase is not lost to a wrong setting: with a better one the build goes on."""
    with pytest.raises(DataError, match="shares below"):
        build_store([open_source("folder", folder)], tmp_path / "s", splits=SplitSettings(shares={"test": 5000}))
    assert hidden(tmp_path) == [".s.building"]
    seen = []
    build_store([open_source("folder", folder)], tmp_path / "s", progress=lambda *call: seen.append(call[2]))
    assert any("84 from before" in what for what in seen)
    assert hidden(tmp_path) == []
