"""A reader in int8 that may take the place of its fp32 original: quantised, calibration fitted anew, and measured.

The gate is a rule, not a choice by score: on the validation split accuracy within 0.3 points, the same expression for
98 images in 100, an ECE that is not higher, an NLL that is at most 0.005 nats higher, and accuracy under nine
corruptions at five severities (on images spread over the split) within 0.5 points. A file that fails is not written.
The form is chosen on Training (:mod:`mien.quantise`).

ECE: 15 bins, single crop, cross-fitted: the split's images are halved, the same halves for both forms; each half's
probabilities have the calibration that was fitted on the other half for that form; both halves are scored together. It
is the mean over 20 halvings, since one alone moves it by more than the two forms differ. The interval of the difference
(first halving, a paired bootstrap over images) is told beside it and decides nothing. An ECE that perfectly calibrated
probabilities of the same confidences would exceed one time in twenty counts as not higher: on so many images it cannot
be told from none, and which form has the smaller one is chance. The NLL has no such noise.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from mien.arrays import Float32
from mien.atomic import write_bytes
from mien.data.store import Store
from mien.errors import ExportError, UsageError
from mien.evaluation import calibration, metrics
from mien.evaluation.analysis.common_corruptions import KINDS, SEVERITIES
from mien.evaluation.analysis.corruptions import rightness
from mien.evaluation.predict import check_codes, fit_calibrations
from mien.evaluation.predictors import OnnxPredictor, Progress, all_logits
from mien.export import calibration_metadata
from mien.quantise import CALIBRATION, nearest

ACCURACY, AGREEMENT, CORRUPTED, NLL = 0.003, 0.98, 0.005, 0.005
CORRUPTED_IMAGES, HALVINGS = 500, 20


@dataclass(frozen=True, slots=True)
class Measured:
    """Of both forms on the validation split; shares 0-1. corrupted: mean over kinds and severities.

    ece_higher_by: 95 % interval of the difference int8 - fp32. ece_of_perfect: what one in twenty perfectly calibrated
    readers of the int8 form's confidences exceeds. nll: nats, of the first halving.
    """

    split: str
    images: int
    accuracy_fp32: float
    accuracy_int8: float
    agreement: float
    ece_fp32: float
    ece_int8: float
    ece_higher_by: tuple[float, float]
    ece_of_perfect: float
    nll_fp32: float
    nll_int8: float
    corrupted_images: int
    corrupted_fp32: float
    corrupted_int8: float

    def failures(self) -> list[str]:
        """What the gate asks for and did not get, one text each."""
        rules = (
            (
                abs(self.accuracy_int8 - self.accuracy_fp32) <= ACCURACY,
                f"accuracy within {100 * ACCURACY:.1f} points, "
                f"got fp32 {self.accuracy_fp32:.2%}, int8 {self.accuracy_int8:.2%}",
            ),
            (self.agreement >= AGREEMENT, f"agreement of {AGREEMENT:.0%}, got {self.agreement:.2%}"),
            (
                self.ece_int8 <= max(self.ece_fp32, self.ece_of_perfect),
                f"ECE not higher, or at most {self.ece_of_perfect:.4f}, got fp32 {self.ece_fp32:.4f}, int8 "
                f"{self.ece_int8:.4f} (95 % interval of the difference {self.ece_higher_by[0]:.4f} to "
                f"{self.ece_higher_by[1]:.4f})",
            ),
            (
                self.nll_int8 - self.nll_fp32 <= NLL,
                f"NLL at most {NLL} nats higher, got fp32 {self.nll_fp32:.4f}, int8 {self.nll_int8:.4f}",
            ),
            (
                abs(self.corrupted_int8 - self.corrupted_fp32) <= CORRUPTED,
                f"corrupted within {100 * CORRUPTED:.1f} points, "
                f"got fp32 {self.corrupted_fp32:.2%}, int8 {self.corrupted_int8:.2%}",
            ),
        )
        return [text for passed, text in rules if not passed]


def export_int8(
    source: bytes,
    path: Path,
    store: Store,
    *,
    split: str,
    tta: bool = True,
    limit: int | None = None,
    reduce_range: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Write the int8 form of an exported file and return what the gate measured.

    source: a file of ``mien export``, fp32 or stored as fp16. store: with ``training``, from which ranges come, and
    ``split``, on which calibrations are fitted and the gate measures. tta: also fit that of ten crops, which
    is otherwise the single crop's. limit: fit and measure on that many images, spread over the split. reduce_range:
    weights of seven bits, for processors without VNNI. Raises UsageError for a file that is int8 already, ExportError
    where the gate fails or ONNX Runtime cannot quantise the graph.
    """
    before = OnnxPredictor(source, threads=threads)
    if before.precision != "fp32":
        raise UsageError(f"--int8: expected a model in fp32, got one in {before.precision}")
    whole = store.read("training").labelled()
    check_codes(before.labels, whole)
    training = whole.limited(2 * CALIBRATION)
    preprocess = before.preprocess
    crops = preprocess.views(preprocess.normalise(preprocess.stack(training.images)), tta=False)
    content, divergences = nearest(source, crops[::2], crops[1::2], reduce_range=reduce_range)
    model = onnx.load_model_from_string(content)
    precision = "int8-reduced" if reduce_range else "int8"
    set_metadata(model, {"mien.precision": precision})
    after = OnnxPredictor(model.SerializeToString(), threads=threads)

    chosen = store.read(split).labelled().limited(limit)
    one, ten = fit_calibrations(after, chosen, tta=tta, progress=progress)
    measured = measure(before, after, store, split=split, limit=limit)
    if failures := measured.failures():
        step = 1 / measured.images
        few = (
            f"; one of {measured.images} images is {step:.1%}: more in {split} measure finer" if step > ACCURACY else ""
        )
        raise ExportError(f"int8 gate: expected {'; '.join(failures)}", hint=f"no file was written; use fp32{few}")
    provenance = before.provenance | {
        "weights_stored_as": precision,
        "temperature_fitted_on": f"{split}, {len(chosen):,} images",
        "int8": {
            "of": hashlib.sha256(source).hexdigest(),
            "ranges_from": f"training, {len(crops[::2]):,} images",
            "divergence_by_percentile": {str(percentile): round(far, 6) for percentile, far in divergences.items()},
            "gate": asdict(measured),
        },
    }
    told = {"mien.provenance": json.dumps(provenance, ensure_ascii=False, sort_keys=True)}
    set_metadata(model, calibration_metadata(one, ten) | told)
    write_bytes(path, model.SerializeToString())
    return measured


