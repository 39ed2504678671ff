"""The scoreboard says what results/ holds, all of it, and what has not been run."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mien.training.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    found = importlib.util.spec_from_file_location("scoreboard", ROOT / "scripts" / "scoreboard.py")
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_it_is_up_to_date_and_every_recipe_is_in_it_once(script: ModuleType) -> None:
    text = (ROOT / "results" / "README.md").read_text("utf-8")
    assert text == script.scoreboard(ROOT / "results"), "run python scripts/scoreboard.py"
    measured, _, missing = text.partition("## Not run")
    for name in shipped_recipes():
        recorded = f"| [`{load_recipe(name).name}`]" in measured
        assert recorded != (f"| `{name}` |" in missing), name
    for record in (ROOT / "results" / "fer2013").glob("*/report.json"):
        assert f"| [`{record.parent.name}`]" in measured
    for file in (ROOT / "results" / "fer2013" / "private_test").glob("*.csv"):
        assert f"[`{file.stem}`]" in measured


def test_another_figure_or_a_lost_record_is_another_board(script: ModuleType, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(ROOT / "results", results)
    before = script.scoreboard(results)
    report = results / "fer2013" / "nano" / "report.json"
    raw = json.loads(report.read_text("utf-8"))
    raw["figures"]["leak_free"]["accuracy"]["value"] = 0.12345
    report.write_text(json.dumps(raw))
    after = script.scoreboard(results)
    assert "12.35 %" in after or "12.34 %" in after
    assert after != before
    shutil.rmtree(results / "fer2013" / "nano")
    lost = script.scoreboard(results)
    assert "[`nano`](fer2013/nano)" not in lost
    assert "| `nano` |" in lost.partition("## Not run")[2]
