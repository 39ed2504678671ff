"""Faces in every frame from searches in every n-th: between two key frames that agree, boxes are interpolated.

Two key frames agree where each face of one lies where exactly one face of the other does, and no cut is between them.
Where they do not (a face appears, vanishes, moves fast), the frame in the middle is searched, and both halves are
treated alike: so the frame in which a face comes or goes is found with a few searches, and only a face that is there
for less than n frames can be missed. Boxes, landmarks and scores between are linear in time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mien.faces.base import Detection
from mien.results import Box
from mien.video.sampling import Shot
from mien.video.search import Search

MIN_OVERLAP = 0.45  # intersection over union of a face in two key frames; less is fast motion
MAX_OTHER = 0.15  # with any other face; more could be a confusion


class Seen(NamedTuple):
    """A frame with its faces, largest first. searched: they were found there, not interpolated."""

    shot: Shot
    faces: list[Detection]
    searched: bool


def follow(shots: Iterator[Shot], search: Search, every: int, *, last: Seen | None = None) -> Iterator[list[Seen]]:
    """Blocks of frames in order, each ending in a key frame; the first frame is one.

    every: frames from one key frame to the next. last: the key frame before the first of ``shots``, for a run that
    goes on. A block is complete: whoever keeps whole blocks can resume after the last one.
    """
    if last is None:
        first = next(shots, None)
        if first is None:
            return
        last = _key(first, search)
        yield [last]
    block: list[Shot] = []
    for shot in shots:
        block.append(shot)
        if len(block) == every:
            seen = _fill(last, block, search)
            last, block = seen[-1], []
            yield seen
    if block:
        yield _fill(last, block, search)


def _key(shot: Shot, search: Search) -> Seen:
    return Seen(shot, search.key_frame(shot.frame.time_s, shot.frame.rgb), True)


def _fill(before: Seen, shots: Sequence[Shot], search: Search) -> list[Seen]:
    """The frames behind ``before``, the last of which becomes a key frame."""
    end = _key(shots[-1], search)
    return [*_between(before, shots[:-1], end, search), end]


def _between(a: Seen, shots: Sequence[Shot], b: Seen, search: Search) -> list[Seen]:
    if not shots:
        return []
    pairs = None if any(shot.cut for shot in (*shots, b.shot)) else matched(a.faces, b.faces)
    if pairs is not None:
        begin, end = a.shot.frame.time_s, b.shot.frame.time_s
        return [Seen(shot, _at(pairs, (shot.frame.time_s - begin) / (end - begin)), False) for shot in shots]
    middle = len(shots) // 2
    shot = shots[middle]
    m = Seen(shot, search.between(shot.frame.rgb), True)
    return [*_between(a, shots[:middle], m, search), m, *_between(m, shots[middle + 1 :], b, search)]


def matched(a: Sequence[Detection], b: Sequence[Detection]) -> list[tuple[Detection, Detection]] | None:
    """The faces of two frames in pairs; None where that is not clear."""
    if len(a) != len(b):
        return None
    pairs = []
    for face in a:
        overlaps = [face.box.overlap(other.box) for other in b]
        near = [other for other, overlap in zip(b, overlaps, strict=True) if overlap >= MIN_OVERLAP]
        if len(near) != 1 or sum(overlap > MAX_OTHER for overlap in overlaps) != 1:
            return None
        if near[0].turns != face.turns or (near[0].landmarks is None) != (face.landmarks is None):
            return None
        pairs.append((face, near[0]))
    return pairs if len({id(other) for _, other in pairs}) == len(pairs) else None


def _at(pairs: Sequence[tuple[Detection, Detection]], t: float) -> list[Detection]:
    """The faces a part of the way, 0-1, from the first of each pair to the second; largest first."""
    faces = [_mixed(a, b, t) for a, b in pairs]
    return sorted(faces, key=lambda face: face.box.w * face.box.h, reverse=True)


def _mixed(a: Detection, b: Detection, t: float) -> Detection:
    def mix(u: float, v: float) -> float:
        return u + (v - u) * t

    p, q = a.box, b.box
    box = Box(mix(p.x, q.x), mix(p.y, q.y), mix(p.w, q.w), mix(p.h, q.h))
    points = None if a.landmarks is None or b.landmarks is None else a.landmarks + (b.landmarks - a.landmarks) * t
    return Detection(box, mix(a.score, b.score), points, is_crop=a.is_crop, turns=a.turns)
