"""A stream of pictures, cut where a batch of face crops is full or its results have waited long enough.

Pictures are decoded and searched by as many threads as the reader has; memory is bounded by the batch and the threads.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np

from mien.imaging import OnNote, Source
from mien.reading.cropper import Cropped, movable
from mien.reading.items import Item, Pause
from mien.reading.overlap import in_order

LATENCY_S = 0.25  # results of a stream wait for a fuller batch no longer than this
AHEAD, AHEAD_WITH_PICTURES = 16, 2  # pictures a thread that are looked at before their turn; crops are small
HELD_PIXELS = 64_000_000  # decoded pictures that wait for their batch when the caller wants them back


def batches(
    sources: Iterator[Source | Item | Pause],
    look: Callable[[Source | Item, OnNote | None], Cropped],
    *,
    threads: int,
    size: int,
    keep_pictures: bool,
    on_note: OnNote | None,
) -> Iterator[list[Cropped]]:
    """Pictures whose faces go through the network together, in the order of the sources; at a pause all that is held.

    threads: that ``look`` at pictures at once. size: of a batch, in face crops. keep_pictures: whether ``look`` does.
    """
    held: list[Cropped] = []
    crops = pixels = 0
    since = -np.inf  # the first picture is not held back

    def noted(source: Source | Item) -> tuple[Cropped, list[str]]:
        notes: list[str] = []  # told by the caller's thread, in order
        return look(source, on_note and notes.append), notes

    ahead = AHEAD_WITH_PICTURES if keep_pictures else AHEAD
    for seen in in_order(sources, noted, threads=threads, movable=movable, ahead=ahead):
        if not isinstance(seen, Pause):
            waiting, notes = seen
            for note in notes if on_note is not None else ():
                on_note(note)  # type: ignore[misc]
            held.append(waiting)
            crops += len(waiting.faces)
            pixels += 0 if waiting.picture is None else waiting.width * waiting.height
        late = time.monotonic() - since > LATENCY_S
        full = crops >= size or len(held) >= 4 * size or pixels > HELD_PIXELS
        if held and (isinstance(seen, Pause) or late or full):
            yield held
            held, crops, pixels, since = [], 0, 0, time.monotonic()
    yield held
