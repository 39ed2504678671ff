"""What an analysis leaves in its folder: the figures, and ``KIND.json`` beside them."""

import json
from pathlib import Path
from typing import Any

from mien import drawing
from mien.atomic import write_text


def save_figure(figure: Any, stem: Path) -> list[str]:
    """Write ``stem.png`` and ``stem.svg``; returns the names of the files. Raises OutputError."""
    drawing.save(figure, stem)
    return [f"{stem.name}.png", f"{stem.name}.svg"]


def save_report(report: dict[str, Any], out: Path) -> None:
    """Write ``KIND.json``: no NaN in it, floats as they are. Raises OutputError."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(out / f"{report['kind']}.json", text)
