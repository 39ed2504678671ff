"""Figure 2 of Paper A: images per class before and after balancing, stacked by source."""

from collections.abc import Mapping
from pathlib import Path

#: source → expression → images
BySource = Mapping[str, Mapping[str, int]]


def balance_figure(
    originals: BySource, generated: BySource, *, png: str | Path, svg: str | Path, title: str = "Training images"
) -> None:
    """Write the figure as PNG and SVG: the originals on the left, with the generated images (hatched) on the right.

    Classes stand in the label order. The same counts give the same bytes.
    Raises DataError for a count below 0 or no image at all, MissingExtra without matplotlib, OutputError where a file
    cannot be written.
    """
    raise NotImplementedError
