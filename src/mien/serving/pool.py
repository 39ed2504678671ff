"""The queue and the reading processes that empty it.

Each process has a few pictures ahead, so that it can batch; the least loaded one gets the next. When a process ends
unasked (a crash, ``kill -9``, memory), its pictures go back and are read one at a time, alone: a picture that ends its
process again is the only one to fail. A process that makes no progress for the time limit is killed.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from mien.errors import MienError, ModelError, UsageError
from mien.serving.frames import next_frame, pack
from mien.serving.metrics import Metrics
from mien.serving.problems import Problem
from mien.serving.settings import ReaderSettings

AHEAD = 16  # pictures that a process holds: one that is read, and what its batches are made of
START_S = 120.0  # for loading the networks
COMMAND = (sys.executable, "-m", "mien.serving.worker")
log = logging.getLogger("mien")


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture's result: the command's JSON; kind and message where it could not be read."""

    json: bytes
    faces: int
    kind: str | None = None
    message: str = ""


@dataclass(slots=True, eq=False)
class _Job:
    number: int
    model: str
    name: str
    data: bytes
    future: "asyncio.Future[Answer]"
    deaths: int = 0  # of processes that held it


class _Process:
    """A reading process and the pictures that it holds."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout
        self.jobs: dict[int, _Job] = {}
        self.alone = False
        self.progress = time.monotonic()

    def send(self, job: _Job) -> None:
        if not self.jobs:
            self.progress = time.monotonic()
        self.jobs[job.number] = job
        # never more than AHEAD pictures are buffered here, so there is no need to wait for the pipe
        self.stdin.writelines(pack({"id": job.number, "model": job.model, "name": job.name}, job.data))


class Pool:
    """Reads pictures in ``workers`` processes. queue: pictures that wait or are read; timeout: seconds of one."""

    def __init__(self, reader: ReaderSettings, metrics: Metrics, *, workers: int, queue: int, timeout: float) -> None:
        self._reader, self._metrics = reader, metrics
        self._workers, self._limit, self._timeout = workers, queue, timeout
        self._waiting: deque[_Job] = deque()
        self._suspects: deque[_Job] = deque()
        self._processes: list[_Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._closing = False
        self._seconds = 0.1  # of a process for a picture: a moving average
        self.models: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Start the processes and wait until they have loaded. Raises UsageError or ModelError where they cannot."""
        started = await asyncio.gather(*(self._spawn() for _ in range(self._workers)), return_exceptions=True)
        errors = [one for one in started if isinstance(one, BaseException)]
        self._processes = [one for one in started if isinstance(one, _Process)]
        if errors:
            await self.stop()
            raise errors[0]
        self._tasks = [asyncio.create_task(self._attend(one)) for one in self._processes]
        self._tasks.append(asyncio.create_task(self._watch()))
        self._show()

    async def stop(self) -> None:
        """End the processes. Whoever still waits gets a Problem."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._processes:
            one.stdin.close()
        for one in self._processes:
            try:
                await asyncio.wait_for(one.process.wait(), 5)
            except TimeoutError:
                one.process.kill()
                await one.process.wait()
        left = [*self._waiting, *self._suspects, *(job for one in self._processes for job in one.jobs.values())]
        for job in left:
            if not job.future.done():
                job.future.set_exception(Problem("stopping", "the service stopped before the picture was read"))
        self._processes, self._tasks = [], []

    @property
    def ready(self) -> int:
        """How many processes can read."""
        return len(self._processes)

    @property
    def load(self) -> int:
        """Pictures that wait or are being read."""
        return len(self._waiting) + len(self._suspects) + sum(len(one.jobs) for one in self._processes)

    def expected_wait(self) -> float:
        """Seconds until a picture that comes now would be read."""
        return self.load * self._seconds / max(self.ready, 1)

    def check_room(self, count: int = 1) -> None:
        """Raises Problem: busy where ``count`` more pictures would not be read in time, too_many_pictures where they
        would not be with nobody before them either."""
        each = self._seconds / max(self.ready, 1)
        if (count - 1) * each > self._timeout:
            self._seconds *= 0.9  # an estimate from a few large pictures does not refuse for ever
            raise Problem(
                "too_many_pictures",
                f"expected at most {1 + int(self._timeout / each)} pictures at once, got {count}",
                hint="more cannot be read within the time limit",
            )
        wait = self.expected_wait()
        late = wait > self._timeout / 2 or wait + (count - 1) * each > self._timeout
        if self.load + count > self._limit or late:
            raise Problem(
                "busy",
                f"expected a queue with room for {count} more of {self._limit}, got one with {self.load} pictures",
                hint="send the request again after the seconds of Retry-After",
                headers={"Retry-After": str(max(1, ceil(wait)))},
            )

    async def read(self, pictures: list[tuple[str, bytes]], *, model: str) -> list[Answer]:
        """The answers for pictures (name, bytes), in order. Raises Problem where the queue is full."""
        self.check_room(len(pictures))
        loop, jobs = asyncio.get_running_loop(), []
        for name, data in pictures:
            self._number += 1
            jobs.append(_Job(self._number, model, name, data, loop.create_future()))
        self._waiting.extend(jobs)
        self._dispatch()
        try:
            return list(await asyncio.gather(*(job.future for job in jobs)))
        finally:  # cancelled: what no process has yet is not read at all
            for job in jobs:
                job.future.cancel()
            self._waiting = deque(job for job in self._waiting if not job.future.cancelled())
            self._show()

    def _dispatch(self) -> None:
        for one in self._processes:
            while self._suspects and not one.jobs:
                job = self._suspects.popleft()
                if not job.future.done():
                    one.alone = True
                    one.send(job)
        while self._waiting:
            free = [one for one in self._processes if not one.alone and len(one.jobs) < AHEAD]
            if not free:
                break
            job = self._waiting.popleft()
            if not job.future.done():
                min(free, key=lambda one: len(one.jobs)).send(job)
        self._show()

    def _show(self) -> None:
        self._metrics.queue.set(self.load)
        self._metrics.workers.set(self.ready)

    async def _spawn(self) -> _Process:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        one = _Process(process)
        settings = self._reader
        if settings.threads is None:
            from mien.onnx_runtime import default_threads

            settings = ReaderSettings(**asdict(settings) | {"threads": max(1, default_threads() // self._workers)})
        try:
            one.stdin.writelines(pack(asdict(settings)))
            frame = await asyncio.wait_for(next_frame(one.stdout), START_S)
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise ModelError(f"expected the models within {START_S:.0f} s, got no answer") from error
            raise
        if frame is None:
            raise ModelError(f"a reading process ended while it loaded, with status {await process.wait()}")
        told = frame[0]
        if "error" in told:
            kind: type[MienError] = UsageError if told["error"] == "UsageError" else ModelError
            await process.wait()
            raise kind(told["message"], hint=told["hint"])
        self.models = told["models"]
        return one

    async def _attend(self, one: _Process) -> None:
        """Hand out a process's results; when it ends unasked, another takes its place."""
        pause = 0.0
        while True:
            while (frame := await next_frame(one.stdout)) is not None:
                self._receive(one, *frame)
                pause = 0.0
            self._processes.remove(one)
            self._metrics.restarts.inc()
            status = await one.process.wait()
            log.warning(
                "a reading process ended unasked (status %d); its pictures (%d) are read again", status, len(one.jobs)
            )
            self._take_back(one)
            while True:
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, 0.5), 10)
                try:
                    one = await self._spawn()
                    break
                except (MienError, OSError) as error:
                    log.warning("a reading process does not start: %s", error)
            self._processes.append(one)
            self._dispatch()

    def _receive(self, one: _Process, header: dict[str, Any], body: bytes) -> None:
        now = time.monotonic()
        self._seconds += 0.05 * (now - one.progress - self._seconds)
        one.progress = now
        job = one.jobs.pop(header["id"])
        one.alone = False
        kind = header.get("type")
        self._metrics.pictures.labels(kind or "ok").inc()
        self._metrics.faces.inc(header["faces"])
        if not job.future.done():
            job.future.set_result(Answer(body, header["faces"], kind, header.get("message", "")))
        self._dispatch()

    def _take_back(self, one: _Process) -> None:
        for job in one.jobs.values():
            job.deaths += 1
            if job.future.done():
                continue
            if one.alone and job.deaths > 1:
                message = "the reading process ended twice while it read this picture"
                self._metrics.pictures.labels("internal").inc()
                job.future.set_exception(Problem("internal", message, hint="please report the picture"))
            else:
                self._suspects.append(job)
        one.jobs = {}
        self._dispatch()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._timeout / 4))
            for one in self._processes:
                if one.jobs and time.monotonic() - one.progress > self._timeout:
                    log.warning("a reading process made no progress for %g s and is ended", self._timeout)
                    one.process.kill()
