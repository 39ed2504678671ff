"""``mien read --engine ray``: which options go with it, progress, and the summary; the work is in ``bulk``."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from mien.errors import UsageError, require

if TYPE_CHECKING:
    from mien.bulk.manifest import Manifest
    from mien.reading.reader import Reader


def check_options(
    output: str | None, *, format: str | None, device: str, paths: Sequence[str], others: Mapping[str, Any]
) -> str:
    """The output directory. Raises UsageError for an option that does not go with --engine ray, MissingExtra."""
    require("ray", "pyarrow", extra="ray")
    given = [name for name, value in others.items() if value]
    if given:
        what = "each worker has one" if given[0] == "--threads" else "it writes a table of pictures alone"
        raise UsageError(f"{given[0]} does not go with --engine ray: {what}", hint="leave it out")
    if format not in (None, "parquet"):
        raise UsageError(f"expected the format parquet with --engine ray, got {format}")
    if device != "cpu":
        raise UsageError(f"expected --device cpu with --engine ray, got {device}")
    if output is None:
        raise UsageError("expected a directory for the shards", hint="give one with -o DIR")
    if "://" in output:
        raise UsageError(
            f"expected a directory for the shards, got the URL {output}",
            hint="write to a file system that all nodes share, and copy the shards from there",
        )
    live = [path for path in paths if path.startswith("camera:")]
    if live:
        raise UsageError(f"{live[0]} does not go with --engine ray", hint="leave out --engine ray")
    return output


def run_bulk(
    reader: "Reader",
    paths: list[str],
    output: str,
    *,
    workers: int | None,
    address: str | None,
    block_size: int | None,
    quiet: bool,
) -> None:
    """Read, with progress on stderr. Raises typer.Exit(1) where inputs failed."""
    from mien.bulk.engine import RayEngine
    from mien.bulk.run import BLOCK_SIZE, read_bulk
    from mien.cli.progress import Countdown

    debug = logging.getLogger("mien").isEnabledFor(logging.DEBUG)
    engine = RayEngine(workers=workers, address=address, debug=debug)
    with nullcontext() if quiet else Countdown("reading", noun="pictures", closing=False) as countdown:
        try:
            manifest = read_bulk(
                reader,
                paths,
                output,
                engine=engine,
                block_size=block_size or BLOCK_SIZE,
                stdin=sys.stdin.buffer,
                on_progress=countdown,
                on_note=None if countdown is None else countdown.say,
            )
        except KeyboardInterrupt:
            if countdown is not None:
                countdown.say("what was read is kept; the same command resumes after it")
            raise
    if not quiet:
        print(_summary(manifest, output), file=sys.stderr, flush=True)
    if manifest.counts.failed:
        raise typer.Exit(1)


def _summary(manifest: "Manifest", output: str) -> str:
    from mien.pages.format import plural

    counts = manifest.counts
    text = f"{plural(counts.inputs, 'picture')}, {plural(counts.faces, 'face')}, {plural(counts.shards, 'shard')}"
    failed = sum(counts.failed.values())
    if failed:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.failed.items())
        text += f"; {failed:,} could not be read ({kinds}), see the column error"
    return f"{text} → {os.path.join(output, 'rows')}"
