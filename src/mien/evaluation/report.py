"""What ``report.json`` holds, as types: written by ``evaluate.py``, read back by comparisons and the scoreboard.

Keys that a report need not have (``votes`` where nobody voted) are absent from the file, not null. The same as a JSON
schema: ``docs/schemas/report.json``, by ``scripts/write_schemas.py``.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mien.documents import Section, first_fault
from mien.errors import DataError

FILE = "report.json"
#: Raised where a figure changes its meaning; a cached evaluation of another format is made again.
REPORT_FORMAT = 3
#: All images, and those without a near-duplicate in Training.
Part = Literal["all", "leak_free"]


class Figure(Section):
    """A number with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class Counted(Figure):
    """A figure over n images. left_out: other images, by reason. possible: the greatest value that can be reached."""

    n: int | None = None
    left_out: dict[str, int] | None = None
    possible: float | None = None


class ClassFigures(Section):
    """One class; support: its images."""

    support: int
    precision: Figure
    recall: Figure
    f1: Figure


class Figures(Section):
    """``metrics.summary``. confusion: true class × predicted class, the last column failures."""

    n: int
    failures: int
    scored: int
    accuracy: Figure
    macro_f1: Figure
    balanced_accuracy: Figure
    weighted_precision: Figure
    weighted_recall: Figure
    weighted_f1: Figure
    nll: Figure
    brier: Figure
    ece: Figure
    per_class: dict[str, ClassFigures]
    labels: list[str]
    confusion: list[list[int]]
    top2_accuracy: Figure


class Leak(Section):
    """``leak.leak_effect``."""

    near_duplicates: int
    accuracy_on_near_duplicates: Figure
    all_minus_leak_free: Figure
    p: float


class SevenClasses(Section):
    """An eight-class model read with seven; what: how."""

    what: str
    figures: dict[Part, Figures]


class Level(Section):
    """Accuracy on the images on which so many of ten voters agree."""

    level: str
    n: int
    accuracy: Figure


class Votes(Section):
    """``agreement.agreement``: of the predictions, and the same of the data set's own labels."""

    n: int
    without_votes: int
    majority: Counted
    vote_share: Counted
    label: dict[Literal["majority", "vote_share"], Figure]
    accuracy_by_level: list[Level]


class Group(Section):
    """Figures of one group; small: too few images to enter a gap."""

    n: int
    small: bool
    failures: int
    accuracy: Figure
    macro_f1: Figure
    recall: dict[str, Counted]


class Gap(Section):
    """The highest minus the lowest of the groups' figures; p: by permutation."""

    highest: str
    lowest: str
    value: float
    low: float
    high: float
    p: float | None = None


class Gaps(Section):
    """None where fewer than two groups enter."""

    accuracy: Gap | None
    macro_f1: Gap | None
    recall: dict[str, Gap | None]


class Grouping(Section):
    """``groups.by_group``."""

    groups: dict[str, Group]
    gaps: Gaps


class McNemar(Section):
    """``comparisons.mcnemar``."""

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    discordant: int
    p: float
    method: str


class Comparison(Section):
    """``comparisons.compare``: second minus first."""

    n: int
    mcnemar: McNemar
    difference: dict[str, Figure]


class SingleCrop(Section):
    """The single crop beside ten."""

    temperature: float
    floor: float = 0.0
    figures: dict[Part, Figures]
    ten_minus_single: dict[Part, Comparison]


class HeldOut(Section):
    """Figures on images that the calibration was not fitted on."""

    n: int
    ece: Figure
    nll: Figure
    brier: Figure


class Calibration(Section):
    """Temperature and floor, cross-fitted on two halves."""

    method: str
    temperatures: tuple[float, float]
    floors: tuple[float, float] = (0.0, 0.0)
    held_out: dict[Part, HeldOut]
    uncalibrated_ece: float


class Member(Section):
    """A file of an ensemble. without_answer: its empty rows, for which the mean is that of the other files."""

    file: str
    sha256: str
    mean_confidence: float | None
    without_answer: int = 0


class Model(Section):
    """What was evaluated; which keys there are depends on the kind."""

    kind: Literal["onnx", "run", "predictions"]
    name: str
    file: str | None = None
    sha256: str | None = None
    members: list[Member] | None = None
    parameters: int | None = None
    macs: int | None = None
    provenance: dict[str, Any] | None = None
    model: Any = None
    commit: str | None = None
    torch: str | None = None
    result: dict[str, Any] | None = None
    device: str | None = None
    precision: str | None = None
    origins: Any = None
    seed: int | None = None
    trained_on: dict[str, Any] | None = None


class Data(Section):
    """The images. of: of how many in the split; left_out: why some are not scored → how many."""

    store: str
    sources: list[str]
    split: str
    images: int
    of: int
    near_duplicates_in_training: int | None
    left_out: dict[str, int] | None = None


class FileRows(Section):
    """What became of the rows of another tool's file (``predictions_file.match``)."""

    file: str
    sha256: str | None = None
    members: list[Member] | None = None
    rows: int
    matched: int
    missing: int
    first_missing: list[str]
    beyond_limit: int
    without_answer: int
    not_in_split: int
    first_not_in_split: list[str]
    answers_only: bool
    labels_assumed: bool


class Report(Section):
    """An evaluation: figures are None where the labels are held back."""

    model: Model
    data: Data
    predictions: FileRows | None = None
    views: Literal[1, 10] | None
    detector: str | None
    temperature: float | None
    floor: float | None = None
    command: str
    seed: int
    seconds: float | None = None
    images_per_second: float | None = None
    report_format: int
    hardware: str
    cpu: str | None
    mien: str
    commit: str | None
    date: str
    figures: dict[Part, Figures] | None
    leak: Leak | None = None
    seven_classes: dict[Literal["closed", "open"], SevenClasses] | None = None
    votes: dict[Part, Votes | None] | None = None
    groups: dict[str, dict[Part, Grouping]] | None = None
    warnings: list[str] | None = None
    single_crop: SingleCrop | None = None
    calibration: Calibration | None = None
    not_measured: list[str]

    def as_dict(self) -> dict[str, Any]:
        """What the file holds."""
        return self.model_dump(mode="json", exclude_unset=True)

    @classmethod
    def read(cls, folder: Path) -> "Report":
        """The report of an evaluation's directory. Raises DataError that names what is missing or wrong in it."""
        try:
            return cls.model_validate_json((folder / FILE).read_bytes())
        except OSError as error:
            raise DataError(
                f"expected an evaluation with {FILE} in {folder}, cannot read it: {error.strerror}"
            ) from error
        except ValidationError as error:
            said = ": ".join(first_fault(error))
            raise DataError(
                f"expected an evaluation with {FILE} in {folder}, cannot read it: {said}", hint="evaluate again"
            ) from error
