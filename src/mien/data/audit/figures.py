"""The figures of an audit, counted from the index and the copies; ``result.py`` says what each of them is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.audit import findings
from mien.data.audit.copies import Copies
from mien.data.audit.index import Index
from mien.data.audit.result import (
    ClassCounts,
    ColumnCheck,
    CopyFigures,
    Distance,
    FaceFigures,
    GroupFigures,
    GroupRow,
    Images,
    LabelClash,
    LabelFigures,
    Overlap,
    PictureFigures,
    PictureSize,
    Quantiles,
    VoteFigures,
)
from mien.data.sources import VOTE_NAMES
from mien.data.store import TRAINING_SPLITS

DEGREES = ("identical", "within", "near", "strict")
_LISTED = 50  # of names in a list


def images(index: Index, copies: Copies) -> Images:
    """How many there are, and where."""
    part = index.readable & ~index.generated
    return Images(
        all=len(index),
        generated=int(index.generated.sum()),
        unreadable=int((~index.readable).sum()),
        searched=int(part.sum()),
        distinct=int((copies.first_identical[part] == np.flatnonzero(part)).sum()),
        by_split={name: int((index.split == s).sum()) for s, name in enumerate(index.splits)},
        by_source={name: int((index.source == s).sum()) for s, name in enumerate(index.sources)},
    )


def copies_of(index: Index, copies: Copies) -> CopyFigures:
    """Pairs, groups, and who has a copy where."""
    sizes = np.bincount(copies.group)
    mixed = findings.mixed_groups(copies.group, index.label)
    clashes = findings.label_clashes(copies.group, index.label, len(index.labels))
    crossing = findings.crossing(copies.group, index.split)
    identical = np.bincount(copies.first_identical)
    return CopyFigures(
        between_splits=_overlaps(index, copies, 0),
        between_sources=_overlaps(index, copies, 1) if len(index.sources) > 1 else [],
        pairs=copies.pair_count,
        mirrored_pairs=copies.mirrored_count,
        identical_groups=int((identical > 1).sum()),
        images_in_identical_groups=int(identical[identical > 1].sum()),
        groups=int((sizes > 1).sum()),
        images_in_groups=int(sizes[sizes > 1].sum()),
        largest_group=int(sizes.max(initial=0)),
        groups_across_splits=len(crossing),
        images_in_groups_across_splits=int(np.isin(copies.group, crossing).sum()),
        groups_across_sources=len(findings.crossing(copies.group, index.source)),
        groups_of_several_labels=len(mixed),
        images_in_groups_of_several_labels=int(np.isin(copies.group, mixed).sum()),
        identical_groups_of_several_labels=len(findings.mixed_groups(copies.first_identical, index.label)),
        label_clashes=[
            LabelClash(labels=[index.labels[a], index.labels[b]], groups=int(clashes[a, b]))
            for a, b in sorted(zip(*np.nonzero(np.triu(clashes)), strict=True), key=lambda p: (-clashes[p], p))
        ],
        column_near_duplicate=_column(index, copies),
    )


def _overlaps(index: Index, copies: Copies, by: int) -> list[Overlap]:
    """A record for each pair of splits (or sources) of which one has copies of the other's images."""
    names = (index.splits, index.sources)[by]
    place = (index.split, index.source)[by]
    tables = {degree: findings.overlap(copies.has[degree], copies.cell, copies.cells, by=by) for degree in DEGREES}
    other = {
        degree: findings.overlap(copies.other[degree], copies.cell, copies.cells, by=by) for degree in copies.other
    }
    rows = []
    for b in range(len(names)):
        nearest = _nearest_differs(index, copies, b) if by == 0 else None
        for a in range(len(names)):
            if max(a, b) >= len(tables["near"]) or not any(table[a, b] for table in tables.values()):
                continue
            here = (place == a) & index.readable & ~index.generated
            record: dict[str, Any] = {("split", "source")[by]: names[a], "in": names[b], "images": int(here.sum())}
            record |= {degree: int(tables[degree][a, b]) for degree in DEGREES}
            labelled = (index.label[place == a] >= 0).any() and (index.label[place == b] >= 0).any()
            for degree in copies.other:
                record[f"{degree}_with_other_label"] = int(other[degree][a, b]) if labelled else None
            if nearest is not None:
                record["strict_with_nearest_of_other_label"] = int(nearest[here].sum()) if labelled else None
            rows.append(Overlap(**record))
    return rows


