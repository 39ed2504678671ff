"""From one picture to the crops of its faces, which wait for the network: decode, detect, crop.

A reader has one :class:`FaceCropper`; the threads of a stream share it.
"""

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from mien.errors import ImageError, MienError, UsageError
from mien.imaging import Decoded, OnNote, Source, load_reduced, load_rgb
from mien.preprocess import Preprocess
from mien.reading.items import Item, failed
from mien.reading.sources import one
from mien.results import Box, Points, ReadFailure

if TYPE_CHECKING:
    from mien.faces.base import Detection, ReducedDetector
    from mien.faces.pose import Pose

Uint8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

#: times the finest side at which the detector searches: a reduced picture has that at least.
MARGIN = 2.0
LEAST_OF_READER = 2  # heights of the network's input that a face must have in a reduced picture


class FaceDetector(Protocol):
    """What the reader asks of a detector: see :mod:`mien.faces.base`."""

    def detect(self, image: Uint8, /) -> "list[Detection]": ...


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """A face that waits for the network: where it is in the picture, and its crop as uint8 C×S×S."""

    box: Box
    score: float
    landmarks: Points | None
    pose: "Pose | None"
    pixels: Uint8


@dataclass(slots=True)
class Cropped:
    """A picture whose faces wait for the network, or the failure that says why there are none.

    width, height: of the upright picture, pixels. picture: uint8 H×W×3 where the caller wants it back.
    """

    source: str
    width: int
    height: int
    faces: list[FaceCrop] = field(default_factory=list)
    picture: Uint8 | None = None
    failure: ReadFailure | None = None
    item: Item | None = None


