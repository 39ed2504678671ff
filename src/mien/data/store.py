"""The store: the common format of all data sets, from which networks are trained and evaluated.

A directory of Parquet shards, ``data/<split>-00000-of-00001.parquet``, which pandas, DuckDB and
``datasets.load_dataset(directory)`` open without our code, beside a ``summary.json`` (sources, counts, drops,
differences from the published counts, options, versions), a card for people (``README.md``) and, where something was
dropped, ``dropped.csv``. This file is the reading side; ``build/run.py`` writes. Columns of a shard:

    image           struct{bytes: PNG (or JPEG), path: the image's name within its source}
    label           name of the expression or of the user's own class, null where the source holds it back
    label_code      int8 code of ``mien.labels``, or the position in ``labels`` of ``summary.json``; or null
    source, split   where the image comes from
    votes           ten FER+ counts in the order of ``sources.VOTE_NAMES``, or null
    group           what must not cross splits (a subject), or null
    near_duplicate  whether a Training image is nearly the same (``near_duplicates.py``); null in Training itself

and, only in stores where some image has them:

    valence, arousal  float in -1…1, or null
    landmarks       x, y, x, y, … in pixels of the image, or null
    soft_label      probabilities of the expressions by code, which training prefers to the label; or null
    generated_from  the original's name within its source, for an image that was generated from it; null for an original
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.pictures import AGAIN, InMemory, Pictures, find, shard_file
from mien.data.summary import SUMMARY, check_summary
from mien.errors import DataError
from mien.labels import EIGHT, coded
from mien.showable import short

FORMAT = 1
#: Splits whose images a network may have memorised; ``near_duplicate`` refers to them.
TRAINING_SPLITS = ("training", "train")
_BATCH = 1024  # rows that are read at a time


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split in memory, row by row in the store's order.

    Attributes:
        name: of the split.
        paths: N names.
        images: uint8 N×S×S, or N×S×S×3 for RGB; ``Pictures`` where they stay on the disk.
        labels: int64 N codes, −1 where the label is held back.
        votes: float32 N×10 FER+ counts, rows of NaN where there are none.
        leak: bool N, True where Training holds a near-duplicate; None where that is not known: in the training split
            itself, and in a store without one.
        valence_arousal: float32 N×2 in -1…1, NaN where an image has none; None where the store has none at all.
        soft_labels: float32 N×K probabilities by code, likewise.
        label_set: the names of the codes, those of ``mien.labels`` or the user's own.

    Examples:
        >>> from mien.data.store import Store
        >>> split = Store.open("store").read("test")
        >>> len(split), split.images.shape, split.label_set
        (8, (8, 48, 48), ('dark', 'light'))
        >>> import numpy as np
        >>> len(split.rows(np.array([2, 0]))), len(split.labelled()), len(split.limited(3))
        (2, 8, 3)
    """

    name: str
    paths: list[str]
    images: Any
    labels: NDArray[np.int64]
    votes: NDArray[np.float32]
    leak: NDArray[np.bool_] | None
    valence_arousal: NDArray[np.float32] | None = None
    soft_labels: NDArray[np.float32] | None = None
    label_set: tuple[str, ...] = EIGHT

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, chosen: NDArray[np.int64]) -> "Split":
        """These rows, in this order.

        Args:
            chosen: int64, row numbers.
        """
        by_row = ("images", "labels", "votes", "leak", "valence_arousal", "soft_labels")
        there = {name: values for name in by_row if (values := getattr(self, name)) is not None}
        picked: dict[str, Any] = {name: values[chosen] for name, values in there.items()}
        return replace(self, paths=[self.paths[row] for row in chosen], **picked)

    def labelled(self) -> "Split":
        """The rows whose label is known; the split itself where that is all of them, or none (they are held back)."""
        known = self.labels >= 0
        return self if known.all() or not known.any() else self.rows(np.flatnonzero(known))

    def limited(self, limit: int | None) -> "Split":
        """At most so many rows, spread evenly: a split may be sorted by label, and its first rows of one class.

        Args:
            limit: rows, at least 1; None: all.
        """
        return self if limit is None or limit >= len(self) else self.rows(spread(len(self), limit))


