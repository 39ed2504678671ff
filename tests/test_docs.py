"""What the README says is run here: its snippet, its commands, its figures."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mien.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [README, *(file.read_text("utf-8") for file in sorted((ROOT / "docs").glob("*.md")))]


def blocks(language: str) -> list[str]:
    return [block for page in PAGES for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def commands() -> list[str]:
    """Every `mien …` line of the console blocks of README and docs, comments and pipes taken off."""
    lines = [line.split("#")[0].strip() for block in blocks("console") for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("|") if part.strip().startswith("mien ")]


def test_the_python_snippet_runs(astronaut: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.open(astronaut).convert("RGB").save(tmp_path / "photo.jpg")
    (snippet,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "happy" in done.stdout


@pytest.mark.parametrize("line", commands())
def test_each_command_line_parses(line: str) -> None:
    """The command exists and takes these options and arguments (nothing is run)."""
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="mien")
    while hasattr(command, "commands"):
        context = typer.Context(command, parent=context)
        command = command.commands[words.pop(0)]
    command.make_context("mien", words, parent=context, resilient_parsing=False)


def test_there_are_commands_and_a_wrong_one_fails() -> None:
    assert len(commands()) >= 8
    with pytest.raises(Exception, match=r"(?i)no such option"):
        test_each_command_line_parses("mien read --anotate x photo.jpg")


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets


def test_links_lead_somewhere() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "src/mien/weights").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text("utf-8")):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_figures_are_those_of_the_reports() -> None:
    """README's table and the model cards are what scripts/write_cards.py makes of results/."""
    done = subprocess.run(
        [sys.executable, "scripts/write_cards.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"not up to date: {done.stderr}; run scripts/write_cards.py"
