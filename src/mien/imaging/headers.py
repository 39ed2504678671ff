"""Inspects the first and last bytes of a file: videos, HEIC, truncated files, and their error messages.

HEIC pictures, as iPhones take them, need the package ``pillow-heif``, which is loaded for the first one.
"""

import threading
from dataclasses import dataclass
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError

from mien.errors import ImageError

# What a complete file of a kind ends with; used only to tell a truncated file from a corrupt one.
_ENDINGS = {
    b"\xff\xd8\xff": b"\xff\xd9",
    b"\x89PNG\r\n\x1a\n": b"IEND",
    b"GIF8": b"\x3b",
    b"\0\0\0\x0cjP  ": b"\xff\xd9",
}
_VIDEOS = (b"iso", b"mp4", b"avc", b"M4V", b"qt ", b"3gp")
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
_GENERAL = frozenset((b"mif1", b"msf1"))  # HEIC or AVIF: the brands behind it tell
_AVIF = frozenset((b"avif", b"avis"))
_BRANDS = 256  # bytes of a file's list of brands that are looked at
_registering = threading.Lock()


@dataclass(frozen=True, slots=True)
class Header:
    """The first 32 and the last 64 bytes of a file. formats: Pillow's name of a decoder beside the usual ones."""

    head: bytes
    tail: bytes
    is_tiff: bool
    formats: tuple[str, ...] = ()

    def explain(self, error: Exception) -> ImageError:
        """Which kind of damage: Pillow's own words first, then whether a known kind of file lacks its end."""
        known = next((ending for magic, ending in _ENDINGS.items() if self.head.startswith(magic)), None)
        text = str(error)
        cut = "truncated" in text.lower() or isinstance(error, EOFError)
        if cut or (known is not None and known not in self.tail):
            return ImageError("the file ends before the picture does", kind="truncated")
        if isinstance(error, UnidentifiedImageError):
            if known is None and not self.head[:12].strip(b"\0"):
                return ImageError("the file holds only zero bytes", kind="unreadable")
            what = "a picture whose header is damaged" if known is not None else "an unknown format"
            return ImageError(f"expected a picture (JPEG, PNG, WebP, TIFF, …), got {what}", kind="unreadable")
        return ImageError(f"the picture is corrupt ({type(error).__name__}: {text[:120]})", kind="unreadable")


NO_HEADER = Header(b"", b"", False)


def look(stream: IO[bytes], size: int) -> Header:
    """The header of a file of ``size`` bytes. Raises ImageError for a video or a truncated file."""
    if size == 0:
        raise ImageError("there are no bytes in it", kind="empty")
    start = stream.read(_BRANDS)
    head = start[:32]
    stream.seek(max(0, size - 64))
    tail = stream.read(64)
    stream.seek(0)
    formats: tuple[str, ...] = ()
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand[:3] in _VIDEOS:
            raise ImageError(
                "expected a picture, got a video file",
                kind="unsupported",
                hint="mien read reads files named .mp4, .mov, …, and so does Reader.video(path)",
            )
        length = min(int.from_bytes(head[:4], "big"), _BRANDS)
        others = {start[place : place + 4] for place in range(16, length, 4)}
        if brand in _HEIC or (brand in _GENERAL and not others & _AVIF):
            formats = (_register_heif(),)
    riff = int.from_bytes(head[4:8], "little") + 8 if head[:4] == b"RIFF" else 0  # WebP states its length,
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    is_tiff = head[:4] in (b"II*\0", b"MM\0*")
    directory = int.from_bytes(head[4:8], order) if is_tiff else 0  # TIFF its directory
    if size < riff or 0 < size <= directory:
        raise ImageError("the file ends before the picture does", kind="truncated")
    return Header(head, tail, is_tiff or head[:4] in (b"II+\0", b"MM\0+"), formats)


def _register_heif() -> str:
    """Pillow's name of the decoder of HEIC, which is registered. Raises ImageError where it is not installed."""
    with _registering:
        if "HEIF" not in Image.OPEN:
            try:
                from pillow_heif import register_heif_opener
            except ImportError as error:
                raise ImageError(
                    "HEIC pictures need the package 'pillow-heif', which is not installed",
                    kind="unsupported",
                    hint="install it with: pip install 'mien[heic]' (or pip install pillow-heif)",
                ) from error
            register_heif_opener()
    return "HEIF"
