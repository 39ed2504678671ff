"""Conditions that last while a command runs: a full disk, a read-only target, another process, a clock set back."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from .kills import Job, forked, jobs, run, tree

DAY_S = 86_400


@contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[str], None]]:
    """A file system in memory at ``place``; the function remounts it with other options."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)], check=True)
    try:
        yield lambda how: _remount(place, how)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def one_line(said: Path) -> str:
    """The error of a command. Raises AssertionError where it is not one line, or a fault of ours."""
    lines = [line for line in said.read_text(errors="replace").splitlines() if line]
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines[-20:]
    assert "should not happen" not in errors[0], errors[0]
    assert "Traceback" not in said.read_text(), lines[-20:]
    return errors[0]


def straight(job: Job, home: Path) -> dict[str, Any]:
    place = home / "straight"
    place.mkdir()
    status, _ = run(job.words(place), home / "straight.txt")
    assert status == job.status, (home / "straight.txt").read_text()[-1500:]
    wanted = tree(place, job.same)
    shutil.rmtree(place)
    return wanted


def full_disk(job: Job, home: Path, wanted: dict[str, Any]) -> str:
    """Disks from nearly nothing to nearly enough; then there is room, and the same command is called again."""
    ended = 0
    place, said = home / "full", home / "full.txt"
    for kilobytes in (4, 24, 64, 160):
        with small_disk(place, kilobytes) as remount:
            said.unlink(missing_ok=True)
            status, _ = run(job.words(place), said)
            if status == job.status and tree(place, job.same) == wanted:
                continue
            ended += 1
            one_line(said)
            left = [name for name in tree(place, lambda file: None) if name.startswith("out")]
            assert not left, f"{left} is left of a full disk of {kilobytes} KB"
            remount("size=100m")
            status, _ = run((job.again or job.words)(place), said)
            assert status == job.status, said.read_text()[-1500:]
            assert tree(place, job.same) == wanted, f"another outcome after a full disk of {kilobytes} KB"
    assert ended, "no disk was too small"
    return f"{ended} of 4 disks of 4 to 160 KB filled up: one-line error, no output file; with space, the usual output"


def read_only(job: Job, home: Path, wanted: dict[str, Any]) -> str:
    place, said = home / "ro", home / "ro.txt"
    with small_disk(place, 1000) as remount:
        remount("ro")
        status, _ = run(job.words(place), said)
        assert status == 2, (status, said.read_text()[-500:])
        one_line(said)
    return "exit status 2, one-line error"


def two_at_once(job: Job, home: Path, wanted: dict[str, Any]) -> str:
    """Two calls of one command, the second one begun at five moments of the first."""
    random, refused = Random(job.name), 0
    for number in range(5):
        place, said = home / f"two{number}", home / f"two{number}.txt"
        place.mkdir()
        pids = [forked(job.words(place), said)]
        time.sleep(random.random() * (0.4 if number % 2 else 2.0))
        pids.append(forked(job.words(place), said))
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        assert job.status in ended, (ended, said.read_text()[-1500:])
        assert "should not happen" not in said.read_text(), said.read_text()[-1500:]
        assert "Traceback" not in said.read_text(), said.read_text()[-1500:]
        refused += any(end != job.status for end in ended)
        got = tree(place, job.same)
        assert got == wanted, f"{sorted({**got, **wanted})} differ after two calls at once, which ended with {ended}"
        shutil.rmtree(place)
    return f"5 pairs: the usual output; in {refused} of them the second call was refused with a one-line error"


def clock_set_back(job: Job, home: Path, wanted: dict[str, Any]) -> str:
    """A call is killed; then all that it left is a day younger than now."""
    random, kills = Random(job.name), 0
    for number in range(3):
        place, said = home / f"clock{number}", home / f"clock{number}.txt"
        place.mkdir()
        status, _ = run(job.words(place), said, kill_after=random.uniform(0.2, 0.8))
        kills += status is None
        later = time.time() + DAY_S
        for file in [*place.rglob("*"), place]:
            os.utime(file, (later, later))
        if status is None:
            status, _ = run((job.again or job.words)(place), said)
        assert status == job.status, said.read_text()[-1500:]
        assert tree(place, job.same) == wanted, "another outcome where files are from tomorrow"
        shutil.rmtree(place)
    return f"{kills} kills, then files dated one day in the future: the usual output"


def check_all(home: Path, *, only: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """(condition and command, what happened) for each; what happened begins with FAULT where it should not be so."""
    conditions = {
        "disk full": full_disk, "read-only target": read_only, "two processes, one output": two_at_once,
        "clock set back": clock_set_back,
    }  # fmt: skip
    for number, job in enumerate(jobs(home)):
        if job.name == "reproduce" or (only and not any(job.name.startswith(start) for start in only)):
            continue
        folder = home / f"conditions{number}"
        folder.mkdir()
        wanted = straight(job, folder)
        for name, check in conditions.items():
            try:
                told = check(job, folder, wanted)
            except (AssertionError, OSError, TimeoutError, subprocess.CalledProcessError) as error:
                told = f"FAULT: {str(error)[:1500]}"
            yield f"{name}: {job.name}", told
        shutil.rmtree(folder, ignore_errors=True)
