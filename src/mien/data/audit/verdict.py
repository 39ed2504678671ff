"""What an audit's figures amount to: one sentence a finding, the gravest first.

``problem``: a score or a network that uses the store as it is will be wrong. ``notice``: worth knowing, and often a
matter of choice. A store without either gets one ``good`` sentence.
"""

from typing import Any

from mien.data.audit.result import Audit, Finding, Level, Overlap
from mien.data.store import TRAINING_SPLITS


def verdict(result: Audit) -> list[Finding]:
    """The findings of these figures."""
    found = [
        *_leaks(result),
        *_labels(result),
        *_votes(result),
        *_pictures(result),
        *_balance(result),
        *_groups(result),
    ]
    order = {"problem": 0, "notice": 1}
    found.sort(key=lambda item: order[item.level])
    searched = result.images.searched
    return found or [_item("clean", "good", searched, f"{searched:,} images searched, nothing found")]


def _leaks(result: Audit) -> list[Finding]:
    found = []
    copies, tolerance = result.copies, result.settings.tolerance
    inside: dict[str, Overlap] = {}
    for row in copies.between_splits:
        if row.name == row.place:
            inside[row.name] = row
        elif row.place in TRAINING_SPLITS or (row.name not in TRAINING_SPLITS and row.name < row.place):
            text = (
                f"{row.near:,} of {row.images:,} {row.name} images have a near-duplicate in {row.place}"
                f" ({row.identical:,} identical, {row.within:,} within {tolerance:g} of 255)"
            )
            level: Level = "problem" if row.place in TRAINING_SPLITS else "notice"
            found.append(_item("leak", level, row.near, text, near=row.place))
    for name, row in inside.items():
        text = (
            f"{row.near:,} of {row.images:,} {name} images have a near-duplicate within {name}"
            f" ({row.identical:,} identical; {row.strict:,} at {result.settings.strict:g}"
        )
        clashing = row.strict_with_nearest_of_other_label
        text += f", the closest to {clashing:,} of them has another label)" if clashing else ")"
        found.append(_item("copies", "notice", row.near, text))
    for row in copies.between_sources:
        if row.name < row.place:
            text = f"{row.near:,} of {row.images:,} {row.name} images have a near-duplicate in {row.place}"
            found.append(_item("sources", "notice", row.near, text))
    column = copies.column_near_duplicate
    if column and column.differ:
        text = f"the store's own near_duplicate column differs for {_count(column.differ, 'image')}"
        found.append(_item("column", "problem", column.differ, f"{text}; build it again"))
    return found


def _labels(result: Audit) -> list[Finding]:
    copies = result.copies
    n = copies.images_in_groups_of_several_labels
    if not n:
        return []
    text = (
        f"{_count(n, 'image')} in {_count(copies.groups_of_several_labels, 'group')} of copies whose labels "
        f"contradict each other ({copies.identical_groups_of_several_labels:,} of them with the very same pixels)"
    )
    return [_item("conflicts", "problem", n, text)]


def _votes(result: Audit) -> list[Finding]:
    votes = result.votes
    if votes is None:
        return []
    found = []
    if votes.labelled:
        n, majority = votes.label_with_at_most_2_in_10, votes.label_is_majority_share
        text = (
            f"{n:,} of {votes.labelled:,} labels got at most 2 in 10 of the FER+ votes; "
            f"{majority:.1%} of the labels are the voters' majority"
        )
        found.append(_item("votes-against", "notice", n, text))
    text = f"{votes.agreement_of_8_in_10_share:.1%} of {votes.images:,} images reach 8 in 10 agreement"
    found.append(_item("agreement", "notice", votes.agreement_of_8_in_10, text))
    n = votes.any_vote_not_face + votes.majority_unknown
    if n:
        text = (
            f"{_count(votes.any_vote_not_face, 'image')} with a vote for not a face, "
            f"{votes.majority_unknown:,} mostly voted unknown"
        )
        found.append(_item("not-a-face", "notice", n, text))
    n = votes.missing_where_others_have
    if n:
        text = f"{_count(n, 'image')} without votes though others of the same split and source have them"
        found.append(_item("no-votes", "notice", n, text))
    return found


def _pictures(result: Audit) -> list[Finding]:
    pictures, found = result.pictures, []
    if n := result.images.unreadable:
        found.append(_item("unreadable", "problem", n, f"{_count(n, 'image')} that cannot be read"))
    if n := pictures.blank + pictures.near_blank:
        text = f"{_count(n, 'image')} blank ({pictures.blank:,}) or nearly so ({pictures.near_blank:,})"
        found.append(_item("blank", "problem", n, text))
    if n := pictures.flat:
        found.append(
            _item(
                "flat",
                "notice",
                n,
                f"{_count(n, 'image')} of half even ground or more: placeholders, lettering, drawings",
            )
        )
    if n := pictures.below_12_pixels:
        found.append(
            _item("small", "notice", n, f"{_count(n, 'image')} below 12 pixels, not searched for near-duplicates")
        )
    if (n := pictures.different_sizes) > 1:
        found.append(_item("sizes", "notice", n, f"{n:,} different picture sizes"))
    faces = result.faces
    if faces and faces.none:
        text = f"no face is found in {faces.none:,} of {faces.searched:,} images"
        found.append(_item("no-face", "notice", faces.none, text))
    return found


def _balance(result: Audit) -> list[Finding]:
    found = []
    for row in result.labels.by_split:
        ratio = row.largest_over_smallest
        some = {name: n for name, n in row.counts.items() if n}
        if ratio and ratio > 1.5:
            most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
            text = f"{row.split} holds {ratio:.1f} times as many {most} ({some[most]:,}) as {least} ({some[least]:,})"
            found.append(_item("balance", "notice", row.images, text))
        absent = [name for name, n in row.counts.items() if not n]
        if some and absent:
            found.append(_item("absent", "notice", 0, f"{row.split} has no image of {', '.join(absent)}"))
    return found


def _groups(result: Audit) -> list[Finding]:
    found, groups = [], result.groups
    if groups and groups.across_splits:
        text = (
            f"{groups.across_splits:,} of {groups.groups:,} subjects (or other groups) lie in several splits, "
            f"with {groups.images_across_splits:,} images"
        )
        found.append(_item("subjects", "problem", groups.images_across_splits, text))
    if n := result.generated.without_original_in_split:
        text = f"{_count(n, 'generated image')} whose original is not in the same split"
        found.append(_item("generated", "problem", n, text))
    return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _item(name: str, level: Level, images: int, text: str, **more: Any) -> Finding:
    return Finding(id=name, level=level, images=images, text=text, **more)
