"""The paths of the command line → a lazy stream of items, one per picture or video.

A PATH is a file, a directory, a glob, a table with an ``image`` column, a ``data:`` URL, or ``-`` for a list of paths
on stdin.
Nothing is decoded here and nothing is held: a million files stream through. What cannot be an input becomes an
item with its failure, which gets an error record in its place.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from mien.atomic import keep_input
from mien.imaging import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.imaging.data_url import is_data_url, is_url, refuse_url, short_name
from mien.reading import stdin_lines, tables
from mien.reading.items import PAUSE, Item, Stream, failed

TABLE_SUFFIXES = frozenset((".parquet", ".pq"))
NO_PICTURES = "no pictures in this directory (looked for .jpg, .png, .webp, .tif, …, .mp4, .mov, … and .parquet)"
Open = Callable[[str], Iterator[Item]]  # the items of a table, or of a URL


def expand(
    paths: Iterable[str],
    *,
    stdin: IO[bytes] | None = None,
    exclude: Iterable[str] = (),
    outputs: Iterable[str] = (),
    table: Open = tables.items,
    url: Open | None = None,
) -> Stream:
    """All items of all paths, in order.

    stdin: where ``-`` reads its paths, one a line. exclude: directories that a walk leaves out (where output goes).
    outputs: files that the call writes. Raises UsageError, when it comes to it, where one of them is an input as well.
    table: the items of a table, by its path. url: the items of a URL, or None to refuse all.
    A path that exists is taken literally, even if it reads like a glob.
    """
    expansion = _Expansion(frozenset(os.path.realpath(path) for path in exclude), tuple(outputs), table, url)
    for path in paths:
        if path == "-" and stdin is not None:
            for line in stdin_lines.read(stdin):
                if line is None:
                    yield PAUSE
                else:
                    yield from expansion.one(line)
        else:
            yield from expansion.one(path)


def count(paths: Iterable[str], *, limit: int = 200_000) -> int | None:
    """How many items there will be, or None where that cannot be known cheaply (stdin, tables, very many files)."""
    total = 0
    for path in paths:
        if path == "-" or (not os.path.isfile(path) and not os.path.isdir(path)) or _suffix(path) in TABLE_SUFFIXES:
            return None
        if os.path.isfile(path):
            total += 1
            continue
        for _, names in walk(path):
            if any(_suffix(name) in TABLE_SUFFIXES for name in names):
                return None
            total += sum(_suffix(name) in IMAGE_SUFFIXES | VIDEO_SUFFIXES for name in names if name[0] != ".")
            if total > limit:
                return None
    return total


class _Expansion:
    """The items of single paths. hidden: real paths that no walk enters. outputs: files that no input may be."""

    def __init__(self, hidden: frozenset[str], outputs: tuple[str, ...], table: Open, url: Open | None) -> None:
        self._hidden, self._outputs, self._table, self._url = hidden, outputs, table, url

    def one(self, path: str) -> Iterator[Item]:
        if "\0" in path:  # from stdin; the system's calls refuse it
            yield failed(path, "missing", "no such file or directory")
            return
        if not os.path.lexists(path) and path.startswith("~"):
            path = os.path.expanduser(path)  # a quoted pattern; the shell leaves it alone
        if os.path.isdir(path):
            yield from self._directory(path)
        elif os.path.lexists(path):
            yield from self._file(path, os.path.basename(path))
        elif is_data_url(path):
            yield Item(short_name(path), path)
        elif is_url(path) and self._url is not None:
            yield from self._url(path)
        elif is_url(path):  # before patterns: a URL often holds a question mark
            refusal = refuse_url(path)
            yield failed(path, refusal.type, str(refusal))
        elif glob.has_magic(path):
            yield from self._pattern(path)
        else:
            yield _absent(path)

    def _file(self, path: str, relative: str) -> Iterator[Item]:
        for output in self._outputs:
            keep_input(output, [path])
        if _suffix(path) in TABLE_SUFFIXES and os.path.isfile(path):
            yield from self._table(path)
        else:
            yield Item(path, path, relative=os.path.splitext(relative)[0])

    def _directory(self, root: str) -> Iterator[Item]:
        """Pictures, tables and videos below root, sorted; hidden files and other kinds are left out."""
        found = False
        skipped_tables: list[Item] = []
        problems: list[OSError] = []
        for folder, names in walk(root, self._hidden, problems.append):
            for name in sorted(names):
                path, suffix = os.path.join(folder, name), _suffix(name)
                if name.startswith(".") or suffix not in IMAGE_SUFFIXES | VIDEO_SUFFIXES | TABLE_SUFFIXES:
                    continue
                if suffix in TABLE_SUFFIXES:
                    reason = tables.refusal(path)
                    if reason is not None and reason.failure is not None and reason.failure.type == "data":
                        skipped_tables.append(reason)  # a result or store beside the pictures; told only if all is such
                        continue
                found = True
                yield from self._file(path, os.path.relpath(path, root))
        for problem in problems:
            found = True
            yield failed(problem.filename or root, "unreadable", problem.strerror or "cannot list the directory")
        if not found and skipped_tables:
            yield from skipped_tables
        elif not found:
            yield failed(root, "empty", NO_PICTURES)

    def _pattern(self, pattern: str) -> Iterator[Item]:
        """What a glob matches: known kinds of files, or whatever it matches where none is of a known kind."""
        root = _literal_part(pattern)
        matches = sorted(set(_matches(glob.escape(root) + pattern[len(root) :])) or set(_matches(pattern)))
        files = [path for path in matches if not os.path.isdir(path)]
        known = [path for path in files if _suffix(path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES | TABLE_SUFFIXES]
        below = f"{os.sep}**" in f"{os.sep}{pattern}"
        folders = [] if below else [path for path in matches if os.path.isdir(path)]
        chosen = known or ([] if folders else files)
        if not chosen and not folders:
            yield failed(pattern, "missing", "no file matches this pattern")
            return
        for path in sorted(chosen + folders):
            if os.path.isdir(path):
                yield from self._directory(path)
            else:
                yield from self._file(path, os.path.relpath(path, root or os.curdir))


def _absent(path: str) -> Item:
    """Why nothing is seen at a path: it is not there, or a directory above it may not be entered."""
    try:
        os.lstat(path)
    except PermissionError as error:
        return failed(path, "unreadable", error.strerror or "permission denied")
    except (OSError, ValueError):
        pass
    return failed(path, "missing", "no such file or directory")


def walk(
    root: str, hidden: frozenset[str] = frozenset(), on_error: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Each folder at and below root with the names of its files; subfolders sorted.

    Linked folders are followed, and each real folder is walked a single time: a link to what the walk reaches by itself
    is left out, and so is what was walked already, so that circles end. Folders whose own name is hidden (``.name``)
    are not entered; those of ``hidden``, real paths, are not even reached by a link.
    """
    home = os.path.realpath(root)
    seen = {home}

    def wanted(folder: str, name: str) -> bool:
        if name.startswith("."):
            return False
        path = os.path.join(folder, name)
        real = os.path.realpath(path)
        if real in seen or any(real == other or real.startswith(other + os.sep) for other in hidden):
            return False
        if os.path.islink(path) and real.startswith(os.path.join(home, "")):
            below = os.path.relpath(real, home).split(os.sep)
            if not any(part.startswith(".") for part in below):
                return False  # comes, or came, under its own name
        seen.add(real)
        return True

    for folder, folders, names in os.walk(root, onerror=on_error, followlinks=True):
        folders[:] = [name for name in sorted(folders) if wanted(folder, name)]
        yield folder, names


def _literal_part(pattern: str) -> str:
    """What stands before the first wildcard, up to a separator: annotated copies mirror what lies below it.

    A folder that exists under a name like ``trip [2]`` is no wildcard.
    """
    end = 0
    while (slash := pattern.find(os.sep, end)) >= 0:
        if glob.has_magic(pattern[end:slash]) and not os.path.isdir(pattern[:slash]):
            break
        end = slash + 1
    return pattern[:end]


def _matches(pattern: str) -> Iterator[str]:
    """The paths that a glob matches. ``**`` goes where our walk goes; glob's own runs in circles of links."""
    if pattern == "**" or pattern.endswith(f"{os.sep}**"):
        pattern += f"{os.sep}*"
    head, star, tail = f"{os.sep}{pattern}".partition(f"{os.sep}**{os.sep}")
    if not star:
        yield from glob.iglob(pattern)
        return
    head = head[1:]
    for base in glob.iglob(head + os.sep) if head else [os.sep if pattern.startswith(os.sep) else ""]:
        for folder, _ in walk(base or os.curdir):
            below = folder if base else os.path.relpath(folder)
            prefix = "" if below == os.curdir else os.path.join(glob.escape(below), "")
            yield from _matches(prefix + tail)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
