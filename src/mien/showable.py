"""Text of unknown origin, as it may stand in a message, on a terminal or in a page: without characters that act.

File names, table cells and metadata can hold escape sequences that move a terminal's cursor or rename its window, and
marks that turn the order of letters around. They are replaced here; tabs and line breaks stay.
"""

from reprlib import Repr
from typing import Any

#: Control characters, marks of direction, and halves of surrogate pairs (of file names that are not UTF-8).
_UNSHOWABLE = dict.fromkeys(
    (
        *(*range(9), *range(11, 13), *range(14, 32), *range(127, 160)),
        *(*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)),
    ),
    "�",
)
_short = Repr()
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 6
_short.maxlevel = 3
_short.maxstring = _short.maxother = _short.maxlong = 160


def showable(text: str) -> str:
    """The text with a replacement character for each one that cannot be shown."""
    return text if text.isascii() and text.isprintable() else text.translate(_UNSHOWABLE)


def one_line(text: object, *, most: int = 160) -> str:
    """A text, or an exception's message, as one line of at most so many characters."""
    return " ".join(str(text).split())[:most]


def utf8(text: str) -> str:
    """Text that need not be UTF-8 (the name of a file) as UTF-8, with escapes: ``\\udcff``."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def short(value: Any) -> str:
    """``repr`` of a value of any size: YAML's references make a value of a gigabyte out of a few lines."""
    return _short.repr(value)
