"""mien reads facial expressions from photos.

    from mien import Reader
    reading = Reader().read("photo.jpg")

Importing this package loads nothing: ``Reader`` is resolved on first use (PEP 562). It only turns off the telemetry of
ONNX Runtime, whose official builds (seen in 1.32) report to Microsoft and keep a device identifier in ~/.cache unless
this is set before they are loaded.
"""

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Box", "Face", "MienError", "ReadFailure", "Reader", "Reading", "__version__"]

if TYPE_CHECKING:
    from mien.errors import MienError
    from mien.reading.reader import Reader
    from mien.results import Box, Face, ReadFailure, Reading

_HOMES = {
    "Reader": "mien.reading.reader",
    "Box": "mien.results",
    "Face": "mien.results",
    "Reading": "mien.results",
    "ReadFailure": "mien.results",
    "MienError": "mien.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
