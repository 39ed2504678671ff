"""What the listing holds: an input, or consecutive rows of a table of pictures."""

from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Of an entry: how its picture is got."""

    PICTURE = 0  # a path, or a data: URL
    OBJECT = 1  # a URL of an object store
    ROWS = 2  # of a table: a path, or a URL of an object store
    FAILED = 3  # an input that cannot be read


@dataclass(frozen=True, slots=True)
class Entry:
    """One input, or ``count`` rows of a table from row ``first`` on.

    source: the name in the output; of rows the table's. data: the path or URL, None where it is the source. failure:
    (type, message) of what cannot be read. stamp: of tables and objects, size and time of change, so that a resumed
    run sees that they changed.
    """

    kind: Kind
    source: str
    data: str | None = None
    failure: tuple[str, str] | None = None
    first: int = 0
    count: int = 1
    stamp: str = ""

    @property
    def place(self) -> str:
        """The path or URL."""
        return self.source if self.data is None else self.data
