"""The study as one HTML file that opens offline: the claim, the tables, the figures, the notes. It computes nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.evaluation import html
from mien.reproduce import table as tables
from mien.reproduce.analyses import Analysis

#: More arms than these stand below each other.
_SIDE_BY_SIDE = 4
_CAPTIONS = {
    "curves": "Training and validation by epoch (Fig. 5 of Paper A). Training figures are of augmented pictures.",
    "curves_all": "Validation by epoch, every arm. Thick: mean over seeds; thin: each seed.",
}


def render(
    table: Mapping[str, Any],
    drawn: Mapping[str, bytes],
    analyses: Sequence[Analysis],
    *,
    balance: bytes,
    confusion: bytes | None,
) -> str:
    """table: as ``table.tabulate`` makes it. drawn: name → SVG of ``curves.py``. balance: the store's Figure 2.
    confusion: the first arm's matrix, where it was drawn."""
    base = table["rows"][0]["title"]
    body = [
        f"<h1>{html.text(table['table'])} of {html.text(table['source'])}, run here</h1>",
        f'<p class="soft">{html.text(table["claim"])}. Preset {html.text(table["preset"])}.</p>',
    ]
    if table["reduced"]:
        body.append('<p class="warning">A smoke run: reduced networks, few images. It shows that everything runs.</p>')
    body.append(
        "<ul>" + "".join(f"<li>{html.text(fact.replace('`', ''))}</li>" for fact in tables.facts(table)) + "</ul>"
    )
    for reading, parts in table["figures"].items():
        for part, scores in parts.items():
            n = next(iter(scores.values()))["n"]
            body.append(f"<h2>{html.text(tables.READINGS[reading])}; {html.text(tables.PARTS[part])}</h2>")
            grid = tables.cells(table, scores)
            head, *rows = tables.transposed(grid) if len(table["rows"]) <= _SIDE_BY_SIDE else grid
            body.append(html.table(head, rows, caption=f"n = {n:,}; per cent"))
            name = f"differences_{reading}_{part}"
            if name in drawn:
                caption = f"Accuracy less that of {base}, paired, with 95 % intervals."
                body.append(html.svg_figure(drawn[name], alt=caption, caption=caption))
    body.append("<h2>Training</h2>")
    body += [html.svg_figure(drawn[name], alt=text, caption=text) for name, text in _CAPTIONS.items() if name in drawn]
    if confusion is not None:
        caption = f"{base}, first seed: answers by true expression."
        body += ["<h2>Confusion matrix</h2>", html.svg_figure(confusion, alt=caption, caption=caption)]
    for analysis in analyses:
        body.append(f"<h2>{html.text(analysis.title)}</h2>")
        body.append(f'<div class="scroll"><pre>{html.text(chr(10).join(analysis.lines))}</pre></div>')
        body += [html.svg_figure(file.read_bytes(), alt=analysis.title, caption=file.stem) for file in analysis.files]
    caption = "Figure 2: images of each class by source, before and after balancing."
    body += ["<h2>Data</h2>", html.svg_figure(balance, alt=caption, caption=caption)]
    head, *rows = tables.run_cells(table)
    body += ["<h2>Runs</h2>", html.table(["arm", *head[1:]], rows)]
    notes = tables.notes(table)
    if notes:
        body += ["<h2>Notes</h2>", _listed(notes)]
    return html.document(f"{table['table']}, {table['source']}", body)


def _listed(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.text(line)}</li>" for line in lines) + "</ul>"


def read_if_there(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
