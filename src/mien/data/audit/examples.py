"""Which images a report shows: a few of each finding, chosen deterministically, with captions.

A sheet is a list of rows of tiles; images that belong together (a pair, a group) share a row. Nothing is drawn here:
``sheets.py`` makes pictures of sheets and ``page.py`` a page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.arrays import Int64
from mien.data.audit import findings
from mien.data.audit.copies import Copies
from mien.data.audit.index import Index
from mien.data.sources import VOTE_NAMES
from mien.data.store import TRAINING_SPLITS

_GROUP = 8  # images of a group that are shown


@dataclass(frozen=True, slots=True)
class Tile:
    """One image: its number, and what stands under it. warn: shown as the odd one out."""

    number: int
    caption: tuple[str, ...]
    warn: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """Examples of one finding. rows: tiles that belong together. total: how many there are to show, in ``unit``."""

    name: str
    title: str
    text: str
    rows: tuple[tuple[Tile, ...], ...]
    total: int
    unit: str
    paired: bool = False

    @property
    def numbers(self) -> list[int]:
        return [tile.number for row in self.rows for tile in row]


def choose(index: Index, copies: Copies, *, limit: int, faces: NDArray[np.int16] | None = None) -> list[Sheet]:
    """The sheets of everything that was found; findings without an image have none. limit: images on each."""
    look = _Look(index, limit)
    kinds = findings.picture_kinds(index.std, index.spread, index.flat, index.readable)
    sheets = [
        _leaks(look, copies),
        _mirrored(look, copies),
        _mixed(look, copies),
        _large(look, copies),
        *_votes(look),
        _plain(look, "blank", "Blank images", "One grey level throughout, or nearly so.", np.isin(kinds, (1, 2))),
        _plain(
            look,
            "flat",
            "Placeholders, lettering, drawings, cut-outs",
            "At least half of the pixels lie within five neighbouring grey levels. The flattest first.",
            kinds == 3,
            order=-index.flat,
        ),
        _extremes(look),
        _groups(look),
    ]
    if faces is not None:
        sheets.append(
            _plain(
                look,
                "no-face",
                "No face found",
                "The detector of mien read finds none. It also misses some profiles, drawings and covered faces.",
                faces == 0,
            )
        )
    return [sheet for sheet in sheets if sheet is not None]


@dataclass(frozen=True, slots=True)
class _Look:
    index: Index
    limit: int

    def label(self, i: int) -> str:
        code = int(self.index.label[i])
        return "no label" if code < 0 else self.index.labels[code]

    def home(self, i: int) -> list[str]:
        """The split, and the source where there are several."""
        source = [self.index.sources[self.index.source[i]]] if len(self.index.sources) > 1 else []
        return [self.index.splits[self.index.split[i]], *source]

    def tile(self, i: int, *more: str, warn: bool = False) -> Tile:
        return Tile(int(i), (self.label(i), *self.home(i), *more), warn)

    @property
    def original(self) -> NDArray[np.bool_]:
        return ~self.index.generated


def _leaks(look: _Look, copies: Copies) -> Sheet | None:
    """Pairs across splits that are not the same pixels, from the least to the most alike."""
    index = look.index
    training = [s for s, name in enumerate(index.splits) if name in TRAINING_SPLITS] or list(range(len(index.splits)))
    found: dict[tuple[int, int], float] = {}
    for s in training:
        other, correlation = copies.closest(s)
        use = (other >= 0) & (index.split != s) & (correlation < 1)
        for i in np.flatnonzero(use):
            j = int(other[i])
            pair = (int(i), j) if index.split[j] in training else (min(int(i), j), max(int(i), j))
            found[pair] = float(correlation[i])
    order = sorted(found, key=lambda pair: (found[pair], pair))
    rows = []
    for i, j in _spread(order, look.limit // 2):
        clash = _differ(index.label[i], index.label[j])
        rows.append((look.tile(i, f"r = {found[i, j]:.4f}"), look.tile(j, warn=clash)))
    return _sheet(
        "leaks",
        "Near-duplicates across splits",
        "Each pair: an image outside of the training split, and the closest one in it. Copies with the same pixels are "
        "not shown; from the least to the most alike, so that the limit can be judged.",
        rows,
        len(order),
        "pairs",
        paired=True,
    )


def _mirrored(look: _Look, copies: Copies) -> Sheet | None:
    chosen = np.flatnonzero(copies.pairs.mirrored)
    rows = [
        (look.tile(int(copies.pairs.first[k])), look.tile(int(copies.pairs.second[k]), "mirrored"))
        for k in chosen[: look.limit // 2]
    ]
    text = "The second of each pair is closer to the mirror image of the first than to the first itself."
    return _sheet("mirrored", "Mirrored copies", text, rows, copies.mirrored_count, "pairs", paired=True)


def _mixed(look: _Look, copies: Copies) -> Sheet | None:
    index = look.index
    numbers = findings.mixed_groups(copies.group, index.label)
    identical = np.unique(
        copies.group[np.isin(copies.first_identical, findings.mixed_groups(copies.first_identical, index.label))]
    )
    order = [
        *np.intersect1d(numbers, identical).tolist(),
        *np.setdiff1d(numbers, identical).tolist(),
    ]  # same pixels first
    return _sheet(
        "conflicts",
        "One picture, several labels",
        "Each row is a group of copies whose labels differ; groups with the very same pixels under two labels first.",
        list(_group_rows(look, copies.group, order, limit=look.limit)),
        len(numbers),
        "groups",
    )


def _large(look: _Look, copies: Copies) -> Sheet | None:
    sizes = np.bincount(copies.group)
    order = np.argsort(-sizes, kind="stable")[: max(1, look.limit // _GROUP)]
    order = order[sizes[order] > 2]
    rows = list(_group_rows(look, copies.group, order.tolist(), limit=look.limit))
    text = "Groups are joined through others, so their ends may differ more than any pair that joins them."
    return _sheet("large-groups", "The largest groups of copies", text, rows, int((sizes > 2).sum()), "groups of 3 up")


def _group_rows(look: _Look, group: Int64, order: list[int], *, limit: int) -> Iterable[tuple[Tile, ...]]:
    where = {number: np.zeros(0, np.int64) for number in order}
    rows = np.flatnonzero(np.isin(group, order))
    by_group = rows[np.argsort(group[rows], kind="stable")]
    for members in np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1):
        if len(members):
            where[int(group[members[0]])] = members
    shown = 0
    for number in order:
        members = where[number]
        labels = look.index.label[members]
        commonest = np.bincount(labels[labels >= 0], minlength=1).argmax()
        # the odd ones out come along whatever the size of the group
        odd = members[(labels >= 0) & (labels != commonest)][: _GROUP // 2]
        chosen = np.concatenate([members[(labels < 0) | (labels == commonest)][: _GROUP - len(odd)], odd])
        if shown + len(chosen) > limit and shown:
            return
        shown += len(chosen)
        tiles = [look.tile(int(i), warn=_differ(look.index.label[i], commonest)) for i in chosen]
        if len(chosen) < len(members):
            last = tiles[-1]
            tiles[-1] = Tile(last.number, (*last.caption, f"and {len(members) - len(chosen)} more"), last.warn)
        yield tuple(tiles)


def _votes(look: _Look) -> list[Sheet | None]:
    index = look.index
    votes = index.votes
    support = findings.support(votes, index.label, findings.column_of_each_label(index.labels))
    agreement, answer = findings.agreement(votes), findings.majority(votes)
    against = np.flatnonzero((np.round(support, 6) <= 0.2) & look.original)
    order = against[np.lexsort((against, -agreement[against], support[against]))]
    doubtful = votes[:, findings.NOT_FACE] * 10 + votes[:, findings.UNKNOWN]
    no_face = np.flatnonzero(((votes[:, findings.NOT_FACE] > 0) | (answer == findings.UNKNOWN)) & look.original)
    strange = no_face[np.lexsort((no_face, -doubtful[no_face]))]

    def said(i: int) -> str:
        top = int(votes[i].argmax())
        return f"{VOTE_NAMES[top].replace('_', ' ')} {votes[i, top]}/{votes[i].sum()}"

    def unsure(i: int) -> tuple[str, str]:
        return f"not a face {votes[i, findings.NOT_FACE]}", f"unknown {votes[i, findings.UNKNOWN]}"

    rows = [(look.tile(i, said(i)),) for i in order[: look.limit].tolist()]
    strange_rows = [(look.tile(i, *unsure(i)),) for i in strange[: look.limit].tolist()]
    return [
        _sheet(
            "votes-against",
            "Labels that the voters reject",
            "At most two in ten FER+ votes fell on the label. Under each: the label, the split, the commonest answer. "
            "The clearest cases first.",
            rows,
            len(order),
            "images",
        ),
        _sheet(
            "not-a-face",
            "Voted not a face, or unknown",
            "At least one FER+ vote says that this is not a face, or most say that it cannot be told.",
            strange_rows,
            len(strange),
            "images",
        ),
    ]


def _plain(
    look: _Look, name: str, title: str, text: str, chosen: NDArray[np.bool_], *, order: NDArray[Any] | None = None
) -> Sheet | None:
    images = np.flatnonzero(chosen & look.original)
    total = len(images)
    if order is not None:
        images = images[np.argsort(order[images], kind="stable")][: look.limit]
    return _sheet(name, title, text, [(look.tile(i),) for i in _spread(images.tolist(), look.limit)], total, "images")


def _extremes(look: _Look) -> Sheet | None:
    """The darkest, brightest and dullest of the images that are neither blank nor flat."""
    index = look.index
    kinds = findings.picture_kinds(index.std, index.spread, index.flat, index.readable)
    images = np.flatnonzero(index.readable & (kinds == 0) & look.original)
    n = min(max(1, look.limit // 3), len(images) // 3)
    rows = []
    for order_by, said, values in (
        (index.mean, "mean", index.mean),
        (-index.mean, "mean", index.mean),
        (index.std, "contrast", index.std),
    ):
        order = images[np.argsort(order_by[images], kind="stable")][:n]
        rows += [(look.tile(i, f"{said} {values[i]:.0f}"),) for i in order.tolist()]
    text = "The darkest, the brightest and those of the lowest contrast (standard deviation), of 255."
    return _sheet("extremes", "Extremes of brightness and contrast", text, rows, len(images), "images")


def _groups(look: _Look) -> Sheet | None:
    index = look.index
    found = findings.crossing(index.group, index.split)
    rows = []
    for number in found[: max(1, look.limit // 4)]:
        members = np.flatnonzero(index.group == number)
        firsts = [members[index.split[members] == s][:2] for s in np.unique(index.split[members])]
        rows.append(tuple(look.tile(int(i), index.groups[number]) for i in np.concatenate(firsts)[:_GROUP]))
    text = "Each row: images of one subject (or other group) that lie in different splits."
    return _sheet("subjects", "Subjects in several splits", text, rows, len(found), "groups")


def _sheet(
    name: str, title: str, text: str, rows: Sequence[tuple[Tile, ...]], total: int, unit: str, *, paired: bool = False
) -> Sheet | None:
    return Sheet(name, title, text, tuple(rows), total, unit, paired) if rows else None


def _spread(items: list[Any], n: int) -> list[Any]:
    """n of the items, evenly spread from the first to the last."""
    if len(items) <= n:
        return items
    return [items[round(k)] for k in np.linspace(0, len(items) - 1, n)]


def _differ(a: Any, b: Any) -> bool:
    return bool(a >= 0 and b >= 0 and a != b)
