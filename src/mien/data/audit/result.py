"""What ``audit.json`` holds, as types. Every number is a count of images unless its name says otherwise.

A proportion of nothing is null. Tables are lists of records, so that they load into pandas or DuckDB as they are. Keys
that a record need not have are absent from the file. The same as a JSON schema: ``docs/schemas/audit.json``.
"""

from typing import Any, Literal

from pydantic import Field

from mien.documents import Section

Level = Literal["problem", "notice", "good"]


class Finding(Section):
    """One sentence of the verdict. near: for a leak, the split that has the copies."""

    id: str
    level: Level
    images: int
    text: str
    near: str | None = None


class SourceOfStore(Section):
    """A data set that the store was built from."""

    name: str
    layout: str
    licence: str


class AuditedStore(Section):
    """Which store was audited. fingerprint: of its shards."""

    name: str
    fingerprint: str
    labels: list[str]
    sources: list[SourceOfStore]


class Settings(Section):
    """threshold, strict: correlations. tolerance: mean absolute difference, of 255. faces: the detector, if one ran."""

    threshold: float
    strict: float
    tolerance: float
    faces: str | None


class Images(Section):
    """distinct: different pictures among those searched for copies."""

    all: int
    generated: int
    unreadable: int
    searched: int
    distinct: int
    by_split: dict[str, int]
    by_source: dict[str, int]


class Overlap(Section):
    """How many images of one split (or source) have a copy in another, or in their own, by degree (``copies.py``)."""

    split: str | None = None
    source: str | None = None
    place: str = Field(alias="in")
    images: int
    identical: int
    within: int
    near: int
    strict: int
    near_with_other_label: int | None
    strict_with_other_label: int | None
    strict_with_nearest_of_other_label: int | None = None

    @property
    def name(self) -> str:
        """Of the split or source."""
        return self.split or self.source or ""


class LabelClash(Section):
    """In how many groups of copies two labels stand beside each other."""

    labels: list[str]
    groups: int


class ColumnCheck(Section):
    """The store's own ``near_duplicate`` column beside what this search found."""

    marked: int
    found: int
    differ: int


class CopyFigures(Section):
    """Pairs and groups of copies; groups are joined through others."""

    between_splits: list[Overlap]
    between_sources: list[Overlap]
    pairs: int
    mirrored_pairs: int
    identical_groups: int
    images_in_identical_groups: int
    groups: int
    images_in_groups: int
    largest_group: int
    groups_across_splits: int
    images_in_groups_across_splits: int
    groups_across_sources: int
    groups_of_several_labels: int
    images_in_groups_of_several_labels: int
    identical_groups_of_several_labels: int
    label_clashes: list[LabelClash]
    column_near_duplicate: ColumnCheck | None


class ClassCounts(Section):
    """The classes of one split or source."""

    split: str | None = None
    source: str | None = None
    images: int
    counts: dict[str, int]
    unlabelled: int
    largest_over_smallest: float | None


class Distance(Section):
    """total_variation: 0-1, between the class distributions of two splits."""

    splits: list[str]
    total_variation: float


class LabelFigures(Section):
    """originals_by_split: without generated images, where there are some."""

    by_split: list[ClassCounts]
    by_source: list[ClassCounts]
    originals_by_split: list[ClassCounts] | None
    distance_between_splits: list[Distance]


class VoteFigures(Section):
    """FER+ votes. *_tenths: images by proportion of the votes: 0, (0, 0.1], … (0.9, 1]. *_share: proportions, 0-1."""

    images: int
    missing_where_others_have: int
    agreement_tenths: list[int]
    agreement_of_8_in_10: int
    agreement_of_8_in_10_share: float | None
    ties: int
    labelled: int
    label_support_tenths: list[int]
    label_without_a_vote: int
    label_with_at_most_2_in_10: int
    label_is_majority: int
    label_is_majority_share: float | None
    majority_not_face: int
    any_vote_not_face: int
    majority_unknown: int
    label_against_majority: list[dict[str, str | int]]


class PictureSize(Section):
    """Images of one size; mode: "RGB" or "grey"."""

    width: int
    height: int
    mode: str
    images: int


class Quantiles(Section):
    """Quantiles of a figure of the luma (0-255) in one split, source or label."""

    by: str
    name: str
    q0: float
    q1: float
    q5: float
    q25: float
    q50: float
    q75: float
    q95: float
    q99: float
    q100: float


class PictureFigures(Section):
    """What the pictures are like. sizes: the commonest first, 50 at most."""

    blank: int
    near_blank: int
    flat: int
    sizes: list[PictureSize]
    different_sizes: int
    below_12_pixels: int
    brightness: list[Quantiles]
    contrast: list[Quantiles]


class FaceFigures(Section):
    """In how many images the detector finds no face, or several."""

    searched: int
    none: int
    several: int


class GroupRow(Section):
    """One group that lies in several splits: split → images."""

    group: str
    images: dict[str, int]


class GroupFigures(Section):
    """Subjects and other groups of the sources. listed: those in several splits, 50 at most."""

    groups: int
    images: int
    across_splits: int
    images_across_splits: int
    listed: list[GroupRow]


class Generated(Section):
    """Images that the build made from others."""

    images: int
    without_original_in_split: int


class Audit(Section):
    """The whole of ``audit.json``. mien_audit: version of the format. mien: version that wrote it."""

    mien_audit: int
    mien: str
    store: AuditedStore
    settings: Settings
    findings: list[Finding]
    images: Images
    copies: CopyFigures
    labels: LabelFigures
    votes: VoteFigures | None
    pictures: PictureFigures
    faces: FaceFigures | None
    groups: GroupFigures | None
    generated: Generated

    def content(self) -> dict[str, Any]:
        """As JSON has it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
