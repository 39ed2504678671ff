"""Mutations of bytes, text and JSON. All of them draw from the given ``random.Random`` alone."""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
HEAD = 512  # bytes in which most of a format's header fields lie
#: What stands where a text file has a word.
WORDS = (
    "",
    " ",
    "0",
    "-1",
    "1e308",
    "1e999",
    "-inf",
    "nan",
    "null",
    "None",
    "true",
    "9" * 400,
    "0x10",
    "1_0",
    "1:30:00",
    "2001-99-99",
    "!!python/object/apply:os.system [id]",
    "*a",
    "&a [*a]",
    "[" * 200,
    "{" * 200,
    '"',
    "'",
    "\x00",
    "\ufeff",
    "\u202e",
    "\x1b]0;x\x07",
    "=1+1",
    "@SUM(A1)",
    "../../etc/passwd",
    "/dev/zero",
    "/proc/self/mem",
    "file:///etc/passwd",
    "C:\\x",
    "data:image/png;base64,AA==",
    "é" * 300,
    "\U0001f600",
    "\t",
    ",",
    ";",
    "\n",
    "\r",
    "%s%n",
    "${HOME}",
    "{{7*7}}",
    "<script>x</script>",
)
#: What stands where JSON has a value.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    "",
    "x",
    "é" * 50,
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    [None],
    {"": None},
    [1, "a", None],
    "../../x",
    -(2**63),
    2**64,
    [[[[[[]]]]]],
    "\x1b[31m",
)

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def flip_bits(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 30))):
        place = _place(random, len(changed))
        changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def set_bytes(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 3, 10))):
        changed[_place(random, len(changed))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return bytes(changed)


def set_field(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A field of two, four or eight bytes at an extreme, in either byte order."""
    form = random.choice("HIQ")
    size = struct.calcsize(f"<{form}")
    if len(data) < size:
        return data
    place = min(_place(random, len(data)), len(data) - size)
    value = random.choice(EXTREMES) & (256**size - 1)
    return data[:place] + struct.pack(random.choice("<>") + form, value) + data[place + size :]


def truncate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def splice(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def double(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A piece stands two, or many, times."""
    start, end = _piece(random, len(data))
    return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]


def delete(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _piece(random, len(data))
    return data[:start] + data[end:]


def move(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _piece(random, len(data))
    rest = data[:start] + data[end:]
    place = random.randrange(len(rest) + 1)
    return rest[:place] + data[start:end] + rest[place:]


def insert_noise(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + random.randbytes(random.choice((1, 4, 100))) + data[place:]


BYTES: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    set_field,
    set_field,
    truncate,
    splice,
    double,
    delete,
    move,
    insert_noise,
)


def set_word(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A word of a text file becomes a difficult one."""
    text = data.decode("utf-8", "surrogateescape")
    start = random.randrange(len(text) + 1)
    end = min(len(text), start + random.randrange(1, 9))
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    return (text[:start] + random.choice(WORDS) + text[end:]).encode("utf-8", "surrogateescape")


def change_line(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A line is lost, doubled, moved, or indented."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    line = lines.pop(place)
    how = random.randrange(4)
    if how == 1:
        lines[place:place] = [line, line]
    elif how == 2:
        lines.insert(random.randrange(len(lines) + 1), line)
    elif how == 3:
        lines.insert(place, b" " * random.randrange(1, 9) + line)
    return b"\n".join(lines)


TEXT: tuple[Mutation, ...] = (set_word, set_word, set_word, change_line, change_line, *BYTES)


def set_json(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A value of a JSON document becomes another one, or its key is lost, doubled or renamed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return set_word(random, data, others)
    for _ in range(random.choice((1, 1, 3))):
        places = list(_places(document))
        if not places:
            return json.dumps(random.choice(VALUES)).encode()
        holder, key = random.choice(places)
        how = random.randrange(6)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.extend(holder[:] * random.choice((1, 20)))
        elif how == 1:
            holder[random.choice(WORDS)] = holder.pop(key)
        elif how == 2:
            other, name = random.choice(places)
            holder[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
        else:
            holder[key] = deepcopy(random.choice(VALUES))  # it may be changed, too
    return json.dumps(document).encode()


JSON: tuple[Mutation, ...] = (set_json, set_json, set_json, set_json, *TEXT)


def mutated(random: Random, seeds: Sequence[bytes], chosen: int, mutations: Sequence[Mutation]) -> bytes:
    """A seed after one to three mutations."""
    data = seeds[chosen]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(mutations)(random, data or b"\0", seeds)
    return data[:4_000_000]


def with_right_sums(data: bytes) -> bytes:
    """A PNG whose chunks have the right check sums, so that what is wrong with them reaches the decoder."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, place = bytearray(data[:8]), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        body = data[place + 4 : end]
        out += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place = end + 4
    return bytes(out) + data[place:]


def _place(random: Random, length: int) -> int:
    return random.randrange(min(length, HEAD) if random.random() < 0.6 else length)


def _piece(random: Random, length: int) -> tuple[int, int]:
    start = random.randrange(length + 1)
    return start, min(length, start + random.choice((1, 4, 12, 64, 1000)))


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = range(len(holder)) if isinstance(holder, list) else list(holder) if isinstance(holder, dict) else ()
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found
