"""Bodies and heads of requests, through the service's own application in this process."""

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from .kinds import JSON, READ, REFUSED, Kind, _photo, check_message, saved, tiny_onnx
from .mutate import BYTES, TEXT, WORDS, mutated

_FORM = (
    b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n%s\r\n"
    b"--edge--\r\n"
)
_FORM_TYPE = "multipart/form-data; boundary=edge"


class InProcess:
    """What the application asks of ``mien.serving.pool.Pool``, with the reader in this process."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.models = [{"name": "tiny", "labels": list(reader.labels)}]
        self.ready = 1

    def check_room(self, count: int = 1) -> None: ...

    async def read(self, pictures: list[tuple[str, bytes]], *, model: str) -> list[Any]:
        from mien.reading.items import Item
        from mien.serving.pool import Answer

        answers = []
        for result in self.reader.stream([Item(name, data) for name, data in pictures]):
            told = result.reading.to_dict()
            text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            error = told.get("error", {})
            answers.append(
                Answer(text.encode("utf-8", "backslashreplace"), 0, error.get("type"), error.get("message", ""))
            )
        return answers


class Service(Kind):
    """A seed's name is the path; its head and body are mutated. Every answer is JSON, and no status is 500."""

    name = "service"

    def __init__(self, folder: Path) -> None:
        from mien import Reader
        from mien.serving.app import create_app
        from mien.serving.metrics import Metrics
        from mien.serving.settings import Limits, ReaderSettings, Settings

        super().__init__(folder)
        picture = saved(_photo().resize((48, 48)), "JPEG")
        text = base64.b64encode(picture).decode()
        one, two = {"image": text, "name": "a.jpg"}, {"images": [{"image": text}, {"image": f"data:;base64,{text}"}]}
        self.requests = [
            ("/v1/read", "image/jpeg", picture, BYTES),
            ("/v1/read", "application/octet-stream", picture, BYTES),
            ("/v1/read", "application/json", json.dumps(one).encode(), JSON),
            ("/v1/read/batch", "application/json", json.dumps(two).encode(), JSON),
            ("/v1/read", _FORM_TYPE, _FORM % picture, TEXT),
            ("/v1/read/batch", _FORM_TYPE, _FORM % picture, BYTES),
        ]
        reader = Reader(tiny_onnx(), detector="none", threads=1, max_pixels=4_000_000)
        limits = Limits(max_body=1_000_000, max_batch=8)
        settings = Settings(reader=ReaderSettings(models=("tiny",), detector="none"), limits=limits)
        pool: Any = InProcess(reader)
        self.thread = ThreadPoolExecutor(1)  # its own: Playwright's loop runs in the main one from the first page on
        self.app = create_app(settings, pool, Metrics(), page={}, stopping=lambda: False)

    def case(self, random: Random) -> tuple[str, bytes]:
        """The request as one blob: a line of JSON (path, query, headers), then the body."""
        number = random.randrange(len(self.requests))
        path, kind, body, mutations = self.requests[number]
        headers = {"content-type": kind}
        query = ""
        if random.random() < 0.8:
            body = mutated(random, [request[2] for request in self.requests], number, mutations)
        if random.random() < 0.3:
            key = random.choice(("content-type", "content-length", "content-encoding", "transfer-encoding", "accept"))
            value = mutated(random, [headers.get(key, "10").encode()], 0, TEXT).decode("latin-1")
            headers[key] = value.replace("\r", "").replace("\n", "")  # HTTP servers let none of these through
        if random.random() < 0.3:
            query = mutated(random, [b"model=tiny&name=a.jpg"], 0, TEXT).decode("latin-1")
        if random.random() < 0.1:
            path = random.choice(("/v1/read/", "/v1", "/../x", "/v1/models", "/metrics", "/" + random.choice(WORDS)))
        head = json.dumps(
            {"path": path, "query": query, "headers": headers, "method": random.choice(("POST",) * 9 + ("PUT",))}
        )
        return "request", head.encode() + b"\n" + body

    def run(self, name: str, data: bytes) -> str:
        head, _, body = data.partition(b"\n")
        told = json.loads(head)
        status, kind, answer = self.thread.submit(asyncio.run, self._ask(told, body)).result()
        assert 200 <= status < 500 or status == 503, (status, answer[:300])
        if kind.endswith("json"):
            document = json.loads(answer)
            if kind == "application/problem+json":
                check_message(document["detail"])
        return READ if status == 200 else REFUSED

    async def _ask(self, told: dict[str, Any], body: bytes) -> tuple[int, str, bytes]:
        pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)] or [b""]
        sent: list[dict[str, Any]] = []
        headers = {"content-length": str(len(body))} | told["headers"]
        scope = {
            "type": "http", "http_version": "1.1", "method": told["method"], "path": told["path"], "root_path": "",
            "raw_path": told["path"].encode("utf-8", "replace"), "query_string": told["query"].encode("latin-1"),
            "headers": [(key.encode("latin-1"), value.encode("latin-1", "replace")) for key, value in headers.items()],
            "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1234), "asgi": {"version": "3.0"},
            "app": None,
        }  # fmt: skip
        done = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if pieces:
                piece = pieces.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        call: Any = self.app
        await call(scope, receive, send)
        done.set()
        start = next(message for message in sent if message["type"] == "http.response.start")
        kind = dict(start["headers"]).get(b"content-type", b"").decode()
        return start["status"], kind, b"".join(message.get("body", b"") for message in sent)
