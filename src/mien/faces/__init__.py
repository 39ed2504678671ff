"""Detects faces and crops them as the readers expect.

    detector = make_detector(DEFAULT_DETECTOR)
    crops = [align_crop(image, face, size=48, geometry=CropGeometry.of(detector)) for face in detector.detect(image)]

Importing this package loads no network and no ONNX Runtime; ``make_detector`` does.
"""

from mien.faces.align import CropGeometry, align_crop
from mien.faces.base import Detection, Detector
from mien.faces.detector import DEFAULT_DETECTOR, DETECTORS, make_detector

__all__ = ["DEFAULT_DETECTOR", "DETECTORS", "CropGeometry", "Detection", "Detector", "align_crop", "make_detector"]
