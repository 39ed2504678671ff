"""In which images of a store the reader finds a face: the same detector, with nothing added to the picture.

Slow (about 15 ms an image and core), so an audit does it only where it is asked to.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Uint8
from mien.data.audit.index import Picture, Progress
from mien.faces.base import Detection


class Detects(Protocol):
    """What finds faces in a picture: uint8 H×W×3, RGB."""

    def detect(self, image: Uint8, /) -> list[Detection]: ...


def count_faces(
    pictures: Iterator[Picture], detector: Detects, *, total: int, workers: int, progress: Progress
) -> NDArray[np.int16]:
    """int16 total: faces found in each picture, −1 where it cannot be read or was not given.

    detector: may be shared between threads. workers: pictures that are searched at a time.
    """
    found = np.full(total, -1, np.int16)

    def look(picture: Picture) -> tuple[int, int]:
        if picture.pixels is None:
            return picture.number, -1
        grey = picture.pixels.ndim == 2
        rgb = np.repeat(picture.pixels[:, :, None], 3, 2) if grey else picture.pixels
        return picture.number, len(detector.detect(rgb))

    done = 0
    with ThreadPoolExecutor(workers) as pool:
        while batch := [picture for _, picture in zip(range(16 * workers), pictures, strict=False)]:
            for number, faces in pool.map(look, batch):
                found[number] = faces
            done += len(batch)
            progress(done, total, "looking for faces")
    return found
