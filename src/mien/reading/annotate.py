"""The annotated picture: each face boxed, named, and with a bar for every probability.

Everything is sized from the picture and the face, so that it reads the same on a 48-pixel crop (which is enlarged
first) and on a 50-megapixel photo. Colours are those of Okabe and Ito, told apart under every common colour
blindness; the name always stands beside the colour. Where a group leaves no room for a panel, a face keeps its chip
and one thin bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from mien.arrays import Uint8
from mien.drawing import contrast
from mien.fonts import font_for
from mien.reading.layout import Rect, clamp, place_chip, place_corner, place_panel
from mien.results import Face

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "angry": (213, 94, 0),
    "disgust": (0, 158, 115),
    "fear": (204, 121, 167),
    "happy": (240, 228, 66),
    "sad": (86, 180, 233),
    "surprise": (230, 159, 0),
    "neutral": (200, 204, 210),
    "contempt": (0, 114, 178),
}
_SPARE = tuple(COLORS.values())
UNSURE: Color = (236, 238, 242)
INK: Color = (20, 22, 27)
PAPER: Color = (242, 244, 247)
MUTED: Color = (168, 174, 184)

MIN_SIDE = 640  # the longer side of the canvas; smaller pictures are enlarged
MAX_ENLARGE = 12
BESIDE_UP_TO = 3  # faces for which a strip is added at the side where the picture has no room for their panels
FINE_PIXELS = 1_500_000  # up to this size a patch is drawn at twice its size and reduced


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels of one face's labels, all from its font size."""

    font: int

    @property
    def pad(self) -> float:
        return 0.75 * self.font

    @property
    def row(self) -> float:
        return 1.42 * self.font


@dataclass(slots=True)
class _Mark:
    """A face with the places of its labels."""

    face: Face
    box: Rect
    style: _Style
    chip: Rect
    panel_style: _Style
    panel: Rect | None = None


def annotate(picture: Uint8, faces: Sequence[Face], *, in_place: bool = False) -> Image.Image:
    """The picture with its faces marked, as a PIL image in RGB.

    A picture without faces comes back as it is; a small one is enlarged; up to three faces that fill the picture get
    their panels in a strip added on its right.

    Args:
        picture: uint8 H×W×3 in RGB, upright.
        faces: as read from it.
        in_place: keep the size, as for the frames of a video; such panels then lie in a corner.

    Examples:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from mien import Reader
        >>> from mien.reading.annotate import annotate
        >>> rgb = np.asarray(Image.open("photo.jpg"))
        >>> annotate(rgb, Reader("nano").read(rgb).faces).size[1]
        640
    """
    image = Image.fromarray(picture)
    if not faces:
        return image
    scale = 1.0 if in_place else clamp(MIN_SIDE / max(image.size), 1, MAX_ENLARGE)
    if scale > 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    marks = _arrange(image, faces, scale)
    homeless = [mark for mark in marks if mark.panel is None]
    if not in_place:
        image = _add_strip(image, homeless, len(faces))
    elif len(faces) <= BESIDE_UP_TO:
        _use_corners(image, homeless, marks)
    for mark in sorted(marks, key=lambda mark: mark.box.w * mark.box.h):
        _draw_box(image, mark)
    for mark in marks:
        if mark.panel is not None:
            _draw_panel(image, mark, mark.panel)
        else:
            _draw_thin_bar(image, mark)
        _draw_chip(image, mark)
    return image


def color_of(label: str | None, labels: Sequence[str]) -> Color:
    """The colour of a label among a model's; white for None.

    Of classes of one's own each gets the next of the same colours; from the ninth on they come again.
    """
    if label is None:
        return UNSURE
    if all(name in COLORS for name in labels):
        return COLORS.get(label, UNSURE)
    return _SPARE[list(labels).index(label) % len(_SPARE)] if label in labels else UNSURE


def hex_color_of(label: str | None, labels: Sequence[str]) -> str:
    """The same as ``"#rrggbb"``, for figures and pages."""
    return "#{:02x}{:02x}{:02x}".format(*color_of(label, labels))


# ── where things go ────────────────────────────────────────────────────────────────────────────────────────────


