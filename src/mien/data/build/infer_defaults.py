"""The values of a build's "auto" settings, inferred from a few pictures of each source before the build.

The rule, which the build prints: the size is the largest of the sources' usual sides, at most 224 (what the papers'
networks take), so that no source loses what a network could use; grey where no picture has colour, else RGB. FER2013
alone stays 48×48 grey. Sources of photos count as 224, because how large their faces are is not known yet.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from statistics import median_low

from mien.data.build.normalise import AUTO, OWN, SIZES, Standard, decoded
from mien.data.sources import Sample, Source
from mien.errors import ImageError, UsageError
from mien.labels import is_own, own_set

LARGEST_SIDE = 224
#: Items of a source that are looked through at most, pictures that come with their pixels, and pictures decoded.
_ITEMS, _WITH_PIXELS, _DECODED = 4096, 256, 48


def infer_defaults(standard: Standard, sources: Sequence[Source]) -> tuple[Standard, list[str]]:
    """A standard without "auto" in size and color, with the user's own classes; and a sentence for each thing settled.

    Reads the beginning of every source, only where there is something to settle. Raises DataError where a source is
    broken.
    """
    notes: list[str] = []
    if standard.labels == OWN:
        standard = replace(standard, classes=_classes(sources))
        known = "" if is_own(standard.classes) else ": the expressions of the protocol"
        notes.append(f"labels own: {', '.join(standard.classes)}{known}")
    if AUTO not in (standard.size, standard.color):
        return standard, notes
    sides: dict[str, int] = {}
    grey = True
    for source in sources:
        side, colourless = _look(source)
        grey &= colourless
        if side is not None:
            sides[source.name] = side
    if standard.size == AUTO:
        size = max(min(max(sides.values(), default=LARGEST_SIDE), LARGEST_SIDE), SIZES[0])
        seen = ", ".join(f"{name} {side}" for name, side in sides.items())
        why = f"the largest usual side of the sources ({seen}), at most {LARGEST_SIDE}"
        notes.append(f"size {size}: {why if sides else 'no picture could be looked at'}")
        standard = replace(standard, size=size)
    if standard.color == AUTO:
        notes.append("color grey: no picture looked at has colour" if grey else "color rgb: some pictures have colour")
        standard = replace(standard, color="grey" if grey else "rgb")
    return standard, notes


def _classes(sources: Sequence[Source]) -> tuple[str, ...]:
    """The classes of all sources, in order. Raises UsageError for a source that was not opened for its own."""
    for source in sources:
        if not getattr(source, "classes", ()):
            raise UsageError(f"--labels own: expected your own pictures (folder, csv, parquet), got {source.name}")
    return own_set(name for source in sources for name in getattr(source, "classes", ()))


def _look(source: Source) -> tuple[int | None, bool]:
    """The median side of a source's crops (224 for photos, None where nothing can be read); whether all are grey."""
    samples: list[Sample] = []
    for item in islice(source.stream(), _ITEMS):
        if isinstance(item, Sample):
            samples.append(item)
            if item.pixels is not None and len(samples) >= _WITH_PIXELS:
                break
    step = max(1, len(samples) // _DECODED)  # spread, because folders are read class by class
    sides, grey = [], True
    for sample in samples[::step]:
        try:
            picture = decoded(sample)
        except ImageError:
            continue  # counted when the build meets it
        grey &= picture.ndim == 2
        sides.append(max(picture.shape[:2]) if sample.is_crop else LARGEST_SIDE)
    return (median_low(sides) if sides else None), grey
