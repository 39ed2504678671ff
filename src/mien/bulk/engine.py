"""The process that runs Ray, seen from the command: started, listened to, started again where Ray went down."""

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from mien.bulk.block import read_block
from mien.bulk.plan import Done, Plan, reader_of
from mien.errors import DataError, MienError, OutputError, UsageError, require

START_S = 180.0  # for Ray to come up on a busy machine
ANSWER_S = 30.0  # for a cluster to answer
CONNECT_S = 5.0
RESTARTS = 5  # without a block read in between; where it does not even come up, half as many
_LOST = 75
_KINDS: dict[str, type[MienError]] = {"output": OutputError, "data": DataError}


class EngineError(MienError):
    """Ray cannot be started or reached, or does not stay up.

    Examples:
        >>> from mien.bulk.engine import EngineError
        >>> print(EngineError("expected Ray at head:6379, nobody answers", hint="start it: ray start --head"))
        expected Ray at head:6379, nobody answers; start it: ray start --head
    """

    type = "ray"


class Engine(Protocol):
    """Reads the blocks of a plan that have no shard; yields each when its shard is in place."""

    def read(self, plan: Plan, *, seen: list[str], note: Callable[[str], None]) -> Iterator[Done]: ...


class Here:
    """Reads the blocks one after the other, in this process: for small runs, and where there is no Ray.

    Examples:
        >>> from mien import Reader
        >>> from mien.bulk.engine import Here
        >>> from mien.bulk.run import read_bulk
        >>> read_bulk(Reader("nano"), ["photo.jpg"], "here", engine=Here()).counts.faces
        1
    """

    def read(self, plan: Plan, *, seen: list[str], note: Callable[[str], None]) -> Iterator[Done]:
        reader = reader_of(plan, None)
        for block in range(plan.blocks):
            if not os.path.exists(plan.shard(block)):
                yield read_block(plan, block, reader)


class RayEngine:
    """Reads the blocks with Ray, in actors of one CPU, on this machine or a cluster.

    Args:
        workers: processes that read; None: all CPUs.
        address: ``HOST:PORT`` of a cluster's head node, or ``"auto"``; None: starts Ray on this machine and ends it.
        debug: show Ray's own output on stderr.

    Raises:
        MissingExtra: the extra ``ray`` is not installed.
        UsageError: an address that is none, or fewer than one worker.
        EngineError: nobody answers at the address.

    Examples:
        >>> from mien.bulk.engine import RayEngine
        >>> RayEngine(address="nowhere")
        Traceback (most recent call last):
        mien.errors.UsageError: expected the address HOST:PORT of a cluster's head node, or auto; got 'nowhere'; ...
    """

    def __init__(self, *, workers: int | None = None, address: str | None = None, debug: bool = False) -> None:
        require("ray", extra="ray")
        if workers is not None and workers < 1:
            raise UsageError(f"expected workers of at least 1, got {workers}")
        self._workers, self._address, self._debug = workers, address, debug
        if address is not None:
            _check_address(address)

    def read(self, plan: Plan, *, seen: list[str], note: Callable[[str], None]) -> Iterator[Done]:
        failures = 0
        while True:
            status, words, connected = None, "", False
            with _Child(self._job(plan, seen), debug=self._debug) as child:
                for message in child.messages(START_S if self._address is None else ANSWER_S, self._address):
                    connected = True
                    if message["event"] == "done":
                        failures = 0
                        del message["event"]
                        yield Done(**message)
                    elif message["event"] == "note":
                        note(message["text"])
                    elif message["event"] == "error":
                        kind = _KINDS.get(message["kind"], EngineError if message["kind"] == "ray" else UsageError)
                        raise kind(message["message"], hint=message["hint"])
                status, words = child.ended()
            if status == 0:
                return
            failures += 1 if connected else 2
            if failures > RESTARTS:
                raise EngineError(
                    f"Ray did not come or stay up, and no block was read in between: {words}",
                    hint="what was read is kept; --debug shows Ray's own messages",
                )
            note(f"Ray {'went down' if connected else 'did not come up'}; starting it again")

    def _job(self, plan: Plan, seen: list[str]) -> dict[str, Any]:
        from mien.reading.classifier import SHIPPED

        workers = self._workers
        if workers is None and self._address is None:
            from mien.onnx_runtime import default_threads

            workers = default_threads()
        model = plan.options["model"]
        return {
            "plan": plan.to_json(),
            "model": None if model in SHIPPED else model,
            "workers": workers,
            "address": self._address,
            "host": socket.gethostname(),
            "seen": seen,
            "debug": self._debug,
        }


class _Child:
    """The scheduler's process. Ray's files go to a directory that is removed with it."""

    def __init__(self, job: dict[str, Any], *, debug: bool) -> None:
        self._scratch = tempfile.mkdtemp(prefix="mien-ray-")
        self._log = os.path.join(self._scratch, "stderr")
        job = job | {"scratch": self._scratch}
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mien.bulk.scheduler"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if debug else log,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write((json.dumps(job) + "\n").encode())
            self._process.stdin.flush()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def messages(self, limit: float, address: str | None) -> Iterator[dict[str, Any]]:
        """Until the process ends. Raises EngineError where it is not connected within the limit, in seconds."""
        end: float | None = time.monotonic() + limit
        while True:
            try:
                line = self._lines.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except queue.Empty:
                what = "Ray to start" if address is None else f"a Ray cluster at {address} to answer"
                raise EngineError(f"expected {what} within {limit:.0f} s, nothing came") from None
            if line is None:
                return
            message = json.loads(line)
            if message["event"] == "connected":
                end = None
            yield message

    def ended(self) -> tuple[int, str]:
        """Exit status, and the last line that the process or Ray wrote."""
        status = self._process.wait()
        with suppress(OSError), open(self._log, encoding="utf-8", errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
            return status, lines[-1][:200] if lines else f"exit status {status}"
        return status, f"exit status {status}"

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()  # it ends, and takes Ray down
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(8.0)
        with suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)  # what is left of its session's group
        self._process.wait()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _check_address(address: str) -> None:
    """Whether anybody listens there, in seconds rather than Ray's minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"expected the address HOST:PORT of a cluster's head node, or auto; got {address!r}",
            hint="ray start prints it; for ray:// run this command on a node of the cluster",
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S):
            pass
    except OSError as error:
        raise EngineError(
            f"expected a Ray cluster at {address}, nobody answers: {error.strerror or error}",
            hint="start one with: ray start --head; or leave out --address to use this machine alone",
        ) from error
