"""docs/extending.md is followed in a copy of the repository: its files are written, its commands run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
#: What is in front of a block of code → the code.
BLOCKS = dict(re.findall(r"<!-- (.+?) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with everything that the page adds."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("src", "recipes"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for where, code in BLOCKS.items():
        kind, _, place = where.partition(": ")
        if kind == "file":
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            assert not (root / place).exists(), place
            (root / place).write_text(code)
        elif kind == "line":
            file, _, marker = place.partition(" after: ")
            head, tail = (root / file).read_text("utf-8").split(marker + "\n")
            (root / file).write_text(f"{head}{marker}\n{code}{tail}", "utf-8")
    return root


def run(tree: Path, *words: object, code: str = "") -> subprocess.CompletedProcess[str]:
    call = ["-c", code] if code else ["-m", "mien.cli.app", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *call], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def test_each_way_is_two_files_at_most() -> None:
    for section in PAGE.split("\n## ")[1:]:
        places = re.findall(r"<!-- (?:file|line): (\S+)", section)
        assert 1 <= len(places) <= 2, section[:40]


@pytest.mark.long
def test_a_network(tree: Path, small_store: Path) -> None:
    assert "two_convolutions" in run(tree, "models").stdout
    (line,) = [line for line in COMMANDS if line.startswith("mien train")]
    words = [str(small_store) if word == "stores/fer2013" else word for word in shlex.split(line)[1:]]
    done = run(tree, *words)
    assert done.returncode == 0, done.stderr
    assert (tree / "runs/two-convolutions/best.ckpt").is_file()


def test_a_data_set(tree: Path) -> None:
    (tree / "pictures").mkdir()
    for number, name in enumerate([*["happy", "Sadness"] * 10, "lunch"]):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48), np.uint8)
        Image.fromarray(pixels).save(tree / "pictures" / f"{name}-{number}.png")
    (line,) = [line for line in COMMANDS if line.startswith("mien data build")]
    done = run(tree, *shlex.split(line.replace("PATH", "pictures"))[1:])
    assert done.returncode == 0, done.stderr
    assert "name without an expression" in (tree / "stores/tagged/dropped.csv").read_text()
    counts = json.loads(run(tree, "data", "stats", "stores/tagged", "--json").stdout)["splits"]
    assert {label: sum(split["counts"][label] for split in counts.values()) for label in ("happy", "sad")} == {
        "happy": 10,
        "sad": 10,
    }


def test_a_command(tree: Path) -> None:
    (line,) = [line for line in COMMANDS if line.startswith("mien labels")]
    assert run(tree, *shlex.split(line)[1:]).stdout.split()[:2] == ["angry", "disgust"]
    assert "labels" in run(tree, "--help").stdout
    wrong = run(tree, "labels", "nobody")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: unknown model 'nobody'")


def test_a_page(tree: Path) -> None:
    page = run(tree, code=BLOCKS["run"]).stdout
    assert "<h1>&lt;mien&gt;</h1>" in page
    assert "71.55 % [70.0, 73.0]" in page


def test_without_its_line_the_data_set_is_unknown(tmp_path: Path) -> None:
    """Negative control: the untouched tree has none of it."""
    done = run(ROOT, "data", "build", "--source", f"name_tags={tmp_path}", "-o", tmp_path / "store")
    assert done.returncode == 2
    assert "got 'name_tags'" in done.stderr
