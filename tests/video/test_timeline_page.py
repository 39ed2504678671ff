"""docs/video.md says what results/ holds."""

from pathlib import Path

from called import run_script, script

ROOT = Path(__file__).parents[2]


def test_the_tables_are_current() -> None:
    status, _, stale = run_script("video_tables", "--check")
    assert status == 0, stale


def test_another_figure_is_seen() -> None:
    video_tables = script("video_tables")
    page = video_tables.PAGE.read_text("utf-8")
    assert video_tables.written(page) == page
    assert video_tables.written(page.replace("| **all** | **", "| **all** | **9")) == page


def test_smoothed_probabilities_are_better_and_nearly_as_calibrated() -> None:
    """At the default width, by what was measured; those of much wider windows are worse (the control)."""
    import json

    from mien.video.settings import SMOOTH_S

    kept = json.loads((ROOT / "results" / "smoothing.json").read_text("utf-8"))
    assert kept["pictures"] >= 1000
    for found in kept["models"].values():
        raw = found["centred 0 s"]["all"]
        for kind in ("centred", "causal"):
            assert found[f"{kind} {SMOOTH_S:g} s"]["all"]["ece"] <= max(raw["ece"], 0.025)
        smoothed = found[f"centred {SMOOTH_S:g} s"]["all"]
        assert smoothed["nll"] < raw["nll"]
        assert smoothed["accuracy"] > raw["accuracy"]
        assert found["causal 1.6 s"]["all"]["nll"] > raw["nll"]
