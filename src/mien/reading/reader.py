"""The reader: pictures in, faces with expressions out; one by one, or streamed with batches across pictures.

Pictures are decoded and searched one at a time; their face crops gather until a batch is full (or the answers have
waited long enough) and go through the network together. Memory is bounded by the batch, results keep the order of the
inputs, and one bad input becomes one ``ReadFailure``.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError, MienError, UsageError
from mien.imaging import MAX_PIXELS, OnNote, Source, load_rgb
from mien.reading.classifier import DEFAULT_MODEL, Classifier, default_threads
from mien.reading.inputs import Item, Pause
from mien.results import Box, Face, ReadFailure, Reading

if TYPE_CHECKING:
    from mien.faces.detector import Detection

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

LATENCY_S = 0.25  # answers of a stream are held back for a fuller batch no longer than this
HELD_PIXELS = 64_000_000  # decoded pictures that wait for their batch when the caller wants them back


class FaceDetector(Protocol):
    """What the reader asks of a detector: see :mod:`mien.faces.detector`."""

    def detect(self, image: Uint8, /) -> "list[Detection]": ...


@dataclass(slots=True)
class _Waiting:
    """A picture whose faces wait for the network."""

    source: str
    width: int
    height: int
    faces: list[tuple[Box, float, Uint8]] = field(default_factory=list)  # box, score, pixels C×S×S
    picture: Uint8 | None = None
    failure: ReadFailure | None = None
    item: Item | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One answer of :meth:`Reader.stream`: the reading or failure, its picture if wanted, and the item it came from."""

    reading: Reading | ReadFailure
    picture: Uint8 | None = None
    item: Item | None = None


