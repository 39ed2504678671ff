"""A reading process of the service: pictures come through stdin, the command's JSON goes back through stdout.

``python -m mien.serving.worker``. The first frame holds the options; the process answers with what it has loaded, or
with the error. Pictures that arrive while others are read share their batches: the one stream of ``Reader`` is fed from
the inbox, with a pause where the inbox is empty or a face has waited for long enough. The process ends with its stdin,
so none is left behind when the service is killed. Signals are the service's business.
"""

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from mien.errors import MienError
from mien.serving.frames import Frame, pack, read_frame
from mien.serving.settings import ReaderSettings

if TYPE_CHECKING:
    from mien.faces.base import Detection, Detector
    from mien.reading.items import Item, Pause
    from mien.reading.reader import Reader


class TooManyFaces(MienError):
    """A picture with more faces than the service reads."""

    type = "too_many_faces"


#: Pictures that are answered together, fewer where fewer wait. A larger batch saves less than it costs: while all
#: clients wait for their answers they send nothing, and the process has nothing to read.
BATCH = 4


class LimitedDetector:
    """A detector that refuses crowds before their faces are cropped and classified."""

    def __init__(self, detector: "Detector", *, most: int, min_face: float | None) -> None:
        self.name = detector.name  # the geometry of crops depends on it
        self._detector, self._most, self._least = detector, most, min_face or 0

    def detect(self, image: Any, /) -> "list[Detection]":
        found = self._detector.detect(image)
        count = sum(min(face.box.w, face.box.h) >= self._least for face in found)
        if count > self._most:
            raise TooManyFaces(
                f"expected at most {self._most} faces, got {count}",
                hint="cut the picture into parts; the service's --max-faces sets the limit",
            )
        return found


def make_readers(settings: ReaderSettings) -> "dict[str, Reader]":
    """A reader for each model, by the name under which requests ask for it; they share one detector."""
    from mien.faces.detector import make_detector
    from mien.onnx_runtime import usable_threads
    from mien.reading.classifier import model_name
    from mien.reading.reader import Reader

    detector = make_detector(**settings.of_detector(threads=usable_threads(settings.threads)))
    limited = LimitedDetector(detector, most=settings.max_faces, min_face=settings.min_face)
    options = settings.to_dict() | {"detector": limited}
    return {model_name(model): Reader(model, **options) for model in settings.models}


def describe_models(settings: ReaderSettings) -> list[dict[str, Any]]:
    """What ``GET /v1/models`` says of each model."""
    from mien.reading import classifier

    described = []
    for model in settings.models:
        loaded = classifier.Classifier.load(model, threads=1, device=settings.device, precision=settings.precision)
        described.append(classifier.describe(model, loaded) | {"sha256": loaded.digest})
    return described


def main() -> None:
    """Entry point of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the terminal and systemd send them to all processes of the group
        signal.signal(number, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # whatever a library prints must not stand between the frames
    frame = read_frame(requests)
    if frame is None:
        return
    options = frame[0] | {"models": tuple(frame[0]["models"])}
    settings = ReaderSettings(**options)
    try:
        readers = make_readers(settings)
        _send(replies, {"models": describe_models(settings)})
    except MienError as error:
        _send(replies, {"error": type(error).__name__, "message": error.message, "hint": error.hint})
        return
    inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, inbox), daemon=True).start()
    serve(readers, inbox, replies, max_wait=settings.max_wait)


def _receive(requests: IO[bytes], inbox: "queue.SimpleQueue[Frame]") -> None:
    while (frame := read_frame(requests)) is not None:
        inbox.put(frame)
    os._exit(0)  # the service is gone, or has all its answers


def serve(
    readers: "dict[str, Reader]", inbox: "queue.SimpleQueue[Frame]", replies: IO[bytes], *, max_wait: float
) -> None:
    """Read the pictures of the inbox for ever: a stream for each run of pictures with the same model."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode  # as the command
    feed = _Feed(inbox, max_wait=max_wait)
    while True:
        model = feed.wait()
        for result in readers[model].stream(feed.items(model)):
            assert result.item is not None
            number = feed.done(result.item)
            told = result.reading.to_dict()
            header = {"id": number, "faces": len(told.get("faces", ())), **told.get("error", {})}
            _send(replies, header, encode(told).encode("utf-8", errors="backslashreplace"))


class _Feed:
    """The inbox as the stream that a Reader takes."""

    def __init__(self, inbox: "queue.SimpleQueue[Frame]", *, max_wait: float) -> None:
        self._inbox, self._max_wait = inbox, max_wait
        self._next: Frame | None = None
        self._held: dict[int, tuple[Item, int]] = {}  # by the item's identity: the item, and its number
        self._since = 0.0

    def wait(self) -> str:
        """The model of the next picture, once there is one."""
        if self._next is None:
            self._next = self._inbox.get()
        return str(self._next[0]["model"])

    def items(self, model: str) -> "Iterator[Item | Pause]":
        """Pictures as they come, until one asks for another model."""
        from mien.reading.items import PAUSE, Item

        while True:
            if self._next is None and self._inbox.empty():
                yield PAUSE
            if self.wait() != model:
                return
            assert self._next is not None
            (header, data), self._next = self._next, None
            item = Item(header["name"], data)
            if not self._held:
                self._since = time.monotonic()
            self._held[id(item)] = item, header["id"]
            yield item
            enough = len(self._held) >= min(BATCH, self._inbox.qsize() + 1)
            if enough or (self._held and time.monotonic() - self._since > self._max_wait):
                yield PAUSE

    def done(self, item: "Item") -> int:
        """The number of an item that has been read."""
        self._since = time.monotonic()
        return self._held.pop(id(item))[1]


def _send(replies: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    try:
        replies.writelines(pack(header, body))
        replies.flush()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
