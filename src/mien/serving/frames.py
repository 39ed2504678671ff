"""Messages between the service and its reading processes: a JSON header and bytes, each with its length before it."""

import asyncio
import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">II")
Frame = tuple[dict[str, Any], bytes]


def pack(header: dict[str, Any], body: bytes = b"") -> list[bytes]:
    """A frame as parts to be written one after another: the body is not copied."""
    head = json.dumps(header).encode()
    return [_LENGTHS.pack(len(head), len(body)) + head, body]


def read_frame(stream: IO[bytes]) -> Frame | None:
    """The next frame of a blocking stream, or None at its end (also in the middle of a frame)."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head, body = _LENGTHS.unpack(lengths)
    data = stream.read(head + body)
    return (json.loads(data[:head]), data[head:]) if len(data) == head + body else None


async def next_frame(stream: asyncio.StreamReader) -> Frame | None:
    """The same of an asyncio stream."""
    try:
        head, body = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
        return json.loads(await stream.readexactly(head)), await stream.readexactly(body)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
