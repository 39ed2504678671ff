"""From a model and pictures to probabilities: as crops, or through the whole pipeline of ``mien read``."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.store import Split
from mien.errors import UsageError
from mien.evaluation import calibration
from mien.evaluation.predictors import OnnxPredictor, Predictor, Progress, all_logits

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Answers for a split. probabilities: float32 N×K, a row of NaN where no face was found.

    logits: float32 N×V×K, or None where a detector decided on the crops or a file had probabilities alone.
    temperature: what the logits were divided by; None where that is not known.
    """

    probabilities: Float32
    logits: Float32 | None
    temperature: float | None

    def in_order(self, order: list[int]) -> "Predictions":
        """The classes in another order. order: for each new column the old one."""
        logits = None if self.logits is None else self.logits[:, :, order]
        return Predictions(self.probabilities[:, order], logits, self.temperature)


def predict_crops(
    predictor: Predictor, images: NDArray[np.uint8], *, tta: bool = False, progress: Progress | None = None
) -> Predictions:
    """Each image is one face crop: uint8 N×S×S or N×S×S×3."""
    logits = all_logits(predictor, predictor.preprocess.stack(images), tta=tta, progress=progress)
    temperature = predictor.temperature_tta if tta else predictor.temperature
    return Predictions(calibration.probabilities(logits, temperature), logits, temperature)


def predict_pictures(
    predictor: Predictor,
    images: NDArray[np.uint8],
    *,
    detector: str,
    tta: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """The whole pipeline of ``mien read`` on each image; the largest face answers, no face is a row of NaN."""
    if not isinstance(predictor, OnnxPredictor):
        raise UsageError("--detector: expected an ONNX file, got a run directory", hint="export it first")
    from mien.reading.reader import Reader
    from mien.results import Reading

    reader = Reader(predictor.path, detector=detector, tta=tta, threads=threads)
    result = np.full((len(images), len(predictor.labels)), np.nan, np.float32)
    for row, reading in enumerate(reader.read_many(images)):
        if isinstance(reading, Reading) and reading.faces:
            result[row] = [reading.faces[0].probabilities[name] for name in predictor.labels]
        if progress:
            progress(row + 1, len(images))
    return Predictions(result, None, predictor.temperature_tta if tta else predictor.temperature)


def fit_temperatures(
    predictor: Predictor, split: Split, *, tta: bool = True, limit: int | None = None, progress: Progress | None = None
) -> tuple[float, float | None]:
    """The temperatures that ship: fitted on the whole split, for a single crop and for ten.

    Two, because a mean over ten crops is less sure of itself than a single one. tta: False leaves out the second, and
    ten elevenths of the work. limit: fit on that many images, spread evenly over the split. Images without a label are
    left out where others have one. progress counts views.
    """
    chosen = split.labelled().limited(limit)
    pixels, labels = predictor.preprocess.stack(chosen.images), chosen.labels
    total = len(chosen) * (11 if tta else 1)

    def told(views: int, before: int) -> Progress | None:
        return progress and (lambda done, _: progress(before + done * views, total))

    single = all_logits(predictor, pixels, tta=False, progress=told(1, 0))
    temperature = calibration.fit_temperature(single, labels)
    if not tta:
        return temperature, None
    ten = all_logits(predictor, pixels, tta=True, progress=told(10, len(chosen)))
    return temperature, calibration.fit_temperature(ten, labels)
