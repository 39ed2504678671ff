"""The summary of a store that was just written, and its card: what its sources held, what was kept or dropped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mien import labels as label_set
from mien.data.build.balance import BalanceSettings
from mien.data.build.normalise import AUTO, Standard
from mien.data.build.plan import BuildPlan
from mien.data.build.shards import SplitWriter
from mien.data.build.splits import SplitSettings
from mien.data.sources import Drop, Source
from mien.data.store import FORMAT
from mien.data.summary import (
    UNLABELLED,
    Balance,
    BuildOptions,
    SourceSummary,
    SplitSummary,
    Summary,
    in_label_order,
    split_order,
)
from mien.pages.environment import render

CARD = "README.md"
#: Hugging Face's words for how large a data set is: below how many images.
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


@dataclass(frozen=True, slots=True)
class Options:
    """What a build was asked for. standard: settled; settled: how "auto" was, one sentence each."""

    standard: Standard
    splits: SplitSettings
    balance: BalanceSettings | None = None
    settled: tuple[str, ...] = ()

    def described(self) -> BuildOptions:
        """For ``summary.json``."""
        return BuildOptions(
            **self.standard.to_dict(),
            settled=list(self.settled),
            splits=self.splits.to_dict(),
            balance=None if self.balance is None else self.balance.to_dict(),
        )


@dataclass(slots=True)
class Written:
    """What was written. optional: columns beyond the usual. labels: names by code.

    images: (source, split, label, generated?) → number.
    """

    optional: frozenset[str] = frozenset()
    labels: tuple[str, ...] = label_set.EIGHT
    writers: dict[str, SplitWriter] = field(default_factory=dict)
    images: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)

    def by_source(self, split: str, *, generated: bool) -> dict[str, dict[str, int]]:
        """source → label → number, of one split; for Figure 2."""
        found: dict[str, Counter[str]] = {}
        for (source, where, label, made), number in self.images.items():
            if where == split and made == generated and label != UNLABELLED:
                found.setdefault(source, Counter())[label] += number
        return {source: in_label_order(counts, self.labels) for source, counts in found.items()}


def summarise(
    sources: Sequence[Source],
    options: Options,
    read: Mapping[str, Mapping[str, Counter[str]]],
    written: Written,
    plan: BuildPlan,
    drops: Sequence[tuple[str, Drop]],
) -> Summary:
    """The content of ``summary.json``. Gives the shards their final names.

    read: source → its official split → label → number, as the source gave them. drops: (source, drop).
    """
    used = {label for (_, _, label, _) in written.images}
    names = options.standard.label_set
    if options.standard.labels == AUTO:
        names = label_set.EIGHT if "contempt" in used else label_set.SEVEN
    splits = {}
    for name in sorted(written.writers, key=split_order):
        writer = written.writers[name]
        splits[name] = SplitSummary(
            rows=writer.rows,
            counts=in_label_order(writer.counts, written.labels),
            generated=writer.generated,
            with_votes=writer.with_votes,
            near_duplicates_in_training=writer.near_count,
            image_sizes={f"{w}×{h} {mode}": n for (w, h, mode), n in sorted(writer.sizes.items())},
            content_sha256=writer.digest.hexdigest(),
            files=writer.rename_shards(),
        )
    varied = plan.varied
    return Summary(
        mien_store=FORMAT,
        mien=versions()["mien"],
        labels=list(names),
        splits=splits,
        sources=[
            _described(source, read[source.name], written, [drop for name, drop in drops if name == source.name])
            for source in sources
        ],
        dropped=dict(sorted(Counter(drop.reason for _, drop in drops).items())),
        warnings=list(plan.warnings),
        options=options.described(),
        versions=versions(),
        **({} if varied is None else {"balance": Balance(before=varied.before, after=varied.after)}),
    )


def _described(
    source: Source, read: Mapping[str, Counter[str]], written: Written, drops: Sequence[Drop]
) -> SourceSummary:
    counts: dict[str, Counter[str]] = {}
    generated = 0
    for (name, split, label, made), number in written.images.items():
        if name == source.name:
            generated += number if made else 0
            if not made:
                counts.setdefault(split, Counter())[label] += number
    return SourceSummary(
        name=source.name,
        layout=source.layout,
        files=[file.name for file in source.files],
        read={split: in_label_order(read[split], written.labels) for split in sorted(read)},
        counts={split: in_label_order(counts[split], written.labels) for split in sorted(counts)},
        generated=generated,
        dropped=dict(sorted(Counter(drop.reason for drop in drops).items())),
        differences=source.differences(read),
        warnings=list(source.warnings),
        licence=source.licence,
    )


def versions() -> dict[str, str]:
    """Of what can change the bytes of a store."""
    from mien import __version__

    found = {"mien": __version__}
    for package in ("numpy", "onnxruntime", "pillow", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a system package without metadata
            found[package] = "unknown"
    return found


def card(summary: Mapping[str, Any], columns: list[str], *, figure: str | None = None) -> str:
    """A README.md for people, whose head ``datasets.load_dataset(STORE)`` reads: a Hugging Face data card.

    All that it says comes from the summary. columns: those of the shards. figure: the file of Figure 2 beside it, if
    there is one. Raises MissingExtra without Jinja2.
    """
    rows = sum(split["rows"] for split in summary["splits"].values())
    return render(
        "data_card.md.j2",
        summary=summary,
        own=label_set.is_own(summary["labels"]),
        noun=label_set.noun(summary["labels"]),
        columns=columns,
        figure=figure,
        size_category=next((name for edge, name in _SIZES.items() if rows < edge), "1M<n<10M"),
        codes=", ".join(f"{code} {name}" for code, name in enumerate(summary["labels"])),
        sizes=sorted({size for split in summary["splits"].values() for size in split["image_sizes"]}),
        images=[sum(n for one in source["counts"].values() for n in one.values()) for source in summary["sources"]],
    )
