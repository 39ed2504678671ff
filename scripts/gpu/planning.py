"""How much training fits into a time, and how much of what it leaves fits into a transfer: arithmetic alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Of the time for training, what is left unplanned: the machine may slow down, and epochs are not all alike.
SLACK = 0.08


@dataclass(frozen=True, slots=True)
class Pace:
    """What a job measured. seconds_an_epoch: validation and checkpoint included. reserve: seconds that it needs beside
    its epochs, from when it is told their number: to start training, and to record."""

    seconds_an_epoch: float
    reserve: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a transfer: bytes of a file, number of files, bytes together."""

    each: int
    files: int
    together: int


def epochs_that_fit(paces: Iterable[Pace], seconds: float, *, least: int, most: int) -> int:
    """Whole epochs that every one of these jobs can train in ``seconds`` from now, alike for all; 0 where one cannot
    train ``least``."""
    fitting = [int((seconds - pace.reserve) * (1 - SLACK) / pace.seconds_an_epoch) for pace in paces]
    if not fitting or min(fitting) < least:
        return 0
    return min(*fitting, most)


def share_out(seconds: float, shares: Sequence[float]) -> list[float]:
    """Seconds of each round, by its share."""
    return [seconds * share / sum(shares) for share in shares]


def waves(names: Sequence[str], *, at_once: int) -> list[list[str]]:
    """As few waves as there can be of at most ``at_once`` jobs, as even as they can be, in order."""
    count = -(-len(names) // at_once)
    bounds = [round(len(names) * number / count) for number in range(count + 1)] if count else [0]
    return [list(names[start:end]) for start, end in pairwise(bounds)]


def parcels(sizes: Mapping[str, int], limits: Limits) -> tuple[list[list[str]], list[str]]:
    """What goes into which file, and what stays behind. sizes: name → bytes, the most wanted first.

    A name goes into the first file with room for it. No file is fuller than ``limits.each``, and what is wanted less
    never takes the place of what is wanted more.
    """
    files: list[list[str]] = []
    left_out: list[str] = []
    taken = 0
    for name, size in sizes.items():
        room = [file for file in files if sum(sizes[other] for other in file) + size <= limits.each]
        if taken + size > limits.together or size > limits.each or (not room and len(files) == limits.files):
            left_out.append(name)
            continue
        taken += size
        if room:
            room[0].append(name)
        else:
            files.append([name])
    return files, left_out


def slices(sizes: Mapping[str, int], each: int) -> list[list[tuple[str, int, int]]]:
    """Files cut for calls that carry at most ``each`` bytes: for each call, (name, start, length), in order.

    sizes: name → bytes. A file that does not fit into what is left of a call goes on in the next one.
    """
    if each < 1:
        raise ValueError(f"expected room for at least a byte a call, got {each}")
    calls: list[list[tuple[str, int, int]]] = [[]]
    room = each
    for name, size in sizes.items():
        start = 0
        while start < size or size == 0:
            if room == 0:
                calls.append([])
                room = each
            length = min(size - start, room)
            calls[-1].append((name, start, length))
            start, room = start + length, room - length
            if size == 0:
                break
    return calls
