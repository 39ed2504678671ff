"""The reader: pictures in, faces with expressions out; one by one, or streamed with batches across pictures.

Pictures are decoded and searched one at a time, or in a stream by as many threads as the reader has; their face crops
are collected until a batch is full (or the results have waited long enough) and go through the network together.
Memory is bounded by the batch and the threads, results keep the order of the inputs, and one bad input becomes one
``ReadFailure``.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError, ModelError, UsageError
from mien.faces.detector import DEFAULT_DETECTOR
from mien.imaging import MAX_PIXELS, OnNote, Source
from mien.onnx_runtime import check_device, usable_threads
from mien.reading.classifier import DEFAULT_MODEL, SHIPPED, Classifier, Model, ModelMeta
from mien.reading.cropper import Cropped, FaceCrop, FaceCropper, FaceDetector, movable
from mien.reading.items import Item, Pause
from mien.reading.overlap import in_order
from mien.reading.sources import many, one
from mien.results import Face, ReadFailure, Reading

if TYPE_CHECKING:
    from mien.faces.base import Detection

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

LATENCY_S = 0.25  # results of a stream wait for a fuller batch no longer than this
AHEAD, AHEAD_WITH_PICTURES = 16, 2  # pictures a thread that are looked at before their turn; crops are small
HELD_PIXELS = 64_000_000  # decoded pictures that wait for their batch when the caller wants them back


@dataclass(frozen=True, slots=True)
class Result:
    """One result of :meth:`Reader.stream`.

    Attributes:
        reading: the reading, or the failure that says why there is none.
        picture: uint8 H×W×3 in RGB, upright, where the caller asked for it; else None.
        item: what the source was wrapped in, where it was an ``Item``; else None.

    Examples:
        >>> from mien import Reader
        >>> (result,) = Reader("nano").stream(["photo.jpg"], keep_pictures=True)
        >>> result.reading.faces[0].expression, result.picture.shape
        ('happy', (512, 512, 3))
    """

    reading: Reading | ReadFailure
    picture: Uint8 | None = None
    item: Item | None = None


class Reader:
    """Finds the faces of a picture and reads their expressions, offline.

    Pictures are paths, bytes, open binary files, ``data:`` URLs, PIL images, or arrays H×W, H×W×1, H×W×3 or H×W×4 in
    **RGB** order (OpenCV's BGR is turned by ``array[..., ::-1]``); ``imaging.load_rgb`` has the details.

    A reader can be copied, pickled and sent to processes (spawn pools, joblib, Ray). A shipped model travels by name
    and a file by its path, with a checksum, so that another file in its place is an error; a model given as bytes and
    a detector given as an object travel whole. A process loads each network once.

    Sources: YuNet (Wu et al. 2023), CenterFace (Xu et al. 2019, arXiv 1911.03599); the model cards name those of the
    shipped models.

    Args:
        model: ``"compact"``, ``"nano"``, or an ONNX file that mien exported, as its path or its bytes.
        detector: ``"yunet"``, ``"centerface"`` (extra ``thorough``; slower, finds more small faces), ``"none"`` (each
            picture is one face crop), or an object with ``detect(rgb)``.
        threads: of each network, and how many pictures of a stream are worked on at once; at most one a core; None: all
            cores.
        detect_size: longest side, in pixels, at which faces are searched; None: chosen for each picture.
        tta: mean over ten crops of each face.
        min_confidence: 0-1; below it ``expression`` is None.
        min_score: 0-1; faces with a lower detection score are left out; None: yunet 0.6, centerface 0.4.
        min_face: pixels; faces whose box has a shorter side below that are left out.
        turned: with a detector of mien's, read photos that lie on their side or upside down as upright ones, and leave
            out detections that are no face.
        max_pixels: largest width × height.
        batch_size: face crops of one run of the network.
        device: ``"cpu"``, or ``"cuda"`` with the package onnxruntime-gpu.
        precision: of a shipped model: ``"fp32"``, ``"int8"``, or ``"auto"``: int8 where the processor computes it
            exactly, which is two to three times as fast.
        reduced_jpegs: decode JPEGs above 5,504 pixels (for yunet) at a part of their size where every face stays large
            enough: twice as fast; probabilities change by 0.005 on average, at most 0.03 (``docs/speed.md``).

    Raises:
        UsageError: an option out of range, or a model file that is not there.
        ModelError: a model file that is broken or not one of mien's.
        MissingExtra: a detector whose package is not installed.

    Examples:
        >>> from mien import Reader
        >>> reader = Reader("nano", threads=1)
        >>> reader.labels
        ('angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral')
        >>> reader.options["detector"], reader.threads, reader.min_confidence, reader.meta.name
        ('yunet', 1, 0.0, 'nano')
        >>> reader.max_pixels, len(reader.digest), reader.fingerprint.startswith(reader.digest)
        (100000000, 64, True)
    """

    def __init__(
        self,
        model: Model = DEFAULT_MODEL,
        *,
        detector: str | FaceDetector = DEFAULT_DETECTOR,
        threads: int | None = None,
        detect_size: int | None = None,
        tta: bool = False,
        min_confidence: float = 0.0,
        min_score: float | None = None,
        min_face: float | None = None,
        turned: bool = True,
        max_pixels: int = MAX_PIXELS,
        batch_size: int = 64,
        device: str = "cpu",
        precision: str = "auto",
        reduced_jpegs: bool = False,
    ) -> None:
        _at_least("threads", threads, 1)
        _at_least("max_pixels", max_pixels, 1)
        _at_least("batch_size", batch_size, 1)
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"expected min_confidence 0-1, got {min_confidence}")
        if min_score is not None and not 0 < min_score <= 1:
            raise UsageError(f"expected min_score above 0 and up to 1, got {min_score}")
        if min_face is not None and not 0 <= min_face < float("inf"):
            raise UsageError(f"expected min_face in pixels, 0 or more, got {min_face}")
        check_device(device)
        if not isinstance(model, bytes) and os.fspath(model) not in SHIPPED:
            model = os.path.abspath(model)  # another process may stand in another folder
        self._options: dict[str, Any] = {
            "model": model,
            "detector": detector,
            "threads": threads,
            "detect_size": detect_size,
            "tta": tta,
            "min_confidence": min_confidence,
            "min_score": min_score,
            "min_face": min_face,
            "turned": turned,
            "max_pixels": max_pixels,
            "batch_size": batch_size,
            "device": device,
            "precision": precision,
            "reduced_jpegs": reduced_jpegs,
        }
        self._set_up(_load_classifier, _load_detector)

    def _set_up(self, load_classifier: Callable[..., Classifier], load_detector: Callable[..., FaceDetector]) -> None:
        options = self._options
        threads = usable_threads(options["threads"])
        self._classifier = load_classifier(options["model"], threads, options["device"], options["precision"])
        detector = options["detector"]
        if isinstance(detector, str):
            least, turned = options["min_score"], options["turned"]
            detector = load_detector(detector, options["detect_size"], threads, least, turned, options["device"])
        self._detector: FaceDetector = detector
        self._alone: FaceDetector | None = None
        self._threads = threads
        self._tta: bool = options["tta"]
        self._min_confidence: float = options["min_confidence"]
        self._batch_size: int = options["batch_size"]
        limits = {name: options[name] for name in ("min_score", "min_face", "max_pixels", "reduced_jpegs")}
        self._cropper = FaceCropper(self._classifier.preprocess, detector, **limits)

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._options, "digest": self._classifier.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._options = state["options"]
        self._set_up(_kept_classifier, _kept_detector)
        if self._classifier.digest != state["digest"]:
            _kept_classifier.cache_clear()  # the file may have been put right in the meantime
            self._set_up(_kept_classifier, _kept_detector)
        if self._classifier.digest != state["digest"]:
            name = self._classifier.meta.name
            raise ModelError(
                f"expected the model {name!r} with which this reader was pickled, got another one under its name",
                hint="bring both sides to the same file and release of mien, or make the reader from the model's bytes",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels, in the order of its probabilities."""
        return self._classifier.labels

    def read(self, source: Source, *, name: str | None = None, on_note: OnNote | None = None) -> Reading:
        """Read one picture.

        Args:
            source: a path, bytes, an open file, a ``data:`` URL, a PIL image or an array (see the class).
            name: becomes ``Reading.source``; by default the path, or ``<bytes>``, ``<image>``, ``<array>``.
            on_note: called with a line about what was left out, such as later frames.

        Raises:
            ImageError: a picture that cannot be read.
            UsageError: several pictures.

        Examples:
            >>> face = Reader("nano").read("photo.jpg").faces[0]
            >>> face.expression
            'happy'
        """
        item = one(source, name)
        (result,) = self._finish([self._cropper.look(item, on_note)])
        assert isinstance(result.reading, Reading)
        return result.reading

    def read_many(
        self, sources: Iterable[Source | Item | Pause], *, on_note: OnNote | None = None
    ) -> Iterator[Reading | ReadFailure]:
        """Read many pictures, as a stream: each source's reading in order, or the failure that says why there is none.

        Args:
            sources: an iterable of what ``read`` takes; or an array N×H×W or N×H×W×C.
            on_note: called with ``"SOURCE: what was left out"``.

        Raises:
            UsageError: a single picture in place of several.

        Examples:
            >>> for result in Reader("nano").read_many(["photo.jpg", "gone.jpg"]):
            ...     print(result.source, type(result).__name__)
            photo.jpg Reading
            gone.jpg ReadFailure
        """
        results = self._stream(many(sources, call="read_many"), False, on_note)
        return (result.reading for result in results)

    def stream(
        self,
        sources: Iterable[Source | Item | Pause],
        *,
        keep_pictures: bool = False,
        on_note: OnNote | None = None,
    ) -> Iterator[Result]:
        """As ``read_many``, with more about each result.

        Args:
            sources: as of ``read_many``.
            keep_pictures: give the decoded picture beside each result.
            on_note: as of ``read_many``.

        Raises:
            UsageError: a single picture in place of several.

        Examples:
            >>> [result.reading.source for result in Reader("nano").stream(["photo.jpg"])]
            ['photo.jpg']
        """
        return self._stream(many(sources, call="stream"), keep_pictures, on_note)

    def _stream(
        self, sources: Iterator[Source | Item | Pause], keep_pictures: bool, on_note: OnNote | None
    ) -> Iterator[Result]:
        held: list[Cropped] = []
        crops = pixels = 0
        since = -np.inf  # the first picture is not held back
        threads, detector = self._threads, self._detector
        if threads > 1 and isinstance(self._options["detector"], str):
            detector = self._detector_of_one_thread()
        else:  # an object of the caller's need not be safe to share
            threads = 1

        def look(source: Source | Item) -> tuple[Cropped, list[str]]:
            notes: list[str] = []  # told by the caller's thread, in order
            return self._cropper.try_look(
                source, on_note and notes.append, keep_picture=keep_pictures, detector=detector
            ), notes

        ahead = AHEAD_WITH_PICTURES if keep_pictures else AHEAD
        for seen in in_order(sources, look, threads=threads, movable=movable, ahead=ahead):
            if not isinstance(seen, Pause):
                waiting, notes = seen
                for note in notes if on_note is not None else ():
                    on_note(note)  # type: ignore[misc]
                held.append(waiting)
                crops += len(waiting.faces)
                pixels += 0 if waiting.picture is None else waiting.width * waiting.height
            late = time.monotonic() - since > LATENCY_S
            full = crops >= self._batch_size or len(held) >= 4 * self._batch_size or pixels > HELD_PIXELS
            if held and (isinstance(seen, Pause) or late or full):
                yield from self._finish(held)
                held, crops, pixels, since = [], 0, 0, time.monotonic()
        yield from self._finish(held)

    def video(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float | None = None,
        every: int | None = None,
        start: float | None = None,
        end: float | None = None,
        smooth: float | None = None,
        track: bool = True,
        on_note: OnNote | None = None,
    ) -> Iterator[Reading]:
        """Read a video file, frame by frame in order: ``time_s`` is a frame's time, ``Face.track`` the person.

        Args:
            path: the file; any container and codec of FFmpeg.
            fps: frames read a second at most, above 0 and up to 1,000; None: all.
            every: faces are searched in each n-th frame that is read, 1-100, and followed between; None: at least six
                searches a second.
            start: seconds of the video, included; None: from the beginning.
            end: seconds of the video, included; None: to the end.
            smooth: width in seconds, 0-60, of the window in which probabilities are averaged; 0: none; None: 0.4.
            track: follow persons through the frames; smoothing needs it.
            on_note: called with a line about what was left out.

        Raises:
            ImageError: at once for a file that is no video; after what could be decoded for a damaged one.
            UsageError: an option out of range.
            MissingExtra: the extra ``video`` is not installed.

        Examples:
            >>> for reading in Reader("nano").video("clip.mp4", fps=2):
            ...     print(reading.time_s, [face.track for face in reading.faces])
            0.0 [1]
            0.5 [1]
        """
        from mien.video.read import VideoReader
        from mien.video.settings import VideoSettings

        settings = VideoSettings(fps=fps, every=every, start=start, end=end, smooth=smooth, track=track)
        opened = VideoReader(path, self, settings, on_note=on_note)

        def readings() -> Iterator[Reading]:
            for result in opened.read():
                if isinstance(result, ReadFailure):
                    raise ImageError(result.message, kind=result.type)
                yield result

        return readings()

    def read_faces(self, found: "Sequence[tuple[Uint8, Sequence[Detection]]]") -> list[tuple[Face, ...]]:
        """Read faces that have been detected already; the crops of all pictures go through the network together.

        Args:
            found: pictures uint8 H×W×3 in RGB, each with its detections.

        Returns:
            The faces of each picture, in the order of its detections; those below ``min_score`` or ``min_face`` are
            left out.

        Examples:
            >>> import numpy as np
            >>> from PIL import Image
            >>> reader, rgb = Reader("nano"), np.asarray(Image.open("photo.jpg"))
            >>> ((face,),) = reader.read_faces([(rgb, reader.detector.detect(rgb))])
            >>> face.expression
            'happy'
        """
        cut = [[self._cropper.cut(rgb, detection) for detection in detections] for rgb, detections in found]
        faces = [[face for face in row if face is not None] for row in cut]
        rows = iter(self._probabilities([face.pixels for row in faces for face in row]))
        return [tuple(self._face(face, next(rows)) for face in row) for row in faces]

    @property
    def detector(self) -> FaceDetector:
        """What finds the faces."""
        return self._detector

    @property
    def min_confidence(self) -> float:
        """Below it, 0-1, ``expression`` is None."""
        return self._min_confidence

    @property
    def max_pixels(self) -> int:
        """Largest width × height of a picture."""
        maximum: int = self._options["max_pixels"]
        return maximum

    @property
    def threads(self) -> int:
        """Of each network."""
        return self._threads

    @property
    def options(self) -> dict[str, Any]:
        """As given to the constructor, a model file by its absolute path; a copy."""
        return dict(self._options)

    @property
    def meta(self) -> ModelMeta:
        """What the model's file says about itself."""
        return self._classifier.meta

    @property
    def digest(self) -> str:
        """SHA-256 of the model's file, as hex."""
        return self._classifier.digest

    @property
    def fingerprint(self) -> str:
        """Of all that decides what is read of a picture: options, and the model's SHA-256."""
        free = ("model", "threads", "batch_size", "max_pixels")
        options = {name: str(value) for name, value in self._options.items() if name not in free}
        return f"{self._classifier.digest} {options}"

    def classify(self, crops: NDArray[Any] | Sequence[NDArray[Any]]) -> Float32:
        """Face crops → calibrated probabilities float32 N×K, in the order of ``labels``; no face is searched.

        Args:
            crops: uint8 N×H×W or N×H×W×C, or a list of pictures of any size, each as ``read`` takes it; padded to a
                square where they are none. (A three-dimensional array whose last side is 1, 3 or 4 is one picture.)

        Raises:
            ImageError: a picture that cannot be read, or a strip longer than four times its width.
            UsageError: a single picture in place of several.

        Examples:
            >>> import numpy as np
            >>> Reader("nano").classify(np.zeros((5, 48, 48), np.uint8)).shape
            (5, 7)
        """
        preprocess = self._classifier.preprocess
        pictures = (self._cropper.decode(one(crop), None) for crop in many(crops, call="classify"))
        return self._probabilities([preprocess.pixels(picture) for picture in pictures])

    def _detector_of_one_thread(self) -> FaceDetector:
        """The same detector for several threads that each search a picture: made when a stream first needs it."""
        if self._alone is None:
            options = self._options
            least, turned, name = options["min_score"], options["turned"], options["detector"]
            self._alone = _load_detector(name, options["detect_size"], 1, least, turned, options["device"])
        return self._alone

    def _finish(self, held: list[Cropped]) -> Iterator[Result]:
        """Classify all crops of the held pictures together and hand out their readings in order."""
        rows = iter(self._probabilities([face.pixels for waiting in held for face in waiting.faces]))
        for waiting in held:
            if waiting.failure is not None:
                yield Result(waiting.failure, item=waiting.item)
                continue
            faces = tuple(self._face(found, next(rows)) for found in waiting.faces)
            reading = Reading(waiting.source, waiting.width, waiting.height, faces)
            yield Result(reading, waiting.picture, waiting.item)

    def _face(self, found: FaceCrop, row: Float32) -> Face:
        probabilities = dict(zip(self.labels, row.tolist(), strict=True))
        top = max(probabilities, key=probabilities.__getitem__)
        confidence, pose = probabilities[top], found.pose
        return Face(
            box=found.box,
            score=found.score,
            expression=top if confidence >= self._min_confidence else None,
            confidence=confidence,
            probabilities=probabilities,
            landmarks=found.landmarks,
            roll=None if pose is None else pose.roll,
            yaw=None if pose is None else pose.yaw,
            pitch=None if pose is None else pose.pitch,
        )

    def _probabilities(self, pixels: list[Uint8]) -> Float32:
        parts = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(pixels), self._batch_size):
            batch = np.stack(pixels[start : start + self._batch_size])
            parts.append(self._classifier.probabilities(batch, tta=self._tta))
        return np.concatenate(parts)


def _load_classifier(model: Model, threads: int, device: str, precision: str) -> Classifier:
    return Classifier.load(model, threads=threads, device=device, precision=precision)


def _load_detector(
    name: str, detect_size: int | None, threads: int, min_score: float | None, turned: bool, device: str
) -> FaceDetector:
    from mien.faces.detector import make_detector

    return make_detector(
        name, detect_size=detect_size, threads=threads, min_score=min_score, turned=turned, device=device
    )


# Pools send a reader with every task; its networks are loaded by the first in each process.
_kept_classifier = lru_cache(maxsize=4)(_load_classifier)
_kept_detector = lru_cache(maxsize=4)(_load_detector)


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"expected {name} of at least {least}, got {value}")
