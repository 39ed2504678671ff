"""Pictures in: a path, bytes, stream, PIL image, array or data URL becomes upright RGB of eight bits, or ImageError.

``load`` is the way in; ``headers`` tells what a file is, ``pixels`` what is white in an array, ``deep`` reads the
sixteen-bit colours and float TIFFs that Pillow does not give, ``reduced`` decodes large JPEGs at a part of their size,
``data_url`` is for ``data:`` URLs.
"""

from mien.imaging.load import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    VIDEO_SUFFIXES,
    OnNote,
    Source,
    load_reduced,
    load_rgb,
    plain,
)
from mien.imaging.reduced import Decoded

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "Decoded",
    "OnNote",
    "Source",
    "load_reduced",
    "load_rgb",
    "plain",
]
