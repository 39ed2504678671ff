"""What stands before the routes: keys, requests in flight, time limit, metrics, and an end for bodies nobody reads.

A refusal before the end of the body (413, 401, 503) is sent at once and in full, with ``Connection: close``; then what
still comes is thrown away for a moment. Closing at once would reset the connection, and most clients, which read only
after they have written, would never see the answer.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serving.metrics import Metrics
from mien.serving.problems import MEDIA_TYPE, Problem
from mien.serving.settings import Limits

OPEN = ("/health", "/ready")  # for load balancers, which have no key
READ = ("/v1/read", "/v1/read/batch")
LINGER_S = 2.0
RETRY_S = 1
log = logging.getLogger("mien")


class Guard:
    """ASGI middleware around the whole application.

    check_room: raises Problem where the queue is full. paths: that metrics name; others count as "other".
    without_key: paths that are open to everybody, beside ``OPEN``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: tuple[str, ...],
        limits: Limits,
        metrics: Metrics,
        check_room: Callable[[], None],
        paths: frozenset[str],
        without_key: frozenset[str] = frozenset(),
    ) -> None:
        self._app, self._limits, self._metrics, self._check_room = app, limits, metrics, check_room
        self._keys = [sha256(key.encode()).digest() for key in keys]
        self._paths = paths
        self._open_paths = without_key | set(OPEN)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, exchange = time.monotonic(), _Exchange(scope, receive, send)
        try:
            await self._answer(scope, exchange)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(exchange.status or "none")).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)
        await exchange.finish(most=2 * self._limits.max_body)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        reads = scope["method"] == "POST" and scope["path"] in READ
        try:
            self._authorise(scope)
            if not reads:
                async with asyncio.timeout(self._limits.timeout):
                    await self._app(scope, exchange.receive, exchange.send)
                return
            self._admit()
        except Problem as problem:
            await exchange.refuse(problem)
            return
        except TimeoutError:
            await exchange.refuse(self._too_late())
            return
        self._open += 1
        self._metrics.open_requests.set(self._open)
        try:
            async with asyncio.timeout(self._limits.timeout):
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            await exchange.refuse(self._too_late())
        except Exception:  # the framework has answered with 500, and raises once more
            log.exception("while answering %s", scope["path"])
        finally:
            self._open -= 1
            self._metrics.open_requests.set(self._open)

    def _authorise(self, scope: Scope) -> None:
        if not self._keys or scope["path"] in self._open_paths:
            return
        given = b""
        for name, value in scope["headers"]:
            if name == b"x-api-key":
                given = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
        digest = sha256(given).digest()
        # all are compared, so that the time says nothing; digests have one length, so neither does a key's
        if not sum([hmac.compare_digest(digest, key) for key in self._keys]):
            raise Problem(
                "unauthorized",
                f"expected an API key, got {'another one' if given else 'none'}",
                hint="send the header Authorization: Bearer KEY, or X-API-Key: KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _admit(self) -> None:
        if self._open >= self._limits.max_requests:
            raise Problem(
                "busy",
                f"expected fewer than {self._limits.max_requests} open requests, got one more",
                hint="send it again after the seconds of Retry-After",
                headers={"Retry-After": str(RETRY_S)},
            )
        self._check_room()

    def _too_late(self) -> Problem:
        return Problem(
            "timeout",
            f"expected an answer within {self._limits.timeout:g} s, got none",
            hint="send it again, or a smaller picture",
            headers={"Retry-After": str(RETRY_S)},
        )


class _Exchange:
    """A request and its answer: knows whether the body has come whole, and what has been sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = dict(scope["headers"])
        self._unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self._unfinished = False
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._unread:
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
        elif self._unread and not message.get("more_body", False):
            self._unfinished = True
            message = {**message, "more_body": True}
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem. An answer that has begun is left as it is; uvicorn then closes the connection."""
        if self.status is not None:
            return
        body = problem.to_bytes()
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        start: dict[str, Any] = {"type": "http.response.start", "status": problem.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})

    async def finish(self, *, most: int) -> None:
        """Take in the rest of a body for a moment, and up to ``most`` bytes, then end an answer that came before it."""
        if not self._unfinished:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self._unread and most > 0:
                    most -= len((await self.receive()).get("body", b""))
        await self._send({"type": "http.response.body", "body": b""})
