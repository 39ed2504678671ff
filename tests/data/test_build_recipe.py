"""Build recipes: one document makes one store, and every slip is named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from mien.cli.data import data
from mien.data.build.balance import BalanceSettings
from mien.data.build.normalise import Standard
from mien.data.build.recipe import load_build_recipe, split_source
from mien.data.build.splits import SplitSettings
from mien.documents import shipped
from mien.errors import RecipeError, UsageError
from mien.labels import SEVEN
from split_cases import PAPER_A


@pytest.fixture
def write(tmp_path):
    def write(**keys) -> Path:
        (tmp_path / "r.yaml").write_text(yaml.safe_dump({"sources": [{"source": "fer2013", "path": "fer"}]} | keys))
        return tmp_path / "r.yaml"

    return write


def run(*words: object):
    return CliRunner().invoke(data, [str(word) for word in words])


def folder(root: Path, *, names=SEVEN, each: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((60, 60), Image.Resampling.BICUBIC).save(root / name / f"{i}.png")
    return root


def test_a_recipe_becomes_the_settings_it_names(write, tmp_path):
    recipe = load_build_recipe(
        write(
            sources=[
                {"source": "fer2013", "path": "fer", "mapping": {"contempt": None}},
                {"source": "folder:photos", "path": "/data/lab", "name": "lab", "names": {"scared": "fear", 3: None}},
            ],
            size=64,
            color="rgb",
            labels="seven",
            mapping={"contempt": "Disgusted"},
            detector="none",
            splits={"carve": True, "shares": {"test": 500, "validation": 0.2}, "drop_copies": "near"},
            balance={"target": {"disgust": 900}, "variation": {"rotate": 5}},
            seed=3,
        )
    )
    assert recipe.standard() == Standard(
        size=64,
        color="rgb",
        labels="seven",
        mapping={("", "contempt"): "disgust", ("fer2013", "contempt"): None},
        detector="none",
    )
    wanted = SplitSettings(carve=True, shares={"test": 500, "validation": 0.2}, drop_copies="near", seed=3)
    assert recipe.split_settings() == wanted
    assert isinstance(recipe.split_settings().shares["test"], int)  # a number of images, not a share
    balance = recipe.balance_settings()
    assert (balance.target, balance.variation.rotate, balance.seed) == ({"disgust": 900}, 5, 3)
    fer, lab = recipe.sources
    assert (fer.path, fer.called) == (tmp_path / "fer", "fer2013")  # relative to the recipe
    assert (lab.path, lab.called, lab.names) == (Path("/data/lab"), "lab", {"scared": "fear", 3: None})


def test_what_a_recipe_leaves_out_is_what_no_recipe_means(write):
    recipe = load_build_recipe(write())
    assert recipe.standard() == Standard()
    assert recipe.split_settings() == SplitSettings()
    assert recipe.balance_settings() is None
    assert load_build_recipe(write(balance={})).balance_settings() == BalanceSettings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sise": 48}, r"r\.yaml: sise: no such key; expected one of sources, size, color"),
        ({"splits": {"cave": True}}, r"splits\.cave: no such key; expected one of official, carve"),
        ({"balance": {"goal": 3}}, r"balance\.goal: no such key; expected one of target, variation"),
        ({"balance": {"variation": {"rotat": 3}}}, r"balance\.variation\.rotat: no such key; expected one of rotate"),
        (
            {"sources": [{"source": "fer2013", "dir": "x"}]},
            r"sources\.0\.dir: no such key; expected one of source, path",
        ),
        ({"sources": [{"path": "x"}]}, r"sources\.0\.source: this key is required"),
        ({"sources": []}, r"sources: .*at least 1"),
        ({"sources": "fer2013"}, r"sources: .*valid list, got 'fer2013'"),
        ({"size": 5}, r"r\.yaml: expected a size of 16-1024 pixels, 'auto' or 'keep', got 5"),
        ({"labels": "nine"}, r"expected labels auto, seven, eight, own, got 'nine'"),
        ({"mapping": {"contempt": "smirk"}}, r"expected an expression .*got 'smirk'"),
        ({"splits": {"shares": {"test": 1.5}}}, r"splits: expected shares like validation: 0\.1"),
        ({"splits": {"crossing": "drop"}}, r"splits\.crossing: .*'keep' or 'drop-from-training', got 'drop'"),
        ({"balance": {"variation": {"mirror": 2}}}, r"balance\.variation\.mirror: .*less than or equal to 1, got 2"),
        ({"seed": -1}, r"seed: .*greater than or equal to 0, got -1"),
        (
            {"sources": [{"source": "folder", "path": "a"}, {"source": "folder:photos", "path": "b"}]},
            r"expected each source once, got folder, folder; give alike ones a name each",
        ),
    ],
)
def test_a_wrong_key_or_value_is_named(write, change, message):
    with pytest.raises(RecipeError, match=message):
        load_build_recipe(write(**change))


def test_files_that_are_no_recipes(tmp_path):
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "b.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match=r"a\.yaml: expected keys and values, got list"):
        load_build_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match=r"b\.yaml: expected YAML"):
        load_build_recipe(tmp_path / "b.yaml")
    with pytest.raises(RecipeError, match="expected a recipe file or one of fer2013_balanced, paper_a"):
        load_build_recipe(tmp_path / "c.yaml")
    with pytest.raises(RecipeError, match="a data set is given by --source NAME=PATH"):
        load_build_recipe(tmp_path)


@pytest.mark.parametrize("name", ["compact", "swin_t/paper", str(shipped(build=False)["nano"])])
def test_a_training_recipe_is_no_build_recipe(name):
    with pytest.raises(RecipeError, match=r"expected a build recipe, got the training .*; it is for: mien train"):
        load_build_recipe(name)


@pytest.mark.parametrize("name", ["data/paper_a", "paper_a", str(shipped(build=True)["paper_a"])])
def test_a_build_recipe_is_no_training_recipe(name):
    from mien.training.recipe import load_recipe, shipped_recipes

    with pytest.raises(RecipeError, match=r"expected a training recipe, got the build .*; it is for: mien data build"):
        load_recipe(name)
    assert not [known for known in shipped_recipes() if "paper_a" in known]
    assert load_build_recipe("data/paper_a") == load_build_recipe("paper_a")


def test_the_command_line_adds_to_a_recipe_and_wins(write, tmp_path):
    recipe = load_build_recipe(
        write(sources=[{"source": "rafdb"}, {"source": "fer2013", "path": "fer"}], size=64, seed=1),
        sources={"rafdb:zero-based": tmp_path / "raf", "ckplus": tmp_path / "ck"},
        options={"size": 48},
    )
    assert [(s.source, s.path) for s in recipe.sources] == [
        ("rafdb:zero-based", tmp_path / "raf"),
        ("fer2013", tmp_path / "fer"),
        ("ckplus", tmp_path / "ck"),
    ]
    assert (recipe.size, recipe.seed) == (48, 1)
    with pytest.raises(UsageError, match="expected a path for rafdb, the recipe has none; add --source rafdb=PATH"):
        load_build_recipe(write(sources=[{"source": "rafdb"}])).open_sources()
    with pytest.raises(UsageError, match="expected NAME=PATH, got 'fer2013'"):
        split_source("fer2013")


def test_the_shipped_recipe_is_paper_as(tmp_path):
    assert list(shipped(build=True)) == ["fer2013_balanced", "paper_a", "paper_a_free"]
    recipe = load_build_recipe("paper_a")
    assert recipe.split_settings() == PAPER_A
    assert recipe.balance_settings() == BalanceSettings()
    assert (recipe.size, recipe.color, recipe.labels) == (224, "rgb", "eight")
    assert [source.called for source in recipe.sources] == ["fer2013", "ckplus", "affectnet"]
    head = shipped(build=True)["paper_a"].read_text()
    assert "mien data build paper_a --source" in head
    free = load_build_recipe("paper_a_free", sources={"lfw": tmp_path})
    assert {source.called: source.mapping for source in free.sources} == {"fer2013": {}, "lfw": {"contempt": None}}
    assert (free.split_settings().carve, free.balance_settings()) == (True, BalanceSettings())


def test_a_recipe_builds_a_store_and_says_how(small, tmp_path):
    """Through the command: two folders under names of their own, class names explained, a mapping, balance."""
    small.parquet(tmp_path / "fer")
    folder(tmp_path / "one")
    folder(tmp_path / "two", names=("scared", "asleep"))
    (tmp_path / "r.yaml").write_text(
        """
