"""Letters of class names in figures and annotated pictures: a font of this machine that has them.

Names may be of any script (:mod:`mien.labels`). Pillow's own font has English letters and few others, matplotlib's has
no Chinese, and both draw a box for what they lack.
"""

import logging
import os
import sys
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import ImageFont

_NO_LETTER = "\uffff"  # in no font: drawn as that font's box
_UNLIKE = ("bold", "italic", "oblique", "mono", "serif", "condensed", "light", "black", "thin", "emoji")


def font_for(size: int, text: str) -> Any:
    """Pillow's own font in pixels, or where it lacks letters of ``text`` one that has them."""
    own, needed = _sized(size, None), letters(text)
    return own if _has(own, needed) else _sized(size, file_with(needed))


@cache
def file_with(needed: frozenset[str]) -> Path | None:
    """A font file of matplotlib or this machine that has these letters. None, and a note, where there is none."""
    for path in _files():
        try:
            if _has(ImageFont.truetype(path, 16), needed):
                return path
        except (OSError, ValueError):  # damaged, or of pictures alone
            continue
    _tell()
    return None


@cache
def _tell() -> None:
    logging.getLogger("mien").warning(
        "note: no font of this machine has all letters of the classes' names, so figures and annotated pictures show "
        "boxes; install one, Noto Sans CJK for example (tables and pages are complete)"
    )


def letters(text: str) -> frozenset[str]:
    """Of a text, those that a font may lack."""
    return frozenset() if text.isascii() else frozenset(c for c in text if not c.isascii() and not c.isspace())


@lru_cache(maxsize=128)
def _sized(size: int, path: Path | None) -> Any:
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


@lru_cache(maxsize=1024)
def _has(drawn_with: Any, needed: frozenset[str]) -> bool:
    box = _look(drawn_with, _NO_LETTER) if needed else None
    return all(_look(drawn_with, letter) != box for letter in needed)


def _look(drawn_with: Any, letter: str) -> tuple[Any, bytes]:
    mask = drawn_with.getmask(letter)
    return mask.size, bytes(mask)


@cache
def _files() -> list[Path]:
    """matplotlib's DejaVu Sans, then the machine's fonts: plain ones without serifs first."""
    home = Path.home()
    folders = {
        "darwin": (home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")),
        "win32": (
            Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
            home / "AppData/Local/Microsoft/Windows/Fonts",
        ),
    }.get(
        sys.platform,
        (home / ".local/share/fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")),
    )
    found = [file for folder in folders for file in folder.rglob("*.[TtOo][Tt][FfCc]")]
    found.sort(key=lambda file: (sum(word in file.name.lower() for word in _UNLIKE), len(file.name), file))
    spec = find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        found.insert(0, Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")
    return found
