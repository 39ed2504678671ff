"""The routes. Answers are bytes that the reading processes made: the command's JSON, unchanged."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mien import __version__
from mien.serving.bodies import Budget, Picture, many_pictures, one_picture
from mien.serving.guard import Guard
from mien.serving.metrics import Metrics
from mien.serving.page import add_page
from mien.serving.pool import Answer, Pool
from mien.serving.problems import KINDS, MEDIA_TYPE, Problem, of_picture, of_status
from mien.serving.schema import (
    BatchInput,
    BatchModel,
    ModelsModel,
    PictureInput,
    ProblemModel,
    ReadingModel,
    StateModel,
)
from mien.serving.settings import Settings
from mien.webpage.files import PageFile

DESCRIPTION = (
    "Reads the apparent expressions of the faces in pictures: what a face looks like to human raters, not what a "
    "person feels. Nothing of a picture is stored or logged, and no URL is fetched."
)
HELD_BODIES = 16  # of the largest size, at once; requests with small ones are limited by their number
_PICTURE = {"type": "string", "format": "binary"}
_FILE = {"type": "object", "required": ["image"], "properties": {"image": _PICTURE}, "additionalProperties": False}
_FILES = {
    "type": "object",
    "required": ["images"],
    "properties": {"images": {"type": "array", "items": _PICTURE, "minItems": 1}},
    "additionalProperties": False,
}
_MODEL = Query(None, description="One of /v1/models; by default the first.", examples=["compact"])
_NAME = Query(
    None, description="Comes back as source, instead of the name that a form or JSON gives.", examples=["photo.jpg"]
)


def create_app(
    settings: Settings,
    pool: Pool,
    metrics: Metrics,
    *,
    page: Mapping[str, PageFile],
    stopping: Callable[[], bool],
) -> ASGIApp:
    """The application. page: as ``load_page`` gives it. stopping: whether the service is about to end."""
    app = FastAPI(
        title="mien",
        version=__version__,
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0"},
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    limits, budget = settings.limits, Budget(HELD_BODIES * settings.limits.max_body)

    @app.post(
        "/v1/read",
        dependencies=[Depends(_refuse_unknown)],
        summary="Read one picture",
        response_model=ReadingModel,
        responses=_problems(400, 404, 408, 413, 415, 422, 500, 503, keys=bool(settings.keys)),
        openapi_extra={"requestBody": _content({"image/*": _PICTURE, "application/octet-stream": _PICTURE}, one=True)},
    )
    async def read(request: Request, model: str | None = _MODEL, name: str | None = _NAME) -> Response:
        chosen = _choose(pool, model)
        with budget.hold() as take:
            picture = await one_picture(request, limits, take, name=name)
            (answer,) = await _read(request, pool, [picture], chosen)
        if answer.kind is not None:
            raise of_picture(answer.kind, answer.message)
        return Response(answer.json, media_type="application/json")

    @app.post(
        "/v1/read/batch",
        dependencies=[Depends(_refuse_unknown)],
        summary="Read several pictures; one that cannot be read gets an error record",
        response_model=BatchModel,
        responses=_problems(400, 404, 408, 413, 415, 422, 500, 503, keys=bool(settings.keys)),
        openapi_extra={"requestBody": _content({}, one=False)},
    )
    async def read_batch(request: Request, model: str | None = _MODEL) -> Response:
        chosen = _choose(pool, model)
        with budget.hold() as take:
            pictures = await many_pictures(request, limits, take)
            answers = await _read(request, pool, pictures, chosen)
        body = b'{"results":[' + b",".join(answer.json for answer in answers) + b"]}"
        return Response(body, media_type="application/json")

    @app.get("/v1/models", summary="The models that requests can name", response_model=ModelsModel,
             responses=_problems(keys=bool(settings.keys)))  # fmt: skip
    async def models() -> Response:
        return JSONResponse({"models": pool.models})

    @app.get("/health", summary="Whether the service lives", response_model=StateModel)
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/ready", summary="Whether it can read now", response_model=StateModel, responses=_problems(503))
    async def ready() -> Response:
        if stopping():
            raise Problem("stopping", "expected a service that takes requests, got one that stops")
        if not pool.ready:
            raise Problem("busy", "expected a reading process, got none yet", headers={"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Metrics for Prometheus", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=metrics.content_type)

    own = add_page(app, page)
    _answer_problems(app)
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path")) - own | {"/"}
    _complete_openapi(app, pool, keys=bool(settings.keys))
    return Guard(
        app,
        keys=settings.keys,
        limits=limits,
        metrics=metrics,
        check_room=pool.check_room,
        paths=paths,
        without_key=own,
    )


async def _refuse_unknown(request: Request) -> None:
    """A misspelled ``?model=``, an option of ``mien serve``, or one twice: it must not be ignored silently."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            also = "; options of reading are given to mien serve"
            raise Problem("invalid", f"expected a parameter of {', '.join(known)}, got {name[:80]!r}{also}")
        if (count := len(request.query_params.getlist(name))) > 1:
            raise Problem("invalid", f"expected one {name}, got {count}")


