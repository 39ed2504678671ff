"""Pictures of a stream looked at by several threads at once, their results in the order of the inputs.

The source is advanced by the caller's thread alone, and no further than ``ahead`` pictures a thread, so that memory
stays bounded whatever is slow, and the threads have work while the caller's classifies a batch. Pauses keep their
place: what came before a pause is handed out before it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mien.reading.items import Pause

Made = TypeVar("Made")


def in_order(
    sources: Iterable[Any],
    work: Callable[[Any], Made],
    *,
    threads: int,
    movable: Callable[[Any], bool],
    ahead: int,
) -> Iterator[Made | Pause]:
    """``work`` of each source, and each pause, in order; an exception of ``work`` comes in its turn.

    movable: whether a source stays as it is while the next ones are fetched, as a path or bytes do; others, such as an
    array that may be written again or an open file, are worked on at once, by the caller's thread. So is the first
    one, whose result nobody should wait for. ahead: how many a thread may be worked on or done
    and not yet taken. threads: at least 1; with 1 everything is done by the caller's thread.
    """
    if threads == 1:
        yield from (source if isinstance(source, Pause) else work(source) for source in sources)
        return
    waiting: deque[Future[Made]] = deque()
    first = True
    with ThreadPoolExecutor(threads, thread_name_prefix="mien") as pool:
        try:
            for source in sources:
                if isinstance(source, Pause) or first or not movable(source):
                    while waiting:
                        yield waiting.popleft().result()
                    yield source if isinstance(source, Pause) else work(source)
                    first = first and isinstance(source, Pause)
                    continue
                waiting.append(pool.submit(work, source))
                while waiting and (waiting[0].done() or len(waiting) > ahead * threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
