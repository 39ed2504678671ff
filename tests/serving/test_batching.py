"""The reading process's loop: pictures that wait together are classified together, and none waits for long."""

import json
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service import eventually, png, problem_of, running

from mien.errors import UsageError
from mien.reading.reader import Reader
from mien.serving import worker
from mien.serving.frames import Frame, pack, read_frame
from mien.serving.settings import ReaderSettings
from mien.serving.worker import BATCH, serve


class _Done(Exception):
    """Raised when all answers have been written."""


class Replies(BytesIO):
    """Collects frames, and ends the loop after so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def flush(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise _Done


class Counted(Reader):
    """A reader that notes the size of each batch, and may be slow to decode."""

    def note(self, sizes: list[int]) -> None:
        probabilities = self._expressions.probabilities

        def noted(pixels: Any) -> Any:
            sizes.append(len(pixels))
            return probabilities(pixels)

        self._expressions.probabilities = noted  # type: ignore[method-assign]

    def slowed(self, delay: float) -> None:
        decode = self._cropper.decode

        def slow(*args: object, **options: object) -> object:
            time.sleep(delay)
            return decode(*args, **options)  # type: ignore[arg-type]

        self._cropper.decode = slow  # type: ignore[method-assign,assignment]


def run(model: Path, jobs: list[str], *, max_wait: float, delay: float = 0.0) -> tuple[list[Frame], list[int]]:
    """Answers and batch sizes for pictures that are all in the inbox from the start. jobs: model names."""
    readers = {name: Counted(model, detector="none", threads=1) for name in set(jobs)}
    sizes: list[int] = []
    for reader in readers.values():
        reader.note(sizes)
        reader.slowed(delay)
    inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    for number, name in enumerate(jobs):
        inbox.put(({"id": number, "model": name, "name": f"{number}.png"}, png(number)))
    replies = Replies(len(jobs))
    with pytest.raises(_Done):
        serve(readers, inbox, replies, max_wait=max_wait)  # type: ignore[arg-type]
    replies.seek(0)
    frames = [read_frame(replies) for _ in jobs]
    return [frame for frame in frames if frame is not None], [size for size in sizes if size]


def test_what_waits_together_is_batched_and_answers_are_the_readers(tiny_model: Path) -> None:
    frames, sizes = run(tiny_model, ["a"] * 9, max_wait=60)
    assert sum(sizes) == 9
    assert max(sizes) == BATCH  # the Reader does not hold the first picture of a stream back
    reader = Reader(tiny_model, detector="none")
    expected = [reader.read(png(i), name=f"{i}.png").to_dict() for i in range(9)]
    assert [json.loads(body) for _, body in frames] == expected
    assert [header["id"] for header, _ in frames] == list(range(9))


def test_half_of_what_waits_is_answered_while_the_rest_is_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that clients who wait for their answers send the next pictures in time."""
    _, few = run(tiny_model, ["a"] * 5, max_wait=60)
    assert len(few) >= 3
    _, many = run(tiny_model, ["a"] * 17, max_wait=60)
    assert max(many) == BATCH
    monkeypatch.setattr(worker, "BATCH", 16)  # the control
    _, large = run(tiny_model, ["a"] * 17, max_wait=60)
    assert max(large) > BATCH


def test_no_face_waits_longer_than_the_limit(tiny_model: Path) -> None:
    """Four pictures of 30 ms: with a limit of 10 ms each is a batch of its own; with a long one two are together."""
    _, alone = run(tiny_model, ["a"] * 4, max_wait=0.01, delay=0.03)
    assert alone == [1, 1, 1, 1]
    _, together = run(tiny_model, ["a"] * 4, max_wait=60, delay=0.03)
    assert max(together) >= 2


def test_pictures_of_two_models_keep_their_own(tiny_model: Path) -> None:
    frames, sizes = run(tiny_model, ["a", "a", "b", "a", "b", "b"], max_wait=60)
    assert [header["id"] for header, _ in frames] == list(range(6))
    assert sum(sizes) == 6


def test_frames_come_back_whole_or_not_at_all() -> None:
    data = b"".join(pack({"id": 1}, b"abc") + pack({"id": 2}))
    stream = BytesIO(data)
    assert [read_frame(stream) for _ in range(3)] == [({"id": 1}, b"abc"), ({"id": 2}, b""), None]
    assert read_frame(BytesIO(data[:12])) is None


def test_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="several of compact"):
        ReaderSettings(models=("compact", "elsewhere/compact.onnx"), detector="none")


@contextmanager
def held(url: str, count: int) -> Iterator[None]:
    """So many clients that have sent most of a large body each."""
    import socket

    host, port = url.removeprefix("http://").split(":")
    head = b"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    connections = [socket.create_connection((host, int(port)), timeout=10) for _ in range(count)]
    for one in connections:
        one.sendall(head + bytes(90_000))
    try:
        yield
    finally:
        for one in connections:
            one.close()


def test_bodies_held_at_once_are_limited(tiny_model: Path) -> None:
    """Sixteen of the largest size: 1.6 MB here; seventeen clients with 90 kB each leave no room for 90 kB more."""
    large = np.random.default_rng(0).bytes(90_000)
    with running("--model", tiny_model, "--detector", "none", "--max-body", "100000") as service:

        def ask() -> httpx.Response:
            return httpx.post(f"{service.url}/v1/read", content=large, timeout=30)

        with held(service.url, 17):
            assert eventually(lambda: problem_of(ask()) == "busy")
            assert httpx.post(f"{service.url}/v1/read", content=png(1), timeout=30).status_code == 200
        assert eventually(lambda: problem_of(ask()) == "unreadable")  # the control: room again, and no picture
