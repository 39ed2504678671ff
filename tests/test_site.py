"""The documentation: the site builds without a warning, and the notebooks run."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)


@pytest.mark.long
def test_the_site_builds_strictly_with_a_page_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings")
    done = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr[-3000:]
    from mien.models.registry import all_specs

    for spec in all_specs():
        page = (tmp_path / "site" / "networks" / f"{spec.name}.html").read_text("utf-8")
        parts = re.split(r'<h2 id="([\w-]+)"', page)
        told = dict(zip(parts[1::2], parts[2::2], strict=True))
        assert list(told) == ["what-it-is", "published-figures", "our-figures", "recipes"], spec.name
        assert "arxiv.org/abs/" in page or "ours" in page or "20" in spec.source  # a paper without arXiv has its year
        assert "<h3 " in told["recipes"], f"{spec.name} has no recipe"
    python = (tmp_path / "site" / "python.html").read_text("utf-8")
    for name in ("Reader", "Reading", "Face", "Box", "ReadFailure", "MienError", "Store"):
        assert f">{name}<" in python or f'id="mien.{name}' in python or f".{name}" in python, name
    assert ":class:" not in python
    commands = (tmp_path / "site" / "commands.html").read_text("utf-8")
    assert "--min-confidence" in commands
    # no request to anywhere but to pages of the same site, save links that somebody clicks
    page = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert re.findall(r'<(?:link|script|img)[^>]+(?:href|src)="https?://', page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """Negative control, without the generated pages."""
    pytest.importorskip("mkdocs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[nowhere](nowhere.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: control\nvalidation: {links: {not_found: warn}}\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr


@pytest.mark.parametrize(  # the one that trains takes four times as long as the others together
    "notebook",
    [pytest.param(n, id=n.stem, marks=[pytest.mark.long] if n.stem == "own_folder" else []) for n in NOTEBOOKS],
)
def test_notebooks_run(notebook: Path, tmp_path: Path) -> None:
    """In Jupyter's kernel where it is installed (extra docs), else the same cells as one script."""
    command = [sys.executable, str(ROOT / "scripts" / "notebooks.py"), str(notebook)]
    if find_spec("nbclient") is None or find_spec("jupytext") is None or find_spec("ipykernel") is None:
        cells = re.findall(r"```python\n(.*?)```", notebook.read_text("utf-8"), re.DOTALL)
        assert len(cells) >= 3
        command = [sys.executable, "-c", "\n".join(cells)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_three_notebooks_are_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["audit", "own_folder", "read"]
    jupytext = pytest.importorskip("jupytext")
    for file in NOTEBOOKS:
        notebook = jupytext.read(file)
        assert notebook.metadata["kernelspec"]["name"] == "python3"
        assert sum(cell.cell_type == "code" for cell in notebook.cells) >= 3
