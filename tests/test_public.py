"""The public names, those of docs/python.md: each describes its parameters and errors, and its examples run."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

import mien

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/notebooks").glob("*.md"))]
_ENTRY = re.compile(r"^::: ([\w.]+)\n(?:    options:\n((?:      .*\n)+))?", re.MULTILINE)
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Examples):$", re.MULTILINE)


def public() -> dict[str, bool]:
    """The names of the page, in its order → whether their members are shown."""
    return {name: "members: false" not in options for name, options in _ENTRY.findall(PAGE)}


def found(name: str) -> Any:
    module, _, own = name.rpartition(".")
    return getattr(importlib.import_module(module), own)


def callables(thing: Any, members: bool) -> Iterator[tuple[str, Any, Callable[..., Any] | None]]:
    """What has a docstring of its own: name, docstring, and what is called; of a class, its members as well."""
    if not inspect.isclass(thing):
        yield thing.__name__, thing, thing
        return
    # an exception that takes what its base takes says so there
    made = vars(thing).get("__init__")
    made = None if made is None or not inspect.isfunction(made) else made
    yield thing.__name__, thing, made
    for name, member in vars(thing).items() if members else ():
        kinds = (property, classmethod, staticmethod, FunctionType)
        if name.startswith("_") or not isinstance(member, kinds):
            continue
        call = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        yield f"{thing.__name__}.{name}", call, call


def sections(text: str) -> dict[str, str]:
    """Heading → text of the sections of a docstring in Google's style; "" for what stands before."""
    parts = _SECTION.split(inspect.cleandoc(text))
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def raised(call: Callable[..., Any]) -> set[str]:
    """The errors that a function raises by itself, or through private functions of its own module and class."""
    module = ast.parse(inspect.getsource(inspect.getmodule(call)))  # type: ignore[arg-type]
    functions: dict[str, ast.AST] = {}
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            functions[node.name] = node
        elif isinstance(node, ast.ClassDef) and node.name == call.__qualname__.partition(".")[0]:
            functions |= {f"self.{one.name}": one for one in node.body if isinstance(one, ast.FunctionDef)}
    seen: set[str] = set()
    errors: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name not in functions:
            return
        seen.add(name)
        caught = {id(one) for node in ast.walk(functions[name]) if isinstance(node, ast.Try)
                  for body in node.body for one in ast.walk(body) if node.handlers}  # fmt: skip
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and id(node) not in caught:
                errors.add(ast.unparse(node.exc.func).rpartition(".")[2])
            if isinstance(node, ast.Call) and (helper := ast.unparse(node.func)).rpartition(".")[2].startswith("_"):
                visit(re.sub(r"^cls\.", "self.", helper))

    own = call.__qualname__.rpartition(".")
    visit(f"self.{own[2]}" if own[0] else own[2])
    if own[2] == "__init__":
        visit("self.__post_init__")
    return {one for one in errors if one[0].isupper()}


def described(told: dict[str, str]) -> list[str]:
    """The parameters that the sections of a docstring describe."""
    return re.findall(r"^    \*{0,2}(\w+): ", told.get("Args", "") + told.get("Attributes", ""), re.MULTILINE)


def faults(name: str, thing: Any, *, members: bool = True) -> list[str]:
    """What the documentation of a public name lacks, a line each."""
    lacks, examples = [], ""
    parts = list(callables(thing, members))
    examples = "".join(sections(part.__doc__ or "").get("Examples", "") for _, part, _ in parts)
    for title, part, call in parts:
        text = part.__doc__ or ""
        if not text.strip():
            lacks.append(f"{title}: no docstring")
            continue
        told = sections(text)
        listed = described(told)
        for lender in re.findall(r"are\s+those\s+of\s+:class:`(mien[\w.]+)`", told[""]):
            assert lender in public()
            listed += described(sections(found(lender).__doc__))
        wanted = (
            [] if call is None else [one for one in inspect.signature(call).parameters if one not in ("self", "cls")]
        )
        lacks += [f"{title}: parameter {one} is not described" for one in wanted if one not in listed]
        lacks += [f"{title}: {one} is described, and no parameter" for one in listed if one not in wanted]
        errors = set() if call is None else raised(call)
        lacks += [
            f"{title}: raises {one}, which Raises lacks"
            for one in sorted(errors)
            if f"{one}:" not in told.get("Raises", "")
        ]
        lone = title.rpartition(".")[2]
        if part is thing and ">>> " not in told.get("Examples", ""):
            lacks.append(f"{title}: no Examples")
        elif part is not thing and not re.search(rf"\.{lone}\b", examples):
            lacks.append(f"{title}: in no example")
    return lacks


