"""Contact sheets: one picture per finding of an audit.

Tiles that belong together stand close to each other in a frame; the odd one out has a thick frame and a mark, so that
colour is never the only sign. The page (``page.py``) shows the same tiles as separate pictures with real text.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mien.data.audit.examples import Sheet, Tile
from mien.data.audit.index import Picture
from mien.fonts import font_for

SIDE = 96  # of a thumbnail's frame, in pixels
_WIDTH = 1200
_TEXT, _HEAD = 11, 18  # font sizes
_MARK = "≠ "  # before what contradicts
_LINE = 15
_TILE, _BETWEEN, _PAD = SIDE + 14, 14, 6
_INK, _SOFT, _FRAME, _WARN = "#1a1a1a", "#555555", "#cfcfcf", "#D55E00"  # the last from Okabe & Ito 2008


def thumbnail(pixels: NDArray[np.uint8] | None) -> Image.Image:
    """A picture of at most SIDE×SIDE: a small one is as it is, a large one is reduced. None: a crossed-out box."""
    if pixels is None:
        image = Image.new("L", (SIDE, SIDE), 235)
        draw = ImageDraw.Draw(image)
        draw.line((0, 0, SIDE, SIDE), fill=150)
        draw.line((0, SIDE, SIDE, 0), fill=150)
        return image
    image = Image.fromarray(pixels)
    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def enlarged(image: Image.Image) -> Image.Image:
    """A thumbnail as large as fits SIDE×SIDE, enlarged by a whole number, pixel for pixel."""
    factor = max(1, SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def png(image: Image.Image) -> bytes:
    """The picture as a small PNG, exact."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def thumbnails(pictures: Iterable[Picture]) -> dict[int, Image.Image]:
    """number → thumbnail, a picture at a time: of a large picture nothing else stays in memory."""
    return {picture.number: thumbnail(picture.pixels) for picture in pictures}


def contact_sheet(sheet: Sheet, images: Mapping[int, Image.Image]) -> bytes:
    """The sheet as a PNG, 1200 pixels wide. images: number → thumbnail of every tile."""
    text = f"{sheet.text} {shown(sheet)}"
    head = _wrapped(text, _WIDTH - 2 * _BETWEEN)
    top = _BETWEEN + _HEAD + 10 + len(head) * _LINE + _BETWEEN
    places, bottom = _places(sheet, top)
    page = Image.new("RGB", (_WIDTH, bottom + _BETWEEN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((_BETWEEN, _BETWEEN), sheet.title, fill=_INK, font=_font(_HEAD, sheet.title))
    for n, line in enumerate(head):
        draw.text((_BETWEEN, _BETWEEN + _HEAD + 10 + n * _LINE), line, fill=_SOFT, font=_font(_TEXT, text))
    for row, (x, y, height) in zip(sheet.rows, places, strict=True):
        if len(row) > 1:
            box = (x, y, x + len(row) * _TILE + _PAD, y + height)
            draw.rounded_rectangle(box, radius=6, outline=_FRAME)
        for n, tile in enumerate(row):
            _draw_tile(page, draw, tile, enlarged(images[tile.number]), x + _PAD + n * _TILE, y + _PAD)
    return png(page)


def shown(sheet: Sheet) -> str:
    """How many of how many are on the sheet, in words."""
    n = len(sheet.rows)
    return f"Shown: {n:,} of {sheet.total:,} {sheet.unit}." if n < sheet.total else f"All {n:,} {sheet.unit}."


def _places(sheet: Sheet, top: int) -> tuple[list[tuple[int, int, int]], int]:
    """x, y and height of each row of tiles, set one after another like words; and where the last line ends."""
    lines = max((len(tile.caption) for row in sheet.rows for tile in row), default=0)
    height = SIDE + 2 * _PAD + 4 + lines * _LINE
    x, y, places = _BETWEEN, top, []
    for row in sheet.rows:
        width = len(row) * _TILE + _PAD
        if x > _BETWEEN and x + width > _WIDTH - _BETWEEN:
            x, y = _BETWEEN, y + height + 8
        places.append((x, y, height))
        x += width + (_BETWEEN if len(row) > 1 else 0)
    return places, y + height


def _draw_tile(page: Image.Image, draw: Any, tile: Tile, image: Image.Image, x: int, y: int) -> None:
    left, above = x + (SIDE - image.width) // 2, y + (SIDE - image.height) // 2
    page.paste(image, (left, above))
    if tile.warn:
        draw.rectangle((left - 3, above - 3, left + image.width + 2, above + image.height + 2), outline=_WARN, width=3)
    for n, line in enumerate(tile.caption):
        text = _cut((_MARK if tile.warn and n == 0 else "") + line)
        draw.text((x, y + SIDE + 4 + n * _LINE), text, fill=_INK if n == 0 else _SOFT, font=_font(_TEXT, text))


def _cut(line: str) -> str:
    """The line, shortened in the middle where it is wider than its tile."""
    font, kept = _font(_TEXT, line), line
    while font.getlength(kept) > _TILE - 4 and len(line) > 3:
        line = line[: len(line) // 2] + line[len(line) // 2 + 1 :]
        kept = line[: len(line) // 2] + "…" + line[len(line) // 2 :]
    return kept


def _wrapped(text: str, width: int) -> list[str]:
    lines, font = [""], _font(_TEXT, text)
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int, text: str = "") -> Any:
    """One that has the mark, which Pillow's own lacks: DejaVu Sans; another one for letters that this lacks."""
    return font_for(size, _MARK + text)
