"""One HTML file that needs nothing else: style inside, figures as data URIs, no script, no request to anywhere.

It follows the reader's light or dark setting, and prints on white. Whatever comes from outside (names of models,
files, groups) goes through :func:`text`.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1b1b; --soft: #5c5c5c; --line: #d8d8d8; --tint: #f4f5f6;
  --mark: #0072b2; --warn: #8a3b00; --warn-paper: #fff4ea; }
@media (prefers-color-scheme: dark) { :root { --paper: #17181a; --ink: #e8e8e8; --soft: #a9a9a9; --line: #3a3c40;
  --tint: #212327; --mark: #6cb8e6; --warn: #ffc28a; --warn-paper: #33261a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p, ul { margin: .5rem 0; max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--tint); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.65rem; line-height: 1.25; color: var(--mark); }
.tile span { display: block; font-size: .88rem; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td:not(:first-child) { white-space: nowrap; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; }
tbody th { font-weight: 400; }
tr.strong > * { font-weight: 600; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: .4rem; padding: .5rem; }
.warning { background: var(--warn-paper); color: var(--warn); border-radius: .5rem; padding: .7rem 1rem; }
pre { margin: .6rem 0; font-size: .82rem; line-height: 1.45; }
code, pre { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; }
code { font-size: .88em; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--soft); }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #f4f5f6; --mark: #004f7c;
  --warn: #6b2d00; --warn-paper: #fff; } body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
  h2 { break-after: avoid; } figure, table, .tile, tr { break-inside: avoid; } .scroll { overflow: visible; } }
"""


def text(value: object) -> str:
    """Anything as text that HTML shows as it is."""
    return escape(str(value), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """A whole page. body: parts that are HTML already."""
    inside = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{inside}\n</main>\n</body>\n</html>\n"
    )


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", strong: Sequence[int] = ()
) -> str:
    """A table of plain texts; the first cell of a row is its header. strong: rows to stress."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    lines = []
    for number, row in enumerate(rows):
        first, *rest = row
        cells = f'<th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in rest)
        lines.append(f'<tr class="strong">{cells}</tr>' if number in strong else f"<tr>{cells}</tr>")
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what they are; empty ones are left out. The second of a pair is HTML already."""
    lines = "\n".join(f'<tr><th scope="row">{text(name)}</th><td>{value}</td></tr>' for name, value in rows if value)
    return f'<table class="facts"><tbody>\n{lines}\n</tbody></table>'


def tile(name: str, value: str, below: str) -> str:
    return f'<div class="tile"><span>{text(name)}</span><b>{text(value)}</b><span>{text(below)}</span></div>'


def svg_figure(svg: bytes, *, alt: str, caption: str = "") -> str:
    """An SVG as an image of its own: its ids cannot meet those of another."""
    data = base64.b64encode(svg).decode("ascii")
    told = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{text(alt)}">{told}</figure>'


def share(figure: dict[str, Any] | None, *, digits: int = 2) -> str:
    """A share in per cent with its interval; a dash where there is none."""
    if figure is None or figure["value"] is None:
        return "–"
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} % [{low:.{max(digits - 1, 1)}f}, {high:.{max(digits - 1, 1)}f}]"


def number(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def points(figure: dict[str, Any] | None) -> str:
    """A difference of shares in percentage points, with its sign and interval."""
    if figure is None or figure["value"] is None:
        return "–"
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