@pytest.mark.parametrize("name", public())
def test_a_public_name_says_what_it_takes_raises_and_looks_like(name: str) -> None:
    assert not faults(name, found(name), members=public()[name])


def undocumented(rows: int, *, limit: int = 3) -> int:
    """A function of this test.

    Args:
        rows: a number.

    Examples:
        No call.
    """
    if rows > limit:
        raise ValueError("expected fewer rows")
    return rows


def test_what_is_missing_is_seen() -> None:
    """Negative control."""
    assert faults("undocumented", undocumented) == [
        "undocumented: parameter limit is not described",
        "undocumented: raises ValueError, which Raises lacks",
        "undocumented: no Examples",
    ]


def imported(text: str) -> set[str]:
    """The names that the Python blocks of a page import from mien, by their home."""
    names = set()
    for block in re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL):
        for module, listed in re.findall(r"^from (mien[\w.]*) import (.+)$", block, re.MULTILINE):
            names |= {f"{module}.{one.strip()}" for one in listed.split(",")}
    homes = {f"mien.{name}": f"{home}.{name}" for name, home in mien._HOMES.items()}
    return {homes.get(name, name) for name in names}


def test_the_page_lists_what_mien_exports_and_what_guides_import() -> None:
    listed = set(public())
    assert {f"{mien._HOMES[name]}.{name}" for name in mien.__all__ if name != "__version__"} <= listed
    for page in GUIDES:
        if page.name != "extending.md":
            assert imported(page.read_text("utf-8")) <= listed, page.name
    assert not imported("```python\nfrom mien.tables import open_table\n```") <= listed  # negative control


@pytest.fixture
def folder(astronaut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photo.jpg, clip.mp4 and pictures/, as the page describes them."""
    import av
    from PIL import Image

    photo = Image.open(astronaut).convert("RGB")
    photo.save(tmp_path / "photo.jpg", quality=95)
    with av.open(str(tmp_path / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 512, 512, "yuv420p"
        for number in range(8):
            shifted = photo.crop((number, 0, number + 512, 512))
            clip.mux(stream.encode(av.VideoFrame.from_image(shifted)))
        clip.mux(stream.encode(None))
    noise = np.random.default_rng(0)
    for number in range(40):
        home = tmp_path / "pictures" / ("dark", "light")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        level = (60, 190)[number % 2]
        Image.fromarray(noise.integers(level - 50, level + 50, (48, 48), np.uint8)).save(home / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples(thing: Any, members: bool) -> str:
    """All of a name's examples, its members' after its own."""
    texts = [sections(part.__doc__ or "").get("Examples", "") for _, part, _ in callables(thing, members)]
    return "\n".join(textwrap.dedent(text) for text in texts)


def failures(name: str, text: str) -> str:
    """What doctest prints of examples that give something else; "" where all hold. They start with no name at all."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(test, out=told.append)
    return "".join(told)


def test_the_snippet_of_the_page_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(snippet, {})
    assert "happy" in capsys.readouterr().out


def test_the_examples_run(folder: Path) -> None:
    """In the page's order: the store of one is read by another."""
    pytest.importorskip("torch")
    told = "".join(failures(name, examples(found(name), members)) for name, members in public().items())
    assert not told, told


def test_a_wrong_example_is_seen() -> None:
    """Negative control."""
    assert "Expected:\n    3" in failures("control", ">>> 1 + 1\n3\n")
