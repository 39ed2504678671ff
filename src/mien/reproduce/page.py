"""The study as one HTML file that opens offline: the claim, the tables, the figures, the notes. It computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.pages.environment import render as fill
from mien.reproduce import table as tables
from mien.reproduce.analyses import Analysis

#: More arms than these stand below each other.
_SIDE_BY_SIDE = 4


def render(
    table: Mapping[str, Any],
    drawn: Mapping[str, bytes],
    analyses: Sequence[Analysis],
    *,
    balance: bytes,
    confusion: bytes | None,
) -> str:
    """The page. table: as ``table.tabulate`` makes it. drawn: name → SVG of ``curves.py``. balance: the store's
    Figure 2. confusion: the first arm's matrix, where it was drawn. Raises MissingExtra without Jinja2."""
    scored = []
    for reading, parts in table["figures"].items():
        for part, scores in parts.items():
            grid = tables.cells(table, scores)
            header, *rows = tables.transposed(grid) if len(table["rows"]) <= _SIDE_BY_SIDE else grid
            title = f"{tables.READINGS[reading]}; {tables.PARTS[part]}"
            one = {"title": title, "n": next(iter(scores.values()))["n"], "header": header, "rows": rows}
            scored.append(one | {"differences": drawn.get(f"differences_{reading}_{part}")})
    return fill(
        "study.html.j2",
        title=f"{table['table']}, {table['source']}",
        table=table,
        facts=[fact.replace("`", "") for fact in tables.facts(table)],
        scored=scored,
        first=table["rows"][0]["title"],
        drawn=drawn,
        confusion=confusion,
        analyses=[
            {"title": one.title, "lines": one.lines, "drawn": {file.stem: file.read_bytes() for file in one.files}}
            for one in analyses
        ],
        balance=balance,
        runs=tables.run_cells(table),
        notes=tables.notes(table),
    )


def read_if_there(file: Path) -> bytes | None:
    """The file's bytes; None where there is no such file."""
    return file.read_bytes() if file.is_file() else None
