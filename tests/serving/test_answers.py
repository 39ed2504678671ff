"""What the service answers: the command's JSON in every form of request, and a problem document for each failure."""

import base64
import inspect
import json
import re
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from service import MIEN, Service, png, problem_of, running

from mien.labels import SEVEN
from mien.reading.reader import Reader
from mien.results import Box, Face, ReadFailure, Reading
from mien.serving.schema import FailureModel, ReadingModel, ResultModel

PNG = {"content-type": "image/png"}
ROOT = Path(__file__).parents[2]


def test_a_photo_is_read_as_the_command_reads_it(grace_hopper: Path) -> None:
    command = [*MIEN, "read", grace_hopper.name, "--model", "nano", "--threads", "1", "-q"]
    expected = subprocess.run(command, cwd=grace_hopper.parent, capture_output=True, check=True).stdout.rstrip(b"\n")
    with running("--model", "nano", "--threads", "1") as service:
        data = grace_hopper.read_bytes()
        raw = httpx.post(f"{service.url}/v1/read", params={"name": grace_hopper.name}, content=data, timeout=30)
        form = httpx.post(f"{service.url}/v1/read", files={"image": (grace_hopper.name, data)}, timeout=30)
        packed = {"image": base64.b64encode(data).decode(), "name": grace_hopper.name}
        in_json = httpx.post(f"{service.url}/v1/read", json=packed, timeout=30)
        assert {response.content for response in (raw, form, in_json)} == {expected}
        assert raw.json()["faces"][0]["landmarks"]
        # the control: another picture is another answer
        other = httpx.post(f"{service.url}/v1/read", content=png(1), timeout=30)
        assert other.content != expected
        assert service.stop() == (0, "")


def test_a_batch_keeps_its_order_and_a_broken_picture_is_a_record(crops: Service, tiny_model: Path) -> None:
    data = [png(1), b"no picture", png(2)]
    reader = Reader(tiny_model, detector="none")
    names = ["a.png", "b.png", "c.png"]
    files = [("images", (name, content)) for name, content in zip(names, data, strict=True)]
    told = httpx.post(f"{crops.url}/v1/read/batch", files=files).json()["results"]
    assert [one["source"] for one in told] == names
    assert told[0] == reader.read(data[0], name="a.png").to_dict()
    assert told[1]["error"]["type"] == "unreadable"
    assert told[2] == reader.read(data[2], name="c.png").to_dict()
    assert told[0]["faces"] != told[2]["faces"]
    images = [{"image": base64.b64encode(one).decode(), "name": n} for one, n in zip(data, names, strict=True)]
    assert httpx.post(f"{crops.url}/v1/read/batch", json={"images": images}).json()["results"] == told


