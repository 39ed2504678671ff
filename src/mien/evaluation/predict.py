"""From a model and images to predictions: as crops, or through the whole pipeline of ``mien read``."""

from collections.abc import Sequence

import numpy as np

from mien.data.store import Split
from mien.errors import DataError, UsageError
from mien.evaluation import calibration
from mien.evaluation.predictions import Predictions
from mien.evaluation.predictors import OnnxPredictor, Predictor, Progress, all_logits
from mien.labels import SEVEN, is_own
from mien.reading.probabilities import Calibration


def predict_crops(
    predictor: Predictor, split: Split, *, tta: bool = False, progress: Progress | None = None
) -> Predictions:
    """Each image of the split is one face crop. tta: ten crops of it. Classes come in label order."""
    logits = all_logits(predictor, predictor.preprocess.stack(split.images), tta=tta, progress=progress)
    fitted = predictor.calibration_tta if tta else predictor.calibration
    p = calibration.probabilities(logits, fitted)
    return Predictions.of_split(split, predictor.labels, p, logits=logits, calibration=fitted).in_label_order()


def predict_pictures(
    predictor: Predictor,
    split: Split,
    *,
    detector: str,
    tta: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """The whole pipeline of ``mien read`` on each image; the largest face counts, no face is a failure."""
    if not isinstance(predictor, OnnxPredictor):
        raise UsageError("--detector: expected an ONNX file, got a run directory", hint="export it first")
    from mien.reading.reader import Reader
    from mien.results import Reading

    reader = Reader(
        predictor.path,
        detector=detector,
        tta=tta,
        threads=threads,
        precision="int8" if predictor.precision.startswith("int8") else "fp32",
    )
    result = np.full((len(split), len(predictor.labels)), np.nan, np.float32)
    for row, reading in enumerate(reader.read_many(split.images)):
        if isinstance(reading, Reading) and reading.faces:
            result[row] = [reading.faces[0].probabilities[name] for name in predictor.labels]
        if progress:
            progress(row + 1, len(split))
    fitted = predictor.calibration_tta if tta else predictor.calibration
    return Predictions.of_split(split, predictor.labels, result, calibration=fitted).in_label_order()


def check_codes(labels: Sequence[str], split: Split) -> None:
    """Raises DataError where a model's columns are not the codes of a split, one by one, or a label has no column."""
    if tuple(labels) != split.label_set[: len(labels)] or (
        is_own(split.label_set) and len(labels) != len(split.label_set)
    ):
        shown = split.label_set if is_own(split.label_set) else SEVEN
        raise DataError(f"expected a model with the labels {', '.join(shown)} in this order, got {', '.join(labels)}")
    if int(split.labels.max(initial=-1)) >= len(labels):
        raise DataError(
            f"expected images of {', '.join(labels)} alone in {split.name}, got some of {split.label_set[len(labels)]}",
            hint="build a store without them: mien data build … --labels seven",
        )


def fit_calibrations(
    predictor: Predictor, split: Split, *, tta: bool = True, limit: int | None = None, progress: Progress | None = None
) -> tuple[Calibration, Calibration | None]:
    """The calibrations that an exported file carries, fitted on a split (``calibration.fit``).

    A temperature (Guo et al. 2017, arXiv 1706.04599) and a floor (``mien.reading.probabilities``).
    Two, because a mean over ten crops is less confident than a single one. Images without a label are left out.

    Args:
        predictor: from :func:`mien.evaluation.predictors.load_predictor`.
        split: images that neither training nor the test uses.
        tta: fit the one for ten crops as well, which takes ten elevenths of the work.
        limit: fit on that many images, spread evenly over the split; None: all.
        progress: called with (views done, views).

    Returns:
        For one crop, and for ten (None without ``tta``).

    Raises:
        DataError: a model whose labels are not those of the split.

    Examples:
        >>> from mien.data.store import Store
        >>> from mien.evaluation.predict import fit_calibrations
        >>> from mien.evaluation.predictors import load_predictor
        >>> one, ten = fit_calibrations(load_predictor("run"), Store.open("store").read("validation"), tta=False)
        >>> one.temperature > 0, one.floor, ten  # a floor is fitted on a thousand images or more
        (True, 0.0, None)
    """
    check_codes(predictor.labels, split)
    chosen = split.labelled().limited(limit)
    pixels, labels = predictor.preprocess.stack(chosen.images), chosen.labels
    total = len(chosen) * (11 if tta else 1)

    def told(views: int, before: int) -> Progress | None:
        return progress and (lambda done, _: progress(before + done * views, total))

    single = all_logits(predictor, pixels, tta=False, progress=told(1, 0))
    one = calibration.fit(single, labels)
    if not tta:
        return one, None
    ten = all_logits(predictor, pixels, tta=True, progress=told(10, len(chosen)))
    return one, calibration.fit(ten, labels)
