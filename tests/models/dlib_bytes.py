"""dlib's file format from the other side: a writer of small networks, after dlib/serialize.h."""

import math
import struct
from collections.abc import Sequence

import numpy as np


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def number(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def text(word: str) -> bytes:
    return integer(len(word)) + word.encode("ascii")


def shape(*sides: int) -> bytes:
    return b"".join(map(integer, sides))


def tensor(values: np.ndarray | None = None) -> bytes:
    """Of one column, as dlib keeps a layer's parameters; without values: an empty one."""
    if values is None:
        return integer(2) + shape(0, 0, 0, 0)
    flat = values.astype(np.float32).ravel()
    return integer(2) + shape(flat.size, 1, 1, 1) + struct.pack(f"<{flat.size}f", *flat)


def alias(*sides: int) -> bytes:
    return integer(1) + shape(*sides)


END = b"110" + tensor() * 3


def con(filters: np.ndarray, biases: np.ndarray, *, stride: int = 1) -> bytes:
    k, c, r, s = filters.shape
    values = np.concatenate([filters.ravel(), biases])
    padding = r // 2 if stride == 1 else 0
    own = shape(k, r, s, stride, stride, padding, padding) + alias(k, c, r, s) + alias(1, k, 1, 1)
    return text("con_4") + tensor(values) + own + number(1) * 3 + number(0) + END


def affine(gamma: np.ndarray, beta: np.ndarray) -> bytes:
    k = len(gamma)
    return text("affine_") + tensor(np.concatenate([gamma, beta])) + alias(1, k, 1, 1) * 2 + integer(0) + END


def plain(name: str, *settings: int) -> bytes:
    return text(name) + shape(*settings) + END


def fc(weights: np.ndarray) -> bytes:
    inputs, outputs = weights.shape
    own = alias(inputs, outputs, 1, 1) + alias(0, 0, 0, 0) + integer(1)
    return text("fc_2") + integer(outputs) + integer(inputs) + tensor(weights) + own + number(1) * 3 + number(0) + END


def network(layers: Sequence[bytes], *, means: Sequence[float] = (122.75, 117.0, 104.25)) -> bytes:
    head = integer(1) * 3 + text("loss_metric_2") + number(0.04) + number(0.6)
    depth = b"".join(map(integer, [1, 2] * len(layers)))
    start = text("input_rgb_image_sized") + b"".join(map(number, means)) + integer(150) * 2
    first, *others = layers
    return head + depth + start + first + integer(1) + b"".join(others)
