"""Checks a source as a whole: some faults of a table do not show in any single row.

- *Votes of other pictures.* FER+'s votes are joined by the number of the row, so a table that was shuffled, sorted or
  shifted gets votes of other pictures, and every row looks sound. But the voters' first choice is FER2013's label far
  more often where they saw the same picture. So each split, and each stretch of ``STRETCH`` rows of it (a row lost
  here, another one doubled there), is compared with the proportions of ``FITTING``.
- *Most rows left out.* One malformed row is a counted drop; a source most of whose rows are malformed is another table
  than it was taken for, and an error. Where most is left out for what the pictures are, or has no label, a warning
  says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mien.data.build.normalise import MAPPED_AWAY, OTHER_LABEL
from mien.data.sources import VOTE_LABELS, Drop, Sample, reasons
from mien.data.sources import fer2013_readers as fer2013
from mien.data.sources.own_labels import Labels
from mien.data.sources.own_tables import GENERATED
from mien.data.summary import UNLABELLED
from mien.errors import DataError
from mien.labels import SEVEN

#: Of FER2013's Training images of each label: how many have it as (or tied with) FER+'s first choice, 0-1. Of 28,560
#: together 65 %; with the rows shuffled 18 %, and no label then has more than 0.42 of what stands here.
FITTING = dict(zip(SEVEN, (0.504, 0.382, 0.154, 0.928, 0.467, 0.815, 0.870), strict=True))
#: Refused: fewer agree than this part of what FITTING has for the same labels (about a third of all), by more than
#: so many standard deviations, in at least so many rows. Fewer rows could be chance: they are told, and kept.
LOWEST, DEVIATIONS, ROWS = 0.55, 5, 100
STRETCH = 512

#: What the user asked for; no reason to doubt a source.
_ASKED_FOR = {reasons.LEFT_OUT, MAPPED_AWAY, OTHER_LABEL, GENERATED}
_OWN_PICTURES = "they are read by --source folder=PATH, csv=PATH (a column of paths) or parquet=PATH"
_CODES = (
    f"FER2013's codes are {', '.join(f'{code} {name}' for code, name in enumerate(SEVEN))}; write those, or read a "
    "table of names and pictures by --source csv=PATH or parquet=PATH, folders by folder=PATH"
)
#: Malformed rows: reason → what to do where most are.
_WRONG_TABLE: dict[str, str | None] = {
    fer2013.EMOTION: _CODES,
    fer2013.EMOTION_OF_EIGHT: None,
    fer2013.PIXELS: f"FER2013's pictures have {fer2013.SIDE}×{fer2013.SIDE} pixels; write yours as picture files: "
    + _OWN_PICTURES,
    fer2013.VALUE: f"pixels are whole numbers with blanks between; {_OWN_PICTURES}",
    fer2013.USAGE: "Usage is Training, PublicTest or PrivateTest",
    reasons.CODE: Labels.hint,
    reasons.UNKNOWN_LABEL: Labels.hint,
    reasons.SPLIT: "name the splits train, val and test",
    reasons.ROW: None,
    reasons.ANNOTATION: None,
    reasons.AFFECT: None,
}


@dataclass(slots=True)
class _Tally:
    """Rows with a label and votes; in how many they agree, and how many would, with what variance, if they fit."""

    rows: int = 0
    agree: int = 0
    wanted: float = 0.0
    variance: float = 0.0

    def add(self, votes: Sequence[int], label: str) -> None:
        self.rows += 1
        self.agree += votes[VOTE_LABELS.index(label)] == max(votes)
        self.wanted += FITTING[label]
        self.variance += FITTING[label] * (1 - FITTING[label])

    @property
    def low(self) -> bool:
        return self.agree < LOWEST * self.wanted

    @property
    def chance(self) -> bool:
        return self.rows < ROWS or self.wanted - self.agree <= DEVIATIONS * self.variance**0.5

    def text(self) -> str:
        return (
            f"{self.agree / self.rows:.1%} of {self.rows:,} labels are the voters' first choice, "
            f"{self.wanted / self.rows:.0%} where the votes are about the same pictures"
        )


@dataclass(slots=True)
class _Votes:
    whole: _Tally = field(default_factory=_Tally)
    stretch: _Tally = field(default_factory=_Tally)


def with_votes_that_fit(items: Iterable[Sample | Drop], *, source: str, warnings: list[str]) -> Iterator[Sample | Drop]:
    """The same items, as long as their votes can be about the same pictures.

    warnings: gets a sentence for each split that has too few rows to be sure. Raises DataError, at the end of a stretch
    or of the stream, where votes and labels cannot belong together.
    """
    found: dict[str, _Votes] = {}
    for item in items:
        yield item
        if isinstance(item, Sample) and item.votes is not None and item.label in FITTING:
            of_split = found.setdefault(item.split, _Votes())
            of_split.whole.add(item.votes, item.label)
            of_split.stretch.add(item.votes, item.label)
            if of_split.stretch.rows == STRETCH:
                _require_fit(of_split.stretch, source, f"{STRETCH} successive rows of {item.split or 'it'}")
                of_split.stretch = _Tally()
    for split, votes in found.items():
        for tally in (votes.whole, votes.stretch):
            _require_fit(tally, source, split or "its rows")
        if votes.whole.low:
            warnings.append(
                f"{source}, {split or 'all rows'}: {votes.whole.text()}; too few rows to tell whether they fit"
            )


def _require_fit(tally: _Tally, source: str, where: str) -> None:
    if tally.low and not tally.chance:
        raise DataError(
            f"{source}: expected votes about the same pictures as the labels, in {where} {tally.text()}",
            hint="rows were shuffled, sorted or shifted, or the label codes mean something else; take both files as "
            "they were published, or move the votes (fer2013new.csv, or their column) away to build without them",
        )


def _require_codes_from_zero(source: str, *, read: Mapping[str, Mapping[str, int]], drops: Sequence[Drop]) -> None:
    """Raises DataError for codes that begin at 1: the last one is unknown, the first one does not occur."""
    unknown = Counter(drop.detail for drop in drops if drop.reason in (fer2013.EMOTION, fer2013.EMOTION_OF_EIGHT))
    first = sum(labels.get(SEVEN[0], 0) for labels in read.values())
    beyond = {f"{last}{end}" for last in (len(SEVEN), len(SEVEN) + 1) for end in ("", ".0")}
    if unknown and set(unknown) <= beyond and not first:
        raise DataError(
            f"{source}: expected codes from 0 on, {unknown.total():,} rows have {min(unknown)} and none has 0",
            hint=f"subtract 1 from each code; {_CODES}",
        )


def doubts(source: str, *, read: Mapping[str, Mapping[str, int]], kept: int, drops: Sequence[Drop]) -> list[str]:
    """Warnings about a source as a whole. read: split → label → pictures that it gave. kept: of them, for the store.

    Raises DataError where most rows are malformed in one way.
    """
    _require_codes_from_zero(source, read=read, drops=drops)
    unasked = [drop for drop in drops if drop.reason not in _ASKED_FOR]
    total = kept + len(unasked)
    found = []
    for reason, number in Counter(drop.reason for drop in unasked).items():
        if reason in _WRONG_TABLE and 2 * number > total:
            said = Counter(drop.detail for drop in unasked if drop.reason == reason and drop.detail).most_common(1)
            example = f" such as {said[0][0]!r}" if said else ""
            raise DataError(
                f"{source}: expected rows that can be read, {number:,} of {total:,} have one fault: {reason}{example}",
                hint=_WRONG_TABLE[reason],
            )
    if 2 * len(unasked) > total:
        counts = Counter(drop.reason for drop in unasked).most_common()
        why = ", ".join(f"{number:,} {reason}" for reason, number in counts[:3])
        found.append(f"most of {source} is NOT in the store: {len(unasked):,} of {total:,} were left out ({why})")
    pictures = sum(sum(labels.values()) for labels in read.values())
    unlabelled = sum(labels.get(UNLABELLED, 0) for labels in read.values())
    if 2 * unlabelled > pictures:
        found.append(f"most of {source} has no label: {unlabelled:,} of {pictures:,} pictures")
    return found
