"""Normalises every picture of a store: decode, detect and crop the face, then one size, colour and label set.

Sources say where pictures lie; here they become what a network is shown, with the reader's own code: the decoder of
``mien.imaging``, the detector and ``align_crop`` of ``mien.faces``, and ``Preprocess`` for size and colour. So a
network that is trained on a store gets the same framing when it reads. A picture that cannot be brought to the
standard is a :class:`~mien.data.sources.Drop` under a fixed reason (below, or in ``sources/reasons.py``), no error.

Pure functions of a sample and the settings: ``ingest.py`` runs them in worker processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from mien import labels as label_set
from mien.arrays import Uint8
from mien.data.near_duplicates import BLOCKS
from mien.data.sources import Drop, Sample
from mien.data.sources.reasons import SOFT_LABEL, TOO_LARGE, of_image_error
from mien.errors import ImageError, MienError, UsageError
from mien.faces import DEFAULT_DETECTOR, DETECTORS, CropGeometry, Detection, Detector, align_crop
from mien.faces.align import landmarks_in_crop
from mien.imaging import load_rgb, plain
from mien.preprocess import MAX_ASPECT, Preprocess, points_in_square
from mien.results import Box

NO_FACE = "no face"
SEVERAL_FACES = "several faces"
TOO_SMALL = "image too small"
STRIP = "image too long for a face crop"
OTHER_LABEL = "label outside of the label set"
MAPPED_AWAY = "label dropped by the mapping"
#: A fault of ours; the detail says which. One picture of a million must not end a build of hours.
FAILED = "failure inside mien"

AUTO, KEEP, OWN = "auto", "keep", "own"
COLORS = (AUTO, KEEP, "grey", "rgb")
LABELS: dict[str, tuple[str, ...]] = {
    AUTO: label_set.EIGHT,
    "seven": label_set.SEVEN,
    "eight": label_set.EIGHT,
    OWN: (),
}
SIZES = (16, 1024)  # the smallest and largest side of a store's pictures
#: Overlap (intersection over union) with the annotators' box below which a found face is somebody else's.
MIN_OVERLAP = 0.2


@dataclass(frozen=True, slots=True)
class Standard:
    """The format to which every picture is normalised.

    size: side in pixels; "keep" leaves each crop as it is; "auto" is decided by ``infer_defaults`` before a build.
    color: "grey", "rgb", "keep" (grey where a picture has no colour), or "auto". labels: "seven", "eight", or "auto":
    eight if contempt occurs; "own": classes of the user's own. classes: these, of "own", which ``infer_defaults`` takes
    from the sources. mapping: (source, label) → another label, or None to drop the picture; source "" stands
    for all, a source's own entry wins. detector: finds the face where a picture is no crop; see ``mien.faces``.
    jpeg: quality 1-100 at which pictures are stored, lossy; None: PNG.
    Raises UsageError for a value that cannot be.
    """

    size: int | str = AUTO
    color: str = AUTO
    labels: str = AUTO
    mapping: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    detector: str = DEFAULT_DETECTOR
    jpeg: int | None = None
    classes: tuple[str, ...] = ()

    @property
    def label_set(self) -> tuple[str, ...]:
        """The labels that a picture may have, in the order of their codes."""
        return self.classes if self.labels == OWN else LABELS[self.labels]

    def __post_init__(self) -> None:
        low, high = SIZES
        if self.size not in (AUTO, KEEP) and not (isinstance(self.size, int) and low <= self.size <= high):
            raise UsageError(f"expected a size of {low}-{high} pixels, 'auto' or 'keep', got {self.size!r}")
        if self.jpeg is not None and not 1 <= self.jpeg <= 100:
            raise UsageError(f"expected a JPEG quality of 1-100, got {self.jpeg}")
        for what, value, known in (
            ("color", self.color, COLORS), ("labels", self.labels, LABELS), ("detector", self.detector, DETECTORS),
        ):  # fmt: skip
            if value not in known:
                raise UsageError(f"expected {what} {', '.join(known)}, got {value!r}")
        if self.labels == OWN and self.mapping:
            raise UsageError(
                "expected no mapping with labels own, got one", hint="rename or leave out classes with a source's names"
            )
        for (source, label), target in self.mapping.items():
            for name in (label, target):
                if name is not None and name not in label_set.EIGHT:
                    raise UsageError(
                        f"expected expressions in the mapping ({', '.join(label_set.EIGHT)}), got {name!r}"
                        + (f" for {source}" if source else "")
                    )

    def to_dict(self) -> dict[str, Any]:
        """For ``summary.json``; the mapping as {source or "all": {label: label or None}}."""
        mapping: dict[str, dict[str, str | None]] = {}
        for (source, label), target in sorted(self.mapping.items()):
            mapping.setdefault(source or "all", {})[label] = target
        return {
            "size": self.size, "color": self.color, "labels": self.labels,
            "mapping": mapping, "detector": self.detector,
            **({"classes": list(self.classes)} if self.classes else {}),
            **({} if self.jpeg is None else {"jpeg": self.jpeg}),
        }  # fmt: skip


def normalise(sample: Sample, *, source: str, standard: Standard, detector: Callable[[], Detector]) -> Sample | Drop:
    """One sample as the store holds it, or the reason why it is left out.

    detector: called only where a face has to be found, so that crops load no network. standard: settled (its size and
    color are not "auto"). In the result ``pixels`` is uint8 S×S or S×S×3, ``file`` and ``box`` are None, ``is_crop``
    is True and ``landmarks`` are in pixels of the crop.
    """
    label = mapped_label(sample.label, source=source, standard=standard)
    if isinstance(label, Drop):
        return replace(label, where=sample.path)
    soft_label = mapped_soft_label(sample.soft_label, source=source, standard=standard)
    if isinstance(soft_label, Drop):
        return replace(soft_label, where=sample.path)
    try:
        found = _brought(sample, standard, detector)
    except ImageError as error:
        return Drop(sample.path, of_image_error(error), error.message)
    except MienError:  # no detector: true of every picture
        raise
    except MemoryError:
        return Drop(sample.path, TOO_LARGE, "the picture does not fit into memory")
    except Exception as error:
        import logging

        logging.getLogger("mien").debug("while bringing %s to the standard", sample.path, exc_info=True)
        return Drop(sample.path, FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if isinstance(found, Drop):
        return replace(found, where=sample.path)
    return replace(found, label=label, soft_label=soft_label)


def _brought(sample: Sample, standard: Standard, detector: Callable[[], Detector]) -> Sample | Drop:
    """The sample with its label as it was. Raises ImageError where the picture cannot be decoded."""
    picture = decoded(sample)
    if min(picture.shape[:2]) < BLOCKS:  # before resizing: upscaled it would pass, without any detail
        return Drop("", TOO_SMALL, f"{picture.shape[1]}×{picture.shape[0]}, expected at least {BLOCKS}×{BLOCKS}")
    if sample.is_crop and max(picture.shape[:2]) > MAX_ASPECT * min(picture.shape[:2]):
        return Drop("", STRIP, f"{picture.shape[1]}×{picture.shape[0]}, expected sides 1 to {MAX_ASPECT} at most")
    if sample.is_crop:
        pixels, landmarks = crop_to_standard(picture, standard), sample.landmarks
        if landmarks is not None and pixels.shape[:2] != picture.shape[:2]:
            height, width = picture.shape[:2]
            landmarks = points_in_square(landmarks, width=width, height=height, size=pixels.shape[0])
    else:
        rgb = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        face = the_face(detector().detect(rgb), box=sample.box)
        if isinstance(face, Drop):
            return face
        geometry = CropGeometry.of(detector())
        side = _crop_side(rgb, face, standard, geometry)
        crop = align_crop(rgb, face, size=side, geometry=geometry)
        pixels = crop_to_standard(crop if picture.ndim == 3 else crop[..., 0], standard)
        landmarks = sample.landmarks and landmarks_in_crop(
            sample.landmarks, (rgb.shape[0], rgb.shape[1]), face, size=side, geometry=geometry
        )
    return replace(sample, pixels=pixels, file=None, is_crop=True, box=None, landmarks=landmarks)


def mapped_label(label: str | None, *, source: str, standard: Standard) -> str | Drop | None:
    """A source's label in the store's label set; None stays None (held back)."""
    if label is None:
        return None
    for key in ((source, label), ("", label)):
        if key in standard.mapping:
            target = standard.mapping[key]
            if target is None:
                return Drop("", MAPPED_AWAY, label)
            label = target
            break
    return label if label in standard.label_set else Drop("", OTHER_LABEL, label)


def mapped_soft_label(
    soft_label: tuple[float, ...] | None, *, source: str, standard: Standard
) -> tuple[float, ...] | Drop | None:
    """A source's probabilities in the store's label set: those of labels that become one are added up."""
    if soft_label is None:
        return None
    names = standard.label_set
    if len(soft_label) != len(names):
        return Drop("", SOFT_LABEL, f"{len(soft_label)} probabilities, expected {len(names)}")
    moved = dict.fromkeys(names, 0.0)
    for name, probability in zip(names, soft_label, strict=True):
        target = mapped_label(name, source=source, standard=standard) if probability else name
        if isinstance(target, Drop):
            return target
        assert target is not None
        moved[target] += probability
    return tuple(moved.values())


def decoded(sample: Sample) -> Uint8:
    """The picture of a sample: its own array, or its file as uint8 H×W×3, H×W where it has no colour.

    Raises ImageError, also for a sample with neither.
    """
    if sample.pixels is not None:
        return sample.pixels
    if sample.file is None:
        raise ImageError("the source gives neither pixels nor a file", kind="missing")
    return plain(load_rgb(sample.file))


def crop_to_standard(crop: Uint8, standard: Standard) -> Uint8:
    """A face crop, uint8 H×W or H×W×3, in the standard's size and colour; itself where nothing has to change.

    One that is not square is padded, as ``Preprocess`` says; with the size "keep" it stays as it is until it is used.
    """
    grey = standard.color == "grey" or (standard.color == KEEP and crop.ndim == 2)
    side = standard.size
    if isinstance(side, int) and crop.shape[:2] != (side, side):
        n = 1 if grey else 3
        channels_first = Preprocess(
            size=side, color="grey" if grey else "rgb", mean=(0.5,) * n, std=(0.25,) * n
        ).pixels(crop)
        return channels_first[0] if grey else np.ascontiguousarray(channels_first.transpose(1, 2, 0))
    if grey == (crop.ndim == 2):
        return crop
    return np.array(Image.fromarray(crop).convert("L" if grey else "RGB"))


def the_face(found: list[Detection], *, box: tuple[float, float, float, float] | None) -> Detection | Drop:
    """The one face that a picture's label is about: the one that overlaps the annotators' box most, or the only one."""
    if box is not None and all(map(isfinite, box)) and box[2] > 0 and box[3] > 0:
        overlaps = [face.box.overlap(Box(*box)) for face in found]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] < MIN_OVERLAP:
            return Drop("", NO_FACE, f"none of {len(found)} lies on the annotators' box" if found else "")
        return found[best]
    if not found:
        return Drop("", NO_FACE)
    return found[0] if len(found) == 1 else Drop("", SEVERAL_FACES, str(len(found)))


def _crop_side(rgb: Uint8, face: Detection, standard: Standard, geometry: CropGeometry) -> int:
    """The side of the crop to render: the standard's, or for "keep" the face's own in the picture."""
    if isinstance(standard.size, int):
        return standard.size
    natural = geometry.side_in(rgb.shape[0], rgb.shape[1], face.box.h)
    return min(max(round(natural), SIZES[0]), SIZES[1])