def spread(n: int, limit: int) -> NDArray[np.int64]:
    """``limit`` ≤ n different rows of n, evenly apart, the first and the last among them."""
    return np.linspace(0, n - 1, limit).round().astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """A built store, opened for reading.

    Attributes:
        path: the directory.
        summary: the content of its ``summary.json`` (``docs/schemas/summary.json``).

    Examples:
        >>> from mien.data.store import Store
        >>> store = Store.open("store")
        >>> store.splits, store.labels
        (('training', 'validation', 'test'), ('dark', 'light'))
        >>> [file.name for file in store.shards("test")], store.pixels("test"), len(store.fingerprint)
        (['test-00000-of-00001.parquet'], 18432, 16)
        >>> store.read("test").labels.dtype
        dtype('int64')
    """

    path: Path
    summary: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store; nothing is decoded.

        Args:
            path: the directory that ``mien data build`` wrote.

        Raises:
            DataError: no store of ours, or one whose shards are not all there.
        """
        path = Path(path)
        file = path / SUMMARY
        if not file.is_file():
            raise DataError(
                f"expected a store ({SUMMARY} and data/*.parquet) at {path}, {_found(path)}", hint=_hint(path)
            )
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
            version = summary["mien_store"]
            shards = [path / name for split in summary["splits"].values() for name in split["files"]]
            _ = [split["rows"] for split in summary["splits"].values()], summary["labels"]  # what every version has
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"expected a store's summary in {file}, got something else", hint=AGAIN) from error
        if version != FORMAT:
            raise DataError(f"expected store format {FORMAT}, got {short(version)} in {file}", hint=AGAIN)
        check_summary(summary, file)
        missing = [shard.name for shard in shards if not os.path.isfile(shard)]
        if missing:
            raise DataError(f"expected {len(shards)} shards in {path}, missing {', '.join(missing)}", hint=AGAIN)
        return cls(path, summary)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.summary["splits"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The label set of the store: names in the order of their codes."""
        return tuple(self.summary["labels"])

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 over all shards: the same build, the same bytes, the same mark."""
        digest = hashlib.sha256()
        for split in self.splits:
            for shard in self.shards(split):
                with shard.open("rb") as stream:
                    while piece := stream.read(1 << 20):
                        digest.update(piece)
        return digest.hexdigest()[:16]

    def shards(self, split: str) -> list[Path]:
        """The Parquet files of a split, in order.

        Args:
            split: its name.

        Raises:
            DataError: a split that the store does not have.
        """
        if split not in self.splits:
            raise DataError(f"expected a split of {self.path} ({', '.join(self.splits)}), got {split!r}")
        return [self.path / name for name in self.summary["splits"][split]["files"]]

    def pixels(self, split: str) -> int:
        """Bytes of a split's pictures in memory, by the summary.

        Args:
            split: its name.

        Raises:
            DataError: a split that the store does not have.
        """
        self.shards(split)
        sizes = self.summary["splits"][split]["image_sizes"]
        return sum(n * _bytes_of(size) for size, n in sizes.items())

    def read(self, split: str, *, stream: bool = False) -> Split:
        """The whole split, decoded once: 2,304 bytes an image for FER2013, 150,528 for 224×224 RGB.

        Args:
            split: its name.
            stream: leave the pictures on the disk; ``images`` then decodes the rows that are asked for.

        Raises:
            DataError: an unknown split, a broken shard, or images of several sizes.
        """
        paths: list[str] = []
        rows = self.summary["splits"][split]["rows"] if split in self.splits else 0
        pictures = InMemory(self.path, rows)
        labels: list[NDArray[np.int64]] = []
        votes: list[NDArray[np.float32]] = []
        leak: list[NDArray[np.bool_]] = []
        affect: list[NDArray[np.float32]] = []
        soft: list[NDArray[np.float32]] = []
        known = True
        columns = [
            "image.path" if stream else "image",
            "label_code",
            "votes",
            "near_duplicate",
            "valence",
            "arousal",
            "soft_label",
        ]
        for batch in self._batches(split, columns):
            try:
                image = batch.column("image")
                names = [str(name) for name in image.field("path").to_pylist()]
                data = [] if stream else image.field("bytes").to_pylist()
                labels.append(batch.column("label_code").fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))
                votes.append(_lists(batch.column("votes"), 10))
                near = batch.column("near_duplicate")
                known = known and near.null_count == 0
                leak.append(near.fill_null(False).to_numpy(zero_copy_only=False).astype(bool))
                if {"valence", "arousal"} <= set(batch.schema.names):
                    pair = [batch.column(name).to_numpy(zero_copy_only=False) for name in ("valence", "arousal")]
                    affect.append(np.stack(pair, 1).astype(np.float32))  # null → NaN
                if "soft_label" in batch.schema.names:
                    soft.append(_lists(batch.column("soft_label"), len(self.labels)))
            except (KeyError, ValueError, TypeError, AttributeError) as error:  # pyarrow's and NumPy's are ValueErrors
                raise DataError(
                    f"expected shards of ours for {split!r} of {self.path}, got {error}", hint=AGAIN
                ) from error
            if not np.isin(labels[-1], range(-1, len(self.labels))).all():
                most = len(self.labels) - 1
                raise DataError(f"expected label codes 0-{most} in {split!r} of {self.path}, got others", hint=AGAIN)
            if not stream:
                pictures.add(names, data)
            paths += names
        if not paths:
            raise DataError(f"expected images in split {split!r} of {self.path}, got none")
        if stream and len(paths) != rows:
            raise DataError(f"expected {rows} images in {self.path}, found {len(paths)}", hint=AGAIN)
        return Split(
            name=split,
            paths=paths,
            images=Pictures.of(find(self.path, self.shards(split)), paths) if stream else pictures.all(),
            labels=np.concatenate(labels),
            votes=np.concatenate(votes),
            leak=np.concatenate(leak) if known else None,
            valence_arousal=np.concatenate(affect) if affect else None,
            soft_labels=np.concatenate(soft) if soft else None,
            label_set=coded(self.labels),
        )

    def _batches(self, split: str, columns: list[str]) -> Iterator[Any]:
        for shard in self.shards(split):
            with shard_file(shard) as file:
                there = [name for name in columns if name.partition(".")[0] in file.schema_arrow.names]
                yield from file.iter_batches(batch_size=_BATCH, columns=there)


def is_store(path: Path) -> bool:
    """Whether there is a store, of any version."""
    try:
        return "mien_store" in json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _bytes_of(size: str) -> int:
    """Of one picture's pixels; size: as the summary has it, "48×48 grey"."""
    side, _, mode = size.partition(" ")
    width, _, height = side.partition("×")
    return int(width) * int(height) * (3 if mode == "RGB" else 1)


