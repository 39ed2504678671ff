"""The findings of an audit in words: one sentence each, the most serious first.

``problem``: a score or a network that uses the store as it is will be wrong. ``notice``: worth knowing, and often a
matter of choice. A store without either gets one ``good`` sentence.
"""

from collections.abc import Iterator
from itertools import chain

from mien.data.audit.result import Audit, Finding, Level
from mien.data.store import TRAINING_SPLITS

_ORDER: tuple[Level, ...] = ("problem", "notice", "good")


def verdict(result: Audit) -> list[Finding]:
    """The findings of these figures."""
    parts = (_leaks, _other_copies, _votes, _pictures, _balance, _groups)
    found = sorted(chain.from_iterable(part(result) for part in parts), key=lambda item: _ORDER.index(item.level))
    searched = result.images.searched
    return found or [_item("clean", "good", searched, f"{searched:,} images searched, nothing found")]


def _leaks(result: Audit) -> Iterator[Finding]:
    for row in result.copies.between_splits:
        if row.name != row.place and (
            row.place in TRAINING_SPLITS or (row.name not in TRAINING_SPLITS and row.name < row.place)
        ):
            text = (
                f"{row.near:,} of {row.images:,} {row.name} images have a near-duplicate in {row.place}"
                f" ({row.identical:,} identical, {row.within:,} within {result.settings.tolerance:g} of 255)"
            )
            level: Level = "problem" if row.place in TRAINING_SPLITS else "notice"
            yield Finding(id="leak", level=level, images=row.near, text=text, near=row.place)


def _other_copies(result: Audit) -> Iterator[Finding]:
    copies = result.copies
    for row in copies.between_splits:
        if row.name == row.place:
            clashing = row.strict_with_nearest_of_other_label
            text = (
                f"{row.near:,} of {row.images:,} {row.name} images have a near-duplicate within {row.name}"
                f" ({row.identical:,} identical; {row.strict:,} at {result.settings.strict:g}"
                + (f", the closest to {clashing:,} of them has another label)" if clashing else ")")
            )
            yield _item("copies", "notice", row.near, text)
    for row in copies.between_sources:
        if row.name < row.place:
            text = f"{row.near:,} of {row.images:,} {row.name} images have a near-duplicate in {row.place}"
            yield _item("sources", "notice", row.near, text)
    if (column := copies.column_near_duplicate) and (n := column.differ):
        text = f"the store's own near_duplicate column differs for {_count(n, 'image')}; build it again"
        yield _item("column", "problem", n, text)
    if n := copies.images_in_groups_of_several_labels:
        text = (
            f"{_count(n, 'image')} in {_count(copies.groups_of_several_labels, 'group')} of copies whose labels "
            f"contradict each other ({copies.identical_groups_of_several_labels:,} of them with the very same pixels)"
        )
        yield _item("conflicts", "problem", n, text)


def _votes(result: Audit) -> Iterator[Finding]:
    votes = result.votes
    if votes is None:
        return
    if votes.labelled:
        n, majority = votes.label_with_at_most_2_in_10, votes.label_is_majority_share
        text = (
            f"{n:,} of {votes.labelled:,} labels got at most 2 in 10 of the FER+ votes; "
            f"{majority:.1%} of the labels are the voters' majority"
        )
        yield _item("votes-against", "notice", n, text)
    text = f"{votes.agreement_of_8_in_10_share:.1%} of {votes.images:,} images reach 8 in 10 agreement"
    yield _item("agreement", "notice", votes.agreement_of_8_in_10, text)
    if n := votes.any_vote_not_face + votes.majority_unknown:
        text = (
            f"{_count(votes.any_vote_not_face, 'image')} with a vote for not a face, "
            f"{votes.majority_unknown:,} mostly voted unknown"
        )
        yield _item("not-a-face", "notice", n, text)
    if n := votes.missing_where_others_have:
        text = f"{_count(n, 'image')} without votes though others of the same split and source have them"
        yield _item("no-votes", "notice", n, text)


def _pictures(result: Audit) -> Iterator[Finding]:
    pictures, faces = result.pictures, result.faces
    if n := result.images.unreadable:
        yield _item("unreadable", "problem", n, f"{_count(n, 'image')} that cannot be read")
    if n := pictures.blank + pictures.near_blank:
        text = f"{_count(n, 'image')} blank ({pictures.blank:,}) or nearly so ({pictures.near_blank:,})"
        yield _item("blank", "problem", n, text)
    if n := pictures.flat:
        text = f"{_count(n, 'image')} of half even ground or more: placeholders, lettering, drawings"
        yield _item("flat", "notice", n, text)
    if n := pictures.below_12_pixels:
        yield _item("small", "notice", n, f"{_count(n, 'image')} below 12 pixels, not searched for near-duplicates")
    if (n := pictures.different_sizes) > 1:
        yield _item("sizes", "notice", n, f"{n:,} different picture sizes")
    if faces and (n := faces.none):
        yield _item("no-face", "notice", n, f"no face is found in {n:,} of {faces.searched:,} images")


def _balance(result: Audit) -> Iterator[Finding]:
    for row in result.labels.by_split:
        ratio = row.largest_over_smallest
        some = {name: n for name, n in row.counts.items() if n}
        if ratio and ratio > 1.5:
            most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
            text = f"{row.split} holds {ratio:.1f} times as many {most} ({some[most]:,}) as {least} ({some[least]:,})"
            yield _item("balance", "notice", row.images, text)
        absent = [name for name in row.counts if name not in some]
        if some and absent:
            yield _item("absent", "notice", 0, f"{row.split} has no image of {', '.join(absent)}")


def _groups(result: Audit) -> Iterator[Finding]:
    groups = result.groups
    if groups and groups.across_splits:
        text = (
            f"{groups.across_splits:,} of {groups.groups:,} subjects (or other groups) lie in several splits, "
            f"with {groups.images_across_splits:,} images"
        )
        yield _item("subjects", "problem", groups.images_across_splits, text)
    if n := result.generated.without_original_in_split:
        yield _item(
            "generated", "problem", n, f"{_count(n, 'generated image')} whose original is not in the same split"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _item(name: str, level: Level, images: int, text: str) -> Finding:
    return Finding(id=name, level=level, images=images, text=text)
