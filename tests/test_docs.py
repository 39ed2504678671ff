"""What the README says is run here: its snippet, its commands, its figures."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from called import run_script
from mien.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
# extending.md has a test of its own, which runs it
GUIDES = "".join(
    file.read_text("utf-8") for file in sorted((ROOT / "docs").glob("*.md")) if file.name != "extending.md"
)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[str]:
    """Every `mien …` line of the console blocks of README and guides, comments and pipes taken off."""
    found = blocks("console") + blocks("console", GUIDES)
    lines = [line.split("#")[0].strip() for block in found for line in block.splitlines()]
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
    for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(ROOT / "src/mien/weights").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text("utf-8")):
            made = file.parent == ROOT / "docs" and target.startswith("networks/")  # by scripts/docs_site.py
            assert made or (file.parent / target).exists(), f"{file.name}: {target}"


def test_the_build_recipe_of_the_guide_is_one(tmp_path: Path) -> None:
    from mien.data.build.recipe import load_build_recipe

    (text,) = blocks("yaml", (ROOT / "docs" / "data.md").read_text("utf-8"))
    (tmp_path / "office.yaml").write_text(text)
    recipe = load_build_recipe(tmp_path / "office.yaml")
    assert [source.called for source in recipe.sources] == ["fer2013", "office"]
    recipe.standard(), recipe.split_settings(), recipe.balance_settings()


@pytest.mark.fer2013
@pytest.mark.long
def test_the_audit_finds_what_the_readme_shows(fer2013_audit: tuple[Path, str]) -> None:
    (shown,) = blocks("text", (ROOT / "docs" / "data.md").read_text("utf-8"))
    assert fer2013_audit[1].startswith(shown)


def test_figures_are_those_of_the_reports() -> None:
    """README's table and the model cards are what scripts/write_cards.py makes of results/."""
    status, _, stale = run_script("write_cards", "--check")
    assert status == 0, f"not up to date: {stale}; run scripts/write_cards.py"


def machine_paths(text: str) -> list[str]:
    return re.findall(r"(?<![\w.*)])[/~]/?(?:root|home|Users|tmp|mnt|opt|work|data)/\S*", text)


def test_cards_carry_no_path_of_a_machine() -> None:
    for file in [ROOT / "README.md", *(ROOT / "src/mien/weights").glob("*.md")]:
        assert machine_paths(file.read_text("utf-8")) == [], file.name
    assert machine_paths("`mien --fer /root/bin/python`") == ["/root/bin/python`"]  # the control
