"""Annotated pictures on disk: in one folder, written atomically, none overwriting another."""

import os
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from mien.atomic import write_bytes
from mien.errors import OutputError, UsageError
from mien.reading.annotate import annotate
from mien.reading.items import Item
from mien.results import Reading


def refuse_overwriting(path: str, folder: str) -> None:
    """UsageError where annotated copies would land among the inputs: the originals must never be replaced.

    path: an input, a file or directory. folder: where copies go.
    """
    home = path if os.path.isdir(path) else os.path.dirname(path) or os.curdir
    if os.path.realpath(home) == os.path.realpath(folder):
        raise UsageError(
            f"annotated copies in {folder!r} could overwrite the pictures there",
            hint="give --annotate another directory",
        )


class PictureFolder:
    """Saves annotated copies below ``folder``, which is made if absent. Raises OutputError, also on construction.

    A copy keeps its input's place below the directory that was read, and its stem; a PNG stays a PNG, all else
    becomes a JPEG. Where two inputs would share a name the later gets ``-2``, ``-3``, …
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        _make(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write into the directory {folder!r}")

    def save(self, picture: NDArray[np.uint8], reading: Reading, item: Item) -> str:
        """Write the annotated copy of a picture (uint8 H×W×3) and return its path."""
        suffix = ".png" if isinstance(item.data, str) and item.data.lower().endswith(".png") else ".jpg"
        path = self.reserve(item, suffix)
        buffer = BytesIO()
        image = annotate(picture, reading.faces)
        if suffix == ".png":
            image.save(buffer, "PNG")
        else:
            image.save(buffer, "JPEG", quality=92, subsampling=0)
        write_bytes(path, buffer.getvalue(), sync=False)
        return path

    def reserve(self, item: Item, suffix: str) -> str:
        """A path for an annotated copy; its directory is made. Raises OutputError, UsageError."""
        path = self._free(item.relative, suffix)
        if isinstance(item.data, str):
            refuse_overwriting(item.data, os.path.dirname(path))
        _make(os.path.dirname(path))
        return path

    def _free(self, relative: str, suffix: str) -> str:
        inside = os.path.normpath(relative)
        if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir:
            inside = os.path.basename(inside)  # never outside the folder, whatever a pattern or a table says
        name, number = inside + suffix, 2
        while name in self._taken:
            name, number = f"{inside}-{number}{suffix}", number + 1
        self._taken.add(name)
        return os.path.join(self.folder, name)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {folder!r}: {error.strerror}") from error
