"""``mien serve``: options of the HTTP service; the work is in ``serving``."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import typer

from mien.cli.read import FACES, DetectorName, Device, Precision, read

_access, _faces, _limits = (
    partial(typer.Option, rich_help_panel=panel) for panel in ("Address and access", FACES, "Speed and limits")
)


def _as_read(name: str) -> Any:
    """The option of ``mien read``: the same word, default and help."""
    return inspect.signature(read).parameters[name].default


def serve(
    host: str = _access(
        "127.0.0.1",
        "--host",
        metavar="ADDRESS",
        help="Address to listen on. One that others can reach needs an API key or --no-auth.",
    ),
    port: int = _access(8000, "--port", metavar="N", help="Port to listen on; 0 takes a free one."),
    api_key: str | None = _access(
        None,
        "--api-key",
        metavar="KEY",
        envvar="MIEN_API_KEY",
        help="Requests must carry this key. Other users of the machine can see an option: prefer the file.",
    ),
    api_key_file: Path | None = _access(
        None, "--api-key-file", metavar="FILE", help="A file with one key per line; any of them is accepted."
    ),
    no_auth: bool = _access(False, "--no-auth", help="Require no key although others can reach the address."),
    page: bool = _access(
        True,
        "--page/--no-page",
        help="Whether / is the page that reads in the browser. It needs no key; whoever reaches it can get its models.",
    ),
    model: list[str] = _faces(
        ["compact"],
        "--model",
        metavar="NAME|FILE.onnx",
        help="compact, nano, or a file made by mien export; can be repeated. Requests choose with ?model=NAME; "
        "the first is the default.",
    ),
    detector: DetectorName = _as_read("detector"),
    detect_size: int | None = _as_read("detect_size"),
    min_score: float | None = _as_read("min_score"),
    min_face: float | None = _as_read("min_face"),
    turned: bool = _as_read("turned"),
    tta: bool = _as_read("tta"),
    min_confidence: float = _as_read("min_confidence"),
    workers: int | None = _limits(
        None,
        "--workers",
        metavar="N",
        help="Reading processes, each with models of its own (about 250 MB). \\[default: one per core, at most 8]",
    ),
    threads: int | None = _limits(
        None, "--threads", metavar="N", help="CPU threads of each process. \\[default: cores / workers]"
    ),
    device: Device = _as_read("device"),
    precision: Precision = _as_read("precision"),
    batch_size: int = _as_read("batch_size"),
    max_wait: float = _limits(
        50.0,
        "--max-wait",
        metavar="MS",
        help="How long a face waits for others to share a batch; not at all if nothing else is queued.",
    ),
    max_body: int = _limits(32_000_000, "--max-body", metavar="BYTES", help="Largest body of a request."),
    max_pixels: int = _limits(
        50_000_000, "--max-pixels", metavar="N", help="Most pixels of a picture, width × height."
    ),
    max_faces: int = _limits(200, "--max-faces", metavar="N", help="Most faces of a picture; more are an error."),
    max_batch: int = _limits(32, "--max-batch", metavar="N", help="Most pictures of a batch request."),
    max_requests: int = _limits(128, "--max-requests", metavar="N", help="Most open requests; more get 503."),
    queue: int = _limits(64, "--queue", metavar="N", help="Most pictures waiting or being read; more get 503."),
    timeout: float = _limits(30.0, "--timeout", metavar="S", help="Time limit of a request, upload included."),
    client_timeout: float = _limits(
        10.0,
        "--client-timeout",
        metavar="S",
        help="Time limit for a request's head, and between two parts of its body.",
    ),
) -> None:
    """Serve readings over HTTP: POST a picture to /v1/read, get the JSON of mien read.

    Listens on this machine only, unless told otherwise. Pictures are neither stored nor logged; no URL is fetched.
    SIGTERM and Ctrl-C end it once all accepted requests are answered. docs/serve.md describes the routes.

    [bold]Examples[/bold]

    On this machine:
      [cyan]mien serve[/cyan]
      [cyan]curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/v1/read[/cyan]

    For others, with a key:
      [cyan]mien serve --host 0.0.0.0 --api-key-file keys.txt --workers 4[/cyan]
    """
    from mien.errors import UsageError, require

    require("fastapi", "uvicorn", "prometheus_client", "python_multipart", extra="serve")
    from mien.serving.server import run
    from mien.serving.settings import Limits, ReaderSettings, Settings, check_access, default_workers, read_keys

    keys = read_keys(api_key, api_key_file)
    check_access(host, keys, no_auth=no_auth)
    for name, value in (("--max-faces", max_faces), ("--max-wait", max_wait)):
        if not 0 <= value < float("inf"):
            raise UsageError(f"expected {name} of 0 or more, got {value:g}")
    reader = ReaderSettings(
        models=tuple(model),
        detector=detector.value,
        detect_size=detect_size,
        min_score=min_score,
        min_face=min_face,
        turned=turned,
        tta=tta,
        min_confidence=min_confidence,
        threads=threads,
        device=device.value,
        precision=precision.value,
        batch_size=batch_size,
        max_pixels=max_pixels,
        max_faces=max_faces,
        max_wait=max_wait / 1000,
    )
    limits = Limits(
        max_body=max_body,
        max_batch=max_batch,
        max_requests=max_requests,
        queue=queue,
        timeout=timeout,
        client_timeout=client_timeout,
    )
    count = default_workers() if workers is None else workers
    run(Settings(host=host, port=port, workers=count, keys=keys, page=page, reader=reader, limits=limits))
