"""The one label order of the project, and the only way into it: by name.

Seven expressions in FER2013's code order; the eight-class set appends contempt
(CK+, AffectNet, FER+). Every data source maps its own names through
:func:`canonical`, never by position.
"""

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


def code(name: str) -> int:
    """The integer code of an expression, 0-7 (see :data:`EIGHT`)."""
    return EIGHT.index(canonical(name))
