"""One bulk run, from the lock to the manifest: list, compare with what was begun there, read, verify."""

import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from mien import __version__
from mien.atomic import make_folder
from mien.bulk.block import check_shard
from mien.bulk.engine import Engine, EngineError, RayEngine
from mien.bulk.listing import Listing, entries, first_difference, write_listing
from mien.bulk.manifest import (
    NAME,
    Counts,
    Inputs,
    Manifest,
    ModelOf,
    counts_of,
    read_manifest,
    refuse_other_run,
    start_now,
)
from mien.bulk.plan import Done, Plan, total
from mien.errors import OutputError, UsageError
from mien.locks import NAME as LOCK
from mien.locks import DirectoryLock
from mien.reading.reader import Reader
from mien.showable import showable, utf8

BLOCK_SIZE = 1000
ROUNDS = 3  # of reading what is missing at the end
FREE_OPTIONS = ("model", "threads", "batch_size", "device")  # they change no value
_WORK = re.compile(r"\.work-[0-9a-f]{16}")
_HALF_MANIFEST = re.compile(r"\.manifest\.json\.[0-9a-f]{8}\.tmp")
OnProgress = Callable[[int, int], None]


def read_bulk(
    reader: Reader,
    paths: Sequence[str],
    output: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    block_size: int = BLOCK_SIZE,
    stdin: IO[bytes] | None = None,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Manifest:
    """Read all pictures of the paths into a directory of Parquet shards, each exactly once.

    A run that was ended, however, goes on when it is called again in the same way: what is complete is verified, and
    only what is missing or damaged is read. Videos and inputs that cannot be read are rows with an error.

    Args:
        reader: its model and options; each worker makes its own, with one thread.
        paths: as of ``mien read``: files, directories, globs, Parquet tables with a column ``image``, ``-`` with stdin,
            and URLs of object stores.
        output: the directory, made if needed, for ``rows/part-00000000.parquet``, … (the columns of ``mien read -o
            FILE.parquet``, in the order of the inputs) and ``manifest.json``.
        engine: a :class:`mien.bulk.engine.RayEngine`; None: one on the cores of this machine.
        block_size: inputs a shard, at least 1.
        stdin: what ``-`` reads paths from.
        on_progress: called with (inputs read, inputs).
        on_note: called with what happened on the way, a sentence each.

    Returns:
        The manifest, with the counts (``docs/schemas/manifest.json``).

    Raises:
        UsageError: an option out of range, or a reader that cannot travel to workers by name.
        OutputError: a full disk; a directory that holds something else, was begun with another model, options or
            inputs, or is being written by another run.
        DataError: an object store that cannot be listed.
        EngineError: no Ray there, or it does not stay up.
        MissingExtra: the extra ``ray`` is not installed.

    Examples:
        >>> from mien import Reader
        >>> from mien.bulk.engine import Here  # without it, Ray: for many pictures
        >>> from mien.bulk.run import read_bulk
        >>> manifest = read_bulk(Reader("nano"), ["photo.jpg", "gone.jpg"], "read", engine=Here())
        >>> manifest.counts.inputs, manifest.counts.faces, manifest.counts.failed
        (2, 1, {'missing': 1})
    """
    if block_size < 1:
        raise UsageError(f"expected a block size of at least 1, got {block_size}")
    if not isinstance(reader.options["detector"], str):
        raise UsageError("expected a reader whose detector is given by name, got an object")
    if isinstance(reader.options["model"], bytes):
        raise UsageError("expected a reader whose model is a name or a file, got bytes")
    engine = engine or RayEngine()
    out = os.path.abspath(os.fspath(output))
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"expected a directory for the shards, got the file {os.fspath(output)!r}")
    make_folder(out)
    _refuse_strange_content(out)
    with DirectoryLock(out):
        note = on_note or (lambda text: None)
        run = _Run(reader, list(paths), out, block_size, lambda text: note(showable(text)))
        return run.read(engine, stdin, on_progress or (lambda done, total: None))


