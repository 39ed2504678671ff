"""One picture or many: what a caller gives to :class:`mien.Reader`, distinguished before anything is read.

Whatever Python can loop over looks like many pictures: the rows of an array, the letters of a path, the lines of a
file. Each would get a meaningless reading. So one where many are expected, and many where one is, are a UsageError that
says what to write instead.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from mien.errors import UsageError
from mien.imaging import Source
from mien.imaging.data_url import is_data_url, short_name
from mien.imaging.pixels import as_numpy
from mien.reading.items import Item, Pause

CHANNELS = (1, 3, 4)  # as the last side of an array they are colours, and no width of a picture
_KEYS = 8  # of a dictionary, named in an error


def one(source: Source | Item, name: str | None = None) -> Item:
    """A picture with its name in the output: by default its path, or ``<bytes>``, ``<file>``, ``<image>``, ``<array>``.

    Raises UsageError for a collection of pictures, or for a part of one.
    """
    if isinstance(source, Item):
        return source
    several = _several(source)
    if several is not None:
        raise UsageError(f"expected one picture, got {several}", hint="give many to read_many(…)")
    if isinstance(source, Mapping):
        raise UsageError(f"expected one picture, got {_dictionary(source)}", hint="give the value that is the picture")
    if isinstance(source, np.ndarray) and source.ndim == 2 and len(source) > max(CHANNELS) >= source.shape[1]:
        raise UsageError(
            f"expected a picture, got an array of {_shape(source)}, which looks like one row of a picture H×W×C",
            hint="give the whole picture",
        )
    return Item(_name(source) if name is None else str(name), source)


def many(sources: Any, *, call: str) -> Iterator[Any]:
    """The pictures of a collection, one after another; UsageError at once where it is a single picture.

    call: the method's name, for the error.
    """
    problem = _not_many(sources, call)
    if problem is not None:
        what, instead = problem
        raise UsageError(f"expected several pictures, got {what}", hint=f"write {instead}")
    return iter(sources)


def _not_many(sources: Any, call: str) -> tuple[str, str] | None:
    """(what came, what to write instead) where this is no collection of pictures; None where it is."""
    if isinstance(sources, (str, os.PathLike)):
        files = "expand(…) of mien.reading.inputs goes through a folder or pattern"
        shown = os.fspath(sources)
        return f"the path {str(shown)[:80]!r}", f"{call}([path]); {files}"
    if isinstance(sources, (bytes, bytearray, memoryview)):
        return "the bytes of one file", f"{call}([data])"
    if isinstance(sources, Image.Image):
        return "one PIL image", f"{call}([image]), or {call}(ImageSequence.Iterator(image)) for all of its frames"
    if isinstance(sources, (Item, Pause)):
        return "one item", f"{call}([item])"
    if isinstance(sources, Mapping):
        return _dictionary(sources), f"{call}(list(pictures.values())) if its values are the pictures"
    if hasattr(sources, "read"):
        return "one file object", f"{call}([file])"
    if isinstance(sources, np.ndarray):
        return _not_many_array(sources, call)
    mend = as_numpy(sources)
    if mend is not None:
        return f"a {type(sources).__name__}, which is no NumPy array", f"{call}({mend})"
    if hasattr(sources, "columns"):  # a data frame gives its columns' names, an Arrow table its columns
        return f"a table ({type(sources).__name__})", f"{call}(table['image'].to_list()), with the column's name"
    if not isinstance(sources, Iterable) and not hasattr(sources, "__getitem__"):
        return repr(sources)[:80], f"{call}([picture, …])"
    return None


def _not_many_array(array: np.ndarray, call: str) -> tuple[str, str] | None:
    if array.dtype.kind in "OU" and array.ndim == 1:
        return None  # pictures of different sizes, or paths
    if array.ndim == 3 and array.shape[2] < 8 and array.shape[2] not in CHANNELS:  # no width of a picture
        return f"an array of {_shape(array)}, which is no picture", f"{call}([array[..., 0]]) if that is one H×W×C"
    if array.ndim == 4 or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        return None
    if array.ndim in (2, 3):
        what = f"one array of {_shape(array)}, which is one picture"
        return what, f"{call}([picture]), or give an array N×H×W or N×H×W×C"
    return f"an array of shape {array.shape}", f"an array N×H×W or N×H×W×C, as in {call}(np.stack(pictures))"


def _several(source: Any) -> str | None:
    """What a collection of pictures is, where one is expected; None for what may be a single one."""
    if isinstance(source, np.ndarray):
        return f"an array of {_shape(source)}" if source.ndim == 4 else None
    if isinstance(source, (list, tuple, set, frozenset)):
        return f"a {type(source).__name__} of {len(source)}"
    if isinstance(source, Iterator) and not hasattr(source, "read"):
        return f"a {type(source).__name__}"
    return None


def _dictionary(mapping: Mapping[Any, Any]) -> str:
    keys = [repr(key) for key in list(mapping)[:_KEYS]]
    return f"a {type(mapping).__name__} with keys {', '.join(keys) or '(none)'}"[:160]


def _shape(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape))


def _name(source: Any) -> str:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, (str, os.PathLike)):
        text = str(source)
        return short_name(text) if is_data_url(text) else text
    # PIL images and files keep the name of what they were opened from; for a bare descriptor that is a number
    known = getattr(source, "filename", None) if isinstance(source, Image.Image) else getattr(source, "name", None)
    kind = "image" if isinstance(source, Image.Image) else "file" if hasattr(source, "read") else type(source).__name__
    return str(known) if isinstance(known, (str, os.PathLike)) and str(known) else f"<{kind}>"
