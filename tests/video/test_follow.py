"""Searching every n-th frame: nothing that is visible is lost, against a search in every frame."""

from collections.abc import Iterator
from math import sin

import numpy as np
import pytest
from clips import Squares, picture

from mien.faces.base import Detection
from mien.video.follow import Seen, follow, matched
from mien.video.frames import Frame
from mien.video.sampling import Shot, sampled, with_cuts
from mien.video.search import Search


def shots(pictures: list[np.ndarray]) -> Iterator[Shot]:
    return with_cuts(Frame(n / 25, rgb, n + 1) for n, rgb in enumerate(pictures))


def run(pictures: list[np.ndarray], every: int) -> tuple[list[Seen], int]:
    detector = Squares()
    seen = [one for block in follow(shots(pictures), Search(detector), every) for one in block]
    return seen, detector.searched


def boxes(faces: list[Detection]) -> list[tuple[float, float]]:
    return sorted((face.box.x, face.box.y) for face in faces)


def test_smooth_motion_is_interpolated() -> None:
    pictures = [picture([(10 + 1.2 * n, 30 + 6 * sin(n / 12))]) for n in range(41)]
    every, searches = run(pictures, 1)
    fifth, few = run(pictures, 5)
    assert searches == 41
    assert few == 9
    assert [one.shot.frame.time_s for one in fifth] == [one.shot.frame.time_s for one in every]
    for a, b in zip(every, fifth, strict=True):
        assert np.abs(np.array(boxes(a.faces)) - boxes(b.faces)).max() <= 1.5  # a pixel of rounding and the bend
    held = [fifth[n - n % 5] for n in range(41)]  # negative control: the last key frame held instead
    assert max(abs(boxes(a.faces)[0][0] - boxes(b.faces)[0][0]) for a, b in zip(every, held, strict=True)) > 3


@pytest.mark.parametrize("first", range(3, 14))
def test_a_face_that_appears_or_vanishes_is_not_late(first: int) -> None:
    pictures = [picture([(10 + n, 30)] + ([(90, 50)] if n >= first else [])) for n in range(30)]
    seen, searches = run(pictures, 5)
    assert [len(one.faces) for one in seen] == [1 if n < first else 2 for n in range(30)]
    assert searches <= 7 + 3
    backwards, _ = run(pictures[::-1], 5)
    assert [len(one.faces) for one in backwards] == [2 if n <= 29 - first else 1 for n in range(30)]
    coarse = [len(seen[n - n % 5].faces) for n in range(30)]  # negative control: the gap not searched again
    assert first % 5 == 0 or coarse != [len(one.faces) for one in seen]


def test_a_cut_is_not_bridged() -> None:
    """Two shots, a face at about the same place in both."""
    rng = np.random.default_rng(0)
    other = np.repeat(np.repeat(rng.integers(0, 140, (12, 16, 1), dtype=np.uint8), 8, 0), 8, 1).repeat(3, 2)
    other[34:58, 48:72] = 230
    pictures = [picture([(40, 30)])] * 7 + [other] * 8
    seen, _ = run(pictures, 5)
    assert [one.shot.cut for one in seen] == [n == 7 for n in range(15)]
    assert [boxes(one.faces) for one in seen] == [[(40, 30)]] * 7 + [[(48, 34)]] * 8
    assert not any(shot.cut for shot in shots([picture([(40, 30)], shade=s) for s in (40, 90, 160, 30)]))  # light alone


def test_what_cannot_be_told_apart_is_searched() -> None:
    near = Squares().detect(picture([(10, 30), (70, 30)]))
    moved = Squares().detect(picture([(14, 30), (66, 30)]))
    assert matched(near, moved) is not None
    assert matched(near, Squares().detect(picture([(40, 30), (70, 30)]))) is None
    assert matched(near, moved[:1]) is None


def test_one_frame_a_period() -> None:
    times = [0, 0.03, 0.1, 0.11, 0.2, 0.21, 0.5, 0.55, 0.9, 1.0]
    frames = [Frame(t, picture([]), n) for n, t in enumerate(times)]
    taken = [frame.time_s for frame in sampled(iter(frames), 5)]
    assert taken == [0, 0.2, 0.5, 0.9, 1.0]
    rest = [frame.time_s for frame in sampled(iter(frames[5:]), 5, last_s=0.2)]
    assert rest == taken[2:]  # a run that goes on takes the same ones
    assert [f.time_s for f in sampled(iter(frames), None)] == times
