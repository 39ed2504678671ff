"""Draws the rooms of mien from its imports: ``python scripts/architecture.py`` (``--check`` changes nothing).

A *room* is a folder of ``src/mien``, or a module that lies beside the folders. The script reads every import (inside
functions too, but not under ``TYPE_CHECKING``) and orders the rooms so that each stands above all that it imports. It
writes that order, with the first sentence of each room's docstring and what it imports, between two marks in
ARCHITECTURE.md, and draws docs/architecture.svg. ``tests/test_architecture.py`` checks the rules on the same graph.
"""

import ast
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "mien"
BEGIN, END = "<!-- rooms: written by scripts/architecture.py -->", "<!-- /rooms -->"
#: Rooms that hold rooms: what lies in them is told apart.
SPLIT = ("data", "evaluation")


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Dotted name → file of every module; a package by its ``__init__``."""
    found = {}
    for file in sorted(source.rglob("*.py")):
        parts = [source.name, *file.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ``known`` that ``file`` imports, whenever it does, but for type checkers."""
    found: set[str] = set()
    for node in _statements(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known.keys() or {node.module}
            if inner - known.keys():
                found.add(node.module)
    return found


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _statements(node)


def graph(source: Path = SOURCE) -> dict[str, set[str]]:
    """Module → the modules that it imports. The root package is left out: it only hands names on, lazily."""
    known = modules(source)
    return {name: imports(file, known) - {name, source.name} for name, file in known.items() if name != source.name}


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one member (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(arrows.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            members = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(members) > 1:
                found.append(sorted(members))

    for name in sorted(arrows):
        if name not in index:
            visit(name)
    return found


def room_of(module: str) -> str:
    """``mien.data.audit.run`` → ``data/audit/``; ``mien.labels`` → ``labels.py``."""
    parts = module.split(".")[1:]
    if len(parts) > 1 and parts[0] in SPLIT and (SOURCE / parts[0] / parts[1]).is_dir():
        return f"{parts[0]}/{parts[1]}/"
    return f"{parts[0]}/" if (SOURCE / parts[0]).is_dir() else f"{parts[0]}.py"


def rooms(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Room → the rooms that it imports."""
    found: dict[str, set[str]] = {}
    for module, others in arrows.items():
        room = room_of(module)
        found.setdefault(room, set()).update(room_of(other) for other in others if room_of(other) != room)
    return found


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Room → 1 + the highest floor among what it imports; 0 for what imports nothing. Circles raise ValueError."""
    if found := circles(arrows):
        raise ValueError(f"expected imports without a circle, got {found}")
    result: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in result:
            result[room] = 1 + max((floor(other) for other in arrows[room]), default=-1)
        return result[room]

    for room in arrows:
        floor(room)
    return result


def summary(room: str) -> str:
    """The first sentence of the room's docstring."""
    file = SOURCE / room / "__init__.py" if room.endswith("/") else SOURCE / room
    text = " ".join((ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").split())
    return text.split(". ")[0].rstrip(".")


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no longer way stands for (transitive reduction)."""

    def reach(room: str) -> set[str]:
        return arrows[room].union(*(reach(other) for other in arrows[room]))

    return {
        room: {o for o in others if not any(o in reach(p) for p in others - {o})} for room, others in arrows.items()
    }


def upper(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """The rooms above the ground and their arrows among themselves: folders, and modules that import a folder."""
    above = {room for room, others in arrows.items() if room.endswith("/") or any(o.endswith("/") for o in others)}
    return {room: arrows[room] & above for room in sorted(above)}


def storeys(arrows: dict[str, set[str]]) -> tuple[list[list[str]], list[str]]:
    """The rooms above the ground, a list a floor from the top down, and the modules that are the ground."""
    above = upper(arrows)
    height = floors(above)
    levels = [[room for room in above if height[room] == level] for level in range(max(height.values()) + 1)]
    return levels[::-1], sorted(arrows.keys() - above.keys())


def table(arrows: dict[str, set[str]]) -> str:
    """The rooms as Markdown, from the top down: what a room holds, and which rooms above the ground it imports."""
    levels, ground = storeys(arrows)
    lines = ["| floor | room | holds | imports |", "|---|---|---|---|"]
    for number, level in zip(range(len(levels), 0, -1), levels, strict=True):
        for room in level:
            below = ", ".join(f"`{other}`" for other in sorted(upper(arrows)[room])) or "the ground"
            lines.append(f"| {number} | `{room}` | {summary(room)} | {below} |")
    lines += [f"| ground | `{room}` | {summary(room)} | |" for room in ground]
    return "\n".join(lines)


def picture(arrows: dict[str, set[str]]) -> str:
    """The same as SVG: a row a floor, arrows only where no longer way leads; light and dark."""
    levels, ground = storeys(arrows)
    width, row, high, columns = 960, 84, 40, 6
    place: dict[str, tuple[float, float, float]] = {}  # left, top, width
    arrows_drawn = reduced(upper(arrows))
    for number, level in enumerate(levels):
        importers = {room: [place[above][0] for above in place if room in arrows_drawn[above]] for room in level}
        level = sorted(level, key=lambda room: (sum(importers[room]) / max(len(importers[room]), 1), room))
        step = width / (len(level) + 0.5 * (number % 2))  # every second floor stands a little to the right
        for column, room in enumerate(level):
            place[room] = (step * (column + 0.5 + 0.5 * (number % 2)) - 75, 20 + number * row, 150)
    top = 20 + len(levels) * row + 20
    for number, room in enumerate(ground):
        place[room] = ((width / columns) * (number % columns) + 6, top + (number // columns) * 48, width / columns - 12)
    below = top + -(-len(ground) // columns) * 48 + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {below:.0f}" role="img">',
        "<title>The rooms of mien; arrows point to what is imported</title>",
        "<style>text{font:14px system-ui,sans-serif;fill:#1f2933;text-anchor:middle}"
        "rect{fill:#eef4fb;stroke:#5b7ea6}.g rect{fill:#f3f1ea;stroke:#a89f83}path{stroke:#7b8794;fill:none}"
        "marker path{fill:#7b8794}@media(prefers-color-scheme:dark){text{fill:#e4e7eb}"
        "rect{fill:#1d2b3a}.g rect{fill:#2b281f}}</style>",
        '<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
    ]
    for room, others in sorted(arrows_drawn.items()):
        x, y, w = place[room]
        for number, other in enumerate(sorted(others, key=lambda o: (place[o][0], o)), 1):
            to_x, to_y, to_w = place[other]
            start, end = x + w * number / (len(others) + 1), to_x + to_w / 2
            parts.append(
                f'<path marker-end="url(#a)" d="M{start:.0f} {y + high:.0f}C{start:.0f} {y + high + 30:.0f} '
                f'{end:.0f} {to_y - 30:.0f} {end:.0f} {to_y:.0f}"/>'
            )
    for room, (x, y, w) in place.items():
        kind = ' class="g"' if room in ground else ""
        parts.append(
            f'<g{kind}><rect x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="{high}" rx="6"/>'
            f'<text x="{x + w / 2:.0f}" y="{y + 25:.0f}">{escape(room)}</text></g>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    arrows = rooms(graph())
    page, drawing = ROOT / "ARCHITECTURE.md", ROOT / "docs" / "architecture.svg"
    head, rest = page.read_text("utf-8").split(BEGIN)
    written = {
        page: f"{head}{BEGIN}\n\n{table(arrows)}\n\n{END}{rest.split(END)[1]}",
        drawing: picture(arrows),
    }
    stale = [file for file, text in written.items() if not file.is_file() or file.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        sys.exit(f"not current: {', '.join(f.name for f in stale)}; run python scripts/architecture.py" if stale else 0)
    for file in stale:
        file.write_text(written[file], "utf-8")
        print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
