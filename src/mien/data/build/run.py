"""Sources → store, in three phases, of which only the first takes long.

1. ``ingest.py``: the sources are streamed and normalised in worker processes; finished parts are kept in a
   hidden directory beside the target (``staging.py``), from which an interrupted build resumes.
2. ``plan.py``: on a small index in memory, under 1 kB an image, every picture gets its split, or is dropped under a
   stated reason, and what is varied to balance Training is chosen (and generated, as more parts).
3. Here: the parts become the shards of the splits, with ``summary.json``, ``dropped.csv`` and the card, and the store
   is moved into place when it is complete.

Memory holds a few parts and the index, independent of the size of the sources. The same images and options give
the same bytes: nothing in a store depends on the clock, the machine, the number of workers, or on how often the build
was interrupted.
"""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.build import parts as part_files
from mien.data.build.balance import BalanceSettings
from mien.data.build.infer_defaults import infer_defaults
from mien.data.build.ingest import Progress, Workers, generate_parts, ingest
from mien.data.build.normalise import Standard
from mien.data.build.parts import Facts, PartInfo, Row, decode, read_facts, read_rows
from mien.data.build.plan import BuildPlan, leaks, make_plan, new_images, wanted_by_part
from mien.data.build.plausible import doubts
from mien.data.build.shards import SplitWriter, schema
from mien.data.build.splits import TRAINING, SplitSettings
from mien.data.build.staging import Staging
from mien.data.build.summary import CARD, Options, Written, card, summarise, versions
from mien.data.pictures import LARGE_PNG
from mien.data.sources import Drop, Source
from mien.data.store import is_store
from mien.data.summary import UNLABELLED, Summary
from mien.errors import DataError, MienError, MissingExtra, OutputError, UsageError
from mien.labels import coded

__all__ = ["Progress", "build_store", "check_target"]