def _arrange(image: Image.Image, faces: Sequence[Face], scale: float) -> list[_Mark]:
    canvas = Rect(0, 0, image.width, image.height)
    span = max(image.size) if min(image.size) * 4 > max(image.size) else min(image.size) * 4
    boxes = [Rect(f.box.x * scale, f.box.y * scale, f.box.w * scale, f.box.h * scale) for f in faces]
    marks: list[_Mark] = []
    taken: list[Rect] = []
    for face, box in zip(faces, boxes, strict=True):
        style = _Style(round(clamp(0.1 * box.h, max(11, 0.011 * span), 0.026 * span)))
        others = [other for other in boxes if other is not box]
        chip = place_chip(box, _chip_size(face, style), canvas, others + taken)
        taken.append(chip)
        marks.append(_Mark(face, box, style, chip, style))
    for mark in marks:  # panels after all chips, the largest faces first
        others = [other for other in boxes if other is not mark.box]
        for shrink in (1.0, 0.85, 0.7):
            style = _Style(max(round(mark.style.font * shrink), min(mark.style.font, 11)))
            panel = place_panel(mark.box, _panel_size(mark.face, style), 0.7 * style.font, canvas, others + taken)
            if panel is not None:
                mark.panel_style, mark.panel = style, panel
                taken.append(panel)
                break
    return marks


def _use_corners(image: Image.Image, homeless: list[_Mark], marks: list[_Mark]) -> None:
    """Panels over the corners that hide least, for faces that leave no other room."""
    canvas = Rect(0, 0, image.width, image.height)
    for mark in homeless:
        font = max(9, min(mark.style.font, round(0.032 * image.height)))
        style = _Style(font)
        taken = [other.box for other in marks] + [other.chip for other in marks]
        taken += [other.panel for other in marks if other.panel is not None]
        panel = place_corner(_panel_size(mark.face, style), 0.6 * font, canvas, taken)
        if panel is not None:
            mark.panel_style, mark.panel = style, panel


def _add_strip(image: Image.Image, homeless: list[_Mark], faces: int) -> Image.Image:
    """Room at the right for the panels of the few faces that fill their picture."""
    if not homeless or faces > BESIDE_UP_TO:
        return image
    font = max(min(mark.style.font for mark in homeless), round(0.034 * image.height))
    while font > 8:
        sizes = [_panel_size(mark.face, _Style(font)) for mark in homeless]
        gap = 0.9 * font
        if sum(h + gap for _, h in sizes) + gap <= image.height:
            break
        font -= 1
    else:
        return image
    wide = round(max(w for w, _ in sizes) + 2 * gap)
    wider = Image.new("RGB", (image.width + wide, image.height), INK)
    wider.paste(image)
    spare = (image.height - sum(h for _, h in sizes)) / (len(sizes) + 1)
    y = spare
    for mark, (w, h) in zip(homeless, sizes, strict=True):
        mark.panel_style, mark.panel = _Style(font), Rect(image.width + gap, y, w, h)
        y += h + spare
    return wider


# ── sizes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _text_width(text: str, size: int) -> float:
    return float(font_for(size, text).getlength(text))


def _chip_text(face: Face) -> str:
    name = face.expression if face.expression is not None else f"{face.top}?"
    person = "" if face.track is None else f"{face.track}  "
    return f"{person}{name}  {_percent(face.confidence)}"


def _percent(p: float) -> str:
    """Never a rounded 100 % or 0 % for what is neither."""
    if p > 0.995:
        return ">99 %"
    return f"{p * 100:.0f} %" if p >= 0.005 else "<1 %"


def _chip_size(face: Face, style: _Style) -> tuple[float, float]:
    font = round(1.15 * style.font)
    return _text_width(_chip_text(face), font) + 1.3 * style.font, 1.75 * style.font


def _columns(face: Face, style: _Style) -> tuple[float, float, float]:
    """Widths of the panel's names, bars and numbers."""
    names = max(_text_width(name, style.font) for name in face.probabilities)
    return names, 5.5 * style.font, _text_width(">99 %", style.font)


def _panel_size(face: Face, style: _Style) -> tuple[float, float]:
    width = sum(_columns(face, style)) + 2 * style.pad + 1.2 * style.font
    return width, len(face.probabilities) * style.row + 2 * 0.75 * style.pad


# ── drawing ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Patch:
    """A transparent piece of the canvas, drawn at twice its size where that is cheap, for smooth corners.

    Its methods take the canvas's coordinates.
    """

    def __init__(self, image: Image.Image, area: Rect) -> None:
        self._image = image
        self._left, self._top = max(0, int(area.x) - 1), max(0, int(area.y) - 1)
        width = min(image.width, int(area.right) + 2) - self._left
        height = min(image.height, int(area.bottom) + 2) - self._top
        self._k = 2 if width * height <= FINE_PIXELS else 1
        self._patch = Image.new("RGBA", (max(1, width) * self._k, max(1, height) * self._k), (*INK, 0))
        self._draw = ImageDraw.Draw(self._patch)

    def rounded(self, area: Rect, radius: float, **paint: Any) -> None:
        k = self._k
        x, y = (area.x - self._left) * k, (area.y - self._top) * k
        corners = (x, y, max(x, x + area.w * k - 1), max(y, y + area.h * k - 1))
        paint["width"] = max(1, round(paint.get("width", 1) * k))
        self._draw.rounded_rectangle(corners, radius=min(radius, area.w / 2, area.h / 2) * k, **paint)

    def text(self, x: float, y: float, text: str, size: int, fill: Color, *, anchor: str) -> None:
        k = self._k
        at = ((x - self._left) * k, (y - self._top) * k)
        self._draw.text(at, text, font=font_for(size * k, text), fill=fill, anchor=anchor)

    def stamp(self) -> None:
        patch = self._patch.reduce(self._k) if self._k > 1 else self._patch
        self._image.paste(patch, (self._left, self._top), patch)


