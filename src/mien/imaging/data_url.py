"""``data:`` URLs (RFC 2397), in which web pages and tables embed pictures: recognised, named, decoded.

Base64 is read as browsers read it (WHATWG's forgiving-base64): spaces and line ends do not count, padding may be
missing, and any other character is an error, where Python's decoder would skip it silently.
"""

import binascii
import re
from urllib.parse import unquote_to_bytes

from mien.errors import ImageError

_HEAD = 32  # characters of it in names and messages
_URL = re.compile(r"[a-z][a-z0-9+.-]+://|(https?|ftps?|s3|gs):/", re.IGNORECASE)  # pathlib leaves one slash of two


def is_data_url(text: str) -> bool:
    """Whether a text is a ``data:`` URL."""
    return text[:5].lower() == "data:"


def is_url(text: str) -> bool:
    """Whether a text is the address of something elsewhere: ``https://…``, ``s3://…``."""
    return _URL.match(text) is not None


def refuse_url(text: str) -> ImageError:
    """The error for a URL in place of a path."""
    if text[:7].lower() == "file://":
        return ImageError("expected a path, got a file: URL", kind="unsupported", hint="leave out file://")
    return ImageError("expected a local file, got a URL", kind="unsupported", hint="download it first")


def short_name(text: str) -> str:
    """The name of a ``data:`` URL in the output: its first characters."""
    return text if len(text) <= _HEAD else f"{text[:_HEAD]}…"


def decode(text: str) -> bytes:
    """The bytes in a ``data:`` URL. Raises ImageError where it is malformed."""
    head, comma, body = text.partition(",")
    if not comma:
        raise ImageError(
            f"expected data:TYPE;base64,… with a comma before the data, got {short_name(text)!r}", kind="unreadable"
        )
    raw = unquote_to_bytes(body)  # base64 in a URL often has %2B for + and %3D for =
    if head.split(";")[-1].strip().lower() != "base64":
        return raw
    packed = b"".join(raw.split())
    if len(packed) % 4 == 0 and packed.endswith(b"="):
        packed = packed[:-1].removesuffix(b"=")
    try:
        return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ImageError(
            f"expected base64 in {short_name(text)!r}, got {len(packed):,} characters that are none ({error})",
            kind="unreadable",
            hint="it may be cut off" if len(packed) % 4 == 1 else None,
        ) from error