def build_store(
    sources: Sequence[Source],
    out: str | Path,
    *,
    standard: Standard | None = None,
    splits: SplitSettings | None = None,
    balance: BalanceSettings | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Read every source, write the store, and return its summary (``docs/schemas/summary.json``).

    Interrupted, it leaves its finished parts in ``.NAME.building`` beside ``out``; the same call resumes. It needs disk
    space for about two of the store.

    Args:
        sources: from :func:`mien.data.sources.open_source`, each with another name.
        out: the store's directory. A store of ours or an empty directory is replaced.
        standard: size, colour and label set of the pictures; None: taken from the first pictures.
        splits: how pictures without an official split are placed, and what happens to copies; None: the defaults.
        balance: how Training is balanced by generated images; None: it is not.
        workers: processes that decode; 1: this one alone (more need a script's ``if __name__ == "__main__"``).
        overwrite: replace a directory of anything else as well.
        progress: called with (images done, images or None, what is being done).
        on_note: called with a sentence for each default that was inferred, before the work begins.

    Raises:
        DataError: a source that is broken or gives no image.
        UsageError: options that do not fit together.
        OutputError: ``out`` cannot be written, or holds something else.

    Examples:
        >>> from mien.data.build.normalise import Standard
        >>> from mien.data.build.run import build_store
        >>> from mien.data.sources import open_source
        >>> source = open_source("folder", "pictures", own=True)
        >>> summary = build_store([source], "built", standard=Standard(labels="own"))
        >>> summary["labels"], sum(split["rows"] for split in summary["splits"].values())
        (['dark', 'light'], 40)
    """
    out = Path(os.path.abspath(out))
    check_target(out, overwrite=overwrite)
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"expected sources with a name each, got {', '.join(names)}")
    inside = [file for source in sources for file in source.files if file.resolve().is_relative_to(out.resolve())]
    if inside:  # replacing the store would delete what it is made of
        raise OutputError(f"expected a store outside of its source, got {out}, which holds {inside[0].name}")
    standard, settled = infer_defaults(standard or Standard(), sources)
    if on_note is not None:
        for note in settled:
            on_note(note)
    options = Options(standard, splits or SplitSettings(), balance, tuple(settled))
    try:
        with Staging(out, _what(sources, standard)) as place, Workers(workers) as crew:
            return _build(sources, options, place, crew, progress or _silent).content()
    except OSError as error:
        raise OutputError(f"expected to write the store {out}, failed: {error}") from error


def check_target(out: Path, *, overwrite: bool) -> None:
    """Raises OutputError where ``out`` holds something that is not a store of ours and may not be replaced."""
    if out.is_file() or out.is_symlink():
        raise OutputError(f"expected a directory for the store, got the file or link {out}")
    if out.is_dir() and any(out.iterdir()) and not overwrite and not is_store(out):
        raise OutputError(
            f"expected a new directory or a store of ours at {out}, found other files",
            hint="choose another directory, or pass --overwrite to replace it with all that it holds",
        )


def _silent(done: int, total: int | None, what: str) -> None:
    """No progress asked for."""


def _what(sources: Sequence[Source], standard: Standard) -> dict[str, Any]:
    """What the parts are made from, save for the pictures themselves: those are in each part's fingerprint."""
    return {
        "parts": part_files.FORMAT,
        "versions": versions(),
        "standard": standard.to_dict(),
        "sources": [
            {"name": s.name, "layout": s.layout, "files": [os.path.abspath(file) for file in s.files]} for s in sources
        ],
    }


def _build(sources: Sequence[Source], options: Options, place: Staging, crew: Workers, progress: Progress) -> Summary:
    try:
        ingested = ingest(sources, options.standard, crew, place.part, progress)
        drops = [(part.source, drop) for part in ingested.parts for drop in part.drops]
        for name, read in ingested.read.items():
            kept = sum(part.rows for part in ingested.parts if part.source == name)
            mine = [drop for source, drop in drops if source == name]
            ingested.warnings += doubts(name, read=read, kept=kept, drops=mine)
        if not any(part.rows for part in ingested.parts):
            raise DataError(
                f"expected images in {', '.join(source.name for source in sources)}, "
                f"got none ({len(drops)} dropped: {_reasons(drops)})"
            )
        _require_classes(options.standard, ingested.parts)
    except OutputError:  # a full disk, a worker killed: an interruption like any other
        raise
    except MienError:  # a broken source: there is nothing to resume
        crew.stop()
        place.clear()
        raise
    total = ingested.items
    progress(total, total, "looking for near-duplicates")
    facts = read_facts(ingested.parts, coded(options.standard.label_set))
    plan = make_plan(facts, options.splits, options.balance)
    plan = replace(plan, warnings=(*ingested.warnings, *plan.warnings))
    drops += [
        (facts.index.source[drop.row], Drop(facts.index.path[drop.row], drop.reason, drop.detail))
        for drop in plan.drops
    ]
    varied: list[PartInfo] = []
    if plan.varied is not None and options.balance is not None:
        wanted = wanted_by_part(plan.varied, facts, ingested.parts)
        varied = generate_parts(
            wanted, TRAINING, options.balance.variation, crew, place.varied, progress, jpeg=options.standard.jpeg
        )
    (place.store / "data").mkdir(parents=True)
    written = _write_shards(place.store / "data", ingested.parts, varied, facts, plan, crew.count, progress)
    summary = summarise(sources, options, ingested.read, written, plan, drops)
    figure = _draw(place.store, written) if plan.varied is not None else None
    columns = schema(written.optional).names
    (place.store / CARD).write_text(
        card(summary.content(), columns, figure=figure), encoding="utf-8", errors="backslashreplace"
    )
    _write_drops(place.store / "dropped.csv", drops)
    summary.write(place.store)
    place.finish()
    progress(total, total, "done")
    return summary


def _require_classes(standard: Standard, parts: Sequence[PartInfo]) -> None:
    """Raises DataError where a class of the user's own has no picture left: a network could not learn it."""
    if standard.classes:
        labels = read_facts(parts, standard.classes).index.label
        missing = [name for code, name in enumerate(standard.classes) if not (labels == code).any()]
        if missing:
            drops = Counter(drop.reason for part in parts for drop in part.drops)
            why = f" ({', '.join(f'{n} dropped: {reason}' for reason, n in drops.most_common(2))})" if drops else ""
            raise DataError(f"expected pictures of every class, got none of {', '.join(missing)}{why}")


def _write_shards(
    data: Path,
    parts: Sequence[PartInfo],
    varied: Sequence[PartInfo],
    facts: Facts,
    plan: BuildPlan,
    threads: int,
    progress: Progress,
) -> Written:
    """One pass over the parts, each row to the shards of its split; what was generated comes after all originals."""
    near = leaks(facts, plan.split)
    optional = facts.has | ({"generated_from"} if any(part.rows for part in varied) else set())
    written = Written(optional=frozenset(optional), labels=facts.index.labels)
    total = len(facts) + sum(part.rows for part in varied)
    done = 0
    with ExitStack() as stack, ThreadPoolExecutor(threads) as pool:

        def write(row: Row, pixels: NDArray[np.uint8], split: str, leak: int) -> None:
            writer = written.writers.get(split)
            if writer is None:
                writer = written.writers[split] = SplitWriter(data, split, written.optional, facts.index.labels)
                stack.callback(writer.close)
            writer.add(row, pixels, near=None if leak < 0 else bool(leak))
            made = row.generated_from is not None
            written.images[row.source, split, row.sample.label or UNLABELLED, made] += 1

        for part, first in zip(parts, facts.first, strict=True):
            for row, pixels in _with_pixels(part, [bool(name) for name in plan.split[first : first + part.rows]], pool):
                write(row, pixels, plan.split[first + row.number], int(near[first + row.number]))
            done += part.rows
            progress(done, total, "writing shards")
        for part, new in zip(varied, new_images(facts, varied), strict=True):
            for row, pixels in _with_pixels(part, new.tolist(), pool):
                write(row, pixels, row.sample.split, -1)
            done += part.rows
            progress(done, total, "writing shards")
    return written


def _with_pixels(
    part: PartInfo, wanted: Sequence[bool], threads: ThreadPoolExecutor
) -> Iterator[tuple[Row, NDArray[np.uint8]]]:
    """The wanted rows of a part, decoded; large pictures in threads, for which small ones are too quick."""
    rows = (row for row in read_rows(part) if wanted[row.number])
    while batch := list(islice(rows, 16)):
        spread = threads.map if len(batch[0].png) > LARGE_PNG else map
        yield from zip(batch, spread(decode, [row.png for row in batch]), strict=True)


def _draw(store: Path, written: Written) -> str | None:
    """Figure 2 beside the shards, where matplotlib is installed; the name of its PNG."""
    from mien.data.build.balance_figure import balance_figure

    originals, generated = (written.by_source(TRAINING, generated=made) for made in (False, True))
    try:
        balance_figure(originals, generated, store / "balance", labels=written.labels)
    except MissingExtra:
        return None
    return "balance.png"


def _write_drops(file: Path, drops: Sequence[tuple[str, Drop]]) -> None:
    if drops:
        with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["source", "where", "reason", "detail"])
            table.writerows([name, drop.where, drop.reason, drop.detail] for name, drop in drops)


def _reasons(drops: Sequence[tuple[str, Drop]]) -> str:
    counts = Counter(drop.reason for _, drop in drops)
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "nothing to read"
