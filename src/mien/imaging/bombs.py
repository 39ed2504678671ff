"""Small files that would take much memory or time where the size in their header does not say so.

An icon holds whole PNGs and bitmaps, which Pillow decodes on opening; a progressive JPEG may go over all its pixels
thousands of times, a few bytes a time.
"""

import re
import struct

from mien.errors import ImageError

#: Pixels × scans of a JPEG: a hundred megapixels may have forty scans, where cameras and encoders write ten.
MOST_SCANNED = 4_000_000_000
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SOF = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_SOS, _EOI = 0xDA, 0xD9


def is_icon(head: bytes) -> bool:
    """Whether a file that begins so is an ICO."""
    return head[:4] == b"\0\0\1\0"


def largest_of_icon(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture in an icon, as it says itself; (0, 0) where none can be found."""
    largest = (0, 0)
    (count,) = struct.unpack_from("<H", data, 4) if len(data) >= 6 else (0,)
    for number in range(min(count, (len(data) - 6) // 16)):
        (place,) = struct.unpack_from("<I", data, 6 + 16 * number + 12)
        head = data[place : place + 24]
        if len(head) < 24:
            continue
        if head.startswith(b"\x89PNG"):
            width, height = struct.unpack(">II", head[16:24])
        else:  # a bitmap, whose height counts its mask too
            width, height = (abs(side) for side in struct.unpack("<ii", head[4:12]))
            height //= 2
        largest = max(largest, (width, height), key=lambda size: size[0] * size[1])
    return largest


def check_scans(data: bytes, width: int, height: int) -> None:
    """Raises ImageError for a JPEG with so many scans that it would not be decoded in time."""
    count = scans(data)
    if count * width * height > MOST_SCANNED:
        raise ImageError(
            f"expected a JPEG with the usual ten scans, got {count:,} for {width}×{height} pixels", kind="too_large"
        )


def scans(data: bytes) -> int:
    """The scans of the first picture of a JPEG file; 1 where a single one holds all components."""
    place, count, components, progressive = 2, 0, 0, False
    while (found := _MARKER.search(data, place)) is not None:
        marker, place = data[found.end() - 1], found.end()
        if marker == _EOI:
            break
        length = int.from_bytes(data[place : place + 2], "big")
        if marker in _SOF:
            components, progressive = data[place + 7] if place + 7 < len(data) else 0, marker in (0xC2, 0xCA)
        if marker == _SOS:
            count += 1
            if count == 1 and not progressive and data[place + 2 : place + 3] == bytes([components]):
                break
        place += max(length, 2)
    return max(count, 1)
