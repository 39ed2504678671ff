"""A plain static server for the page, and a tab of the browser with the page in it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mien.webpage.files import PageFile

PATIENCE_MS = 120_000  # the machine may be busy


class Site:
    """Serves files by their paths on a free port of loopback, without the headers that the service adds.

    ``asked`` are the paths that were asked for; ``change`` (path, content → content or None for 404) and ``headers``
    may be set.
    """

    def __init__(self, page: Mapping[str, PageFile]) -> None:
        self.page = page
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.change: Callable[[str, bytes], bytes | None] | None = None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0].lstrip("/") or "index.html"
                site.asked.append(path)
                file = site.page.get(path)
                content = None if file is None else file.content
                if content is not None and site.change is not None:
                    content = site.change(path, content)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Type", "text/plain" if file is None else file.media_type)
                self.send_header("Content-Length", str(len(content or b"")))
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "Site":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Tab:
    """A tab with the page: what a user does, and what a user sees. errors: on the console, and uncaught ones."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    @classmethod
    @contextmanager
    def opened(cls, browser: Any, site: Site, **options: Any) -> Iterator["Tab"]:
        context = browser.new_context(**{"permissions": ["camera"], "reduced_motion": "reduce"} | options)
        try:
            tab = cls(context.new_page())
            tab.page.goto(site.url)
            yield tab
        finally:
            context.close()

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def choose(self, *files: Path) -> None:
        """Choose these files and wait until all of them are read."""
        before = self.count()
        self.page.set_input_files("#files", [str(file) for file in files])
        self.until(lambda: self.count() == before + len(files) and not self.page.is_visible("#stop"))

    def pick(self, radio: str) -> None:
        """Choose a radio button, which the page's style hides, wherever it lies."""
        self.page.locator(radio).evaluate("button => button.click()")

    def clear(self) -> None:
        if self.count():
            self.page.click("#clear")
            self.until(lambda: self.count() == 0)

    def count(self) -> int:
        return int(self.page.get_attribute("#strip", "data-items") or 0)

    def until(self, holds: Callable[[], bool]) -> None:
        """wait_for_function needs eval, which the page's policy forbids."""
        end = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < end:
            if holds():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"waited in vain; {self.alert()!r}; {self.text('#caption')!r}; {self.errors}")

    def text(self, selector: str) -> str:
        return " ".join(str(self.page.text_content(selector) or "").split())

    def alert(self) -> str:
        return self.text("#alert p") if self.page.is_visible("#alert") else ""

    def download(self, kind: str) -> str:
        with self.page.expect_download() as info:
            self.page.click(f"#{kind}")
        return Path(info.value.path()).read_text("utf-8")

    def readings(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.download("jsonl").splitlines()]