@dataclass(slots=True)
class _Run:
    reader: Reader
    paths: list[str]
    out: str
    block_size: int
    note: Callable[[str], None]

    def read(self, engine: Engine, stdin: IO[bytes] | None, progress: OnProgress) -> Manifest:
        kept = read_manifest(self.out)
        if kept is None:
            for leftover in _refuse_strange_content(self.out):
                shutil.rmtree(leftover, ignore_errors=True)
        manifest = self._manifest(kept)
        if kept is not None:
            refuse_other_run(kept, manifest, self.out)
        listing = self._list(manifest, kept, stdin)
        inputs = manifest.inputs.model_copy(
            update={"count": listing.inputs, "blocks": listing.blocks, "listing_sha256": listing.digest}
        )
        manifest = manifest.model_copy(update={"inputs": inputs})
        manifest.write(self.out)
        plan = self._plan(manifest)
        make_folder(plan.rows)
        shutil.rmtree(plan.listing, ignore_errors=True)
        os.rename(os.path.join(plan.work, "listing"), plan.listing)
        done: dict[int, Done] = {}
        if kept is not None:
            self._add_kept(done, plan, listing)
        read = sum(block.inputs for block in done.values())
        progress(read, listing.inputs)
        for _ in range(ROUNDS):
            if len(done) < plan.blocks:
                for block in engine.read(plan, seen=self._seen(), note=self.note):
                    done[block.block] = block
                    read += block.inputs
                    progress(min(read, listing.inputs), listing.inputs)
            self._add_kept(done, plan, listing)  # a worker may have ended between its shard and its word
            for number in self._gone(plan, done):
                self.note(f"{plan.shard(number)} is gone; its inputs are read again")
                del done[number]
            read = sum(block.inputs for block in done.values())
            progress(read, listing.inputs)
            if len(done) == plan.blocks:
                break
        else:
            raise OutputError(
                f"expected {plan.blocks:,} shards in {plan.rows!r}, {plan.blocks - len(done):,} keep vanishing",
                hint="does another program delete them?",
            )
        return self._finish(manifest, plan, done)

    def _manifest(self, kept: Manifest | None) -> Manifest:
        meta, options = self.reader.meta, self.reader.options
        return Manifest(
            id=secrets.token_hex(8) if kept is None else kept.id,
            state="reading",
            mien=__version__,
            inputs=Inputs(
                paths=[utf8(path) for path in self.paths],
                folder=utf8(os.getcwd()),
                count=0,
                block_size=self.block_size,
                blocks=0,
                listing_sha256="",
            ),
            model=ModelOf(
                name=meta.name, sha256=self.reader.digest, precision=meta.precision, labels=list(meta.labels)
            ),
            options={name: value for name, value in options.items() if name not in FREE_OPTIONS}
            | {"precision": meta.precision},
            counts=Counts(),
            starts=[*([] if kept is None else kept.starts), start_now()],
        )

    def _list(self, manifest: Manifest, kept: Manifest | None, stdin: IO[bytes] | None) -> Listing:
        """The inputs of today, in the work folder. Raises OutputError where the directory was begun with others."""
        plan = self._plan(manifest)
        make_folder(plan.work)
        for name in os.listdir(plan.work):  # halves of killed workers
            with suppress(OSError):
                os.unlink(os.path.join(plan.work, name))
        fresh = os.path.join(plan.work, "listing")
        shutil.rmtree(fresh, ignore_errors=True)
        listing = write_listing(entries(self.paths, stdin=stdin, exclude=[self.out]), fresh, self.block_size)
        if kept is not None and listing.digest != kept.inputs.listing_sha256:
            difference = first_difference(plan.listing, fresh)
            shutil.rmtree(fresh, ignore_errors=True)
            raise OutputError(
                f"expected the {kept.inputs.count:,} inputs with which {self.out!r} was begun, got {listing.inputs:,}"
                + (f": {difference}" if difference else ""),
                hint="give another directory, or the same inputs",
            )
        return listing

    def _plan(self, manifest: Manifest) -> Plan:
        options = self.reader.options
        # "auto" is decided here, for all nodes
        precision = "int8" if manifest.model.precision.startswith("int8") else "fp32"
        return Plan(
            id=manifest.id,
            out=self.out,
            folder=os.getcwd(),
            block_size=self.block_size,
            blocks=manifest.inputs.blocks,
            options=options | {"precision": precision},
            digest=manifest.model.sha256,
            labels=tuple(manifest.model.labels),
            version=__version__,
        )

    def _add_kept(self, done: dict[int, Done], plan: Plan, listing: Listing) -> None:
        """Add the shards that are there without a word of it, each read and checked; damaged ones are taken away."""
        for block in range(plan.blocks):
            if block in done or not os.path.exists(plan.shard(block)):
                continue
            inputs = min(plan.block_size, listing.inputs - block * plan.block_size)
            found = check_shard(plan, block, inputs)
            if isinstance(found, Done):
                done[block] = found
                continue
            self.note(f"{plan.shard(block)} is damaged ({found}); its {inputs:,} inputs are read again")
            os.unlink(plan.shard(block))

    def _gone(self, plan: Plan, done: dict[int, Done]) -> list[int]:
        """Blocks whose shard is not there any more, or has another size than when it was written."""
        gone = []
        for number, block in done.items():
            try:
                size = os.path.getsize(plan.shard(number))
            except OSError:
                size = -1
            if size != block.size:
                with suppress(OSError):
                    os.unlink(plan.shard(number))
                gone.append(number)
        return gone

    def _finish(self, manifest: Manifest, plan: Plan, done: dict[int, Done]) -> Manifest:
        totals: Counter[str] = Counter()
        for block in done.values():
            total(totals, block)
        counts = counts_of(totals)
        if counts.inputs != manifest.inputs.count:
            raise EngineError(f"expected {manifest.inputs.count:,} inputs in the shards, got {counts.inputs:,}")
        manifest = manifest.model_copy(update={"state": "complete", "counts": counts})
        manifest.write(self.out)
        shutil.rmtree(plan.work, ignore_errors=True)
        return manifest

    def _seen(self) -> list[str]:
        """Paths that every node must see."""
        return [path for path in self.paths[:1000] if os.path.exists(path)]


def _refuse_strange_content(folder: str) -> list[str]:
    """What a run that was killed while it listed left in a directory without a manifest. Raises OutputError where the
    directory holds anything else."""
    names = os.listdir(folder)
    if NAME in names:
        return []
    leftovers = [name for name in names if _WORK.fullmatch(name)]
    strange = [n for n in names if n not in leftovers and n != LOCK and not _HALF_MANIFEST.fullmatch(n)]
    if strange:
        raise OutputError(
            f"expected an empty directory or one with {NAME}, {folder!r} holds {strange[0]!r}",
            hint="give another directory",
        )
    return [os.path.join(folder, name) for name in leftovers]
