"""The data sets that mien can read as downloaded: one file each, looked up by name here.

``open_source("fer2013", path)`` detects the layout and returns a :class:`~mien.data.sources.base.Source`.
A name may carry an option after a colon, for what no detection can know: ``open_source("rafdb:zero-based", path)``.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mien.data.sources.base import VOTE_LABELS, VOTE_NAMES, Counts, Drop, Sample, Source
from mien.errors import DataError, UsageError

__all__ = [
    "OPTIONS", "SOURCES", "VOTE_LABELS", "VOTE_NAMES", "Counts", "Drop", "Sample", "Source", "open_source",
]  # fmt: skip

#: name → "module:function", where the function takes a path and returns a Source. Modules load on first use.
SOURCES: dict[str, str] = {
    "fer2013": "mien.data.sources.fer2013:open_fer2013",
    "ckplus": "mien.data.sources.ckplus:open_ckplus",
    "affectnet": "mien.data.sources.affectnet:open_affectnet",
    "rafdb": "mien.data.sources.rafdb:open_rafdb",
    "folder": "mien.data.sources.own:open_folder",
    "csv": "mien.data.sources.own:open_csv",
    "parquet": "mien.data.sources.own:open_parquet",
    "hf": "mien.data.sources.own:open_hf",
}
#: The sources of the user's own data, whose class names the user may explain.
OWN = ("folder", "csv", "parquet", "hf")
#: name → option → what it tells the source's opener.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "rafdb": {"zero-based": {"base": 0}, "one-based": {"base": 1}},
    **{name: {"photos": {"photos": True}} for name in OWN},
}


def open_source(
    name: str, path: str | Path, *, names: Mapping[str, str | None] | None = None, own: bool = False
) -> Source:
    """A data set as it was downloaded, its layout detected; nothing is decoded yet.

    Args:
        name: fer2013, ckplus, affectnet, rafdb, or for data of one's own folder, csv, parquet, hf; with an option after
            a colon: ``rafdb:zero-based``, ``folder:photos`` (photos, in which the faces have still to be found).
        path: its directory or file.
        names: of one's own data, what class names or codes mean: ``{"scared": "fear", "sleepy": None}``; None leaves
            the class out.
        own: the class names are classes of one's own, not expressions.

    Raises:
        UsageError: an unknown name or option, or ``names`` and ``own`` for a data set of expressions.
        DataError: nothing at the path, or a tree of another layout.

    Examples:
        >>> from mien.data.sources import open_source
        >>> source = open_source("folder", "pictures", own=True)
        >>> sorted({sample.label for sample in source.stream()})
        ['dark', 'light']
    """
    name, _, option = name.strip().lower().partition(":")
    home = SOURCES.get(name)
    if home is None:
        raise UsageError(f"expected a source ({', '.join(sorted(SOURCES))}), got {name!r}")
    options = OPTIONS.get(name, {})
    if option and option not in options:
        known = ", ".join(f"{name}:{each}" for each in options) or "none"
        raise UsageError(f"expected an option of {name} ({known}), got {option!r}")
    told = dict(options[option]) if option else {}
    if names is not None:
        if name not in OWN:
            raise UsageError(f"expected names for the user's own data ({', '.join(OWN)}), got them for {name}")
        told["names"] = names
    if own:
        if name not in OWN:
            raise UsageError(
                f"--labels own: expected your own pictures ({', '.join(OWN)}), got {name}, whose labels are expressions"
            )
        told["own"] = True
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"expected the data set {name} at {path}, found nothing there", hint="check the path")
    module, function = home.split(":")
    opener: Callable[..., Source] = getattr(import_module(module), function)
    return opener(path, **told)