def measure(
    before: OnnxPredictor, after: OnnxPredictor, store: Store, *, split: str, limit: int | None = None
) -> Measured:
    """Both on the split, and on :data:`CORRUPTED_IMAGES` of it in nine corruptions at five severities."""
    images = store.read(split).labelled().limited(limit)
    few = images.limited(CORRUPTED_IMAGES)
    truth = images.labels
    pixels = before.preprocess.stack(images.images)
    logits = [all_logits(one, pixels, tta=False) for one in (before, after)]
    said = [each[:, 0].argmax(1) for each in logits]
    groups = np.arange(len(images))
    halved = [[calibration.cross_fit(each, truth, groups, seed=s)[0] for s in range(HALVINGS)] for each in logits]
    ece = [np.mean([metrics.ece(truth, p) for p in each]) for each in halved]
    held_out = [each[0] for each in halved]
    nll = [float(metrics.log_losses(truth, p, least=calibration.LEAST).mean()) for p in held_out]
    counts = metrics.resampled_counts(np.ones_like(groups))
    drawn = [np.repeat(groups, count) for count in counts]
    higher = [metrics.ece(truth[row], held_out[1][row]) - metrics.ece(truth[row], held_out[0][row]) for row in drawn]
    low, high = np.percentile(higher, [2.5, 97.5])
    corrupted = [
        np.mean([rightness(one, few, kind, severity, 0).mean() for kind in KINDS for severity in SEVERITIES])
        for one in (before, after)
    ]
    return Measured(
        split=split,
        images=len(images),
        accuracy_fp32=float((said[0] == truth).mean()),
        accuracy_int8=float((said[1] == truth).mean()),
        agreement=float((said[0] == said[1]).mean()),
        ece_fp32=float(ece[0]),
        ece_int8=float(ece[1]),
        ece_higher_by=(float(low), float(high)),
        ece_of_perfect=ece_of_perfect(held_out[1]),
        nll_fp32=nll[0],
        nll_int8=nll[1],
        corrupted_images=len(few),
        corrupted_fp32=float(corrupted[0]),
        corrupted_int8=float(corrupted[1]),
    )


def ece_of_perfect(probabilities: Float32, *, draws: int = 1000) -> float:
    """What the ECE exceeds one time in twenty where the labels are drawn from float32 N×K probabilities."""
    random = np.random.default_rng(0)
    sums = probabilities.cumsum(axis=1, dtype=np.float64)
    sums /= sums[:, -1:]
    drawn = [(sums < random.random((len(sums), 1))).sum(axis=1) for _ in range(draws)]
    return float(np.quantile([metrics.ece(labels, probabilities) for labels in drawn], 0.95))


def set_metadata(model: onnx.ModelProto, entries: dict[str, str]) -> None:
    """Set these keys of the file's metadata and keep the others."""
    kept = {entry.key: entry.value for entry in model.metadata_props} | entries
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept)
