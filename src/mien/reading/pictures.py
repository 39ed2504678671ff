"""Annotated pictures on disk: in one folder, written atomically, none overwriting another."""

import os
import warnings
from collections.abc import Collection
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from mien.atomic import write_bytes
from mien.errors import OutputError, UsageError
from mien.imaging import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.reading.annotate import annotate
from mien.reading.items import Item
from mien.results import Reading

#: In the comment of every copy.
MARK = "annotated by mien"


def refuse_overwriting(path: str, folder: str, *, written: Collection[str] = ()) -> None:
    """UsageError where annotated copies would land among the inputs, or inputs be taken for copies and left out.

    path: an input, a file or directory. folder: where copies go. written: further files that the call writes.
    """
    home = os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path) or os.curdir)
    target = os.path.realpath(folder)
    if home == target:
        raise UsageError(
            f"annotated copies in {folder!r} could overwrite the pictures there",
            hint="give --annotate another directory",
        )
    if os.path.isdir(path) and target.startswith(os.path.join(home, "")):
        files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
        pictures = (file for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
        own = {os.path.realpath(file) for file in written}
        foreign = (file for file in pictures if os.path.realpath(file) not in own and not is_copy(file))
        if (original := next(foreign, None)) is not None:
            raise UsageError(
                f"{original!r} would be taken for an annotated copy and left out: {folder!r} lies in {path!r}",
                hint="give --annotate another directory",
            )


def is_copy(path: str) -> bool:
    """Whether a file says that it is an annotated copy (``MARK``)."""
    if path.lower().endswith(".mp4"):
        from mien.errors import MissingExtra
        from mien.video.container import import_av

        try:
            av = import_av()
            with av.open(f"file:{os.path.abspath(path)}", metadata_errors="replace") as container:
                return container.metadata.get("comment") == MARK
        except (MissingExtra, OSError, ValueError):  # PyAV's errors are one of these
            return False
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # of many pixels: none is decoded
            said = image.info.get("comment") or image.info.get("Comment")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return said in (MARK, MARK.encode())


class PictureFolder:
    """Saves annotated copies below ``folder``, which is made if absent. Raises OutputError, also on construction.

    A copy keeps its input's place below the directory that was read, and its stem; a PNG stays a PNG, all else
    becomes a JPEG. Where two inputs would share a name the later gets ``-2``, ``-3``, … So does a copy whose name
    belongs to a file that is no copy. A copy says that it is one, and only copies are replaced.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        _make(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write into the directory {folder!r}")

    def save(self, picture: NDArray[np.uint8], reading: Reading, item: Item) -> str:
        """Write the annotated copy of a picture (uint8 H×W×3) and return its path."""
        from PIL.PngImagePlugin import PngInfo

        suffix = ".png" if isinstance(item.data, str) and item.data.lower().endswith(".png") else ".jpg"
        path = self.reserve(item, suffix)
        buffer = BytesIO()
        image = annotate(picture, reading.faces)
        if suffix == ".png":
            told = PngInfo()
            told.add_text("Comment", MARK)
            image.save(buffer, "PNG", pnginfo=told)
        else:
            image.save(buffer, "JPEG", quality=92, subsampling=0, comment=MARK)
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
        while name in self._taken or self._is_original(os.path.join(self.folder, name)):
            name, number = f"{inside}-{number}{suffix}", number + 1
        self._taken.add(name)
        return os.path.join(self.folder, name)

    def _is_original(self, path: str) -> bool:
        return os.path.lexists(path) and not is_copy(path)


def _make(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {folder!r}: {error.strerror}") from error
