"""Sources → store, streamed: memory is bounded by a few thousand images, whatever the size of the source.

Written into a hidden directory beside the target and moved into place at the end, so that a kill leaves no half
store. The same images give the same bytes: nothing in a store depends on the clock, the machine or the layout
that the images came in, save for the source's description in ``summary.json``.
"""

import csv
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from mien import labels as label_set
from mien.data.duplicates import near_duplicates_of_averages
from mien.data.shards import UNLABELLED, SplitWriter
from mien.data.sources import Drop, Source
from mien.data.store import FORMAT, SUMMARY, TRAINING_SPLITS
from mien.errors import DataError, OutputError

#: (images done, images in all or None where unknown, what is going on)
Progress = Callable[[int, int | None, str], None]

#: Items between two calls of the progress.
_STEP = 1024


def build_store(
    sources: Sequence[Source], out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Read every source and write the store ``out``; return its summary.

    An existing store of ours or an empty directory is replaced; anything else only with ``overwrite``.
    Raises DataError where a source is broken or gives no image, OutputError where ``out`` cannot be written.
    """
    out = Path(os.path.abspath(out))
    check_target(out, overwrite=overwrite)
    inside = [file for source in sources for file in source.files if file.resolve().is_relative_to(out.resolve())]
    if inside:  # replacing the store would delete what it is made of
        raise OutputError(f"expected a store outside of its source, got {out}, which holds {inside[0].name}")
    temporary = _beside(out, "building")
    try:
        (temporary / "data").mkdir(parents=True)
        summary = _write(sources, temporary, progress=progress or _silent)
        _move(temporary, out)
    except OSError as error:
        raise OutputError(f"expected to write the store {out}, failed: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return summary


def check_target(out: Path, *, overwrite: bool) -> None:
    """Raises OutputError where ``out`` holds something that is not a store of ours and may not be replaced."""
    if out.is_file() or out.is_symlink():
        raise OutputError(f"expected a directory for the store, got the file or link {out}")
    if out.is_dir() and any(out.iterdir()) and not overwrite and not _is_store(out):
        raise OutputError(
            f"expected a new directory or a store of ours at {out}, found other files",
            hint="choose another directory, or pass --overwrite to replace it with all that it holds",
        )


def _is_store(path: Path) -> bool:
    try:
        return "mien_store" in json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _beside(out: Path, what: str) -> Path:
    """A hidden name on the same disk that nobody else uses. After a kill it stays behind and may be deleted."""
    return out.parent / f".{out.name}.{what}-{uuid.uuid4().hex[:8]}"


def _move(temporary: Path, out: Path) -> None:
    """Put the finished directory in place. The old one goes only when the new one stands complete beside it."""
    if out.exists():
        old = _beside(out, "old")
        out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(out)


def _silent(done: int, total: int | None, what: str) -> None:
    """No progress asked for."""


def _write(sources: Sequence[Source], target: Path, *, progress: Progress) -> dict[str, Any]:
    writers: dict[str, SplitWriter] = {}
    drops: list[tuple[str, Drop]] = []
    described: list[dict[str, Any]] = []
    done = 0
    totals = [source.total() for source in sources]
    total = None if None in totals else sum(t for t in totals if t is not None)
    with ExitStack() as stack:
        for source in sources:
            what = f"reading {source.name} ({source.layout})"
            counts: dict[str, Counter[str]] = {}
            progress(done, total, what)
            for item in source.stream():
                done += 1
                if done % _STEP == 0:
                    progress(done, total, what)
                if isinstance(item, Drop):
                    drops.append((source.name, item))
                    continue
                writer = writers.get(item.split)
                if writer is None:
                    writer = writers[item.split] = SplitWriter(target / "data", item.split)
                    stack.callback(writer.close)
                writer.add(item, source=source.name)
                counts.setdefault(item.split, Counter())[item.label or UNLABELLED] += 1
            described.append(_description(source, counts, [drop for name, drop in drops if name == source.name]))
    if not writers:
        raise DataError(
            f"expected images in {', '.join(source.name for source in sources)}, "
            f"got none ({len(drops)} dropped: {_reasons(drops)})"
        )
    progress(done, total, "looking for near-duplicates of Training images")
    _mark_near_duplicates(writers)
    progress(done, total, "done")
    return _finish(target, writers, described, drops)


def _description(source: Source, counts: dict[str, Counter[str]], drops: list[Drop]) -> dict[str, Any]:
    return {
        "name": source.name,
        "layout": source.layout,
        "files": [file.name for file in source.files],
        "counts": {split: _in_label_order(counts[split]) for split in sorted(counts)},
        "dropped": dict(sorted(Counter(drop.reason for drop in drops).items())),
        "differences": source.differences(counts),
        "warnings": list(source.warnings),
        "licence": source.licence,
    }


def _finish(
    target: Path, writers: dict[str, SplitWriter], described: list[dict[str, Any]], drops: list[tuple[str, Drop]]
) -> dict[str, Any]:
    from mien import __version__

    used = {name for writer in writers.values() for name in writer.counts}
    names = label_set.EIGHT if "contempt" in used else label_set.SEVEN
    splits = {}
    for name in sorted(writers, key=_split_order):
        writer = writers[name]
        splits[name] = {
            "rows": writer.rows,
            "counts": _in_label_order(writer.counts),
            "with_votes": writer.with_votes,
            "near_duplicates_in_training": writer.near_count,
            "image_sizes": {f"{w}×{h} {mode}": n for (w, h, mode), n in sorted(writer.sizes.items())},
            "content_sha256": writer.digest.hexdigest(),
            "files": writer.rename_shards(),
        }
    if drops:
        with (target / "dropped.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["source", "where", "reason", "detail"])
            table.writerows([name, drop.where, drop.reason, drop.detail] for name, drop in drops)
    summary = {
        "mien_store": FORMAT,
        "mien": __version__,
        "labels": list(names),
        "splits": splits,
        "sources": described,
        "dropped": dict(sorted(Counter(drop.reason for _, drop in drops).items())),
    }
    (target / SUMMARY).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def _mark_near_duplicates(writers: dict[str, SplitWriter]) -> None:
    reference = [writer.all_averages() for name, writer in writers.items() if name in TRAINING_SPLITS]
    if not reference:
        return  # no Training in this store: the column stays null, which reads as "not known"
    training = np.concatenate(reference)
    for name, writer in writers.items():
        if name not in TRAINING_SPLITS:
            writer.rewrite_with(near_duplicates_of_averages(writer.all_averages(), training))


def _in_label_order(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in (*label_set.EIGHT, UNLABELLED) if counts[name]}


def _split_order(name: str) -> tuple[int, str]:
    order = ("training", "train", "public_test", "validation", "private_test", "test")
    return (order.index(name) if name in order else len(order), name)


def _reasons(drops: list[tuple[str, Drop]]) -> str:
    counts = Counter(drop.reason for _, drop in drops)
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "nothing to read"
