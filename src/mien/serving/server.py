"""uvicorn, with what it leaves open: a time limit for a request's head, half-closed uploads, and exit status 0."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.errors import UsageError
from mien.reading.classifier import SHIPPED
from mien.serving.app import create_app
from mien.serving.metrics import Metrics
from mien.serving.page import load_page
from mien.serving.pool import Pool
from mien.serving.settings import Settings

MAX_CONNECTIONS = 2000
ACCEPTED = 64  # connections that asyncio accepts before it looks at any of them
SPARE_FILES = 4 * ACCEPTED + 44  # beside the connections: for those that are about to be closed, and for the process
WAITING = 1024  # connections that the kernel holds until they are accepted
KEEP_ALIVE_S = 5


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what has been accepted. Raises UsageError or ModelError at first."""
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of each malformed form
    limits, metrics = settings.limits, Metrics()
    pool = Pool(settings.reader, metrics, workers=settings.workers, queue=limits.queue, timeout=limits.timeout)
    listener = _listen(settings.host, settings.port)
    try:
        await pool.start()
        server: _Server
        page = load_page(settings.reader.models) if settings.page else {}
        app = create_app(settings, pool, metrics, page=page, stopping=lambda: server.should_exit)
        config = uvicorn.Config(
            app,
            http=_protocol(limits.client_timeout, most=_connections()),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level=logging.ERROR,  # uvicorn warns of each malformed request
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=ACCEPTED,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(limits.timeout) + 5,
        )
        server = _Server(config)
        names = ", ".join(entry["name"] for entry in pool.models)
        print(f"{_url(listener)} ({names}; workers: {settings.workers})", file=sys.stderr, flush=True)
        if page and settings.keys and not set(settings.reader.models) <= SHIPPED.keys():
            told = "the page at / needs no key, and gives its models to whoever reaches it; --no-page leaves it out"
            print(f"note: {told}", file=sys.stderr, flush=True)
        await server.serve(sockets=[listener])
    finally:
        await pool.stop()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=WAITING)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port} ({error.strerror or error})") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """asyncio takes one number for how many it accepts at a time and for how many the kernel holds."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(WAITING)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which raises the signal again at the end and so exits with 143 after an orderly stop."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _connections() -> int:
    """How many connections may be open: beyond the limit of open files no one could be accepted, nor refused."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - SPARE_FILES))


def _protocol(head_timeout: float, *, most: int) -> type[H11Protocol]:
    """The protocol of a connection: uvicorn's, whose client must send a request's head within ``head_timeout``.

    most: connections that may be open; further ones are closed.
    """

    class Protocol(H11Protocol):
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # for clients that do not take their answer, or are gone
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * head_timeout))
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._reading_head():
                self._await_head()
            else:
                self._stop_timer()

        def eof_received(self) -> bool | None:  # type: ignore[override]
            """A client that ends in the middle of its body, and may still listen, is told so."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.more_body:
                return None
            self.scope["mien.truncated"] = True  # type: ignore[typeddict-unknown-key]
            cycle.more_body = cycle.keep_alive = False
            cycle.message_event.set()
            return True

        def _reading_head(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _await_head(self) -> None:
            if self._head is None:
                self._head = self.loop.call_later(head_timeout, self._drop)

        def _stop_timer(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _drop(self) -> None:
            self._head = None
            if self._reading_head():
                self.transport.abort()

    return Protocol
