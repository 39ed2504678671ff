"""What ``table.json`` holds, as types; the same as a JSON schema: ``docs/schemas/table.json``. Proportions are 0-1."""

from typing import Literal

from mien.documents import Section
from mien.evaluation.report import Figure, Part

Measure = Literal[
    "accuracy", "weighted_precision", "weighted_recall", "weighted_f1", "macro_f1", "balanced_accuracy"
]  # fmt: skip


class OverSeeds(Figure):
    """The mean over seeds, with its interval over images; sd: over seeds, None for one."""

    sd: float | None
    seeds: list[float]


class Scores(Section):
    """An arm on n images. difference: from the first arm, which has none."""

    n: int
    accuracy: OverSeeds
    weighted_precision: OverSeeds
    weighted_recall: OverSeeds
    weighted_f1: OverSeeds
    macro_f1: OverSeeds
    balanced_accuracy: OverSeeds
    difference: dict[Measure, Figure] | None = None


class Row(Section):
    """An arm. published: the paper's figures. tried_rates: learning rate → validated; one of ``seeds`` a run.

    changed: what differs from the shipped recipe. precision, precision_because: of the first run's training, and why;
    the first arm's holds for those after it ("chosen by the caller").
    """

    arm: str
    title: str
    published: dict[str, float]
    caveat: str | None
    network: str
    parameters: int
    macs: int
    learning_rate: float
    tried_rates: dict[str, float]
    changed: list[str]
    seeds: list[int]
    validated: list[float]
    runs: list[str]
    seconds: list[float | None]
    device: str | None
    precision: Literal["fp32", "bf16"] | None = None
    precision_because: str | None = None


class Table(Section):
    """A study. figures: reading → part of the images → arm. blind: a split whose labels are held back.

    failed: run → its error. not_run: arms that are not in the table, and why.
    """

    study: str
    source: str
    table: str
    claim: str
    preset: str
    recipes: str
    reduced: bool
    store: str
    train: str
    selected_on: str
    scored_on: str
    blind: str | None
    rows: list[Row]
    figures: dict[Literal["as_trained", "seven_open", "seven_closed"], dict[Part, dict[str, Scores]]]
    failed: dict[str, str]
    not_run: list[str]
