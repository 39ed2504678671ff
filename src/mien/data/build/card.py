"""The card of a store: a README.md for people, whose head ``datasets.load_dataset(STORE)`` reads.

Its head is YAML in the form of a Hugging Face data card, which names each split's files, so that nothing has to be
guessed from the directory. All that it says comes from the summary.
"""

from collections.abc import Mapping
from typing import Any

from mien.pages.environment import render

CARD = "README.md"
#: Hugging Face's words for how large a data set is: below how many images.
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def card(summary: Mapping[str, Any], columns: list[str], *, figure: str | None = None) -> str:
    """The text of the README. columns: those of the shards. figure: the file of Figure 2 beside it, if there is one.

    Raises MissingExtra without Jinja2.
    """
    rows = sum(split["rows"] for split in summary["splits"].values())
    return render(
        "data_card.md.j2",
        summary=summary,
        columns=columns,
        figure=figure,
        size_category=next((name for edge, name in _SIZES.items() if rows < edge), "1M<n<10M"),
        codes=", ".join(f"{code} {name}" for code, name in enumerate(summary["labels"])),
        sizes=sorted({size for split in summary["splits"].values() for size in split["image_sizes"]}),
        images=[sum(n for one in source["counts"].values() for n in one.values()) for source in summary["sources"]],
    )
