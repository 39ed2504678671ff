"""What ``KIND.json`` holds, as types; the same as a JSON schema: ``docs/schemas/analysis.json``.

Proportions are 0-1, losses in nats; an interval is one of 95 % over images. Keys that a report need not have are absent
from the file.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from mien.documents import Section
from mien.evaluation.report import Counted, Figure, Model


class Images(Section):
    """store: its fingerprint. limit: of images, where there was one."""

    store: str
    split: str
    images: int
    limit: int | None


class Run(Section):
    """A run directory. model: the network's name. result: of its training. figures: names of files."""

    name: str
    run: str
    model: str
    parameters: int | None = None
    commit: str | None = None
    result: dict[str, Any] | None = None
    figures: list[str] | None = None


class Analysis(Section):
    """What every analysis says of itself. runs: by name; seed: of resamples, directions, examples and noise."""

    data: Images
    seed: int
    command: str
    mien: str
    date: str
    figures: list[str] | None = None


class Clusters(Section):
    """``clusters``: of one hook point's features. intra_by_class: mean distance to the class's centroid."""

    intra: Figure
    inter: Figure
    ratio: Figure
    silhouette: Figure
    calinski_harabasz: Figure
    davies_bouldin: Figure
    intra_by_class: dict[str, float]


class Place(Section):
    """A hook point. raw: the features as they are; unit: each divided by its length."""

    dimensions: int
    rms_norm: float
    raw: Clusters
    unit: Clusters


class FeaturesOfRun(Run):
    """difference: after minus before the SE block, by space and measure; claim: what that says of the paper's."""

    places: dict[Literal["penultimate", "before", "after"], Place]
    difference: dict[Literal["raw", "unit"], dict[str, Figure]] | None = None
    claim: dict[Literal["raw", "unit"], dict[str, str]] | None = None


class Features(Analysis):
    """``mien analyse features``."""

    kind: Literal["features"]
    resamples: int
    runs: dict[str, FeaturesOfRun]


class Eigenvalue(Section):
    """An eigenvalue lies within ``residual`` of ``value``. most_negative: of one that is larger in size."""

    value: float
    residual: float
    iterations: int
    converged: bool
    most_negative: float | None


class Sharpness(Figure):
    """The rise of the loss where SAM's ascent step of radius rho leads."""

    rho: float


class LandscapeOfRun(Run):
    """cut: the loss at each place of the report's ``cut``; surface: at each of ``grid`` × ``grid``."""

    loss: float
    top_hessian_eigenvalue: Eigenvalue
    sam_sharpness: Sharpness
    asam_sharpness: Sharpness
    cut: list[float]
    surface: list[list[float]]


class Landscape(Analysis):
    """``mien analyse landscape``. grid, cut: places along the directions, in units of the filters' norms."""

    kind: Literal["landscape"]
    grid: list[float]
    cut: list[float]
    runs: dict[str, LandscapeOfRun]


class FeatureMap(Section):
    """Which map Grad-CAM weighs; grid: its rows and columns."""

    module: str
    side: str
    layout: str
    grid: list[int]


class Stage(Section):
    """The gain of a U-Net mask over a uniform one; 95 % of positions lie between low and high."""

    stage: int
    gain_mean: float
    gain_low: float
    gain_high: float
    mean_over_channels: float


class AttentionOfRun(Run):
    """inside: class → band → the proportion of the map that lies in it. averages: class → 48×48 map."""

    map: FeatureMap
    inside: dict[str, dict[str, Counted]]
    area: dict[str, float]
    empty_maps: int
    averages: dict[str, list[list[float]]]
    masks: list[Stage] | None = None


class Attention(Analysis):
    """``mien analyse attention``. bands: first and last row, 0-1 of the height."""

    kind: Literal["attention"]
    bands: dict[str, tuple[float, float]]
    runs: dict[str, AttentionOfRun]


class Error(Section):
    """An image predicted wrongly; p_label: the probability of its true class."""

    path: str
    label: str
    answer: str
    confidence: float
    p_label: float
    near_duplicate: bool | None


class Pair(Section):
    """``images`` of the ``of`` images of a class were taken for another one."""

    label: str
    answer: str
    images: int
    of: int
    share: Figure


class ErrorsOfModel(Section):
    """errors: how many; most_confident: those on the sheet; pairs: the most confused first."""

    model: Model
    errors: int
    most_confident: list[Error]
    pairs: list[Pair]
    figures: list[str]


class Errors(Analysis):
    """``mien analyse errors``."""

    kind: Literal["errors"]
    runs: dict[str, ErrorsOfModel]


class Corruption(Section):
    """Accuracy under one corruption, by severity."""

    mean: float
    severities: list[Figure]


class CorruptionsOfModel(Section):
    """kept: accuracy under corruption divided by clean accuracy."""

    model: Model
    clean: Figure
    mean_corruption_accuracy: Figure
    kept: Figure
    corruptions: dict[str, Corruption]


class Corruptions(Analysis):
    """``mien analyse corruptions``. parameters: of each corruption, by severity."""

    kind: Literal["corruptions"]
    parameters: dict[str, list[float]]
    runs: dict[str, CorruptionsOfModel]


class MaskTest(Section):
    """McNemar's test; images that only one of the two gets right."""

    only_with: int
    only_uniform: int
    p: float
    method: str


class MasksOfRun(Run):
    """Accuracy with masks and with uniform ones; std_relative_to_uniform: by stage."""

    with_masks: Figure
    uniform_masks: Figure
    difference: Figure
    mcnemar: MaskTest
    std_relative_to_uniform: dict[str, float]


class Masks(Analysis):
    """``mien analyse masks``."""

    kind: Literal["masks"]
    runs: dict[str, MasksOfRun]


class AnalysisReport(
    RootModel[Annotated[Features | Landscape | Attention | Errors | Corruptions | Masks, Field(discriminator="kind")]]
):
    """``KIND.json`` of ``mien analyse KIND``; ``kind`` says which."""
