"""Work ahead in another thread: decoding, detection and reading overlap, with bounded queues and the order kept."""

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

_END = object()
T = TypeVar("T")


def ahead(source: Iterator[T], size: int) -> Iterator[T]:
    """The items of ``source``, which runs in a thread of its own, up to ``size`` items ahead.

    An exception of the source is raised where its item would have come. Closing this iterator ends the thread and
    closes the source.
    """
    items: queue.Queue[Any] = queue.Queue(max(1, size))
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                items.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in source:
                put((item, None))
                if stop.is_set():
                    break
            put((_END, None))
        except BaseException as error:
            put((_END, error))
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="mien-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if item is _END:
                if error is not None:
                    raise error
                return
            yield item
    finally:
        stop.set()
        thread.join(timeout=10)