class Reader:
    """Finds the faces of a picture and reads their expressions, offline.

    model: ``"compact"``, ``"nano"``, or the path of an ONNX file that mien exported. detector: ``"centerface"``,
    ``"none"`` (each picture is one face crop), or an object with ``detect(rgb)``. threads: of each network, at most
    one a core; None takes all cores of the process. detect_size: longest side in pixels at which faces are searched;
    None chooses for the picture. tta: mean over ten crops of each face. min_confidence: below it, 0-1, ``expression``
    is None. max_pixels: limit of width × height of a picture. batch_size: face crops of one run of the network.

    ``labels`` are the model's expressions in the order of its probabilities. Raises UsageError, ModelError.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = "centerface",
        threads: int | None = None,
        detect_size: int | None = None,
        tta: bool = False,
        min_confidence: float = 0.0,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 64,
    ) -> None:
        _at_least("threads", threads, 1)
        _at_least("max_pixels", max_pixels, 1)
        _at_least("batch_size", batch_size, 1)
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"expected min_confidence 0-1, got {min_confidence}")
        # more threads than cores only wait for each other, and thousands of them take all memory
        threads = min(threads or default_threads(), default_threads())
        self._classifier = Classifier.load(model, threads=threads)
        if isinstance(detector, str):
            from mien.faces.detector import make_detector

            detector = make_detector(detector, detect_size=detect_size, threads=threads)
        self._detector = detector
        self._tta = tta
        self._min_confidence = min_confidence
        self._max_pixels = max_pixels
        self._batch_size = batch_size

    @property
    def labels(self) -> tuple[str, ...]:
        return self._classifier.labels

    def read(self, source: Source, *, name: str | None = None, on_note: OnNote | None = None) -> Reading:
        """One picture: a path, the bytes of a file, a PIL image, or an array (see ``imaging.load_rgb``).

        name: ``Reading.source``; by default the path, or ``<bytes>``, ``<image>``, ``<array>``. on_note: called with a
        line about what was left out, such as later frames. Raises ImageError.
        """
        item = _as_item(source, name)
        waiting = self._look(item, on_note, keep_picture=False)
        (result,) = self._finish([waiting])
        assert isinstance(result.reading, Reading)
        return result.reading

    def read_many(
        self, sources: Iterable[Source | Item | Pause], *, on_note: OnNote | None = None
    ) -> Iterator[Reading | ReadFailure]:
        """Each source's reading, or the failure that says why there is none; in order, as a stream.

        on_note: called with ``"SOURCE: what was left out"``.
        """
        for result in self.stream(sources, on_note=on_note):
            yield result.reading

    def stream(
        self,
        sources: Iterable[Source | Item | Pause],
        *,
        keep_pictures: bool = False,
        on_note: OnNote | None = None,
    ) -> Iterator[Result]:
        """As ``read_many``, with the decoded picture (uint8 H×W×3) beside each result if ``keep_pictures``."""
        held: list[_Waiting] = []
        crops = pixels = 0
        since = -np.inf  # the first picture is answered at once
        for source in sources:
            if not isinstance(source, Pause):
                waiting = self._try(_as_item(source, None), on_note, keep_pictures)
                held.append(waiting)
                crops += len(waiting.faces)
                pixels += 0 if waiting.picture is None else waiting.width * waiting.height
            late = time.monotonic() - since > LATENCY_S
            full = crops >= self._batch_size or len(held) >= 4 * self._batch_size or pixels > HELD_PIXELS
            if held and (isinstance(source, Pause) or late or full):
                yield from self._finish(held)
                held, crops, pixels, since = [], 0, 0, time.monotonic()
        yield from self._finish(held)

    def classify(self, crops: NDArray[Any] | Sequence[NDArray[Any]]) -> Float32:
        """Face crops → calibrated probabilities float32 N×K, in the order of ``labels``.

        crops: N×H×W or N×H×W×C, or a list of pictures of any size, each as ``imaging.load_rgb`` takes an array. What is
        not square is padded to a square, never squashed; a strip, longer than 4 times its width, is an ImageError.
        Raises ImageError.
        """
        preprocess = self._classifier.preprocess
        return self._probabilities([preprocess.pixels(load_rgb(crop)) for crop in crops])

    def _try(self, item: Item, on_note: OnNote | None, keep_picture: bool) -> _Waiting:
        """``_look``, with whatever goes wrong as a failure: a stream of a million pictures ends for none of them."""
        if item.failure is not None:
            return _Waiting(item.source, 0, 0, failure=item.failure, item=item)
        note = None if on_note is None else (lambda text: on_note(f"{item.source}: {text}"))
        try:
            return self._look(item, note, keep_picture)
        except MienError as error:
            kind, message = error.type, str(error)
        except MemoryError:
            kind, message = "too_large", "the picture does not fit into memory"
        except Exception as error:  # a fault of ours; `mien --debug` shows the traceback
            import logging

            logging.getLogger("mien").debug("while reading %s", item.source, exc_info=True)
            kind, message = "internal", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return _Waiting(item.source, 0, 0, failure=ReadFailure(item.source, kind, message), item=item)

    def _look(self, item: Item, on_note: OnNote | None, keep_picture: bool) -> _Waiting:
        """Decode one picture and cut out its faces, largest first."""
        if item.data is None:
            raise ImageError("there is nothing to read", kind="missing")
        rgb = load_rgb(item.data, max_pixels=self._max_pixels, on_note=on_note)
        height, width, _ = rgb.shape
        waiting = _Waiting(item.source, width, height, picture=rgb if keep_picture else None, item=item)
        preprocess = self._classifier.preprocess
        for found in self._detector.detect(rgb):
            box = _inside(found.box, width, height)
            if box is not None:
                score = min(max(float(found.score), 0.0), 1.0)
                waiting.faces.append((box, score, preprocess.pixels(_crop(rgb, found, preprocess.size))))
        waiting.faces.sort(key=lambda face: face[0].w * face[0].h, reverse=True)
        return waiting

    def _finish(self, held: list[_Waiting]) -> Iterator[Result]:
        """Classify all crops of the held pictures together and hand out their readings in order."""
        rows = iter(self._probabilities([pixels for waiting in held for _, _, pixels in waiting.faces]))
        for waiting in held:
            if waiting.failure is not None:
                yield Result(waiting.failure, item=waiting.item)
                continue
            faces = tuple(self._face(box, score, next(rows)) for box, score, _ in waiting.faces)
            reading = Reading(waiting.source, waiting.width, waiting.height, faces)
            yield Result(reading, waiting.picture, waiting.item)

    def _face(self, box: Box, score: float, row: Float32) -> Face:
        probabilities = dict(zip(self.labels, row.tolist(), strict=True))
        top = max(probabilities, key=probabilities.__getitem__)
        confidence = probabilities[top]
        return Face(box, score, top if confidence >= self._min_confidence else None, confidence, probabilities)

    def _probabilities(self, pixels: list[Uint8]) -> Float32:
        parts = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(pixels), self._batch_size):
            batch = np.stack(pixels[start : start + self._batch_size])
            parts.append(self._classifier.probabilities(batch, tta=self._tta))
        return np.concatenate(parts)


def _crop(rgb: Uint8, found: "Detection", size: int) -> Uint8:
    if found.is_crop:  # the picture is the crop: no resampling but the network's own
        return rgb
    from mien.faces.align import CropGeometry, align_crop

    return align_crop(rgb, found, size=size, geometry=CropGeometry.default())


def _as_item(source: Source | Item, name: str | None) -> Item:
    if isinstance(source, Item):
        return source
    if name is None:
        if isinstance(source, (bytes, bytearray, memoryview)):
            name = "<bytes>"
        elif isinstance(source, np.ndarray):
            name = "<array>"
        else:
            # PIL images keep the name of the file that they were opened from
            name = getattr(source, "filename", None) or (str(source) if not hasattr(source, "mode") else "<image>")
    return Item(str(name), source)


def _inside(box: Box, width: int, height: int) -> Box | None:
    """The part of a detector's box that lies in the picture; None where less than a pixel is left."""
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, bottom = min(float(width), box.x + box.w), min(float(height), box.y + box.h)
    return Box(left, top, right - left, bottom - top) if right - left >= 1 and bottom - top >= 1 else None


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"expected {name} of at least {least}, got {value}")
