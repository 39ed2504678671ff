"""A real ``mien serve`` for the tests, on a free port of loopback, and raw connections to it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

MIEN = [sys.executable, "-W", "error", "-m", "mien.cli.app"]


@dataclass
class Service:
    """A running service. url: its address; process: the one that speaks HTTP."""

    url: str
    process: "subprocess.Popen[str]"

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def readers(self) -> list[int]:
        """The ids of the reading processes."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        threads = Path(f"/proc/{self.process.pid}/task")
        found = [file.read_text() for file in threads.glob("*/children")]
        return [int(word) for text in found for word in text.split()] if os.path.exists(path) else []

    def metric(self, name: str) -> float:
        """A figure of /metrics, added up over its labels."""
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self) -> tuple[int, str]:
        """SIGTERM; its exit status and what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, told = self.process.communicate(timeout=30)
        return self.process.returncode, told


@contextmanager
def running(
    *words: str | Path, env: dict[str, str] | None = None, command: list[str] | None = None
) -> Iterator[Service]:
    """A service with these options, or of that whole command. Whatever happens, it is gone afterwards."""
    process = subprocess.Popen(
        command or [*MIEN, "serve", "--port", "0", "--workers", "1", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | (env or {}),
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield Service(found[0], process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def eventually(check: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Whether the check holds within that time."""
    end = time.monotonic() + seconds
    while not (done := check()) and time.monotonic() < end:
        time.sleep(0.02)
    return done


def png(seed: int, *, size: int = 48) -> bytes:
    """A picture of noise: every seed has other probabilities under the tiny model."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size // 16, size // 16), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(np.kron(pixels, np.ones((16, 16), np.uint8))).save(stream, "PNG")
    return stream.getvalue()


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the answer on a raw connection, which the service then closes or keeps."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return (int(data.split()[1]), b"") if data else (0, b"")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), body


def problem_of(response: Any) -> str:
    """The kind of a problem document, checked for form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    told = response.json()
    assert told["status"] == response.status_code
    assert set(told) == {"type", "title", "status", "detail", "kind"}
    assert told["type"] == f"urn:mien:problem:{told['kind']}"
    return str(told["kind"])