sources:
  - {source: fer2013, path: fer}
  - {source: folder, path: one, name: lab}
  - {source: folder, path: two, name: field, names: {scared: fear, asleep: null}}
mapping: {disgust: angry}
color: grey
splits: {shares: {test: 0.25}}
balance: {target: 60}
seed: 7
"""
    )
    result = run("build", tmp_path / "r.yaml", "-o", tmp_path / "store", "--workers", "1", "--size", "32")
    assert result.exit_code == 0, result.output
    assert "lab: layout class folders (one)" in result.stderr
    stats = run("stats", tmp_path / "store")
    assert stats.stdout == result.stdout
    lines = [line.split() for line in stats.stdout.splitlines()]
    assert lines[0] == ["training", "public_test", "private_test", "test"]
    (angry,) = (line for line in lines if line[:1] == ["angry"])
    assert ["disgust", "0", "0", "0", "0"] in lines
    assert int(angry[1]) >= 60
    assert any(line[:2] == ["size", "32×32"] for line in lines)
    assert ["generated:"] in [line[:1] for line in lines]
    assert "  labels of all mapped: disgust → angry" in stats.stdout
    assert "  seed 7" in stats.stdout
    summary = json.loads(run("stats", tmp_path / "store", "--json").stdout)
    assert {part["name"] for part in summary["sources"]} == {"fer2013", "lab", "field"}
    assert summary["options"]["splits"]["shares"] == {"test": 0.25}
    assert summary["options"]["balance"]["target"] == 60
    field = next(part for part in summary["sources"] if part["name"] == "field")
    assert sum(sum(counts.values()) for counts in field["counts"].values()) == 12
    assert sum(field["dropped"].values()) == 12


def test_options_alone_make_a_recipe(tmp_path):
    folder(tmp_path / "one")
    words = ("--color", "rgb", "--labels", "eight", "--seed", "2", "--detector", "none", "--workers", "1")
    result = run("build", "--source", f"folder={tmp_path / 'one'}", "-o", tmp_path / "store", *words, "--json")
    assert result.exit_code == 0, result.output
    options = json.loads(result.stdout)["options"]
    assert (options["size"], options["color"], options["labels"], options["detector"]) == (60, "rgb", "eight", "none")
    assert "size 60: the largest usual side of the sources (folder 60), at most 224" in result.stderr
    wrong = run("build", "--source", f"folder={tmp_path / 'one'}", "-o", tmp_path / "store", "--size", "7")
    assert isinstance(wrong.exception, RecipeError)
    assert "command line: expected a size of 16-1024" in str(wrong.exception)


def test_an_old_stores_stats_still_show(tmp_path, small):
    small.parquet(tmp_path / "fer")
    assert run("build", "--source", f"fer2013={tmp_path / 'fer'}", "-o", tmp_path / "store").exit_code == 0
    file = tmp_path / "store" / "summary.json"
    summary = json.loads(file.read_text())
    for key in ("options", "versions", "warnings"):
        del summary[key]
    for split in summary["splits"].values():
        del split["generated"]
    for part in summary["sources"]:
        del part["read"], part["generated"]
    file.write_text(json.dumps(summary))
    stats = run("stats", tmp_path / "store")
    assert stats.exit_code == 0
    assert "images" in stats.stdout
    assert "built" not in stats.stdout


@pytest.mark.long
def test_an_interrupted_command_says_that_it_can_go_on(tmp_path):
    """Ctrl-C, as a terminal sends it: to the whole group of processes. No traceback, no store, and what to do."""
    folder(tmp_path / "one", each=200)
    code = "import mien.data.build.parts as p; p.ITEMS = 8; from mien.cli.app import main; main()"
    words = ["data", "build", "--source", f"folder={tmp_path / 'one'}", "-o", str(tmp_path / "store"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob(".store.building/*/parts/*.parquet")):
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert ".store.building: the same command resumes; delete it to start over" in said
    assert "Traceback" not in said
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
