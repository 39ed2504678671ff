"""Puts a table that a command made between its marks in a Markdown file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien.atomic import write_text


def replace_block(file: Path, name: str, text: str) -> None:
    """What stands between ``<!-- NAME: … -->`` and ``<!-- /NAME -->`` becomes ``text``. The marks have to be there."""
    whole = file.read_text("utf-8")
    pattern = re.compile(rf"(<!-- {name}:[^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(whole):
        raise SystemExit(f"expected the marks <!-- {name}: … --> and <!-- /{name} --> in {file}")
    write_text(file, pattern.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", whole))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown, whole numbers with thousands separators."""
    shown = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
