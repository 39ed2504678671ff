"""Agreement with votes: a worked example by hand, every convention of the head, and answers at random."""

import numpy as np
import pytest

from mien.data.sources import VOTE_NAMES
from mien.errors import DataError
from mien.evaluation.agreement import agreement, class_of_each_column, levels
from mien.labels import EIGHT, SEVEN, code

ANGRY, HAPPY, SAD, NEUTRAL = (code(name) for name in ("angry", "happy", "sad", "neutral"))


def votes(**counts: int) -> list[float]:
    assert set(counts) <= set(VOTE_NAMES)
    return [float(counts.get(name, 0)) for name in VOTE_NAMES]


# label, answer, votes
ROWS = [
    (HAPPY, HAPPY, votes(happiness=10)),  # right, the majority, share 1
    (SAD, NEUTRAL, votes(neutral=6, sadness=4)),  # wrong, the majority, share 0.6
    (ANGRY, ANGRY, votes(anger=5, sadness=5)),  # a tie: no majority, share 0.5
    (ANGRY, ANGRY, votes(contempt=7, anger=3)),  # contempt: no majority of seven
    (NEUTRAL, NEUTRAL, votes(unknown=8, neutral=2)),  # unknown
    (SAD, SAD, votes(not_face=9, sadness=1)),  # not a face
    (HAPPY, 7, votes(happiness=9, neutral=1)),  # no answer: wrong, share 0
    (SAD, HAPPY, [float("nan")] * 10),  # no votes
    (SAD, SAD, votes(sadness=3, anger=2, neutral=2, fear=2, happiness=1)),  # level 3 → ≤4
]
Y, ANSWERS, VOTES = (np.array(column) for column in zip(*ROWS, strict=True))


def test_worked_example_by_hand() -> None:
    found = agreement(Y, ANSWERS, VOTES, SEVEN)
    assert found is not None
    assert (found["n"], found["without_votes"]) == (8, 1)
    assert found["majority"]["n"] == 4
    assert found["majority"]["value"] == 3 / 4
    assert found["majority"]["left_out"] == {"tie": 1, "contempt": 1, "unknown": 1, "not_face": 1}
    assert found["vote_share"]["value"] == pytest.approx((1 + 0.6 + 0.5 + 0.3 + 0.2 + 0.1 + 0 + 0.3) / 8)
    assert found["vote_share"]["possible"] == pytest.approx((1 + 0.6 + 0.5 + 0.3 + 0.2 + 0.1 + 0.9 + 0.3) / 8)
    assert found["label"]["majority"]["value"] == 3 / 4
    assert found["label"]["vote_share"]["value"] == pytest.approx((1 + 0.4 + 0.5 + 0.3 + 0.2 + 0.1 + 0.9 + 0.3) / 8)
    by_level = {row["level"]: (row["n"], row["accuracy"]["value"]) for row in found["accuracy_by_level"]}
    assert by_level == {
        "≤4/10": (1, 1),
        "5/10": (1, 1),
        "6/10": (1, 0),
        "7/10": (1, 1),
        "8/10": (1, 1),
        "9/10": (2, 0.5),
        "10/10": (1, 1),
    }
    assert found["accuracy_by_level"][0]["level"] == "≤4/10"


def test_contempt_is_a_class_of_eight() -> None:
    assert class_of_each_column(SEVEN).tolist() == [6, 3, 5, 4, 0, 1, 2, -1, -1, -1]
    assert class_of_each_column(EIGHT).tolist() == [6, 3, 5, 4, 0, 1, 2, 7, -1, -1]
    answers = np.where(ANSWERS == 7, 8, ANSWERS)
    answers[3] = 7
    found = agreement(Y, answers, VOTES, EIGHT)
    assert found is not None
    assert found["majority"]["n"] == 5
    assert found["majority"]["value"] == 4 / 5
    assert "contempt" not in found["majority"]["left_out"]


def test_a_model_with_its_own_order_gives_the_same() -> None:
    order = SEVEN[::-1]
    flip = np.array([*(order.index(name) for name in SEVEN), 7])
    assert agreement(flip[Y], flip[ANSWERS], VOTES, order) == agreement(Y, ANSWERS, VOTES, SEVEN)


def test_levels_of_nine_voters_are_tenths_rounded_down() -> None:
    nine = [votes(happiness=9), votes(happiness=7, sadness=2), votes(happiness=3, sadness=6)]
    assert levels(nine).tolist() == [10, 7, 6]
    assert levels([votes(happiness=i, sadness=10 - i) for i in (5, 6, 7, 8, 9, 10)]).tolist() == [5, 6, 7, 8, 9, 10]


def test_answers_at_random_agree_by_chance() -> None:
    random = np.random.default_rng(2)
    counts = random.multinomial(10, [0.1] * 10, size=6_000).astype(float)
    found = agreement(random.integers(0, 7, 6_000), random.integers(0, 7, 6_000), counts, SEVEN)
    assert found is not None
    assert found["majority"]["low"] < 1 / 7 < found["majority"]["high"]
    assert found["vote_share"]["low"] < 0.1 < found["vote_share"]["high"]
    best = agreement(np.zeros(6_000, int), counts[:, [4, 5, 6, 1, 3, 2, 0]].argmax(1), counts, SEVEN)
    assert best is not None
    assert best["majority"]["value"] == 1  # and who always gives the majority agrees with it
    assert best["vote_share"]["value"] == pytest.approx(best["vote_share"]["possible"])


def test_no_votes_and_wrong_shapes() -> None:
    assert agreement(Y, ANSWERS, np.full((9, 10), np.nan), SEVEN) is None
    with pytest.raises(DataError, match="N×10 votes"):
        agreement(Y, ANSWERS, VOTES[:, :8], SEVEN)
