"""What a user's own class names and codes mean: by name, by the codes of ``mien.labels``, or as the user says.

With ``own`` they mean no expression: each word is a class of its own.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mien.data.sources import reasons
from mien.data.sources.base import LeftOut
from mien.data.sources.trees import expression
from mien.errors import DataError
from mien.labels import EIGHT, canonical, is_empty, whole

_HINT = (
    "rename them, or say in a build recipe what they mean, names: {scared: fear, sleepy: null} (null: left out); "
    "--labels own takes them as classes of your own"
)

_NOBODY = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none")
_WHOLE_FLOAT = re.compile(r"^(\d+)\.0$")


class Labels:
    """The meaning of labels. names: the user's word for a name or code → expression, or None to leave the class out.

    own: labels are classes of the user's own; ``names`` then renames these. Raises DataError where ``names`` leads to
    no expression, and ``own`` is False.
    """

    hint = _HINT

    def __init__(self, names: Mapping[str, str | None] | None = None, *, own: bool = False) -> None:
        self.own = own
        self._names = {
            _key(name): reasons.LEFT_OUT if target is None else _own(target) if own else canonical(target)
            for name, target in (names or {}).items()
        }

    def folder(self, name: str) -> str | None:
        """A folder's name → label, or the reason to leave it out, or None. Numbers are no names: copies differ."""
        return self._names.get(_key(name)) or (_own(name) if self.own else expression(name))

    def cell(self, value: Any, classes: Sequence[str] = ()) -> str | None:
        """A table's cell, name or code, → label; None where it is empty: a label held back.

        classes: what the table itself says its codes mean; without it they are the codes of ``mien.labels``.
        Raises LeftOut for what is no label, or one that the user leaves out.
        """
        code, text = whole(value), str(value).strip()
        if is_empty(value) or (classes and code == -1):  # what Hugging Face writes for no label
            return None
        if code is not None and classes:
            if not 0 <= code < len(classes):
                raise LeftOut(reasons.CODE, f"{text[:40]}, expected 0-{len(classes) - 1}")
            text, code = classes[code], None
        known = self._names.get(_key(text))
        if known == reasons.LEFT_OUT:
            raise LeftOut(known, text)
        if self.own:
            return known or (_own(text) if code is None else str(code))
        if known is None and code is not None:
            if not 0 <= code < len(EIGHT):
                raise LeftOut(reasons.CODE, f"{text[:40]}, expected 0-{len(EIGHT) - 1}")
            return EIGHT[code]
        if (label := known or expression(text)) is None:
            raise LeftOut(reasons.UNKNOWN_LABEL, text[:40])
        return label

    def classes(self, values: Iterable[Any], declared: Sequence[str] = ()) -> tuple[str, ...]:
        """The classes of the user's own that a table has: those that it declares, else those of its cells."""
        found: dict[str, None] = {}
        for value in declared or values:
            try:
                label = self.folder(value) if declared else self.cell(value)
            except LeftOut:
                continue
            if label not in (None, reasons.LEFT_OUT):
                found[str(label)] = None
        return tuple(found)

    def require_known(self, classes: Sequence[str], *, where: object) -> None:
        """Raises DataError where a class that a table declares is no expression."""
        if unknown := [name for name in classes if self.folder(name) is None]:
            raise DataError(
                f"expected classes named after expressions ({', '.join(EIGHT)}) in {where}, found also "
                f"{', '.join(unknown)}",
                hint=self.hint,
            )

    def read_as_codes(self, values: Iterable[Any]) -> bool:
        """Whether a cell is a number whose meaning the user has not said."""
        return not self.own and any(whole(value) is not None and _key(value) not in self._names for value in values)


def group_of(value: Any) -> str | None:
    """A cell that says whose picture it is; None where it is empty or one of the words that programs write for that.

    Person 7 is 7.0 in a column with gaps, and still the same person as in the table beside it.
    """
    text = "" if value is None else _WHOLE_FLOAT.sub(r"\1", str(value).strip())
    return None if text.lower() in _NOBODY else text


def _own(name: str) -> str:
    """A class's name: composed letters (macOS writes folders decomposed), no blanks around it."""
    return unicodedata.normalize("NFC", str(name)).strip()


def _key(name: object) -> str:
    text = str(name).strip().lower()
    code = whole(text)
    return text if code is None else str(code)
