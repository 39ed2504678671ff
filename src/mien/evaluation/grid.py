"""A table as text: Markdown and CSV, for ``mien compare`` and ``mien reproduce``."""

import csv
import io
from collections.abc import Sequence


def markdown(rows: Sequence[Sequence[str]], *, rule: str = "---") -> list[str]:
    """Lines of a Markdown table. rows: the header first. rule: what stands below each column's name."""
    lines = [f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |" for row in rows]
    return [lines[0], "|" + f"{rule}|" * len(rows[0]), *lines[1:]]


def comma_separated(rows: Sequence[Sequence[object]]) -> str:
    """CSV with the header first; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
