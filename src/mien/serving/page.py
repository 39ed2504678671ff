"""The page at ``/``: the files of ``mien.webpage``, from memory, compressed where the client takes it.

Nothing is fetched while the service runs: where ONNX Runtime Web is not cached, ``/`` says which command gets it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.responses import Response

from mien.errors import MienError
from mien.onnx_file import metadata
from mien.reading.classifier import SHIPPED, ModelMeta, model_bytes
from mien.serving.problems import Problem
from mien.webpage.files import HEADERS, INDEX, PageFile, page_files
from mien.webpage.onnxruntime_web import cached
from mien.webpage.settings import READERS

LEAST_PACKED = 1024  # bytes


def load_page(models: Sequence[str]) -> dict[str, PageFile]:
    """The page by path, ``index.html`` under the empty one too; empty where a file of it is missing.

    models: of the service. The page offers those that have the first one's classes, as its table has one set of
    columns; and both shipped readers where the service has no others.
    """
    runtime = cached()
    if runtime is None:
        return {}
    try:
        page = page_files(runtime, READERS if set(models) <= SHIPPED.keys() else _alike(models))
    except MienError:  # another detector is in use, and YuNet's package is gone
        return {}
    return page | {"": page[INDEX]}


def _alike(models: Sequence[str]) -> list[str]:
    """Those with the classes of the first."""
    labels = [ModelMeta.parse(metadata(model_bytes(model)), where=model).labels for model in models]
    return [model for model, own in zip(models, labels, strict=True) if own == labels[0]]


def add_page(app: FastAPI, page: Mapping[str, PageFile]) -> frozenset[str]:
    """Routes for all files of the page. Returns their paths, which need no key: they hold nothing of anybody."""

    async def missing() -> Response:
        raise Problem(
            "no_page",
            "expected ONNX Runtime Web in mien's cache for this page, and no --no-page",
            hint="run on the service's machine: mien page DIR; then start the service again",
        )

    if not page:
        app.add_api_route("/", missing, methods=["GET", "HEAD"], include_in_schema=False)
        return frozenset({"/"})
    for path, file in page.items():
        app.add_api_route(f"/{path}", _answering(file), methods=["GET", "HEAD"], include_in_schema=False)
    return frozenset(f"/{path}" for path in page)


def _answering(file: PageFile) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        headers = {**HEADERS, "ETag": file.etag, "Vary": "Accept-Encoding"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        body = file.content
        if len(body) >= LEAST_PACKED and _takes_gzip(request.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(lambda: file.packed)
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, media_type=file.media_type)

    return answer


def _takes_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip; ``gzip;q=0`` forbids it."""
    for part in header.lower().split(","):
        name, _, quality = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
