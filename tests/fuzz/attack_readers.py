"""ONNX files and requests made by hand."""

import base64
import json
from typing import Any

import numpy as np

from .attack_pictures import ico, png, zeros
from .attack_tables import DEEP
from .kinds import tiny_onnx


def onnx_outside(place: str, *, length: int | None = None) -> bytes:
    """The weights are said to lie in another file."""
    import onnx

    model = onnx.ModelProto.FromString(tiny_onnx())
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": place, "offset": "0", "length": str(length or 4 * 63)}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString())


def onnx_with(nodes: list[Any], *, inputs: tuple[str, ...] = (), **initializers: Any) -> bytes:
    """The tiny reader with other nodes before it, whose last output is added to the logits."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.ModelProto.FromString(tiny_onnx())
    for node in model.graph.node:
        node.output[0] = {"logits": "plain"}.get(node.output[0], node.output[0])
    model.graph.node.extend([*nodes, helper.make_node("Add", ["plain", "more"], ["logits"])])
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in initializers.items())
    return bytes(model.SerializeToString())


def onnx_loop() -> bytes:
    """Counts to 2⁶² before it answers."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Cos", ["state"], ["next"])],
        "body",
        [value("n", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", TensorProto.FLOAT, [1])],
        [value("goes", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("Loop", ["many", "yes", "start"], ["more"], body=body)
    return onnx_with([node], many=np.int64(2**62), yes=np.bool_(True), start=np.zeros(1, np.float32))


def onnx_bomb(gigabytes: int) -> bytes:
    """Needs that much memory for one tensor."""
    from onnx import helper

    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["more"], keepdims=0),
    ]
    return onnx_with(nodes, shape=np.array([gigabytes << 28], np.int64))


ONNXES = [
    ("data-in-the-parent", lambda: onnx_outside("../../../../../../etc/passwd")),
    ("data-at-a-root", lambda: onnx_outside("/etc/passwd")),
    ("data-from-a-device", lambda: onnx_outside("/dev/zero", length=1 << 33)),
    ("data-beside", lambda: onnx_outside("other.bin")),
    ("loops-for-ever", onnx_loop),
    ("needs-64-gigabytes", lambda: onnx_bomb(64)),
    ("deep-labels", lambda: tiny_onnx(**{"mien.labels": "[" * 100_000})),
    ("labels-of-lists", lambda: tiny_onnx(**{"mien.labels": "[[1], [2], [3], [4], [5], [6], [7]]"})),
    ("deep-preprocess", lambda: tiny_onnx(**{"mien.preprocess": "[" * 100_000})),
    ("deep-provenance", lambda: tiny_onnx(**{"mien.provenance": "[" * 100_000})),
    ("provenance-of-a-number", lambda: tiny_onnx(**{"mien.provenance": "5"})),
    ("huge-temperature", lambda: tiny_onnx(**{"mien.temperature": "1e-300"}), None),
    ("floor-of-all", lambda: tiny_onnx(**{"mien.floor": "0.99"})),
    ("tiny-floor", lambda: tiny_onnx(**{"mien.floor": "1e-308"}), None),
    ("huge-input", lambda: tiny_onnx(**{"mien.preprocess": '{"size": 1000000000}'})),
    ("labels-with-escapes", lambda: tiny_onnx(**{"mien.labels": json.dumps(["\x1b[2J", *"abcdef"])})),
    ("name-with-escapes", lambda: tiny_onnx(**{"mien.name": "\x1b]0;x\x07"}), None),
    ("no-file-of-onnx", lambda: b"\x08\x09" + b"\xff" * 1000),
    ("nothing", lambda: b""),
]


def request(
    body: bytes, *, kind: str = "application/json", path: str = "/v1/read", query: str = "", **headers: str
) -> bytes:
    told = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    return json.dumps({"path": path, "query": query, "headers": told, "method": "POST"}).encode() + b"\n" + body


def base64_of(data: bytes, **more: str) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode(), **more}).encode()


FORM = "multipart/form-data; boundary=edge"
REQUESTS = [
    ("deep-json", lambda: request(DEEP)),
    ("deep-json-in-a-batch", lambda: request(b'{"images":' + DEEP + b"}", path="/v1/read/batch")),
    ("huge-number", lambda: request(b'{"image": ' + b"9" * 100_000 + b"}")),
    ("png-bomb", lambda: request(png(60000, 60000, bits=1, rows=64), kind="image/png")),
    ("ico-bomb", lambda: request(ico(png(20000, 20000)), kind="image/png")),
    ("png-bomb-in-base64", lambda: request(base64_of(png(60000, 60000, bits=1, rows=64)))),
    (
        "many-pictures",
        lambda: request(json.dumps({"images": [{"image": "AA=="}] * 50_000}).encode(), path="/v1/read/batch"),
    ),
    ("file-url", lambda: request(json.dumps({"image": "file:///etc/passwd"}).encode())),
    ("http-url", lambda: request(json.dumps({"image": "http://169.254.169.254/"}).encode())),
    ("path-in-place-of-a-picture", lambda: request(json.dumps({"image": "/etc/passwd"}).encode())),
    ("name-with-escapes", lambda: request(base64_of(png(48, 48), name="\x1b]0;x\x07<script>")), True),
    ("name-in-the-query", lambda: request(png(48, 48), kind="image/png", query="name=%1B%5B2J%00%ff"), True),
    (
        "many-heads-in-a-part",
        lambda: request(b"--edge\r\n" + b"a: b\r\n" * 100_000 + b"\r\nx\r\n--edge--\r\n", kind=FORM),
    ),
    ("head-without-end", lambda: request(b"--edge\r\na: " + b"b" * 900_000, kind=FORM)),
    (
        "many-parts",
        lambda: request(
            b'--edge\r\ncontent-disposition: form-data; filename="a"\r\n\r\nx\r\n' * 10_000 + b"--edge--\r\n", kind=FORM
        ),
    ),
    ("no-boundary", lambda: request(b"--edge--", kind="multipart/form-data")),
    ("long-boundary", lambda: request(b"--edge--", kind="multipart/form-data; boundary=" + "x" * 60_000)),
    ("length-that-lies", lambda: request(b"x", kind="image/png", content_length="99999999999999999999")),
    ("negative-length", lambda: request(png(8, 8), kind="image/png", content_length="-5"), None),
    ("length-in-other-digits", lambda: request(png(8, 8), kind="image/png", content_length="²"), None),
    ("packed-body", lambda: request(zeros(100), kind="image/png", content_encoding="gzip")),
    ("model-that-is-a-path", lambda: request(png(8, 8), kind="image/png", query="model=../../etc/passwd")),
]
