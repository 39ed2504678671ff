"""Pictures and videos made by hand: small files that ask for much, and files that are something else."""

import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from .kinds import saved


def png(width: int, height: int, *, bits: int = 8, rows: int | None = None, extra: bytes = b"") -> bytes:
    """A grey PNG of zeros. rows: of them that are there. extra: chunks before the pixels."""
    packer = zlib.compressobj(9)
    line = bytes(1 + (width * bits + 7) // 8)
    pieces = [packer.compress(line * 64) for _ in range((height if rows is None else rows) // 64)]
    pieces.append(packer.compress(line * ((height if rows is None else rows) % 64)))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    body = chunk(b"IDAT", b"".join(pieces) + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def zeros(megabytes: int) -> bytes:
    """Many zeros, deflated: a thousandth of them."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def small_picture(kind: str, **options: Any) -> bytes:
    return saved(Image.fromarray(np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)), kind, **options)


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(small_picture("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A progressive picture whose last scan comes again and again: each one costs a pass over all pixels."""
    data = saved(Image.fromarray(np.zeros((side, side), np.uint8)), "JPEG", progressive=True, quality=10)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def ico(inner: bytes, *, shown: int = 16) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", shown, shown, 0, 0, 1, 32, len(inner), 22) + inner


def gif_of_frames(count: int, width: int = 32, height: int = 32) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * count + b"\x3b"


def tiff_of_directories(count: int, *, loop: bool = False) -> bytes:
    entries = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 3, 1, 8),
        (279, 4, 1, 64),
    ]
    size = 2 + 12 * len(entries) + 4
    out = bytearray(b"II*\0" + struct.pack("<I", 72) + bytes(64))
    for number in range(count):
        last = number + 1 == count
        after = (72 if loop else 0) if last else 72 + size * (number + 1)
        out += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
        out += struct.pack("<I", after)
    return bytes(out)


def jp2_of_tiles() -> bytes:
    data = bytearray(saved(Image.fromarray(np.zeros((48, 48), np.uint8)), "JPEG2000", no_jp2=True))
    place = data.index(b"\xff\x51")
    data[place + 6 : place + 14] = struct.pack(">II", 9000, 9000)
    data[place + 22 : place + 30] = struct.pack(">II", 1, 1)
    return bytes(data)


SVG = (
    b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b']><svg xmlns="http://www.w3.org/2000/svg">&j;</svg>'
)


def heic_of_size(width: int, height: int) -> bytes:
    """Where ``pillow-heif`` is installed: 64×64 that says to be of another size."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = bytearray(small_picture("HEIF"))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", width, height)
    return bytes(data)


HEICS = [
    ("heic-65535x65535", "a.heic", lambda: heic_of_size(65535, 65535)),
    ("heic-9000x9000", "a.heic", lambda: heic_of_size(9000, 9000)),
    ("heic-64x65535", "a.heic", lambda: heic_of_size(64, 65535)),
    ("heic-one-pixel", "a.heic", lambda: heic_of_size(1, 1), None),
    ("heic-no-pixel", "a.heic", lambda: heic_of_size(0, 0)),
]

PICTURES = [
    ("png-60000x60000", "a.png", lambda: png(60000, 60000, bits=1, rows=64)),
    ("png-65535x65535-of-nothing", "a.png", lambda: png(65535, 65535, rows=0)),
    ("png-9000x9000", "a.png", lambda: png(9000, 9000), True),
    ("png-65535-wide", "a.png", lambda: png(65535, 40), None),
    ("png-65535-high", "a.png", lambda: png(40, 65535), None),
    ("png-one-pixel", "a.png", lambda: png(1, 1), True),
    ("png-text-bomb", "a.png", lambda: png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + zeros(80))), None),
    (
        "png-international-text-bomb",
        "a.png",
        lambda: png(8, 8, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(80))),
        None,
    ),
    ("png-profile-bomb", "a.png", lambda: png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + zeros(80))), None),
    ("png-of-chunks", "a.png", lambda: png(8, 8, extra=chunk(b"tEXt", b"a\0b") * 200_000), None),
    ("jpeg-65535x65535", "a.jpg", lambda: jpeg_of_size(65535, 65535)),
    ("jpeg-65500x1500", "a.jpg", lambda: jpeg_of_size(65500, 1500), None),
    ("jpeg-of-scans", "a.jpg", lambda: jpeg_of_scans(4000, 2000)),
    ("jpeg-usual-scans", "a.jpg", lambda: jpeg_of_scans(400, 0), True),
    ("ico-with-a-larger-png", "a.ico", lambda: ico(png(20000, 20000))),
    ("ico-with-a-larger-bitmap", "a.ico", lambda: ico(struct.pack("<IiiHHIIiiII", 40, 60000, 120000, 1, 1, *[0] * 6))),
    ("gif-65535x65535", "a.gif", lambda: gif_of_frames(1, 65535, 65535)),
    ("gif-of-frames", "a.gif", lambda: gif_of_frames(100_000), None),
    ("tiff-of-directories", "a.tif", lambda: tiff_of_directories(20_000), None),
    ("tiff-that-loops", "a.tif", lambda: tiff_of_directories(3, loop=True), None),
    (
        "bmp-65535x65535",
        "a.bmp",
        lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 65535, 65535, 1, 24, *[0] * 6),
    ),
    (
        "bmp-compressed",
        "a.bmp",
        lambda: (
            b"BM"
            + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 9000, 9000, 1, 8, 1, 0, 0, 0, 0, 0)
            + b"\0\0" * 5000
        ),
    ),
    ("ppm-endless", "a.ppm", lambda: b"P6\n99999999999999999999 99999999999999999999\n255\n"),
    ("ppm-of-comments", "a.ppm", lambda: b"P6\n" + b"#\n" * 500_000 + b"1 1\n255\nabc", None),
    ("ppm-text-9000x9000", "a.pgm", lambda: b"P2\n9000 9000\n255\n1 2 3"),
    (
        "webp-16384x16384",
        "a.webp",
        lambda: b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<IBI", 18, 0x2F, 0x0FFFFFFF) + bytes(13),
    ),
    ("jp2-of-tiles", "a.j2k", jp2_of_tiles),
    ("postscript", "a.jpg", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\n"),
    ("svg-billion-laughs", "a.png", lambda: SVG),
    ("name-with-escapes", "\x1b]0;owned\x07\x1b[2J.jpg", lambda: b"no picture"),
    (
        "name-with-markup",
        "[bold]<img src=x onerror=alert(1)>[/nothing].jpg".replace("/", "\u2215"),
        lambda: b"no picture",
    ),
]


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def nested_boxes(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = box(b"moov", body)
    return box(b"ftyp", b"isom\0\0\0\0isom") + body


VIDEOS = [
    ("nested-boxes", "a.mp4", lambda: nested_boxes(3000)),
    ("playlist-that-reads-files", "a.mp4", lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    ("concat-that-reads-files", "a.mp4", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
    ("only-zeros", "a.mp4", lambda: bytes(1 << 20)),
    ("only-a-head", "a.mkv", lambda: b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff"),
    ("avi-65535x65535", "a.avi", lambda: avi(65535, 65535)),
    ("a-picture", "a.mp4", lambda: png(8, 8), None),
]


def avi(width: int, height: int) -> bytes:
    """One stream of uncompressed pictures of that size, without any."""
    strh = struct.pack("<4s4sIHHIIIIIIIIhhhh", b"vids", b"DIB ", 0, 0, 0, 0, 1, 25, 0, 100, 0, 0, 0, 0, 0, 0, 0)
    strf = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    strl = b"strl" + b"strh" + struct.pack("<I", len(strh)) + strh + b"strf" + struct.pack("<I", len(strf)) + strf
    avih = struct.pack("<14I", 40000, 0, 0, 0x10, 100, 0, 1, 0, width, height, 0, 0, 0, 0)
    hdrl = b"hdrl" + b"avih" + struct.pack("<I", len(avih)) + avih + b"LIST" + struct.pack("<I", len(strl)) + strl
    movi = b"movi" + b"00db" + struct.pack("<I", 1000) + bytes(1000)
    body = b"AVI " + b"LIST" + struct.pack("<I", len(hdrl)) + hdrl + b"LIST" + struct.pack("<I", len(movi)) + movi
    return b"RIFF" + struct.pack("<I", len(body)) + body
