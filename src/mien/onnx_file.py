"""ONNX files changed without the package ``onnx``: the few messages that a weight conversion touches.

ONNX Runtime depends on ``protobuf`` and brings no classes for its own file format; ``onnx`` has them, at 33 MB. What a
conversion needs is declared here by field number (onnx.proto3 of ONNX 1.x). Fields that are not declared are kept as
they are when a message is written again, which is protobuf's rule.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT = 1
_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
_STRING, _INT64, _INT32, _FLOAT32, _BYTES = 9, 3, 5, 2, 12  # protobuf's numbers of field types
_MESSAGES: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {  # name, number, type, repeated
    "Model": (("graph", 7, "Graph", False), ("metadata_props", 14, "Entry", True), ("functions", 25, "Function", True)),
    "Entry": (("key", 1, _STRING, False), ("value", 2, _STRING, False)),
    "Graph": (
        ("node", 1, "Node", True),
        ("initializer", 5, "Tensor", True),
        ("input", 11, "Value", True),
        ("output", 12, "Value", True),
        ("value_info", 13, "Value", True),
    ),
    "Function": (("node", 7, "Node", True),),
    "Node": (
        ("input", 1, _STRING, True),
        ("output", 2, _STRING, True),
        ("name", 3, _STRING, False),
        ("op_type", 4, _STRING, False),
        ("attribute", 5, "Attribute", True),
    ),
    "Attribute": (
        ("name", 1, _STRING, False),
        ("i", 3, _INT64, False),
        ("t", 5, "Tensor", False),
        ("g", 6, "Graph", False),
        ("ints", 8, _INT64, True),
        ("tensors", 10, "Tensor", True),
        ("graphs", 11, "Graph", True),
    ),
    "Tensor": (
        ("dims", 1, _INT64, True),
        ("data_type", 2, _INT32, False),
        ("float_data", 4, _FLOAT32, True),
        ("int64_data", 7, _INT64, True),
        ("name", 8, _STRING, False),
        ("raw_data", 9, _BYTES, False),
        ("data_location", 14, _INT32, False),
    ),
    "Value": (("name", 1, _STRING, False), ("type", 2, "Type", False)),
    "Type": (("tensor_type", 1, "TensorType", False),),
    "TensorType": (("elem_type", 1, _INT32, False), ("shape", 2, "Shape", False)),
    "Shape": (("dim", 1, "Dim", True),),
    "Dim": (("dim_value", 1, _INT64, False), ("dim_param", 2, _STRING, False)),
}


def parse_model(data: bytes) -> Any:
    """A ``ModelProto`` with the fields above. Raises ValueError where ``data`` is no such message."""
    from google.protobuf.message import DecodeError

    model = _classes()["Model"]()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError("expected an ONNX file") from error
    return model


def metadata(data: bytes) -> dict[str, str]:
    """The metadata of a serialized model, without ONNX Runtime. Raises ValueError where ``data`` is no such message."""
    return {entry.key: entry.value for entry in parse_model(data).metadata_props}


_LOOPS = ("Loop", "Scan", "SequenceMap")


def outside_or_endless(model: Any) -> str | None:
    """What a model has that a reader never needs: weights in other files, or loops; None where it has neither.

    A network of some thousand bytes could otherwise read files beside it, or compute for ever.
    """
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    tensors = [*model.graph.initializer]
    while nodes:
        node = nodes.pop()
        if node.op_type in _LOOPS:
            return f"a loop ({node.op_type})"
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for graph in (attribute.g, *attribute.graphs):
                nodes += graph.node
                tensors += graph.initializer
    if any(tensor.data_location for tensor in tensors):
        return "weights in another file"
    return None


def to_array(tensor: Any) -> NDArray[Any]:
    """The values of a ``TensorProto`` of float32, uint8, int8, int32 or int64. Raises ValueError for another type."""
    if tensor.data_type not in _DTYPES:
        raise ValueError(f"expected a tensor of type {sorted(_DTYPES)}, got {tensor.data_type} for {tensor.name}")
    dtype = np.dtype(_DTYPES[tensor.data_type]).newbyteorder("<")
    if tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, dtype)
    else:
        values = np.asarray(tensor.float_data or tensor.int64_data, dtype)
    return values.reshape(list(tensor.dims))


def constants(graph: Any) -> dict[str, NDArray[Any]]:
    """Every initializer, and every output of ``DequantizeLinear`` and ``Reshape`` whose inputs are constants.

    Raises ValueError where blocks do not fit.
    """
    values = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("DequantizeLinear", "Reshape") or not all(name in values for name in node.input):
            continue
        inputs = [values[name] for name in node.input]
        if node.op_type == "Reshape":
            values[node.output[0]] = inputs[0].reshape([int(side) for side in inputs[1]])
            continue
        settings = {
            attribute.name: attribute.i for attribute in node.attribute if attribute.name in ("axis", "block_size")
        }
        values[node.output[0]] = dequantised(*inputs, **settings)
    return values


def dequantised(
    numbers: NDArray[Any],
    scales: NDArray[Any],
    zeros: NDArray[Any] | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> NDArray[np.float32]:
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


def fill_tensor(tensor: Any, name: str, values: NDArray[Any]) -> None:
    """Write float32 or int64 ``values`` into a ``TensorProto``."""
    kind = next(number for number, dtype in _DTYPES.items() if dtype == values.dtype)
    tensor.Clear()
    tensor.name, tensor.data_type = name, kind
    tensor.dims.extend(values.shape)
    tensor.raw_data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def fill_value(value: Any, name: str, *shape: int | str) -> None:
    """Write a float32 input or output of that shape; a text is a symbolic side."""
    value.Clear()
    value.name = name
    value.type.tensor_type.elem_type = FLOAT
    for side in shape:
        dim = value.type.tensor_type.shape.dim.add()
        setattr(dim, "dim_param" if isinstance(side, str) else "dim_value", side)


def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="mien_onnx.proto", package="mien_onnx", syntax="proto3")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = declared.field.add(name=name, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                field.type, field.type_name = 11, f".mien_onnx.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"mien_onnx.{n}")) for n in _MESSAGES}
