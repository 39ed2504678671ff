"""From face crops to expressions: the crops of many pictures go through the network together, in batches."""

from collections.abc import Sequence

import numpy as np

from mien.arrays import Float32, Uint8
from mien.reading.classifier import Classifier
from mien.reading.cropper import FaceCrop
from mien.reading.options import ReaderOptions
from mien.results import Face


class ExpressionReader:
    """Reads the expressions of faces that have been found. options: ``tta``, ``min_confidence`` and ``batch_size``."""

    def __init__(self, classifier: Classifier, options: ReaderOptions) -> None:
        self._classifier, self._options = classifier, options

    def probabilities(self, pixels: Sequence[Uint8]) -> Float32:
        """N crops uint8 C×S×S → calibrated probabilities float32 N×K."""
        parts = [np.zeros((0, len(self._classifier.labels)), np.float32)]
        size = self._options.batch_size
        for start in range(0, len(pixels), size):
            batch = np.stack(pixels[start : start + size])
            parts.append(self._classifier.probabilities(batch, tta=self._options.tta))
        return np.concatenate(parts)

    def read(self, pictures: Sequence[Sequence[FaceCrop]]) -> list[tuple[Face, ...]]:
        """The faces of each picture, in the given order."""
        rows = iter(self.probabilities([face.pixels for faces in pictures for face in faces]))
        return [tuple(self._face(face, next(rows)) for face in faces) for faces in pictures]

    def _face(self, found: FaceCrop, row: Float32) -> Face:
        probabilities = dict(zip(self._classifier.labels, row.tolist(), strict=True))
        top = max(probabilities, key=probabilities.__getitem__)
        confidence, pose = probabilities[top], found.pose
        return Face(
            box=found.box,
            score=found.score,
            expression=top if confidence >= self._options.min_confidence else None,
            confidence=confidence,
            probabilities=probabilities,
            landmarks=found.landmarks,
            roll=None if pose is None else pose.roll,
            yaw=None if pose is None else pose.yaw,
            pitch=None if pose is None else pose.pitch,
        )
