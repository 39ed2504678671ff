"""Weights out of a file that dlib has serialised: ``dlib_face_recognition_resnet_model_v1.dat``, its face network.

What dlib writes (dlib/serialize.h and dlib/dnn, Boost licence):

    integer   one control byte (bit 7: negative, low nibble: how many bytes follow), then those bytes, little-endian
    string    integer length, bytes                       number   integer mantissa, integer exponent of two
    tensor    integer 2, four integers N K R C, then N·K·R·C float32, little-endian
    network   versions of all nested layers, the input layer, then layer after layer from the input to the output:
              name, its own values, three flags as "0" or "1", three tensors of training, empty here

Every read is checked against the end of the file, every size against what is left of it: a file that is cut off or was
altered gives an error, never other weights.
"""

import math
from dataclasses import dataclass

import numpy as np

#: The only values that dlib's versions of nested layers have; a larger integer is the length of the next name.
_VERSIONS = (1, 2, 3)


class DlibFileError(ValueError):
    """Not a network that this module reads: what was expected at which byte, and what was found."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. settings: its integers, in dlib's order. tensors: float32 by name; empty for layers without weights.

    ``con``: filters K×C×R×S and biases K; settings filters, rows, columns, stride y, x, padding y, x.
    ``affine``: gamma K and beta K. ``fc``: weights inputs×outputs. ``max_pool``, ``avg_pool``: settings rows, columns,
    stride y, x, padding y, x; 0 rows stand for the whole picture.
    """

    kind: str
    settings: tuple[int, ...]
    tensors: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class DlibNetwork:
    """means: what the input layer subtracts from R, G, B of 0-255 (it then divides by 256). layers: input first."""

    means: tuple[float, float, float]
    layers: tuple[Layer, ...]


def read_network(raw: bytes) -> DlibNetwork:
    """The whole file's network. Raises DlibFileError, also where bytes are left over."""
    file = _Bytes(raw)
    file.versions()
    file.name("loss_metric")
    file.number(), file.number()  # margin and distance threshold of the loss
    depth = len(file.versions())
    file.name("input_rgb_image_sized")
    means = (file.number(), file.number(), file.number())
    file.integer(), file.integer()  # rows and columns that dlib's own tools cut faces to
    layers = []
    while not file.at_end():
        layers.append(_layer(file))
        if len(layers) == 1:
            file.integer()  # how many crops the input layer makes of a picture
        if len(layers) > depth:
            raise DlibFileError(f"expected at most {depth} layers, got more at byte {file.at}")
    if not layers or layers[-1].kind != "fc":
        raise DlibFileError(f"expected the descriptor's layer at the end, got {len(layers)} layers without it")
    return DlibNetwork(means, tuple(layers))


def _layer(file: "_Bytes") -> Layer:
    kind = file.name()
    settings: tuple[int, ...] = ()
    tensors: dict[str, np.ndarray] = {}
    if kind == "con":
        values = file.tensor().ravel()
        settings = file.integers(7)
        filters, biases = file.alias(), file.alias()
        tensors = _split(values, {"filters": filters, "biases": (settings[0],)}, file.at)
        if biases != (1, settings[0], 1, 1) or filters[0] != settings[0] or filters[2:] != settings[1:3]:
            raise DlibFileError(f"expected filters as the layer describes them before byte {file.at}, got {filters}")
        _numbers(file, 4)  # multipliers of learning rate and decay
    elif kind == "affine":
        values = file.tensor().ravel()
        gamma, beta = file.alias(), file.alias()
        tensors = _split(values, {"gamma": (math.prod(gamma),), "beta": (math.prod(beta),)}, file.at)
        settings = file.integers(1)
    elif kind == "fc":
        outputs, inputs = file.integers(2)
        values = file.tensor().ravel()
        file.alias(), file.alias()
        settings = (outputs, inputs, *file.integers(1))
        tensors = _split(values, {"weights": (inputs, outputs)}, file.at)
        _numbers(file, 4)
    elif kind in ("max_pool", "avg_pool"):
        settings = file.integers(6)
    elif kind not in ("relu", "add_prev"):
        raise DlibFileError(f"expected a layer of the face network before byte {file.at}, got {kind!r}")
    file.flags(3)
    for what in ("gradient of the input", "kept output", "gradient of the weights"):
        if file.tensor().size:
            raise DlibFileError(f"expected no {what} in a finished network before byte {file.at}, got one")
    return Layer(kind, settings, tensors)


def _numbers(file: "_Bytes", count: int) -> None:
    for _ in range(count):
        file.number()


def _split(values: np.ndarray, shapes: dict[str, tuple[int, ...]], at: int) -> dict[str, np.ndarray]:
    """One flat array cut into arrays of those shapes, which must use it up."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    if sum(sizes) != values.size:
        raise DlibFileError(f"expected {sum(sizes)} weights before byte {at}, got {values.size}")
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class _Bytes:
    """A position in the file; each method reads one thing and moves on."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def at_end(self) -> bool:
        return self.at == len(self.raw)

    def take(self, count: int, what: str) -> bytes:
        if not 0 <= count <= len(self.raw) - self.at:
            left = len(self.raw) - self.at
            raise DlibFileError(f"expected {count} bytes of {what} at byte {self.at}, got {left} before the end")
        self.at += count
        return self.raw[self.at - count : self.at]

    def integer(self) -> int:
        control = self.take(1, "an integer")[0]
        size = control & 0x0F
        if not 1 <= size <= 8 or control & 0x70:
            raise DlibFileError(f"expected an integer at byte {self.at - 1}, got the byte {control}")
        value = int.from_bytes(self.take(size, "an integer"), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def number(self) -> float:
        mantissa, exponent = self.integers(2)
        if abs(exponent) > 1100:  # dlib's marks for infinity and NaN, and what no double holds
            raise DlibFileError(f"expected a finite number before byte {self.at}, got the exponent {exponent}")
        return math.ldexp(mantissa, exponent)

    def versions(self) -> list[int]:
        found: list[int] = []
        while True:
            start = self.at
            value = self.integer()
            if value not in _VERSIONS:
                self.at = start
                return found
            found.append(value)

    def name(self, expected: str | None = None) -> str:
        """A layer's name without the version at its end."""
        start = self.at
        word = self.take(self.integer(), "a name").decode("ascii", "replace").rstrip("0123456789").rstrip("_")
        if expected and word != expected:
            raise DlibFileError(f"expected {expected!r} at byte {start}, got {word[:40]!r}")
        return word

    def shape(self) -> tuple[int, ...]:
        shape = self.integers(4)
        if min(shape) < 0:
            raise DlibFileError(f"expected a tensor's shape before byte {self.at}, got {shape}")
        return shape

    def tensor(self) -> np.ndarray:
        version = self.integer()
        if version != 2:
            raise DlibFileError(f"expected a tensor before byte {self.at}, got version {version}")
        shape = self.shape()
        raw = self.take(4 * math.prod(shape), "weights")
        return np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)

    def alias(self) -> tuple[int, ...]:
        version = self.integer()
        if version != 1:
            raise DlibFileError(f"expected a part of a tensor before byte {self.at}, got version {version}")
        return self.shape()

    def flags(self, count: int) -> None:
        if set(flags := self.take(count, "flags")) - {ord("0"), ord("1")}:
            raise DlibFileError(f"expected {count} flags before byte {self.at}, got {flags!r}")