def _lists(column: Any, width: int) -> NDArray[np.float32]:
    """A column of lists of that length → float32 N×width, rows of NaN for null."""
    numbers = np.full((len(column), width), np.nan, np.float32)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    numbers[present] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return numbers


def _found(path: Path) -> str:
    if not path.exists():
        return "found nothing there"
    if path.is_file():
        return "found a file"
    names = sorted(child.name for child in path.iterdir())
    return f"found {', '.join(names[:6])}{' …' if len(names) > 6 else ''}" if names else "found an empty directory"


def _hint(path: Path) -> str:
    """The next step, where it can be guessed: a data set given in place of a store is the usual slip.

    A data set of a name wins over the user's own; where it could be several, the user has to say which.
    """
    from mien.data.sources import OWN, SOURCES, open_source

    could_be: list[str] = []
    for name in SOURCES:
        if could_be and name in OWN:
            break
        try:
            open_source(name, path)
        except (DataError, OSError):
            continue
        could_be.append(name)
    if len(could_be) == 1:
        name = could_be[0]
        return f"this is a {name} source; run: mien data build --source {name}={path} -o STORE"
    choice = f"; it looks like {' or '.join(could_be)}" if could_be else ""
    return f"make one with: mien data build --source NAME=PATH -o STORE{choice}"
