"""The repository itself: small enough to be fetched whole, and to travel to a lent machine beside its data."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from long_tests import ALL_COLLECTED

ROOT = Path(__file__).parents[1]
MOST = 20e6
#: Reports of the shipped readers, the scoreboard and what it is drawn from, the log, measurements.
MOST_RESULTS = 50


def test_what_people_fetch_is_small() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout: what is tracked is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    sizes = {file: file.stat().st_size for file in files if file.is_file()}
    largest = sorted(sizes, key=lambda file: -sizes[file])[:5]
    assert len(files) > 100
    assert sum(sizes.values()) < MOST, f"the largest: {', '.join(str(file.relative_to(ROOT)) for file in largest)}"
    assert sum(file.is_relative_to(ROOT / "results") for file in sizes) <= MOST_RESULTS


def test_each_test_module_has_a_name_of_its_own() -> None:
    """pytest imports them by their bare names: of two with one name the second is an error of collection."""
    names = [file.name for file in (ROOT / "tests").rglob("*.py") if file.name not in ("conftest.py", "__init__.py")]
    assert len(names) > 100
    assert sorted(set(names)) == sorted(names)


def test_few_tests_are_long_and_each_room_has_others(request: pytest.FixtureRequest) -> None:
    """What ``make test`` leaves out: one test in twenty at most, and nowhere most of a room."""
    collected = request.config.stash[ALL_COLLECTED]
    modules = {name.partition("::")[0] for name, _ in collected}
    if len(modules) < 0.9 * len(list((ROOT / "tests").rglob("test_*.py"))):
        pytest.skip("only a part of the tests was asked for")
    rooms, long = Counter[str](), Counter[str]()
    for name, is_long in collected:
        room = str(Path(name.partition("::")[0]).parent)
        rooms[room] += 1
        long[room] += is_long
    assert 0 < long.total() <= 0.05 * rooms.total(), f"{long.total()} of {rooms.total()}"
    assert [room for room, number in rooms.items() if long[room] > 0.5 * number] == []
