"""``mien bench``: its table and JSON, and peers that answer, fail and are unknown."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.errors import UsageError
from mien.reading import bench as measured

runner = CliRunner()
PEER = """
import sys
if len(bytes.fromhex(sys.stdin.readline())) == 48 * 48:  # the crop in grey
    print("ready", flush=True)
for _ in sys.stdin:
    print(0.5, flush=True)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    peer = tmp_path / "peer.py"
    peer.write_text(PEER)
    monkeypatch.setattr(measured, "CROPS", 5)
    monkeypatch.setattr(measured, "PHOTOS", {"yunet": 1, "centerface": 1})
    monkeypatch.setattr(measured, "FRAMES", 5)
    monkeypatch.setattr(measured, "PEERS", {"fer": peer})


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_it_measures_every_reader_and_the_peer(grace_hopper: Path) -> None:
    words = ["bench", str(grace_hopper), "--rounds", "1", "--peers", f"fer={sys.executable}", "--json"]
    result = runner.invoke(app, words)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert {"compact fp32", "nano fp32", "fer"} <= report["faces_per_second"].keys()
    assert report["faces_per_second"]["fer"]["median"] == 10  # 5 crops in half a second, by the peer's own clock
    assert report["photo"]["faces"] == 1
    assert {one["detector"] for one in report["photos_per_second"]} == {"yunet", "centerface"}
    assert all(20 < one["peak_mb"] < 1000 and one["seconds"] > 0.05 for one in report["cold_start"].values())
    assert report["frames_per_second"].keys() == {"compact", "nano"}
    assert all(one["median"] > 0 for one in report["frames_per_second"].values())
    from mien.cli.bench import table

    lines = table(report)
    assert any(line.startswith("faces, fer") for line in lines)
    assert any(line.startswith("frames, nano") for line in lines)
    assert len([line for line in lines if line.startswith("photos,")]) == len(report["photos_per_second"])


def test_a_peer_that_cannot_run_is_named(grace_hopper: Path, tmp_path: Path) -> None:
    cases = (
        (f"fer={tmp_path}/no/python", "cannot start"),
        (f"fer={sys.executable}", "fer does not run in"),  # no fer is installed here
        (f"human={sys.executable}", "human does not run in"),  # Python is no Node.js
        (f"siri={sys.executable}", "a name of fer, human"),
        ("fer", "NAME=INTERPRETER"),
    )
    for words, message in cases:
        result = runner.invoke(app, ["bench", str(grace_hopper), "--rounds", "1", "--peers", words])
        assert result.exit_code == 2, words
        assert result.stderr.count("\n") == 1
        assert message in result.stderr


def test_without_a_photo_there_must_be_a_portrait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured.default_photo().is_file()
    monkeypatch.setattr(measured, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"mien bench photo\.jpg"):
        measured.default_photo()


def test_the_clip_shows_the_photos_faces_and_is_left_out_without_pyav(
    grace_hopper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "FRAMES", 4)
    measured._write_clip(grace_hopper, tmp_path / "clip.mp4")
    seen = [len(reading.faces) for reading in measured.Reader("nano", threads=1).video(tmp_path / "clip.mp4")]
    assert seen == [2, 2, 2, 2]
    monkeypatch.setattr(measured, "find_spec", lambda name: None)
    assert measured._frames_per_second(grace_hopper, 1) is None
