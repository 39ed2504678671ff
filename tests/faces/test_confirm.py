"""Doubtful finds shown once more: what is kept, what is dropped, and how much is shown."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.faces import Detection, confirm
from mien.faces.confirm import VIEW, Seen, confirmed
from mien.results import Box

Uint8 = NDArray[np.uint8]
BLACK = np.zeros((1000, 1000, 3), np.uint8)
IN_THE_MIDDLE = np.float32([32, 32, 96, 96])


def shown(score: float, *, by: float = 0.0) -> confirm.Look:
    return lambda views: [Seen(score, IN_THE_MIDDLE + np.float32(by), np.full((5, 2), 64, np.float32))] * len(views)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(0.3, 0.9, 0.9), (0.3, 0.84, None), (0.7, 0.76, 0.7), (0.7, 0.74, None), (0.85, 0.0, 0.85)],
)
def test_scores_decide(first: float, second: float, kept: float | None) -> None:
    """Weak finds need a high score, others lose with a low one, and what is sure is not asked."""
    face = Detection(Box(400, 400, 40, 40), first)
    found = confirmed(BLACK, [face], shown(second), min_score=0.6)
    assert [one.score for one in found] == ([] if kept is None else [kept])
    assert confirmed(BLACK, [face], lambda views: [None] * len(views), min_score=0.6) == (
        [face] if first == 0.85 else []
    )


def test_a_lower_least_score_of_finds_asks_less_of_the_look() -> None:
    face = Detection(Box(400, 400, 40, 40), 0.4)
    assert confirmed(BLACK, [face], shown(0.46), min_score=0.3) == [face]
    assert confirmed(BLACK, [face], shown(0.44), min_score=0.3) == []


def test_a_weak_find_gets_the_place_that_the_look_saw() -> None:
    face = Detection(Box(400, 400, 40, 40), 0.3)
    (found,) = confirmed(BLACK, [face], shown(0.9, by=8.0), min_score=0.6)  # 8 of 64 pixels: an eighth of the face
    np.testing.assert_allclose(found.box.to_list(), [405, 405, 40, 40])
    assert confirmed(BLACK, [face], shown(0.9, by=60.0), min_score=0.6) == []  # another thing beside it


def test_a_face_that_fills_the_picture_is_not_doubted() -> None:
    face = Detection(Box(300, 300, 400, 400), 0.7)
    assert confirmed(BLACK, [face], shown(0.0), min_score=0.6) == [face]


def test_the_work_on_weak_finds_is_bounded() -> None:
    asked = []

    def look(views: Uint8) -> list[Seen | None]:
        asked.append(len(views))
        return [None] * len(views)

    weak = [Detection(Box(10, 10, 20, 20), 0.2)] * 5000
    assert confirmed(BLACK, weak, look, min_score=0.6) == []
    assert sum(asked) == confirm.MAX_WEAK


@pytest.mark.parametrize("height", [37.0, 200.0, 3000.0])
def test_the_view_shows_the_face_at_its_height(height: float) -> None:
    """A white square is as tall in the view as promised, whatever had to be reduced before."""
    rows, columns = np.mgrid[:1500, :1500]
    middle, half = 750, min(height / 2, 700)
    white = (np.abs(rows + 0.5 - middle) < half) & (np.abs(columns + 0.5 - middle) < half)
    picture = np.repeat((255 * white).astype(np.uint8)[..., None], 3, axis=2)
    found = Detection(Box(middle - height / 2, middle - height / 2, height, height), 0.5)
    view = VIEW.of(picture, found)
    assert view.shape == (VIEW.side, VIEW.side, 3)
    inside = (view[VIEW.side // 2, :, 0] > 191).sum()
    assert inside == pytest.approx(VIEW.face * half * 2 / height, abs=2)
