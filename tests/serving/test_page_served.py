"""The page at ``/`` of a real service: the files of ``mien page``, with media types, headers and compression."""

import gzip
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from service import problem_of, running

from mien.errors import UsageError
from mien.faces.weights_cache import cache_dir
from mien.webpage.files import HEADERS, page_files
from mien.webpage.onnxruntime_web import obtain

TYPES = {
    "index.html": "text/html; charset=utf-8",
    "runtime/ort.mjs": "text/javascript; charset=utf-8",
    "runtime/ort.wasm": "application/wasm",
    "models/yunet.onnx": "application/octet-stream",
    "settings.json": "application/json",
    "page.webmanifest": "application/manifest+json",
}


def test_the_same_files_with_headers_and_without_a_key(make_model: Callable[..., Path]) -> None:
    """The page reads as the service does: with its model of one's own classes, not with the shipped ones."""
    tiny_model = make_model(("asleep", "àwake"))
    try:
        page = page_files(obtain(), [str(tiny_model)])
    except UsageError as error:
        pytest.skip(str(error))
    assert b"nano" not in page["index.html"].content
    words = ("--model", tiny_model, "--detector", "none", "--threads", "1", "--api-key", "a-long-key")
    with running(*map(str, words)) as service, httpx.Client(base_url=service.url) as client:
        for path, file in page.items():
            answer = client.get(f"/{path}")
            assert answer.status_code == 200
            assert answer.content == file.content, path
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        for path, kind in TYPES.items():
            assert client.head(f"/{path}").headers["content-type"] == kind
        whole = client.get("/", headers={"Accept-Encoding": "identity"})
        assert whole.content == page["index.html"].content
        assert "content-encoding" not in whole.headers
        with client.stream("GET", "/runtime/ort.wasm", headers={"Accept-Encoding": "br, gzip"}) as answer:
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["vary"] == "Accept-Encoding"
            packed = b"".join(answer.iter_raw())
        assert len(packed) < 4_000_000
        assert gzip.decompress(packed) == page["runtime/ort.wasm"].content
        refused = client.get("/style.css", headers={"Accept-Encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers
        again = client.get("/style.css", headers={"If-None-Match": whole.headers["etag"]})
        assert again.status_code == 200
        again = client.get("/style.css", headers={"If-None-Match": again.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        key = {"X-API-Key": "a-long-key"}
        assert client.get("/v1/models", headers=key).json()["models"][0]["labels"] == ["asleep", "àwake"]
        picture = {"image": "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="}
        (face,) = client.post("/v1/read", json=picture, headers=key).json()["faces"]
        assert [*face["probabilities"]] == ["asleep", "àwake"]
        assert client.get("/v1/models").status_code == 401  # the key still guards what reads
        assert client.post("/").status_code == 405
        assert client.get("/static/../settings.py").status_code in (401, 404)
        assert "/runtime" not in client.get("/openapi.json", headers={"X-API-Key": "a-long-key"}).text


def test_no_page_gives_no_model(make_model: Callable[..., Path]) -> None:
    """With keys a model of one's own can be kept behind them; with the page it cannot, and a note says so."""
    words = ("--model", make_model(("asleep", "awake")), "--threads", "1", "--api-key", "a-long-key")
    with running(*map(str, words), "--no-page") as service:
        assert problem_of(httpx.get(f"{service.url}/")) == "no_page"
        assert httpx.get(f"{service.url}/models/tiny.onnx").status_code == 401


def test_without_the_runtime_it_says_which_command_gets_it(tiny_model: Path, tmp_path: Path) -> None:
    """Nothing is fetched: the cache is as empty afterwards."""
    for file in cache_dir().glob("yunet-*.onnx"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = sorted(tmp_path.iterdir())
    words = ("--model", tiny_model, "--detector", "none", "--threads", "1")
    with running(*map(str, words), env={"MIEN_CACHE": str(tmp_path)}) as service:
        answer = httpx.get(f"{service.url}/")
        assert problem_of(answer) == "no_page"
        assert "run on the service's machine: mien page DIR" in answer.json()["detail"]
        assert httpx.get(f"{service.url}/health").status_code == 200
    assert sorted(tmp_path.iterdir()) == before
