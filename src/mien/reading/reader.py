"""The reader: pictures in, faces with expressions out; one by one, or streamed with batches across pictures.

``cropper`` finds and cuts out the faces, ``expressions`` reads them, ``batches`` puts the crops of a stream together.
Results keep the order of the inputs, and one bad input becomes one ``ReadFailure``.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mien.arrays import Float32, Uint8
from mien.errors import ImageError, ModelError
from mien.faces.detector import DEFAULT_DETECTOR, make_detector
from mien.imaging import MAX_PIXELS, OnNote, Source
from mien.onnx_runtime import usable_threads
from mien.reading.batches import batches
from mien.reading.classifier import DEFAULT_MODEL, SHIPPED, Classifier, Model, ModelMeta
from mien.reading.cropper import Cropped, FaceCropper, FaceDetector
from mien.reading.expressions import ExpressionReader
from mien.reading.items import Item, Pause
from mien.reading.options import ReaderOptions
from mien.reading.sources import many, one
from mien.results import Face, ReadFailure, Reading

if TYPE_CHECKING:
    from mien.faces.base import Detection


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

    The options, keyword arguments after ``model``, are those of :class:`mien.reading.options.ReaderOptions`.

    Sources: YuNet (Wu et al. 2023), CenterFace (Xu et al. 2019, arXiv 1911.03599); the model cards name those of the
    shipped models.

    Args:
        model: ``"compact"``, ``"nano"``, or an ONNX file that mien exported, as its path or its bytes.

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
        self._options = ReaderOptions(
            detector=detector,
            threads=threads,
            detect_size=detect_size,
            tta=tta,
            min_confidence=min_confidence,
            min_score=min_score,
            min_face=min_face,
            turned=turned,
            max_pixels=max_pixels,
            batch_size=batch_size,
            device=device,
            precision=precision,
            reduced_jpegs=reduced_jpegs,
        )
        if not isinstance(model, bytes) and os.fspath(model) not in SHIPPED:
            model = os.path.abspath(model)  # another process may stand in another folder
        self._model = model
        self._set_up(_load_classifier, make_detector)

    def _set_up(self, load_classifier: Callable[..., Classifier], load_detector: Callable[..., FaceDetector]) -> None:
        options = self._options
        self._threads = threads = usable_threads(options.threads)
        self._classifier = load_classifier(
            self._model, threads=threads, device=options.device, precision=options.precision
        )
        detector = options.detector
        if isinstance(detector, str):
            detector = load_detector(**options.of_detector(threads=threads))
        self._detector = detector
        self._cropper = FaceCropper(
            self._classifier.preprocess,
            self._detector,
            min_score=options.min_score,
            min_face=options.min_face,
            max_pixels=options.max_pixels,
            reduced_jpegs=options.reduced_jpegs,
        )
        self._expressions = ExpressionReader(self._classifier, options)

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self._model, "options": self._options, "digest": self._classifier.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._model, self._options = state["model"], state["options"]
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
        self, sources: Iterable[Source | Item | Pause], *, keep_pictures: bool = False, on_note: OnNote | None = None
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
        threads, detector = 1, self._detector  # an object of the caller's need not be safe to share
        if self._threads > 1 and isinstance(self._options.detector, str):
            threads, detector = self._threads, self._detector_of_one_thread
        size = self._options.batch_size
        look = partial(self._cropper.try_look, keep_picture=keep_pictures, detector=detector)
        for held in batches(sources, look, threads=threads, size=size, keep_pictures=keep_pictures, on_note=on_note):
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
            fps: most frames read per second, above 0 and up to 1,000; None: all.
            every: faces are detected in every n-th frame that is read, 1-100, and followed in between; None: at least
                six detections a second.
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
        return self._expressions.read([[face for face in row if face is not None] for row in cut])

    @property
    def detector(self) -> FaceDetector:
        """What finds the faces."""
        return self._detector

    @property
    def min_confidence(self) -> float:
        """Below it, 0-1, ``expression`` is None."""
        return self._options.min_confidence

    @property
    def max_pixels(self) -> int:
        """Largest width × height of a picture."""
        return self._options.max_pixels

    @property
    def threads(self) -> int:
        """Of each network."""
        return self._threads

    @property
    def options(self) -> dict[str, Any]:
        """As given to the constructor, a model file by its absolute path; a copy."""
        return {"model": self._model, **self._options.to_dict()}

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
        free = ("threads", "batch_size", "max_pixels")
        options = {name: str(value) for name, value in self._options.to_dict().items() if name not in free}
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
        return self._expressions.probabilities([preprocess.pixels(picture) for picture in pictures])

    @cached_property
    def _detector_of_one_thread(self) -> FaceDetector:
        """The same detector for several threads that each search a picture: made when a stream first needs it."""
        return make_detector(**self._options.of_detector(threads=1))

    def _finish(self, held: list[Cropped]) -> Iterator[Result]:
        """Classify all crops of the held pictures together and hand out their readings in order."""
        faces = self._expressions.read([waiting.faces for waiting in held])
        for waiting, found in zip(held, faces, strict=True):
            if waiting.failure is not None:
                yield Result(waiting.failure, item=waiting.item)
            else:
                reading = Reading(waiting.source, waiting.width, waiting.height, found)
                yield Result(reading, waiting.picture, waiting.item)


def _load_classifier(model: Model, **options: Any) -> Classifier:
    return Classifier.load(model, **options)


# Pools send a reader with every task; its networks are loaded by the first in each process.
_kept_classifier = lru_cache(maxsize=4)(_load_classifier)
_kept_detector = lru_cache(maxsize=4)(make_detector)
