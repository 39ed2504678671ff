"""A store of the user's own classes from a folder or a table, for ``mien train own --data PICTURES``.

What ``mien data build --source folder:photos=PICTURES --labels own`` does, with larger held-out splits: a fifth of the
pictures each for validation and test, because a folder of one's own is small.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien.data.build.ingest import Progress
from mien.data.build.normalise import OWN, Standard
from mien.data.build.run import build_store
from mien.data.build.splits import SplitSettings
from mien.data.sources import open_source
from mien.errors import DataError

#: A fifth each, placed by class; copies, near-duplicates and the pictures of one group stay together.
SHARES = {"validation": 0.2, "test": 0.2}
_TABLES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}


def build_own_store(
    pictures: Path,
    out: Path,
    *,
    crops: bool,
    size: int,
    color: str,
    workers: int = 1,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Build a store of classes of one's own, and return its summary. A fifth is for validation, a fifth for the test.

    Args:
        pictures: a folder of class folders, or a table (.csv, .tsv, .parquet) with an image and a label column.
        out: the store's directory.
        crops: the pictures are face crops; else they are photos, in which the faces are found as in reading.
        size: side of the store's pictures in pixels, as the network takes them.
        color: ``"grey"`` or ``"rgb"``, likewise.
        workers: processes that decode.
        progress: called with (images done, images or None, what is being done).
        on_note: called with a sentence for each default that was inferred.

    Raises:
        DataError: nothing of the kind there, a class without pictures, or fewer than two classes.
        UsageError: options that do not fit together.
        OutputError: ``out`` cannot be written, or holds something else.

    Examples:
        >>> from pathlib import Path
        >>> from mien.data.build.own import build_own_store
        >>> summary = build_own_store(Path("pictures"), Path("store"), crops=True, size=48, color="grey")
        >>> {name: split["rows"] for name, split in summary["splits"].items()}
        {'training': 24, 'validation': 8, 'test': 8}
    """
    if not pictures.exists():
        raise DataError(f"expected a store, a folder of class folders or a table, found nothing at {pictures}")
    kind = "folder" if pictures.is_dir() else _TABLES.get(pictures.suffix.lower())
    if kind is None:
        raise DataError(
            f"expected a store, a folder of class folders, a .csv or a .parquet, got the file {pictures.name}"
        )
    source = open_source(kind if crops else f"{kind}:photos", pictures, own=True)
    return build_store(
        [source],
        out,
        standard=Standard(size=size, color=color, labels=OWN),
        splits=SplitSettings(shares=SHARES),
        workers=workers,
        progress=progress,
        on_note=on_note,
    )