class FaceCropper:
    """Decodes pictures and cuts out their faces for the reader whose ``preprocess`` is given.

    detector: for faces and for the geometry of their crops. min_score, min_face, max_pixels, reduced_jpegs: as for
    :class:`mien.reading.reader.Reader`.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        detector: FaceDetector,
        *,
        min_score: float | None,
        min_face: float | None,
        max_pixels: int,
        reduced_jpegs: bool,
    ) -> None:
        self._preprocess = preprocess
        self._detector = detector
        self._min_score = min_score or 0.0
        self._min_face = min_face or 0.0
        self._max_pixels = max_pixels
        self._reduced_jpegs = reduced_jpegs

    def try_look(
        self, source: Source | Item, on_note: OnNote | None, *, keep_picture: bool, detector: FaceDetector
    ) -> Cropped:
        """``look``, with any error as a failure: one picture never ends a stream."""
        try:
            item = one(source)
        except UsageError as error:
            item = failed(f"<{type(source).__name__}>", "unsupported", str(error))
        if item.failure is not None:
            return Cropped(item.source, 0, 0, failure=item.failure, item=item)
        note = None if on_note is None else (lambda text: on_note(f"{item.source}: {text}"))
        try:
            return self.look(item, note, keep_picture=keep_picture, detector=detector)
        except MienError as error:
            kind, message = error.type, str(error)
        except MemoryError:
            kind, message = "too_large", "the picture does not fit into memory"
        except Exception as error:  # a fault of ours; `mien --debug` shows the traceback
            import logging

            logging.getLogger("mien").debug("while reading %s", item.source, exc_info=True)
            kind, message = "internal", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Cropped(item.source, 0, 0, failure=ReadFailure(item.source, kind, message), item=item)

    def look(
        self, item: Item, on_note: OnNote | None, *, keep_picture: bool = False, detector: FaceDetector | None = None
    ) -> Cropped:
        """Decode one picture and cut out its faces, largest first; with another detector of the same name if given.

        With ``reduced_jpegs`` a large one is decoded at a part of its size if all that is found there is large enough.
        """
        if item.data is None:
            raise ImageError("there is nothing to read", kind="missing")
        detector = detector or self._detector
        decoded, faces = self._reduced(item.data, on_note, detector) if self._reduced_jpegs else (None, None)
        if decoded is None or faces is None:
            rgb = self.decode(item, on_note if decoded is None else None)  # notes are told once
            decoded = Decoded(rgb, *rgb.shape[:2])
            found = (self.cut(rgb, detection) for detection in detector.detect(rgb))
            faces = [face for face in found if face]
        faces.sort(key=lambda face: face.box.w * face.box.h, reverse=True)
        picture = None
        if keep_picture:
            picture = decoded.rgb if decoded.factor == 1 else self.decode(item, None)
        return Cropped(item.source, decoded.width, decoded.height, faces, picture, item=item)

    def _reduced(
        self, source: Source, on_note: OnNote | None, detector: FaceDetector
    ) -> tuple[Decoded | None, list[FaceCrop] | None]:
        """A picture, perhaps reduced, with its faces in pixels of the whole.

        No faces (None) where only the whole picture shows them well; no picture where the detector takes whole ones.
        """
        from mien.faces.base import NeedsWholePicture

        finest: int | None = getattr(detector, "finest_side", None)
        if finest is None:
            return None, None
        least = round(MARGIN * finest)
        decoded = load_reduced(source, least=least, max_pixels=self._max_pixels, on_note=on_note)
        if decoded.factor == 1:
            found = detector.detect(decoded.rgb)
        else:
            try:
                found = cast("ReducedDetector", detector).detect_reduced(decoded.rgb)
            except NeedsWholePicture:
                return decoded, None
            if any(face.box.h < LEAST_OF_READER * self._preprocess.size for face in found):
                return decoded, None
        return decoded, [crop for crop in (self.cut(decoded.rgb, face, decoded) for face in found) if crop]

    def decode(self, item: Item, on_note: OnNote | None) -> Uint8:
        if item.data is None:
            raise ImageError("there is nothing to read", kind="missing")
        return load_rgb(item.data, max_pixels=self._max_pixels, on_note=on_note)

    def cut(self, rgb: Uint8, detection: "Detection", decoded: Decoded | None = None) -> FaceCrop | None:
        """A detection in a picture (uint8 H×W×3) with its crop; None where it is left out.

        decoded: where ``rgb`` is reduced, how; what is returned then is in pixels of the whole picture.
        """
        placed = detection if decoded is None else _in_whole(detection, decoded)
        height, width = rgb.shape[:2] if decoded is None else (decoded.height, decoded.width)
        box, score = _inside(placed.box, width, height), min(max(float(detection.score), 0.0), 1.0)
        if box is None or score < self._min_score or min(box.w, box.h) < self._min_face:
            return None
        points = _points(placed)
        if points is None:
            detection = replace(detection, landmarks=None)
            return FaceCrop(box, score, None, None, self._pixels(rgb, detection))
        from mien.faces.pose import head_pose

        pixels = self._pixels(rgb, detection)
        return FaceCrop(box, score, tuple((float(x), float(y)) for x, y in points), head_pose(points), pixels)

    def _pixels(self, rgb: Uint8, found: "Detection") -> Uint8:
        if found.is_crop:  # the picture is the crop: no resampling but the network's own
            return self._preprocess.pixels(rgb)
        from mien.faces.align import CropGeometry, aligned

        geometry = CropGeometry.of(self._detector)
        return self._preprocess.pixels(aligned(rgb, found, size=self._preprocess.size, geometry=geometry))


def movable(source: Source | Item) -> bool:
    """Whether a source stays as it is while the caller's iterator moves on."""
    return isinstance(source.data if isinstance(source, Item) else source, str | bytes | os.PathLike)


def _in_whole(found: "Detection", decoded: Decoded) -> "Detection":
    """A detection in a reduced picture, in pixels of the whole."""
    if decoded.factor == 1:
        return found
    box, factor, shift = found.box, decoded.factor, np.asarray([decoded.left, decoded.top], np.float32)
    return replace(
        found,
        box=Box(box.x * factor - decoded.left, box.y * factor - decoded.top, box.w * factor, box.h * factor),
        landmarks=None if found.landmarks is None else found.landmarks * np.float32(factor) - shift,
    )


def _points(detection: "Detection") -> Float32 | None:
    """A detection's landmarks, or None where it has none that mean anything; UsageError for others than five points."""
    points = detection.landmarks
    if points is None or detection.is_crop:
        return None
    if np.shape(points) != (5, 2):
        raise UsageError(f"expected a detector's landmarks 5×2, got shape {np.shape(points)}")
    return points if np.isfinite(points).all() else None


def _inside(box: Box, width: int, height: int) -> Box | None:
    """The part of a detector's box that lies in the picture; None where less than a pixel is left."""
    left, top = max(0.0, box.x), max(0.0, box.y)
    right, bottom = min(float(width), box.x + box.w), min(float(height), box.y + box.h)
    return Box(left, top, right - left, bottom - top) if right - left >= 1 and bottom - top >= 1 else None
