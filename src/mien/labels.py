"""Label sets and their order; labels are looked up by name only.

Seven expressions in FER2013's code order; the eight-class set appends contempt
(CK+, AffectNet, FER+). Every data source maps its own names through
:func:`canonical`, never by position.

A store may have classes of its user's own instead (``mien data build --labels own``). :func:`own_set` is the one place
that puts these in order. A store's codes number its label set, see :func:`coded`.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from mien.errors import DataError, UsageError

SEVEN: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EIGHT: tuple[str, ...] = (*SEVEN, "contempt")

#: How many classes of the user's own a store can have, and how long a name can be.
MOST_OWN, LONGEST = 60, 60
#: Columns beside the labels in what mien writes, and the key that stands for a missing label in counts.
RESERVED = frozenset(
    (
        "source", "time_s", "face", "x", "y", "w", "h", "score", "expression", "confidence", "track", "error", "roll",
        "yaw", "pitch", "path", "label", "answer", "near_duplicate", "unlabelled", "images",
    )
)  # fmt: skip

_ALIASES: dict[str, str] = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "calm": "neutral",
}


def canonical(name: str) -> str:
    """Our name of an expression, from any data set's spelling (``"Anger"`` → ``"angry"``).

    Raises DataError for a name that is no expression.
    """
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    if key not in EIGHT:
        raise DataError(
            f"expected an expression ({', '.join(EIGHT)}), got {name!r}",
            hint="rename the class or give a mapping",
        )
    return key


def own_set(names: Iterable[str]) -> tuple[str, ...]:
    """The label set that these class names make: expressions in our order where all are expressions, else by alphabet.

    So seven folders with the names of :data:`SEVEN` are the seven of the protocol. Other spellings (``Anger``) stay as
    they are. Raises DataError for fewer than two classes, more than :data:`MOST_OWN`, two names that differ only in
    case, or a name that a table, a figure or a page cannot show.
    """
    found = sorted(set(names), key=lambda name: (name.casefold(), name))
    if len(found) < 2:
        raise DataError(
            f"expected two classes or more, got {found[0] if found else 'none'}",
            hint="make a folder for each class, or give each its own word in the label column",
        )
    if len(found) > MOST_OWN:
        raise DataError(
            f"expected at most {MOST_OWN} classes, got {len(found)} ({', '.join(found[:3])}, …)",
            hint="is the label column the right one?",
        )
    for name in found:
        if (fault := _fault(name)) is not None:
            raise DataError(f"expected class names that every output can show, got {name!r}: {fault}")
    for one, other in pairwise(found):
        if one.casefold() == other.casefold():
            raise DataError(f"expected class names that differ in more than case, got {one!r} and {other!r}")
    return tuple(name for name in EIGHT if name in found) if set(found) <= set(EIGHT) else tuple(found)


def _fault(name: str) -> str | None:
    """Why a name cannot be a class of the user's own; None where it can."""
    if not name or name != name.strip() or len(name) > LONGEST:
        return f"1 to {LONGEST} letters without blanks around them"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "control characters cannot be shown"
    if name[0] in "=+-@":
        return "a spreadsheet would take it for a formula"
    if "$" in name or "\\" in name:
        return "$ and \\ have a meaning of their own in figures"
    if name.casefold() in RESERVED or name.startswith("raw_") or name.endswith(("_x", "_y")):
        return "a column of mien's tables has that name"
    return None


def is_own(labels: Sequence[str]) -> bool:
    """Whether a label set is the user's own: neither the seven nor the eight of the protocol."""
    return tuple(labels) not in (SEVEN, EIGHT)


def noun(labels: Sequence[str]) -> str:
    """What one of the labels is called in texts: "class" of the user's own, "expression" otherwise."""
    return "class" if is_own(labels) else "expression"


def coded(labels: Sequence[str]) -> tuple[str, ...]:
    """The names of a store's label codes, by code: :data:`EIGHT`, or the user's own.

    labels: of the store. A store of seven may be asked about contempt: its codes are those of eight.
    """
    return tuple(labels) if is_own(labels) else EIGHT


def require_expressions(labels: Sequence[str], what: str) -> None:
    """Raises UsageError where a label set is the user's own, for what compares expressions. what: says what that is."""
    if is_own(labels):
        raise UsageError(
            f"{what}: expected the seven or eight expressions as labels, got {', '.join(labels)}",
            hint="classes of your own are trained, evaluated and compared among themselves",
        )


def whole(cell: Any) -> int | None:
    """The number that a table's cell says: 3, ``" 3 "``, 3.0, and the ``"3.0"`` that a column with gaps becomes.

    None where it says none: a name, 3.5, ``"3,0"``, True.
    """
    if isinstance(cell, bool):  # float(True) is 1
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() else None


def is_empty(cell: Any) -> bool:
    """Whether a table's cell says nothing: null, NaN or blanks, or the words that pandas writes for them."""
    return cell is None or cell != cell or str(cell).strip().lower() in ("", "nan", "<na>")


def code(name: str) -> int:
    """The integer code of an expression, 0-7 (see :data:`EIGHT`)."""
    return EIGHT.index(canonical(name))
