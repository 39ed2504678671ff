"""How pictures are read: the options of readers, of the service and of bulk runs, checked in one place."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mien.errors import UsageError
from mien.faces.detector import DEFAULT_DETECTOR
from mien.imaging import MAX_PIXELS
from mien.onnx_runtime import check_device

if TYPE_CHECKING:
    from mien.reading.cropper import FaceDetector


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderOptions:
    """The keyword arguments of :class:`mien.Reader`, which may be given to several models.

    Attributes:
        detector: ``"yunet"``, ``"centerface"`` (extra ``thorough``; slower), ``"none"`` (each picture is one
            face crop), or an object with ``detect(rgb)``.
        threads: of each network, and how many pictures of a stream are worked on at once; at most one a core; None: all
            cores.
        detect_size: longer side of the picture for face detection, in pixels; None: chosen for each picture.
        tta: mean over ten crops of each face.
        min_confidence: 0-1; below it ``expression`` is None.
        min_score: 0-1; faces with a lower detection score are left out; None: yunet 0.6, centerface 0.4.
        min_face: pixels; faces whose box has a shorter side below that are left out.
        turned: with a detector of mien's, read photos that are sideways or upside down as if upright, and drop false
            detections.
        max_pixels: largest width × height.
        batch_size: face crops per forward pass.
        device: ``"cpu"``, or ``"cuda"`` with the package onnxruntime-gpu.
        precision: of a shipped model: ``"fp32"``, ``"int8"``, or ``"auto"``: int8 where the processor computes it
            exactly, which is two to three times as fast.
        reduced_jpegs: decode JPEGs above 5,504 pixels (for yunet) at a part of their size where every face stays large
            enough: twice as fast; probabilities change by 0.005 on average, at most 0.03 (``docs/speed.md``).

    Raises:
        UsageError: a number out of range, or a device that cannot be used. Detectors and precisions are checked by
            what loads them.

    Examples:
        >>> from mien import Reader
        >>> from mien.reading.options import ReaderOptions
        >>> options = ReaderOptions(detector="none", threads=1)
        >>> [Reader(model, **options.to_dict()).meta.name for model in ("nano", "compact")]
        ['nano', 'compact']
    """

    detector: "str | FaceDetector" = DEFAULT_DETECTOR
    threads: int | None = None
    detect_size: int | None = None
    tta: bool = False
    min_confidence: float = 0.0
    min_score: float | None = None
    min_face: float | None = None
    turned: bool = True
    max_pixels: int = MAX_PIXELS
    batch_size: int = 64
    device: str = "cpu"
    precision: str = "auto"
    reduced_jpegs: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "max_pixels", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"expected {name} of at least 1, got {value}")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"expected min_confidence 0-1, got {self.min_confidence}")
        if self.min_score is not None and not 0 < self.min_score <= 1:
            raise UsageError(f"expected min_score above 0 and up to 1, got {self.min_score}")
        if self.min_face is not None and not 0 <= self.min_face < float("inf"):
            raise UsageError(f"expected min_face in pixels, 0 or more, got {self.min_face}")
        check_device(self.device)

    def to_dict(self) -> dict[str, Any]:
        """The options by name; a detector object is not copied."""
        return {option.name: getattr(self, option.name) for option in fields(ReaderOptions)}

    def of_detector(self, *, threads: int) -> dict[str, Any]:
        """The arguments of ``make_detector``, where the detector is given by name."""
        names = ("detect_size", "min_score", "turned", "device")
        return {"name": self.detector, "threads": threads} | {name: getattr(self, name) for name in names}
