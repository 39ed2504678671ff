"""The rules of ARCHITECTURE.md, checked: layers, import cycles, docstrings, words, and the drawing of the rooms."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import architecture  # noqa: E402

#: From the top down. A room imports only what stands in a later line; rooms of one line do not import each other.
LAYERS = (
    ("cli/",),
    ("reproduce/",),
    ("evaluation/analysis/",),
    ("evaluation/",),
    ("export.py",),
    ("training/",),
    ("data/build/", "data/audit/"),
    ("data/",),
    ("timeline/",),
    ("data/sources/", "models/", "pages/", "serving/", "bulk/"),
    ("webpage/",),
    ("reading/",),
    ("video/",),
    ("faces/",),
    ("imaging/",),
)
#: What reads pictures: it must start without the workbench.
READING_HALF = ("serving/", "webpage/", "bulk/", "reading/", "video/", "faces/", "imaging/")
MODULES = architecture.modules()
GRAPH = architecture.graph()


def layer(room: str) -> int:
    """0 is the top; modules that no line names are the ground."""
    return next((number for number, rooms in enumerate(LAYERS) if room in rooms), len(LAYERS))


def upward(arrows: dict[str, set[str]]) -> list[str]:
    """The imports between rooms that do not point downwards."""
    found = []
    for room, others in architecture.rooms(arrows).items():
        ground = layer(room) == len(LAYERS)
        found += [
            f"{room} → {o}"
            for o in sorted(others)
            if layer(o) < layer(room) or (layer(o) == layer(room) and not ground)
        ]
    return found


def test_imports_point_downwards() -> None:
    assert upward(GRAPH) == []


def test_no_circle_of_modules_or_rooms() -> None:
    assert architecture.circles(GRAPH) == []
    assert architecture.circles(architecture.rooms(GRAPH)) == []


def test_the_reading_half_imports_nothing_of_the_workbench() -> None:
    top = {room for rooms in LAYERS[:10] for room in rooms}
    for room, others in architecture.rooms(GRAPH).items():
        if room in READING_HALF or layer(room) == len(LAYERS):
            assert not others & top, room


def test_a_wrong_import_is_seen() -> None:
    """Negative control: an import that points up, and a circle."""
    bent = GRAPH | {"mien.errors": {"mien.labels", "mien.cli.app"}, "mien.faces.align": {"mien.reading.reader"}}
    assert "faces/ → reading/" in upward(bent)
    assert "errors.py → cli/" in upward(bent)
    assert any({"mien.labels", "mien.errors"} <= set(circle) for circle in architecture.circles(bent))


def test_imports_inside_functions_are_seen_and_those_for_type_checkers_are_not(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mien.b\ndef f():\n    from mien import c\n"
    )
    assert architecture.imports(file, {"mien": file, "mien.b": file, "mien.c": file}) == {"mien.c"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_says_what_it_holds_and_its_public_names_are_documented(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    assert ast.get_docstring(tree), f"{name}: expected a docstring at the head of the file"
    assert undocumented(tree) == []


def undocumented(tree: ast.Module) -> list[str]:
    """Public functions and classes of a module without a docstring; members of classes may do without."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        n.name for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_") and not ast.get_docstring(n)
    ]


def test_a_function_without_a_docstring_is_seen() -> None:
    assert undocumented(ast.parse("def f(): pass\ndef _g(): pass\nclass C:\n    'doc'")) == ["f"]


def unknown_files(text: str) -> set[str]:
    """Files of Python that a text names between backticks, in part or in full, and that are not there."""
    there = [f"/{file.relative_to(ROOT)}" for home in ("src", "tests", "scripts", "benchmarks")
             for file in (ROOT / home).rglob("*.py")]  # fmt: skip
    told = set(re.findall(r"`([\w./-]+\.py)`", text))
    return {name for name in told if "NAME" not in name and not any(file.endswith(f"/{name}") for file in there)}


def test_files_that_docstrings_and_documents_name_are_there() -> None:
    documents = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *MODULES.values()]
    texts = {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in documents}
    assert {name: missing for name, text in texts.items() if (missing := unknown_files(text))} == {}
    assert unknown_files("``data/store.py`` has `store.py`, ``build.py`` had") == {"build.py"}  # negative control


def banned() -> set[str]:
    rows = [
        line.split("|")
        for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()
        if line.startswith("| ")
    ]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row[3])} if rows else set()


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def says(name: str, words: set[str]) -> set[str]:
    """The banned words in a name: ``read_answers`` has ``answers``, ``shared`` has no ``share``."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return {word for word in words if f"_{word}_" in f"_{snake}_"}


def test_no_name_uses_a_word_that_the_glossary_rejects() -> None:
    words = banned()
    assert len(words) > 15
    found = {
        f"{module}: {name}"
        for module, file in MODULES.items()
        for name in [module.rpartition(".")[2], *names(ast.parse(file.read_text("utf-8")))]
        if says(name, words)
    }
    assert sorted(found) == []
    assert says("read_answers", words)
    assert says("FileAnswers", words)
    assert not says("shared", words)


def test_the_drawing_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/architecture.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
