"""What a service is started with: the readers' options, the limits, the keys."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.errors import UsageError
from mien.reading.classifier import model_name
from mien.reading.options import ReaderOptions

MOST_WORKERS = 8  # by default; beyond, each gets more threads


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderSettings(ReaderOptions):
    """How pictures are read: the options of each model's reader, and two limits.

    models: shipped names or files; the first is the default. detector: by name. threads: of each reading process, None
    for its part of the cores. max_faces: of one picture. max_wait: seconds that a found face waits for others to share
    its batch with.
    """

    models: tuple[str, ...]
    max_pixels: int = 50_000_000
    max_faces: int = 200
    max_wait: float = 0.05

    def __post_init__(self) -> None:
        ReaderOptions.__post_init__(self)
        names = [model_name(model) for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"expected models with names of their own, got several of {', '.join(twice)}")


@dataclass(frozen=True, slots=True)
class Limits:
    """max_body: bytes of a request's body. max_batch: pictures of a batch. max_requests: that are open at once.

    queue: pictures that wait or are being read. timeout: seconds from a request's head to its answer. client_timeout:
    seconds in which a client must send a request's head, and the next piece of its body.
    """

    max_body: int = 32_000_000
    max_batch: int = 32
    max_requests: int = 128
    queue: int = 64
    timeout: float = 30.0
    client_timeout: float = 10.0

    def __post_init__(self) -> None:
        for name in ("max_body", "max_batch", "max_requests", "queue"):
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in ("timeout", "client_timeout"):
            if not 0 < getattr(self, name) <= 3600:
                raise UsageError(f"expected {name} above 0 and up to 3600 seconds, got {getattr(self, name):g}")
        if self.max_batch > self.queue:
            raise UsageError(
                f"expected a queue of at least the {self.max_batch} pictures of a batch, got {self.queue}",
                hint="raise --queue or lower --max-batch",
            )


@dataclass(frozen=True, slots=True)
class Settings:
    """A service: where it listens, how it reads, what it allows. keys: any of them opens it; none: no key is asked.
    page: whether ``/`` is the page."""

    reader: ReaderSettings
    limits: Limits
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    keys: tuple[str, ...] = ()
    page: bool = True

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"expected at least 1 worker, got {self.workers}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"expected a port 0-65535, got {self.port}")


def default_workers() -> int:
    """A reading process a core: one thread each reads more photos in all than one process with all threads."""
    from mien.onnx_runtime import default_threads

    return min(default_threads(), MOST_WORKERS)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone. A name other than localhost counts as open."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_keys(key: str | None, file: Path | None) -> tuple[str, ...]:
    """The keys of ``--api-key`` and of ``--api-key-file`` (one a line, ``#`` starts a comment line).

    Raises UsageError for a key that is empty, short, or cannot stand in a header.
    """
    keys = [] if key is None else [key]
    if file is not None:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise UsageError(f"cannot read the key file {file} ({reason})") from error
        found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not found:
            raise UsageError(f"expected one key a line in {file}, got none")
        keys += found
    for given in keys:
        if len(given) < 8 or not given.isascii() or not given.isprintable() or " " in given:
            raise UsageError(
                "expected an API key of at least 8 printable ASCII characters without blanks, got another text",
                hint="make one with: openssl rand -hex 32",
            )
    return tuple(keys)


def check_access(host: str, keys: Sequence[str], *, no_auth: bool) -> None:
    """Raises UsageError where a service would stand open to others by mistake."""
    if keys and no_auth:
        raise UsageError("expected an API key or --no-auth, got both")
    if not keys and not no_auth and not is_loopback(host):
        raise UsageError(
            f"expected an API key for {host}, which others can reach, got none",
            hint="give --api-key-file FILE; or --no-auth where something before it asks for a key",
        )
