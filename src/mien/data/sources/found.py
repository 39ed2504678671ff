"""What the openers of data sets return: a layout that was found, how to read it, and the counts it should have."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from mien.data.sources.base import Counts, Drop, Looked, Sample
from mien.errors import DataError


def _unknown() -> None:
    """Not known without reading everything."""


@dataclass(frozen=True, slots=True)
class Found:
    """A data set in one layout. A :class:`~mien.data.sources.base.Source`.

    read: starts the stream afresh. expected: split → class → published number of images; empty: nothing to compare.
    compare: in place of that, gives the differences from the published counts. count: the number of items, or None.
    ferplus: its votes are FER+'s, see ``plausible.py``. classes: the user's own, where the build asked for them.
    """

    name: str
    layout: str
    files: tuple[Path, ...]
    licence: str
    read: Callable[[], Iterator[Sample | Drop]]
    expected: Counts = field(default_factory=dict)
    compare: Callable[[Counts], list[str]] | None = None
    count: Callable[[], int | None] = _unknown
    warnings: tuple[str, ...] = ()
    ferplus: bool = False
    classes: tuple[str, ...] = ()

    def total(self) -> int | None:
        return self.count()

    def stream(self) -> Iterator[Sample | Drop]:
        return self.read()

    def differences(self, counts: Counts) -> list[str]:
        if self.compare is not None:
            return self.compare(counts)
        return count_differences(counts, self.expected, name=self.name) if self.expected else []


def count_differences(counts: Counts, expected: Counts, *, name: str, withheld: Sequence[str] = ()) -> list[str]:
    """What differs from the published counts: a split that is missing or unknown, a total, a class; [] if nothing.

    withheld: the splits that are passed around without labels as well.
    """
    found = []
    for split, classes in expected.items():
        have, wanted = counts.get(split), sum(classes.values())
        which = f"{split}: " if split else ""
        if have is None:
            found.append(f"{which}missing, expected {wanted} images")
            continue
        total = sum(have.values())
        if total != wanted:
            found.append(f"{which}{total} images, expected {wanted}")
        if unlabelled := have.get("unlabelled"):
            if unlabelled != total or split not in withheld:
                found.append(f"{which}{unlabelled} of {total} images have no label")
            continue
        found += [f"{which}{have.get(c, 0)} {c}, expected {n}" for c, n in classes.items() if have.get(c, 0) != n]
        found += [f"{which}{n} {c}, expected none" for c, n in have.items() if c not in classes]
    for split, have in counts.items():
        if split not in expected:
            found.append(f"{split or 'without a split'}: {sum(have.values())} images, not a split of {name}")
    return found


def not_found(name: str, path: Path, wanted: tuple[str, ...], *, hint: str | None = None) -> DataError:
    """The error for a path that holds no layout of a data set: what was looked for, and what was found."""
    if path.is_dir():
        found = tuple(sorted(child.name + "/" * child.is_dir() for child in path.iterdir() if child.name[0] != "."))
    else:
        found = (path.name,)
    return DataError(
        f"no {name}: {Looked(path, wanted, found).text()}", hint=hint or "give the file or directory that holds it"
    )


def named_once(items: Iterable[Sample | Drop]) -> Iterator[Sample | Drop]:
    """Sample names made unique where a table lists a picture again: ``a.jpg``, ``a.jpg#2``, ….

    Nothing is left out: whether the copies agree on their label is for the build's duplicates to say. Keeps eight
    bytes a name.
    """
    seen: set[int] = set()
    again: dict[str, int] = {}
    for item in items:
        if isinstance(item, Sample):
            mark = int.from_bytes(blake2b(item.path.encode("utf-8", "surrogatepass"), digest_size=8).digest())
            if mark in seen:
                number = again[item.path] = again.get(item.path, 1) + 1
                item = replace(item, path=f"{item.path}#{number}")
            seen.add(mark)
        yield item


def in_order(names: tuple[str, ...], numbers: tuple[int, ...]) -> Mapping[str, int]:
    """Published counts: class → number of images."""
    return dict(zip(names, numbers, strict=True))
