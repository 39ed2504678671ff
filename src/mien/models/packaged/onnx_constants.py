"""The float values of an ONNX graph's constants, where the file stores them as int8 in blocks."""

import numpy as np
import onnx
from onnx import numpy_helper


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Every initializer, and every output of ``DequantizeLinear`` and ``Reshape`` whose inputs are constants.

    Raises ValueError where blocks do not fit.
    """
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("DequantizeLinear", "Reshape") or not all(name in values for name in node.input):
            continue
        inputs = [values[name] for name in node.input]
        if node.op_type == "Reshape":
            values[node.output[0]] = inputs[0].reshape([int(side) for side in inputs[1]])
            continue
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        values[node.output[0]] = dequantised(*inputs, **settings)
    return values


def dequantised(
    numbers: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None = None, *, axis: int = 1, block_size: int = 0
) -> np.ndarray:
    """float32 (numbers − zeros) · scales as ONNX's ``DequantizeLinear`` has it.

    numbers: integers of any shape. scales, zeros: a scalar; one along ``axis``; or, with block_size > 0, of the
    numbers' shape but for ``axis``, where each counts for ``block_size`` numbers. Raises ValueError for other shapes.
    """
    offsets = np.zeros_like(scales) if zeros is None else zeros.astype(np.float32)
    if block_size:
        expected = list(numbers.shape)
        expected[axis] = -(-numbers.shape[axis] // block_size)
        if list(scales.shape) != expected:
            raise ValueError(f"expected scales of shape {expected} for blocks of {block_size}, got {scales.shape}")
        scales, offsets = (
            np.repeat(x, block_size, axis).take(range(numbers.shape[axis]), axis) for x in (scales, offsets)
        )
    elif scales.ndim == 1 and scales.size > 1:
        shape = [1] * numbers.ndim
        shape[axis] = -1
        scales, offsets = scales.reshape(shape), offsets.reshape(shape)
    return ((numbers.astype(np.float32) - offsets) * scales).astype(np.float32)
