"""The data sets that mien can read as they lie on a disk: one file each, found by name here.

``open_source("fer2013", path)`` detects the layout and returns a :class:`~mien.data.sources.base.Source`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from mien.data.sources.base import VOTE_NAMES, Counts, Drop, Sample, Source
from mien.errors import DataError, UsageError

__all__ = ["SOURCES", "VOTE_NAMES", "Counts", "Drop", "Sample", "Source", "open_source", "parse_source"]

#: name → "module:function", where the function takes a path and returns a Source. Modules load on first use.
SOURCES: dict[str, str] = {"fer2013": "mien.data.sources.fer2013:open_fer2013"}


def open_source(name: str, path: str | Path) -> Source:
    """The source ``name`` at ``path``, its layout detected.

    Raises UsageError for an unknown name, DataError where nothing or a wrong tree lies at the path.
    """
    home = SOURCES.get(name.strip().lower())
    if home is None:
        raise UsageError(f"expected a source ({', '.join(sorted(SOURCES))}), got {name!r}")
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"expected the data set {name} at {path}, found nothing there", hint="check the path")
    module, function = home.split(":")
    opener: Callable[[Path], Source] = getattr(import_module(module), function)
    return opener(path)


def parse_source(text: str) -> Source:
    """The source that a command-line ``NAME=PATH`` names. Raises UsageError where the text has another shape."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UsageError(
            f"expected NAME=PATH, got {text!r}", hint=f"for example fer2013=data/fer2013; names: {', '.join(SOURCES)}"
        )
    return open_source(name, path)