def _nearest_differs(index: Index, copies: Copies, split: int) -> NDArray[np.bool_]:
    """bool N: whether the closest image in the split, among those above the strict limit, carries another label."""
    cells = [cell[0] == split for cell in copies.cells]
    image, _ = copies.closest(split)
    other = index.label[image.clip(0)]
    differs: NDArray[np.bool_] = (image >= 0) & (index.label >= 0) & (other >= 0) & (index.label != other)
    return differs & copies.has["strict"][:, cells].any(1)


def _column(index: Index, copies: Copies) -> ColumnCheck | None:
    """How the store's own ``near_duplicate`` column compares with this search; None where it has none."""
    marked = index.marked >= 0
    cells = [index.splits[cell[0]] in TRAINING_SPLITS for cell in copies.cells]
    if not marked.any() or not any(cells):
        return None
    found = np.asarray(copies.has["near"][:, cells].any(1))
    return ColumnCheck(
        marked=int((index.marked == 1).sum()),
        found=int(found[marked].sum()),
        differ=int((found[marked] != (index.marked[marked] == 1)).sum()),
    )


def labels(index: Index) -> LabelFigures:
    """Classes by split and source."""
    classes = len(index.labels)
    by_split = findings.class_counts(index.split, index.label, len(index.splits), classes)
    by_source = findings.class_counts(index.source, index.label, len(index.sources), classes)
    real = findings.class_counts(
        index.split[~index.generated], index.label[~index.generated], len(index.splits), classes
    )
    return LabelFigures(
        by_split=[_classes(index, "split", name, row) for name, row in zip(index.splits, by_split, strict=True)],
        by_source=[_classes(index, "source", name, row) for name, row in zip(index.sources, by_source, strict=True)],
        originals_by_split=[_classes(index, "split", name, row) for name, row in zip(index.splits, real, strict=True)]
        if index.generated.any()
        else None,
        distance_between_splits=[
            Distance(splits=[index.splits[a], index.splits[b]], total_variation=round(distance, 4))
            for a in range(len(index.splits))
            for b in range(a + 1, len(index.splits))
            if not np.isnan(distance := findings.shift(by_split[a, :classes], by_split[b, :classes]))
        ],
    )


def _classes(index: Index, key: str, name: str, row: NDArray[np.int64]) -> ClassCounts:
    return ClassCounts(
        **{key: name},
        images=int(row.sum()),
        counts=dict(zip(index.labels, row[:-1].tolist(), strict=True)),
        unlabelled=int(row[-1]),
        largest_over_smallest=_rounded(findings.imbalance(row[:-1])),
    )


