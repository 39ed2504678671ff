"""The scoreboard says what results/ holds, all of it, and what has not been run."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

import called
from mien.errors import DataError
from mien.training.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return called.script("scoreboard")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "results", tmp_path / "results"))


@pytest.mark.long
def test_it_is_up_to_date_and_every_recipe_is_in_it_once(script: ModuleType) -> None:
    text = (ROOT / "results" / "README.md").read_text("utf-8")
    assert text == script.scoreboard(ROOT / "results"), "run python scripts/scoreboard.py"
    measured, _, missing = text.partition("## Recipes without a kept record")
    for name in shipped_recipes():
        shown = load_recipe(name).name
        recorded = f"| [`{shown}`]" in measured or f"| `{shown}` | " in measured.partition("## Paired comparisons")[0]
        assert name == "orientation" or recorded != (f"| `{name}` |" in missing), name
    for run in json.loads((ROOT / "results" / "fer2013" / "runs.json").read_text("utf-8")):
        assert f"| `{run['name']}` |" in measured
    for record in (ROOT / "results" / "fer2013").glob("*/report.json"):
        assert f"| [`{record.parent.name}`]" in measured
    for file in (ROOT / "results" / "fer2013" / "private_test").glob("*.parquet"):
        assert f"[`{file.stem}`]" in measured


@pytest.mark.long
def test_another_figure_or_a_lost_record_is_another_board(script: ModuleType, results: Path) -> None:
    before = script.scoreboard(results)
    report = results / "fer2013" / "nano" / "report.json"
    raw = json.loads(report.read_text("utf-8"))
    raw["figures"]["leak_free"]["accuracy"]["value"] = 0.12345
    report.write_text(json.dumps(raw))
    after = script.scoreboard(results)
    assert "12.35 %" in after or "12.34 %" in after
    assert after != before
    table = results / "paper_b_cpu.json"
    raw = json.loads(table.read_text("utf-8"))
    raw["figures"]["as_trained"]["all"]["resnet34"]["accuracy"]["value"] = 0.54321
    table.write_text(json.dumps(raw))
    assert "54.32 %" in script.scoreboard(results)
    assert "54.32 %" not in after
    shutil.rmtree(results / "fer2013" / "nano")
    lost = script.scoreboard(results)
    assert "[`nano`](fer2013/nano)" not in lost
    assert "| `nano` |" in lost.partition("## Recipes without a kept record")[2]


def test_a_record_that_is_taken_in_stands_as_its_folder_did(script: ModuleType, results: Path) -> None:
    """compact's folder, renamed: as a row of runs.json and a column of predicted.parquet it gives the same figures."""
    kept, home = sys.modules["kept_runs"], results / "fer2013"
    folder = Path(shutil.move(home / "compact", results.parent / "renamed"))
    with_folder = {row["name"]: row for row in kept.read_runs(ROOT / "results" / "fer2013")}["compact"]
    kept.add([folder], home)
    row = {row["name"]: row for row in kept.read_runs(home)}["renamed"]
    assert row == with_folder | {"name": "renamed"}
    (ours, _), (theirs, _) = kept.read_predicted(home), kept.read_predicted(ROOT / "results" / "fer2013")
    assert (ours["renamed"] == theirs["compact"]).all()
    assert ours["renamed"].mean() == pytest.approx(row["single_crop"]["all"]["accuracy"]["value"])
    assert ours["nano"].mean() != ours["renamed"].mean()
    # other images: refused, and nothing is changed
    before = {file.name: file.read_bytes() for file in home.glob("*.*")}
    table = pq.read_table(folder / "predictions.parquet")
    pq.write_table(table.slice(1), folder / "predictions.parquet")
    with pytest.raises(DataError, match="got others in"):
        kept.add([folder], home)
    with pytest.raises(DataError, match="expected a record"):
        kept.add([results], home)
    assert {file.name: file.read_bytes() for file in home.glob("*.*")} == before
