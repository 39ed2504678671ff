"""The label order of the project; labels are looked up by name only.

Seven expressions in FER2013's code order; the eight-class set appends contempt
(CK+, AffectNet, FER+). Every data source maps its own names through
:func:`canonical`, never by position.
"""

from typing import Any

from mien.errors import DataError

SEVEN: tuple[str, ...] = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EIGHT: tuple[str, ...] = (*SEVEN, "contempt")

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