def _draw_box(image: Image.Image, mark: _Mark) -> None:
    line = max(2.0, 0.16 * mark.style.font)
    radius = min(0.9 * mark.style.font, 0.12 * min(mark.box.w, mark.box.h))
    patch = _Patch(image, Rect(mark.box.x - line, mark.box.y - line, mark.box.w + 2 * line, mark.box.h + 2 * line))
    grown = Rect(mark.box.x - line / 2, mark.box.y - line / 2, mark.box.w + line, mark.box.h + line)
    patch.rounded(grown, radius, outline=(*INK, 150), width=2 * line)  # a dark rim: seen on light pictures too
    patch.rounded(mark.box, radius, outline=_color(mark.face), width=line)
    patch.stamp()


def _draw_chip(image: Image.Image, mark: _Mark) -> None:
    chip, font = mark.chip, round(1.15 * mark.style.font)
    fill = _color(mark.face)
    patch = _Patch(image, chip)
    patch.rounded(chip, 0.5 * font, fill=fill)
    patch.text(chip.x + chip.w / 2, chip.y + chip.h / 2, _chip_text(mark.face), font, ink_on(fill), anchor="mm")
    patch.stamp()


def _draw_panel(image: Image.Image, mark: _Mark, panel: Rect) -> None:
    face, style = mark.face, mark.panel_style
    font, labels = style.font, list(face.probabilities)
    names, bar, numbers = _columns(face, style)
    patch = _Patch(image, panel)
    patch.rounded(panel, 0.6 * font, fill=(*INK, 205))
    accent = Rect(panel.x + 0.2 * font, panel.y + 0.75 * style.pad, max(2.0, 0.2 * font), panel.h - 1.5 * style.pad)
    patch.rounded(accent, accent.w / 2, fill=_color(face))
    x, y = panel.x + style.pad, panel.y + (panel.h - len(labels) * style.row) / 2
    for label, p in face.probabilities.items():
        middle = y + style.row / 2
        ink = PAPER if label == face.top else MUTED
        patch.text(x, middle, label, font, ink, anchor="lm")
        track = Rect(x + names + 0.6 * font, middle - 0.24 * font, bar, 0.48 * font)
        patch.rounded(track, 0.24 * font, fill=(70, 75, 84, 220))
        patch.rounded(
            Rect(track.x, track.y, max(0.48 * font, bar * p), track.h), 0.24 * font, fill=color_of(label, labels)
        )
        patch.text(track.right + 0.6 * font + numbers, middle, _percent(p), font, ink, anchor="rm")
        y += style.row
    patch.stamp()


def _draw_thin_bar(image: Image.Image, mark: _Mark) -> None:
    """All probabilities as one bar along the inside of the box's lower edge, largest first."""
    box, line = mark.box, max(2.0, 0.16 * mark.style.font)
    high = max(4.0, 0.42 * mark.style.font)
    inset = 2.2 * line
    bar = Rect(box.x + inset, box.bottom - inset - high, box.w - 2 * inset, high)
    if bar.w < 12 or high * 4 > box.h:
        return
    patch = _Patch(image, Rect(bar.x - 1, bar.y - 1, bar.w + 2, bar.h + 2))
    patch.rounded(Rect(bar.x - 1, bar.y - 1, bar.w + 2, bar.h + 2), high / 3, fill=(*INK, 205))
    labels, x = list(mark.face.probabilities), bar.x
    for label, p in sorted(mark.face.probabilities.items(), key=lambda pair: -pair[1]):
        if p * bar.w >= 1:
            patch.rounded(Rect(x, bar.y, p * bar.w, bar.h), 0, fill=color_of(label, labels))
        x += p * bar.w
    patch.stamp()


def _color(face: Face) -> Color:
    return color_of(face.expression, list(face.probabilities))


def ink_on(fill: Color) -> Color:
    """The text colour that has the higher contrast on a filling."""
    return max((INK, PAPER), key=lambda ink: contrast([c / 255 for c in ink], [c / 255 for c in fill]))
