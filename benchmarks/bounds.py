"""What bounds each stage on one core: operations and bytes of each network against what this core does at best.

    python benchmarks/bounds.py -o results/bounds.json

Operations are two for each multiply-accumulate of convolutions and matrix products, counted in the graph at the shape
of the input. Bytes are those of weights and of every node's inputs and outputs, once each: what would move if nothing
stayed in a cache. The core's peak is measured beside it: matrix products of 1024³ in ONNX Runtime, in float32 and in
int8 (``MatMulInteger``), and copying 128 MB. The limit of a network is the larger of its operations at the peak and of
its bytes at the copy's speed; the rest is lost to shapes that fill no vector unit, to depthwise convolutions, which
read a number for each operation, and to the cost of a call. Where bytes stay in the cache, a network can be faster than
this limit.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from mien.faces.centerface_weights import WEIGHTS as CENTERFACE
from mien.faces.yunet_weights import WEIGHTS as YUNET
from mien.onnx_runtime import int8_is_exact, make_session


def least(work: Callable[[], object], times: int = 15) -> float:
    """Least seconds of CPU time."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def product(operator: str, a: np.ndarray, b: np.ndarray, result: int) -> float:
    """Seconds of a·b in ONNX Runtime, b a constant as a network's weights are."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)],
        [helper.make_tensor_value_info("c", result, [len(a), b.shape[1]])],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = make_session(model.SerializeToString(), threads=1)
    return least(lambda: session.run(None, {"a": a}))


def peaks() -> dict[str, float]:
    """Of this core: 10⁹ operations a second in float32 and int8, and 10⁹ bytes a second copied (read and written)."""
    random = np.random.default_rng(0)
    a, b = (random.normal(size=(1024, 1024)).astype(np.float32) for _ in range(2))
    small_a, small_b = random.integers(0, 200, a.shape, np.uint8), random.integers(-100, 100, b.shape, np.int8)
    source = np.zeros(128_000_000, np.uint8)
    target = np.ones_like(source)
    return {
        "float32_gops": 2 * 1024**3 / product("MatMul", a, b, TensorProto.FLOAT) / 1e9,
        "int8_gops": 2 * 1024**3 / product("MatMulInteger", small_a, small_b, TensorProto.INT32) / 1e9,
        "copy_gbytes": 2 * len(source) / least(lambda: np.copyto(target, source)) / 1e9,
    }


def counted(content: bytes, shape: tuple[int, ...]) -> dict[str, float]:
    """Operations and bytes of one run with an input of that shape."""
    model = onnx.load_model_from_string(content)
    for dim, side in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = side
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {t.name: (tuple(t.dims), 1 if t.data_type in (2, 3) else 4) for t in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        size = 1 if kind.elem_type in (TensorProto.UINT8, TensorProto.INT8) else 4
        shapes[value.name] = (tuple(d.dim_value or 1 for d in kind.shape.dim), size)
    operations = moved = 0
    for node in graph.node:
        if node.op_type in ("Cast", "QuantizeLinear", "DequantizeLinear", "Constant", "Reshape"):
            continue  # folded, fused, or free
        for name in [*node.input, *node.output]:
            if name in shapes:
                moved += int(np.prod(shapes[name][0])) * shapes[name][1]
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.output[0] in shapes:
            weight = shapes.get(node.input[1], ((1,), 4))[0]
            output = int(np.prod(shapes[node.output[0]][0]))
            each = int(np.prod(weight[1:])) if node.op_type == "Conv" else weight[-2] if len(weight) > 1 else 1
            if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
                each = weight[1]
            operations += 2 * output * each
    return {"operations": operations, "bytes": moved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    weights = files("mien.weights")
    networks: dict[str, tuple[bytes, str, tuple[int, ...], str]] = {
        "yunet 608×512": (YUNET.model_bytes(), "input", (1, 1, 608, 3 * 512), "float32"),
        "yunet 1280×1280": (YUNET.model_bytes(), "input", (1, 1, 1280, 3 * 1280), "float32"),
        "yunet close look": (YUNET.model_bytes(), "input", (1, 1, 224, 3 * 224), "float32"),
        "centerface 608×512": (CENTERFACE.model_bytes(), "input.1", (1, 3, 608, 512), "float32"),
        "orientation": (weights.joinpath("orientation.onnx").read_bytes(), "crops", (1, 1, 40, 40), "float32"),
    }
    for name in ("compact", "nano"):
        networks[f"{name} fp32"] = (weights.joinpath(f"{name}.onnx").read_bytes(), "crops", (1, 1, 48, 48), "float32")
        if int8_is_exact():
            content = weights.joinpath(f"{name}.int8.onnx").read_bytes()
            networks[f"{name} int8"] = (content, "crops", (1, 1, 48, 48), "int8")
    peak = peaks()
    measured = {}
    for _ in range(3):  # the clock of a shared machine changes: the best of all rounds counts, of peaks and networks
        peak = {key: max(value, peak[key]) for key, value in peaks().items()}
        for name, (content, entry, shape, _) in networks.items():
            session, batch = make_session(content, threads=1), np.random.default_rng(0).normal(size=shape)
            feed = {entry: batch.astype(np.float32)}
            took = 1000 * least(lambda: session.run(None, feed))  # noqa: B023 - called at once
            measured[name] = min(took, measured.get(name, took))
    result: dict[str, Any] = {"peak": {key: round(value, 1) for key, value in peak.items()}, "networks": {}}
    print(f"peak: {result['peak']}")
    print(f"{'':20}{'10⁶ op':>10}{'MB':>8}{'op limit ms':>13}{'byte limit ms':>14}{'measured ms':>13}{'of limit':>10}")
    for name, (content, _, shape, kind) in networks.items():
        counts = counted(content, shape)
        compute = counts["operations"] / peak[f"{kind}_gops"] / 1e6
        memory = counts["bytes"] / peak["copy_gbytes"] / 1e6
        share = max(compute, memory) / measured[name]
        result["networks"][name] = {
            **counts,
            "operations_ms": round(compute, 3),
            "bytes_ms": round(memory, 3),
            "measured_ms": round(measured[name], 3),
            "share_of_limit": round(share, 3),
        }
        print(
            f"{name:20}{counts['operations'] / 1e6:>10.1f}{counts['bytes'] / 1e6:>8.1f}"
            f"{compute:>13.2f}{memory:>14.2f}{measured[name]:>13.2f}{share:>10.0%}"
        )
    if args.out:
        args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
