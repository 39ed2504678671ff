"""A reader in eight bits: static quantisation of an exported ONNX file with ONNX Runtime's own tools (QDQ form).

Activations become uint8 with one scale a tensor, weights int8 with one scale a channel (Jacob et al. 2018, arXiv
1712.05877). The first and the last layer stay in float32: they are small, and much is lost there. Ranges come from
pictures of Training: a percentile of what each tensor holds, which a few outliers do not stretch, or all of it. Which
one is a rule (:func:`nearest`): that whose probabilities on other pictures of Training are nearest to the original's.
Labels, preprocess and provenance stay in the file; the calibration is to be fitted again.
"""

import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from mien.arrays import Float32
from mien.errors import ExportError
from mien.onnx_runtime import default_threads, make_session

CALIBRATION = 1000  # pictures
PERCENTILES = (99.99, 99.999, 100.0)  # of a tensor's values that its range covers; 100 is all


def nearest(
    source: bytes, crops: Float32, others: Float32, *, reduce_range: bool = False
) -> tuple[bytes, dict[float, float]]:
    """The form with the least mean KL divergence (nats) from the original; and the divergence of each percentile.

    source, crops, reduce_range: as for :func:`quantised`. others: float32 M×C×S×S, on which both are compared: their
    probabilities at temperature 1. Raises ExportError.
    """
    wanted = _log_probabilities(source, others)
    made, far = {}, {}
    for percentile in PERCENTILES:
        made[percentile] = quantised(source, crops, percentile=percentile, reduce_range=reduce_range)
        got = _log_probabilities(made[percentile], others)
        far[percentile] = float((np.exp(wanted) * (wanted - got)).sum(1).mean())
    return made[min(far, key=lambda percentile: far[percentile])], far


def _log_probabilities(model: bytes, crops: Float32) -> NDArray[np.float64]:
    session = make_session(model, threads=default_threads())
    logits = np.concatenate([session.run(["logits"], {"crops": part})[0] for part in np.array_split(crops, 20)])
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def quantised(source: bytes, crops: Float32, *, percentile: float = 99.99, reduce_range: bool = False) -> bytes:
    """The same network in int8, as serialized ONNX.

    source: a file of ``mien export``, fp32 or stored in half precision. crops: float32 N×C×S×S, normalised, pictures to
    take the ranges from (:data:`CALIBRATION` of Training). percentile: see :data:`PERCENTILES`. reduce_range: weights
    of seven bits, for processors without VNNI, whose sums of products would saturate. Raises ExportError where ONNX
    Runtime cannot quantise the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "int8"))
        model = onnx.load_model_from_string(source)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        fold_casts(model)
        onnx.save(model, plain)
        try:
            with redirect_stdout(StringIO()):  # the tools tell their progress; stdout is data
                _quantise(plain, ready, small, crops, percentile, reduce_range)
        except Exception as error:  # the tools raise many kinds
            raise ExportError(f"expected a graph that ONNX Runtime can quantise, got: {error}") from error
        result = onnx.load(small)
    del result.metadata_props[:]
    onnx.helper.set_model_props(result, metadata)
    content: bytes = result.SerializeToString()
    return content


def _quantise(plain: Path, ready: Path, small: Path, crops: Float32, percentile: float, reduce_range: bool) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(small),
        _Pictures(crops),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax if percentile == 100 else CalibrationMethod.Percentile,
        nodes_to_exclude=_first_and_last(onnx.load(ready)),
        extra_options={} if percentile == 100 else {"CalibPercentile": percentile},
    )


def _first_and_last(model: onnx.ModelProto) -> list[str]:
    """The names of the first and the last node with weights."""
    layers = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    return [layers[0], layers[-1]]


def fold_casts(model: onnx.ModelProto) -> None:
    """Weights that are stored as float16 with a cast become float32 constants."""
    halves = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    kept = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            tensor = halves[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, name=node.output[0]))
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Pictures:
    """ONNX Runtime's calibration data reader over an array, in batches of one size, which its histograms need."""

    def __init__(self, crops: Float32) -> None:
        batch = max(n for n in range(1, 51) if len(crops) % n == 0)
        self._batches: Iterator[Any] = iter(np.split(crops, len(crops) // batch))

    def get_next(self) -> dict[str, Float32] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"crops": batch}
