"""Splits, case by case: shares, official splits, copies, balanced sets, and what cannot be done."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from mien.data.build import splits as words
from mien.data.build.index import Index
from mien.data.build.splits import SplitSettings, plan_splits
from mien.errors import DataError, UsageError
from split_cases import PAPER_A, check, index_of, singles, table


def test_numbers_instead_of_shares():
    index = index_of(singles(100, 300))
    found = table(index, plan_splits(index, SplitSettings(shares={"validation": 40, "test": 0.25})))
    assert found["validation"] == {0: 10, 1: 30}
    assert found["test"] == {0: 25, 1: 75}
    assert found["training"] == {0: 65, 1: 195}


def test_subjects_come_near_their_shares():
    """CK+48 in small: 118 subjects of up to six classes with three images each."""
    rng = np.random.default_rng(0)
    rows = [(int(c), "", f"S{s:03d}") for s in range(118) for c in rng.permutation(7)[: 1 + s % 5] for _ in range(3)]
    index = index_of(rows)
    plan = plan_splits(index)
    check(index, plan, SplitSettings())
    whole = Counter(index.label.tolist())
    for split, share in (("validation", 0.1), ("test", 0.1)):
        for c in range(7):
            assert 0.05 <= table(index, plan)[split][c] / whole[c] <= 0.17, (split, c, share)
    assert not plan.drops


def test_one_more_image_moves_few():
    many = singles(400, 200)
    before, after = (plan_splits(index_of(rows)).split for rows in (many, [*many, (1,)]))
    assert sum(a != b for a, b in zip(before, after, strict=False)) <= 4


def test_the_seed_decides():
    index = index_of(singles(50, 50))
    assert plan_splits(index).split == plan_splits(index).split
    assert plan_splits(index).split != plan_splits(index, SplitSettings(seed=1)).split


# --- official splits -------------------------------------------------------------------------------------------------


def test_official_splits_stay_and_nothing_is_dropped_by_default():
    rows = [*singles(5, 5, split="training"), *singles(2, 2, split="public_test"), (1, "private_test", None, 0)]
    index = index_of([*rows, (1, "training", None, 0)])
    plan = plan_splits(index)
    assert plan.split == list(index.split)
    assert plan.drops == []
    assert plan.crossing.nonzero()[0].tolist() == [14, 15]
    assert plan.warnings == []


def test_a_training_image_tied_to_an_evaluation_image_can_be_dropped():
    rows = [*singles(5, split="training"), (0, "test", "S1", 0), (0, "training", None, 0), (0, "training", "S1")]
    plan = plan_splits(index_of(rows), SplitSettings(crossing="drop-from-training"))
    assert [(d.row, d.reason) for d in plan.drops] == [(6, words.CROSSING_COPY), (7, words.CROSSING_GROUP)]
    assert plan.drops[0].detail == "test of a: 00005.png"
    assert not plan.crossing.any()


def test_names_can_be_mapped_and_freed():
    index = index_of([*singles(20, split="train"), *singles(5, split="val"), *singles(10, split="extra")])
    names = {"a": {"val": "test", "extra": ""}}
    plan = plan_splits(index, SplitSettings(official=names, shares={"validation": 4}))
    assert {name: sum(n.values()) for name, n in table(index, plan).items()} == {
        "training": 26,
        "test": 5,
        "validation": 4,
    }
    assert set(plan.split[25:]) == {"validation", "training"}


def test_free_rows_follow_their_official_relatives_or_go():
    ties_ = [(0, "", None, 0), (0, "", None, 1), (0, "", None, 2)]
    rows = [*singles(9), (0, "test", None, 0), (0, "private_test", None, 1), (0, "training", None, 2), *ties_]
    plan = plan_splits(index_of(rows))
    assert plan.split[12:] == ["test", "", "training"]
    assert [(d.row, d.reason) for d in plan.drops] == [(13, words.CROSSING_COPY)]


def test_carving_spares_what_is_tied_to_an_evaluation_image():
    rows = [*singles(40, 40, split="training"), *[(0, "training", None, 0)] * 3, (0, "test", None, 0)]
    index = index_of(rows)
    plan = plan_splits(index, SplitSettings(carve=True, balanced={"validation": 8}, shares={}))
    assert table(index, plan)["validation"] == {0: 8, 1: 8}
    assert plan.split[80:] == ["training"] * 3 + ["test"]


# --- copies ----------------------------------------------------------------------------------------------------------


def test_conflicting_copies_are_all_dropped_but_evaluation_images():
    rows = [(0, "training", None, 0), (1, "training", None, 0), (1, "test", None, 1), (2, "training", None, 1)]
    rows += [(3, "training", None, 2), (3, "training", None, 2), (-1, "training", None, 0)]
    plan = plan_splits(index_of(rows), SplitSettings(drop_conflicts="near"))
    assert [(d.row, d.reason, d.detail) for d in plan.drops] == [
        (0, words.CONFLICT, "angry, but disgust in a: 00001.png"),
        (1, words.CONFLICT, "disgust, but angry in a: 00000.png"),
        (3, words.CONFLICT, "fear, but disgust in a: 00002.png"),
    ]
    assert plan_splits(index_of(rows), SplitSettings(drop_conflicts="exact")).drops == []  # none is known to be exact


def test_copies_go_but_for_one_in_each_split():
    near = [(0, "training", None, 0), (0, "training", None, 0), (1, "training", None, 0), (0, "test", None, 0)]
    index = index_of([*near, (0, "test", None, 0), (0, "", None, 0)])
    plan = plan_splits(index, SplitSettings(drop_copies="near"))
    assert [(d.row, d.reason) for d in plan.drops] == [(1, words.NEAR_COPY), (5, words.CROSSING_COPY)]
    exact = dataclasses.replace(index, near=None, exact=index.near)
    plan = plan_splits(exact, SplitSettings(drop_copies="exact"))
    assert plan.drops[0] == words.RowDrop(1, words.EXACT_COPY, "of a: 00000.png")


# --- balanced splits -------------------------------------------------------------------------------------------------


def test_balanced_splits_are_filled_from_the_free_images():
    index = index_of(singles(4000, 2200, 9000))
    plan = plan_splits(index, SplitSettings(balanced={"validation": 500, "test": 500}))
    assert table(index, plan) == {
        "validation": {0: 500, 1: 500, 2: 500},
        "test": {0: 500, 1: 500, 2: 500},
        "training": {0: 3000, 1: 1200, 2: 8000},
    }
    assert plan.warnings == []


def test_as_many_as_the_smallest_class_allows():
    index = index_of(singles(4000, 100))
    plan = plan_splits(index, SplitSettings(balanced={"validation": 500}, shares={}))
    assert table(index, plan)["validation"] == {0: 25, 1: 25}
    assert plan.warnings == [
        "validation: 25 images per class instead of 500: there are only 100 free images of disgust, "
        "of which it may take 25%"
    ]
    quiet = plan_splits(index, SplitSettings(balanced={"validation": None}, shares={}))
    assert quiet.split == plan.split
    assert quiet.warnings == []


def test_training_keeps_some_even_where_a_balanced_split_may_take_all():
    index = index_of(singles(30, 3))
    plan = plan_splits(index, SplitSettings(balanced={"validation": 3}, shares={}, at_most=1))
    assert table(index, plan) == {"validation": {0: 2, 1: 2}, "training": {0: 28, 1: 1}}
    assert plan.warnings == [
        "validation: 2 images per class instead of 3: there are only 3 free images of disgust, "
        "and every other split needs a group of them too"
    ]


def test_an_official_split_is_trimmed_and_never_filled_up():
    rows = [*singles(50, 50, split="training"), *singles(12, 9, split="test"), (-1, "test")]
    rows[100] = (0, "test", None, 7)  # tied to Training: the first to go
    rows[0] = (0, "training", None, 7)
    index = index_of(rows)
    plan = plan_splits(index, SplitSettings(balanced={"test": 10}, carve=True, shares={}))
    assert table(index, plan)["test"] == {0: 9, 1: 9}
    assert {d.reason for d in plan.drops} == {words.BEYOND}
    assert plan.split[100] == ""
    assert plan.split[121] == ""
    assert plan.warnings == ["test: 9 images per class instead of 10: it has only 9 of disgust"]


def test_balanced_from_subjects_alone_is_exact_and_says_what_it_cost():
    rows = [(c, "", f"S{s:02d}") for s in range(60) for c in (s % 3, (s + 1) % 3) for _ in range(3)]
    index = index_of(rows)
    wanted = SplitSettings(balanced={"validation": 10, "test": 10}, shares={})
    plan = plan_splits(index, wanted)
    check(index, plan, wanted)
    assert table(index, plan)["validation"] == {0: 10, 1: 10, 2: 10}
    assert {d.reason for d in plan.drops} == {words.BEYOND}
    assert len(plan.drops) <= 2 * 9


@pytest.mark.parametrize("missing", [0, 1])
def test_paper_a(missing: int):
    """Paper A: 500 a class for validation and for test. Some copies of AffectNet have 3,999 validation images."""
    rows = [("affectnet", c, "validation") for c in range(8) for _ in range(500)][missing:]
    rows += [("affectnet", c, "training") for c in range(8) for _ in range(2500)]
    rows += [("fer2013", c, split) for c in range(7) for split in ("training", "public_test") for _ in range(100)]
    rows += [("ckplus", c, "") for c in range(8) for _ in range(30)]
    source, label, split = zip(*rows, strict=True)
    group = [f"S{i % 40}" if name == "ckplus" else None for i, name in enumerate(source)]
    index = Index(source, [str(i) for i in range(len(source))], np.array(label), split, group)
    plan = plan_splits(index, PAPER_A)
    check(index, plan, PAPER_A)
    found = table(index, plan)
    assert found["test"] == dict.fromkeys(range(8), 500 - missing)
    assert found["validation"] == dict.fromkeys(range(8), 500)
    assert sum(found["public_test"].values()) == 700
    assert set(found) == {"training", "validation", "test", "public_test"}
    assert plan.warnings == ["test: 499 images per class instead of 500: it has only 499 of angry"][:missing]
    assert len(plan.drops) == 7 * missing


# --- what cannot be done ---------------------------------------------------------------------------------------------


def test_a_class_with_fewer_groups_than_splits():
    index = index_of([*singles(30), *[(1, "", "S1")] * 20, *[(1, "", "S2")] * 20])
    with pytest.raises(
        DataError, match=r"at least 3 groups with disgust, one each for training, validation, test, got 2"
    ):
        plan_splits(index)
    plan = plan_splits(index, SplitSettings(shares={"test": 0.1}))
    assert {name: n[1] for name, n in table(index, plan).items()} == {"training": 20, "test": 20}


def test_large_groups_leave_a_class_for_every_split():
    """By demand alone all three would go to Training."""
    index = index_of([*singles(50), *[(1, "", "S1")] * 20, *[(1, "", "S2")] * 5, *[(1, "", "S3")] * 5])
    found = table(index, plan_splits(index))
    assert sorted(n[1] for n in found.values()) == [5, 5, 20]


@pytest.mark.parametrize(
    ("rows", "wanted", "message"),
    [
        (singles(9, split="training"), {"balanced": {"test": 5}}, "images without an official split to fill test from"),
        ([*singles(9, 0, 3), *singles(2, 1, split="test")], {"balanced": {"test": 1}}, "every class in test"),
        (singles(90, 2), {"balanced": {"test": 5}, "shares": {}}, "free images of every class to fill test"),
        (singles(9, 9), {"shares": {"test": 18}}, "below the 18 free images, got 18"),
    ],
)
def test_impossible_wishes(rows, wanted, message):
    with pytest.raises(DataError, match=message):
        plan_splits(index_of(rows), SplitSettings(**wanted))


def test_two_images_of_one_name():
    index = index_of(singles(3), path=["b", "a", "b"])
    with pytest.raises(DataError, match=r"every image of a to have its own name, got 'b' twice"):
        plan_splits(index)
    assert plan_splits(dataclasses.replace(index, source=["x", "x", "y"])).drops == []  # two sources may share names


@pytest.mark.parametrize(
    "wrong",
    [
        {"crossing": "move"},
        {"drop_copies": "all"},
        {"at_most": 0},
        {"balanced": {"training": 5}},
        {"balanced": {"test": 0}},
        {"shares": {"test": 1.5}},
        {"shares": {"test": True}},
        {"shares": {"training": 0.5}},
        {"shares": {"a": 0.5, "b": 0.5}},
        {"shares": {"test": 0.1}, "balanced": {"test": 5}},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(UsageError, match="expected"):
        SplitSettings(**wrong)


def test_a_wrong_index():
    with pytest.raises(DataError, match="one length"):
        index_of(singles(3), path=["a"])
    with pytest.raises(DataError, match="label codes"):
        index_of([(8,)])


def test_nothing_at_all():
    plan = plan_splits(index_of([]))
    assert plan.split == []
    assert plan.rows("training").tolist() == []


def test_settings_for_the_summary():
    assert SplitSettings().to_dict()["shares"] == {"validation": 0.1, "test": 0.1}
    assert PAPER_A.to_dict()["official"] == {"affectnet": {"validation": "test"}}


# --- the real data set -----------------------------------------------------------------------------------------------


@pytest.mark.fer2013
@pytest.mark.long
def test_fer2013(fer2013_splits):
    from mien.data.near_duplicates import groups_within

    splits = fer2013_splits.values()
    near = iter(groups_within(np.concatenate([split.images for split in splits])).tolist())
    index = index_of(
        [(label, split.name, None, next(near)) for split in splits for label in split.labels.tolist()],
        path=[path for split in splits for path in split.paths],
    )
    plan = plan_splits(index)
    assert plan.split == index.split
    assert not plan.drops
    private = np.array(plan.split) == "private_test"
    assert plan.crossing[private].sum() >= 365  # pairs with Training alone; units reach a little further
    strict = plan_splits(index, SplitSettings(crossing="drop-from-training", drop_conflicts="near"))
    check(index, strict, SplitSettings(crossing="drop-from-training", drop_conflicts="near"))
    carved = plan_splits(index, PAPER_A)
    check(index, carved, PAPER_A)
    assert set(table(index, carved)["validation"].values()) == set(table(index, carved)["test"].values())
    assert "disgust" in carved.warnings[0]
