"""The face detectors by name.

``yunet``, the default, and ``centerface`` find faces in photos (see :mod:`mien.faces.yunet` and
:mod:`mien.faces.centerface`, which is slower and comes with the extra ``thorough``); ``none`` is for pictures that are
face crops already, as data sets hold them.
"""

from mien.errors import UsageError
from mien.faces.base import Detection, Detector, Uint8, picture_size
from mien.onnx_runtime import check_device
from mien.results import Box

DETECTORS = ("yunet", "centerface", "none")
DEFAULT_DETECTOR = "yunet"
DETECT_SIZES = (32, 4096)  # the smallest and largest detect_size; 4096 takes about 2 GB of memory


class WholeImage:
    """The detector ``none``: each image is one face crop."""

    name = "none"

    def detect(self, image: Uint8) -> list[Detection]:
        height, width = picture_size(image)
        return [Detection(box=Box(0.0, 0.0, float(width), float(height)), score=1.0, is_crop=True)]


def make_detector(
    name: str,
    *,
    detect_size: int | None = None,
    threads: int = 1,
    min_score: float | None = None,
    turned: bool = True,
    device: str = "cpu",
) -> Detector:
    """The detector of that name: one of :data:`DETECTORS`.

    detect_size: the longer side, in pixels, at which a picture is searched (default: chosen for each picture).
    threads: processor threads that one search uses. min_score: faces with a lower score, 0-1, are left out
    (default: the detector's own). turned: also find faces in pictures that lie on their side or upside down, and leave
    out finds that are no face (:mod:`mien.faces.upright`). device: "cpu" or "cuda". ``none`` needs none of these, but
    they are checked all the same. Raises UsageError for an unknown name, an option out of range or a device that cannot
    be used, ModelError where the weights cannot be used.
    """
    if name not in DETECTORS:
        raise UsageError(
            f"expected a face detector ({', '.join(DETECTORS)}), got {name!r}",
            hint="'none' takes each image as one face crop",
        )
    low, high = DETECT_SIZES
    if detect_size is not None and not low <= detect_size <= high:
        raise UsageError(f"expected a detect size of {low}-{high} pixels, got {detect_size}")
    if threads < 1:
        raise UsageError(f"expected at least 1 thread, got {threads}")
    if min_score is not None and not 0 < min_score <= 1:
        raise UsageError(f"expected a smallest detection score above 0 and up to 1, got {min_score}")
    check_device(device)
    if name == WholeImage.name:
        return WholeImage()
    from mien.faces.upright import UprightDetector  # loads ONNX Runtime

    own = {} if min_score is None else {"min_score": min_score}
    detector: Detector
    if name == "yunet":
        from mien.faces.yunet import YuNet

        detector = YuNet(detect_size=detect_size, threads=threads, device=device, **own)
    else:
        from mien.faces.centerface import CenterFace

        detector = CenterFace(detect_size=detect_size, threads=threads, device=device, **own)
    return UprightDetector(detector, threads=threads, device=device) if turned else detector