def votes(index: Index) -> VoteFigures | None:
    """What the FER+ voters say of the labels; None where a store has no votes. Generated images have no say."""
    kept = ~index.generated
    ballots, label = index.votes[kept], index.label[kept]
    home = (index.split.astype(np.int64) * len(index.sources) + index.source)[kept]
    has = findings.voted(ballots)
    if not has.any():
        return None
    agreement, answer = findings.agreement(ballots), findings.majority(ballots)
    columns = findings.column_of_each_label(index.labels)
    support = findings.support(ballots, label, columns)
    table = findings.label_against_votes(ballots, label, len(index.labels))
    judged = ~np.isnan(support)
    agreed = sum(int(table[k, column]) for k, column in enumerate(columns) if column >= 0)
    with_votes = np.isin(home, np.unique(home[has]))
    return VoteFigures(
        images=int(has.sum()),
        missing_where_others_have=int((with_votes & ~has).sum()),
        agreement_tenths=findings.tenths(agreement).tolist(),
        agreement_of_8_in_10=int((np.round(agreement[has], 6) >= 0.8).sum()),
        agreement_of_8_in_10_share=_rounded(float((np.round(agreement[has], 6) >= 0.8).mean())),
        ties=int((answer == findings.TIE).sum()),
        labelled=int(judged.sum()),
        label_support_tenths=findings.tenths(support).tolist(),
        label_without_a_vote=int((support[judged] == 0).sum()),
        label_with_at_most_2_in_10=int((np.round(support[judged], 6) <= 0.2).sum()),
        label_is_majority=agreed,
        label_is_majority_share=_rounded(agreed / int(table.sum()) if table.sum() else float("nan")),
        majority_not_face=int((answer == findings.NOT_FACE).sum()),
        any_vote_not_face=int((ballots[:, findings.NOT_FACE] > 0).sum()),
        majority_unknown=int((answer == findings.UNKNOWN).sum()),
        label_against_majority=[
            {"label": name} | dict(zip([*VOTE_NAMES, "tie"], row.tolist(), strict=True))
            for name, row in zip(index.labels, table, strict=True)
        ],
    )


def pictures(index: Index) -> PictureFigures:
    """Sizes, blank pictures, brightness and contrast."""
    kinds = findings.picture_kinds(index.std, index.spread, index.flat, index.readable)
    sizes, count = np.unique(
        np.stack([index.width, index.height, ~index.grey], 1)[index.readable].astype(np.int64),
        axis=0,
        return_counts=True,
    )
    order = np.argsort(-count, kind="stable")
    return PictureFigures(
        **{name.replace("-", "_"): int((kinds == code).sum()) for code, name in enumerate(findings.KINDS) if name},
        sizes=[
            PictureSize(width=int(w), height=int(h), mode="RGB" if rgb else "grey", images=int(n))
            for (w, h, rgb), n in zip(sizes[order][:_LISTED], count[order][:_LISTED], strict=True)
        ],
        different_sizes=len(sizes),
        below_12_pixels=int((index.readable & (np.minimum(index.width, index.height) < 12)).sum()),
        brightness=_quantiles(index, index.mean),
        contrast=_quantiles(index, index.std),
    )


def _quantiles(index: Index, values: NDArray[np.float32]) -> list[Quantiles]:
    """Quantiles of luma's mean or standard deviation (0-255) by split, by source where there are several, by label."""
    read = index.readable
    places: list[tuple[str, tuple[str, ...], NDArray[Any]]] = [("split", index.splits, index.split)]
    if len(index.sources) > 1:
        places.append(("source", index.sources, index.source))
    places.append(("label", index.labels, index.label))
    rows = []
    for key, names, code in places:
        table = findings.quantiles(values[read], code[read], len(names))
        for name, row in zip(names, table, strict=True):
            if not np.isnan(row).any():
                named = zip(findings.QUANTILES, row.tolist(), strict=True)
                rows.append(Quantiles(by=key, name=name, **{f"q{100 * q:g}": round(v, 2) for q, v in named}))
    return rows


def groups(index: Index) -> GroupFigures | None:
    """Subjects and other groups of the sources; None where a store has none."""
    named = index.group >= 0
    if not named.any():
        return None
    found = findings.crossing(index.group, index.split)
    return GroupFigures(
        groups=len(index.groups),
        images=int(named.sum()),
        across_splits=len(found),
        images_across_splits=int(np.isin(index.group, found).sum()),
        listed=[
            GroupRow(
                group=index.groups[number],
                images={
                    index.splits[s]: int(((index.group == number) & (index.split == s)).sum())
                    for s in np.unique(index.split[index.group == number])
                },
            )
            for number in found[:_LISTED]
        ],
    )


def faces(found: NDArray[np.int16] | None) -> FaceFigures | None:
    """found: int16 N, faces in each image, −1 where it was not searched; None where nobody looked."""
    if found is None:
        return None
    return FaceFigures(searched=int((found >= 0).sum()), none=int((found == 0).sum()), several=int((found > 1).sum()))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)
