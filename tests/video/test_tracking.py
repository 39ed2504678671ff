"""Tracks on scenes with real faces (boxes kept by ``benchmarks/tracking.py``), beside four trackers of the field."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.results import Box
from mien.video.tracking import Tracker

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import tracking  # noqa: E402

KEPT = json.loads((ROOT / "results" / "tracking.json").read_text("utf-8"))
SCENES: list[dict[str, Any]] = KEPT["scenes"]
COUNTS: dict[str, list[dict[str, int]]] = KEPT["counts"]


def total(rows: list[dict[str, int]], key: str) -> int:
    return sum(row[key] for row in rows)


def test_the_counts_are_those_that_are_kept() -> None:
    assert [tracking.count(scene, tracking.numbers(scene)) for scene in SCENES] == COUNTS["mien"]


@pytest.mark.parametrize("name", tracking.REFERENCES)
def test_no_worse_than(name: str) -> None:
    ours, theirs = COUNTS["mien"], COUNTS[name]
    for key in ("switches", "fragments", "shared"):
        assert total(ours, key) <= total(theirs, key)
    if name == "ByteTrackTracker":  # the best of the four, scene by scene
        assert all(a["switches"] <= b["switches"] for a, b in zip(ours, theirs, strict=True))


def test_occlusions_of_a_second_keep_the_number_and_a_short_memory_loses_it() -> None:
    walls = [scene for scene in SCENES if "wall" in scene["name"]]
    assert len(walls) == 3
    for scene in walls:
        assert tracking.count(scene, tracking.numbers(scene))["fragments"] == 0
        assert tracking.count(scene, tracking.numbers(scene, memory_s=0.4))["fragments"] > 0  # negative control


def test_the_count_sees_switches() -> None:
    """Negative control: the numbers of two crossing faces exchanged half-way, and a new one at each frame."""
    scene = SCENES[0]
    rows = tracking.numbers(scene)
    half = len(rows) // 2
    exchanged = rows[:half] + [[3 - n if n in (1, 2) else n for n in row] for row in rows[half:]]
    assert tracking.count(scene, exchanged) == {"switches": 2, "fragments": 2, "shared": 2}
    fresh = [[100 * n + k for k, _ in enumerate(row)] for n, row in enumerate(rows)]
    assert tracking.count(scene, fresh)["switches"] > 150


def test_the_references_again() -> None:
    """Where the package ``trackers`` is installed."""
    pytest.importorskip("trackers", reason="the reference, 556 MB, is not installed")
    for name, rows in tracking.reference(SCENES).items():
        assert [tracking.count(scene, row) for scene, row in zip(SCENES, rows, strict=True)] == COUNTS[name]


def at(tracker: Tracker, time_s: float, *centres: tuple[float, float], cut: bool = False) -> list[int]:
    boxes = [Box(x - 20, y - 20, 40, 40) for x, y in centres]
    return tracker.update(time_s, boxes, width=640, height=480, cut=cut)


def test_numbers_are_never_used_again() -> None:
    tracker = Tracker()
    assert at(tracker, 0, (100, 100), (300, 100)) == [1, 2]
    assert at(tracker, 1) == []
    assert at(tracker, 1.5, (300, 100)) == [2]
    assert at(tracker, 6) == []
    assert at(tracker, 9, (300, 100), (100, 100)) == [3, 4]
    assert at(tracker, 9.04, (100, 100), (300, 100)) == [4, 3]


def test_a_cut_ends_all_tracks() -> None:
    tracker = Tracker()
    assert at(tracker, 0, (100, 100)) == [1]
    assert at(tracker, 0.04, (100, 100), cut=True) == [2]
    assert at(tracker, 0.08, (100, 100)) == [2]


def test_who_walks_out_is_not_who_walks_in() -> None:
    tracker = Tracker()
    for n in range(20):
        at(tracker, n * 0.04, (440 + 10 * n, 100))
    assert at(tracker, 0.8) == []
    assert at(tracker, 1.6, (630, 100)) == [2]


def test_a_push_of_the_camera() -> None:
    """Alone, a face keeps its number over a jump of half its size; not where another person is about."""
    tracker = Tracker()
    at(tracker, 0, (100, 100))
    assert at(tracker, 0.04, (120, 104)) == [1]
    two = Tracker()
    at(two, 0, (100, 100), (150, 100))
    assert at(two, 0.04, (124, 100)) == [3]


def test_varying_frame_rate() -> None:
    """A face that moves evenly keeps its number over steps of 20 to 400 ms."""
    rng = np.random.default_rng(0)
    tracker, t = Tracker(), 0.0
    for _ in range(60):
        assert at(tracker, t, (60 + 30 * t, 200)) == [1]
        t += float(rng.choice([0.02, 0.04, 0.12, 0.4]))


def test_one_frame_in_five_seconds() -> None:
    tracker = Tracker()
    assert [at(tracker, 5.0 * n, (100 + n, 100), (400, 200)) for n in range(4)] == [[1, 2]] * 4