def _choose(pool: Pool, model: str | None) -> str:
    names = [entry["name"] for entry in pool.models]
    if model is None:
        return str(names[0])
    if model not in names:
        raise Problem("unknown_model", f"expected a model of {', '.join(names)}, got {model[:80]!r}")
    return model


async def _read(request: Request, pool: Pool, pictures: list[Picture], model: str) -> list[Answer]:
    """The pool's answers; a client that goes away takes its pictures out of the queue."""
    reading = asyncio.ensure_future(pool.read([(one.name, one.data) for one in pictures], model=model))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise Problem("truncated_upload", "expected a client that waits for its answer, got a closed connection")
        return reading.result()
    finally:
        for task in (reading, leaving):
            task.cancel()
        await asyncio.gather(reading, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer_problems(app: FastAPI) -> None:
    def answer(problem: Problem) -> Response:
        return Response(problem.to_bytes(), problem.status, problem.headers, MEDIA_TYPE)

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]  # request.url would decode the query, which may be no UTF-8
        hint = {404: f"no path {path[:80]!r}; see /openapi.json", 405: f"{request.method} is not offered"}
        return answer(of_status(error.status_code, hint.get(error.status_code, str(error.detail)), error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return answer(Problem("invalid", f"expected another value of {where[:80]}, got a fault: {first['msg'][:160]}"))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return answer(Problem("internal", "this should not happen; see the service's log"))


def _problems(*statuses: int, keys: bool = False) -> dict[int | str, dict[str, Any]]:
    """The failures of a route, for OpenAPI."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in (*statuses, *((401,) if keys else ())):
        titles = sorted({title for code, title in KINDS.values() if code == status})
        schema = {"$ref": "#/components/schemas/ProblemModel"}
        described[status] = {"description": "; ".join(titles), "content": {MEDIA_TYPE: {"schema": schema}}}
    return described


def _content(raw: dict[str, Any], *, one: bool) -> dict[str, Any]:
    """The body of a request, for OpenAPI."""
    given = PictureInput if one else BatchInput
    content = {kind: {"schema": schema} for kind, schema in raw.items()}
    content["multipart/form-data"] = {"schema": _FILE if one else _FILES}
    content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{given.__name__}"}}
    return {"required": True, "content": content}


def _complete_openapi(app: FastAPI, pool: Pool, *, keys: bool) -> None:
    """OpenAPI with the types that only bodies and failures name, the served models and the keys."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            # the framework drops every null of the examples, so all types are written once more
            for model in (ProblemModel, PictureInput, BatchInput, ReadingModel, BatchModel, ModelsModel):
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[model.__name__] = schema
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path in document["paths"].values():
                for operation in path.values():
                    for parameter in operation.get("parameters", ()):
                        if parameter["name"] == "model":
                            parameter["schema"] = {"type": "string", "enum": [entry["name"] for entry in pool.models]}
                    answers = operation["responses"]
                    if "HTTPValidationError" in str(answers.get("422")):
                        del answers["422"]
            if keys:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"key": []}]
                for path in ("/health", "/ready"):
                    document["paths"][path]["get"]["security"] = []
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