def test_many_clients_at_once_each_get_their_own_answer(crops: Service, tiny_model: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    reader = Reader(tiny_model, detector="none")
    expected = [reader.read(png(seed), name="<bytes>").to_dict() for seed in range(60)]

    def ask(seed: int) -> object:
        return httpx.post(f"{crops.url}/v1/read", content=png(seed), headers=PNG, timeout=30).json()

    with ThreadPoolExecutor(12) as clients:
        assert list(clients.map(ask, range(60))) == expected
    assert expected[0]["faces"] != expected[1]["faces"]


FAILURES = [
    ("unreadable", 422, {"content": b"this is no picture", "headers": PNG}),
    ("empty", 422, {"content": b"", "headers": PNG}),
    ("truncated", 422, {"content": png(1)[:-40], "headers": PNG}),
    ("too_large", 413, {"content": png(1, size=512), "headers": PNG}),
    ("body_too_large", 413, {"content": bytes(200_001), "headers": PNG}),
    ("content_type", 415, {"content": b"x=y", "headers": {"content-type": "application/x-www-form-urlencoded"}}),
    ("content_encoding", 415, {"content": png(1), "headers": PNG | {"content-encoding": "gzip"}}),
    ("malformed", 400, {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("invalid", 422, {"json": {"picture": "AAAA"}}),
    ("unreadable", 422, {"json": {"image": "AA*A"}}),
    ("unsupported", 422, {"json": {"image": "https://example.org/a.jpg"}}),
    ("invalid", 422, {"files": [("a", ("a.png", png(1))), ("b", ("b.png", png(2)))]}),
    ("invalid", 422, {"files": {"a": (None, b"text")}}),
    ("malformed", 400, {"content": b"x", "headers": {"content-type": "multipart/form-data"}}),
    ("malformed", 400, {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=q"}}),
    (
        "truncated_upload",
        400,
        {
            "content": b'--q\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nabc',
            "headers": {"content-type": "multipart/form-data; boundary=q"},
        },
    ),
    ("unknown_model", 404, {"content": png(1), "headers": PNG, "params": {"model": "resnet"}}),
    ("invalid", 422, {"content": png(1), "headers": PNG, "params": {"mdoel": "nano"}}),
    ("invalid", 422, {"content": png(1), "headers": PNG, "params": {"name": ["a.png", "b.png"]}}),
    ("invalid", 422, {"content": png(1), "headers": PNG, "params": {"name": "a.png", "min_face": "40"}}),
]


@pytest.mark.parametrize(("kind", "status", "request_"), FAILURES)
def test_each_failure_says_what_was_expected_and_what_came(
    crops: Service, kind: str, status: int, request_: dict[str, object]
) -> None:
    response = httpx.post(f"{crops.url}/v1/read", **request_)  # type: ignore[arg-type]
    assert (problem_of(response), response.status_code) == (kind, status)
    assert re.fullmatch(r"expected .+, got .+", response.json()["detail"]), response.text


def test_paths_methods_and_batches_that_are_not_offered(crops: Service) -> None:
    assert problem_of(httpx.get(f"{crops.url}/v2/read")) == "not_found"
    wrong = httpx.get(f"{crops.url}/v1/read")
    assert (problem_of(wrong), wrong.headers["allow"]) == ("method", "POST")
    five = [("images", ("a.png", png(1)))] * 5
    assert problem_of(httpx.post(f"{crops.url}/v1/read/batch", files=five)) == "too_many_pictures"
    assert httpx.post(f"{crops.url}/v1/read/batch", files=five[:4]).status_code == 200
    assert problem_of(httpx.post(f"{crops.url}/v1/read/batch", json={"images": []})) == "invalid"


def black_png(side: int) -> bytes:
    """A whole PNG of side×side black pixels, of one compressed row again and again: an encoder takes seconds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    row, size = bytes(side + 1), side * (side + 1)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)  # a block that refers to nothing before it
    adler = (size % 65_521 << 16) | 1  # of zeros
    stream = b"\x78\xda" + packed * side + packer.flush() + adler.to_bytes(4)
    head = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def test_the_bomb_is_a_picture() -> None:
    with Image.open(BytesIO(black_png(300))) as image:
        assert (image.size, image.getextrema()) == ((300, 300), (0, 0))


def test_a_bomb_is_refused_before_it_is_decoded(crops: Service) -> None:
    data = black_png(30_000)  # 900 MP in 0.9 MB
    assert len(data) < 2_000_000
    with running("--detector", "none", "--model", "nano") as service:
        assert problem_of(httpx.post(f"{service.url}/v1/read", content=data, timeout=30)) == "too_large"
        peak = [int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) for pid in service.readers()]
        assert peak
        assert max(peak) < 500_000  # kB; decoded it would be 900 MB, or 2.7 GB in RGB


def test_a_crowd_is_refused_and_one_face_less_is_not(grace_hopper: Path) -> None:
    data = grace_hopper.read_bytes()
    with running("--model", "nano", "--max-faces", "0") as none, running("--model", "nano", "--max-faces", "1") as one:
        refused = httpx.post(f"{none.url}/v1/read", content=data, timeout=30)
        assert (problem_of(refused), refused.status_code) == ("too_many_faces", 422)
        assert "got 1" in refused.json()["detail"]
        assert len(httpx.post(f"{one.url}/v1/read", content=data, timeout=30).json()["faces"]) == 1


def test_requests_choose_among_the_served_models(make_model: "object", tiny_model: Path) -> None:
    with running("--model", "nano", "--model", tiny_model, "--detector", "none") as service:
        served = httpx.get(f"{service.url}/v1/models").json()["models"]
        assert [model["name"] for model in served] == ["nano", "tiny"]
        assert served[1]["labels"] == list(SEVEN)
        default = httpx.post(f"{service.url}/v1/read", content=png(3)).json()
        tiny = httpx.post(f"{service.url}/v1/read", params={"model": "tiny"}, content=png(3)).json()
        assert tiny == Reader(tiny_model, detector="none").read(png(3)).to_dict()
        assert default == Reader("nano", detector="none", threads=1).read(png(3)).to_dict() != tiny


def test_a_name_comes_back_clean(crops: Service) -> None:
    name = "a\r\nb\u202e" + "x" * 500
    told = httpx.post(f"{crops.url}/v1/read", params={"name": name}, content=png(1), headers=PNG)
    assert told.json()["source"] == ("ab" + "x" * 500)[:197] or told.json()["source"].startswith("ab")
    assert len(told.json()["source"]) <= 200
    bodies: tuple[dict[str, Any], ...] = (
        {"files": {"image": ("a.png", png(1), "image/png")}},
        {"json": {"image": base64.b64encode(png(1)).decode(), "name": "of the body"}},
    )
    for body in bodies:
        assert httpx.post(f"{crops.url}/v1/read", params={"name": "asked"}, **body).json()["source"] == "asked"


def test_health_ready_metrics_and_no_cross_origin(crops: Service) -> None:
    assert httpx.get(f"{crops.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{crops.url}/ready").json() == {"status": "ready"}
    before = crops.metric("mien_faces_total")
    origin = {"origin": "https://elsewhere.example"}
    told = httpx.post(f"{crops.url}/v1/read", content=png(1), headers=PNG | origin)
    assert told.status_code == 200
    assert not [name for name in told.headers if name.startswith("access-control")]
    ask = origin | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    preflight = httpx.options(f"{crops.url}/v1/read", headers=ask)
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]
    assert crops.metric("mien_faces_total") == before + 1


def face(**changes: object) -> Face:
    probabilities = {"happy": 0.75, "sad": 0.25}
    return Face(Box(1, 2, 3, 4), 0.5, "happy", 0.75, probabilities, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [
        Reading("a", 10, 20, (face(), face(roll=1.0, yaw=2.0, pitch=-3.0, landmarks=((1.0, 2.0),) * 5, track=3))),
        Reading("b", 10, 20, time_s=0.04),
        ReadFailure("c", "truncated", "cut off"),
    ],
)
def test_the_schema_is_that_of_the_results(record: Reading | ReadFailure) -> None:
    """Every key of the one is a key of the other, whatever is added to either."""
    told = json.loads(json.dumps(record.to_dict()))
    model = ReadingModel if isinstance(record, Reading) else FailureModel
    assert json.loads(model.model_validate(told, strict=False).model_dump_json()) == told
    assert ResultModel.model_validate(told).root == model.model_validate(told)


def test_a_wrong_record_does_not_fit_the_schema() -> None:
    told = Reading("a", 10, 20, (face(),)).to_dict()
    told["faces"][0]["confidence"] = 1.5
    with pytest.raises(ValidationError):
        ReadingModel.model_validate(told)


def test_openapi_describes_the_routes(crops: Service) -> None:
    document = httpx.get(f"{crops.url}/openapi.json").json()
    assert {"/v1/read", "/v1/read/batch", "/v1/models", "/health", "/ready"} <= set(document["paths"])
    post = document["paths"]["/v1/read"]["post"]
    assert {"application/json", "multipart/form-data", "image/*"} <= set(post["requestBody"]["content"])
    used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert used <= set(document["components"]["schemas"])
    ReadingModel.model_validate(document["components"]["schemas"]["ReadingModel"]["examples"][0])
    for path, schema in (("/v1/read", "PictureInput"), ("/v1/read/batch", "BatchInput")):
        (example,) = document["components"]["schemas"][schema]["examples"]
        assert httpx.post(crops.url + path, json=example).status_code == 200


#: Options of ``mien read`` that are about its inputs and outputs, or about videos.
NOT_OF_A_SERVICE = {
    "paths", "output", "format", "annotate", "quiet", "timeline", "fps", "every", "smooth", "start", "end", "track",
    "allow_network", "show", "engine", "address", "block_size", "reduced_jpegs",
}  # fmt: skip


def test_the_options_are_those_of_the_command() -> None:
    """An option that mien read gets must come here, too, or into the list above; and with the same default."""
    from mien.cli.read import read
    from mien.cli.serve import serve

    theirs, ours = inspect.signature(read).parameters, inspect.signature(serve).parameters
    assert sorted(theirs.keys() - NOT_OF_A_SERVICE - ours.keys()) == []
    same = [name for name in theirs.keys() & ours.keys() if theirs[name].default is ours[name].default]
    assert {"detector", "min_confidence", "tta"} <= set(same)
    assert "host" in ours.keys() - theirs.keys()


def test_importing_the_command_loads_none_of_it() -> None:
    script = "import sys, mien.cli.app; print(sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'typer'" in loaded
    assert not [name for name in ("fastapi", "uvicorn", "starlette", "prometheus_client") if f"'{name}'" in loaded]


def test_the_reading_process_is_light(tiny_model: Path) -> None:
    """Neither the web framework nor torch is in the processes that read."""
    script = "import sys, mien.serving.worker; print(sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("fastapi", "uvicorn", "torch", "pydantic") if f"'{name}'" in loaded]
    assert np.__name__ == "numpy"
