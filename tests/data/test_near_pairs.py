"""The search for copies against brute force, and against what must make it fail."""

import brute_force
import numpy as np
import pytest
from audit_stores import faces
from scipy.cluster.hierarchy import DisjointSet

from mien.data import near_duplicates as search
from mien.data.near_duplicates import alike_pairs, block_averages, groups_within, join_groups, near_groups, near_pairs
from mien.errors import UsageError


@pytest.fixture(scope="module")
def averages() -> np.ndarray:
    """900 images: 500 different ones, copies of some with every amount of noise, half of them mirrored, and blanks."""
    random = np.random.default_rng(1)
    originals = faces(500)
    copies = originals[random.integers(0, 60, 397)].astype(float)
    noise = random.normal(0, 1, (len(copies), 12, 12)).repeat(4, 1).repeat(4, 2)
    copies += noise * 40 * (np.linspace(0, 1, len(copies)) ** 3)[:, None, None]
    copies[::2] = copies[::2, :, ::-1]
    copies[::3] = copies[::3] * 0.5 + 40
    blank = np.full((3, 48, 48), 7)
    images = np.concatenate([originals, np.clip(copies, 0, 255), blank]).astype(np.uint8)
    return block_averages(images[random.permutation(len(images))])


def searched(averages: np.ndarray, **options) -> set[tuple[int, int]]:
    """The pairs that were found; each must come once, and the right way round."""
    batches = list(near_pairs(averages, **options))
    pairs = [pair for p in batches for pair in zip(p.first.tolist(), p.second.tolist(), strict=True)]
    assert len(set(pairs)) == len(pairs)
    assert all(i < j for i, j in pairs)
    return set(pairs)


@pytest.mark.parametrize("at_a_time", [60, 100_000])
@pytest.mark.parametrize("threshold", [0.7, 0.99, 0.9999])
@pytest.mark.parametrize("mirrored", [True, False])
def test_the_same_pairs_as_brute_force(averages, at_a_time, threshold, mirrored, monkeypatch):
    monkeypatch.setattr(search, "_PAIRS", at_a_time)
    monkeypatch.setattr(search, "_ROWS", at_a_time + 30)
    monkeypatch.setattr(search, "_BLOCK", at_a_time // 10)
    wanted = brute_force.pairs(averages, threshold=threshold, mirrored=mirrored)
    assert len(wanted) > 20
    assert searched(averages, threshold=threshold, mirrored=mirrored) == wanted


def test_a_reach_that_is_too_short_loses_pairs(averages, monkeypatch):
    """Negative control: within less than the distance of a pair, pairs are lost."""
    radius = float(np.sqrt(2 - 2 * 0.99))
    monkeypatch.setattr(search, "_SLACK", -0.8 * radius)
    lost = brute_force.pairs(averages) - searched(averages, threshold=0.99)
    assert lost


def test_what_is_said_of_a_pair(averages):
    units = averages - averages.mean(1, keepdims=True)
    units /= np.where(np.ptp(averages, axis=1, keepdims=True) == 0, np.inf, np.linalg.norm(units, axis=1)[:, None])
    for pairs in near_pairs(averages, threshold=0.9):
        for i, j, correlation, mirrored in zip(*pairs, strict=True):
            straight = units[i] @ units[j]
            flipped = units[i].reshape(12, 12)[:, ::-1].ravel() @ units[j]
            assert correlation == pytest.approx(max(straight, flipped), abs=1e-6)
            assert mirrored == (flipped > straight) or abs(flipped - straight) < 1e-6


def test_some_rows_only(averages):
    rows = np.arange(0, len(averages), 2)
    wanted = {(i, j) for i, j in brute_force.pairs(averages) if i % 2 == 0 and j % 2 == 0}
    assert wanted
    assert searched(averages, rows=rows) == wanted


def test_coordinates_never_lengthen_a_distance(averages):
    """The lemma on which the search stands, for the image and for its mirror image."""
    kept = np.flatnonzero(np.ptp(averages, axis=1) > 0)
    points = search._unit_points(averages, kept, mirrored=True).astype(float)
    units = search._contrast_normalised(averages[kept])
    i, j = np.random.default_rng(0).integers(0, len(kept), (2, 3000))
    near = np.linalg.norm(points[i] - points[j], axis=1)
    straight = np.linalg.norm(units[i] - units[j], axis=1)
    mirrored = np.linalg.norm(search._flip(units[i]) - units[j], axis=1)
    assert (near <= np.minimum(straight, mirrored) + 1e-5).all()
    assert (near > 0.6 * np.minimum(straight, mirrored)).mean() > 0.5  # and few directions say much of it


@pytest.mark.parametrize("p", [2, np.inf])
@pytest.mark.parametrize("case", ["even", "ties", "equal", "line"])
def test_close_points_against_all_distances(case, p, monkeypatch):
    monkeypatch.setattr(search, "_PAIRS", 50)
    monkeypatch.setattr(search, "_BLOCK", 6)
    random = np.random.default_rng(2)
    points = {
        "even": random.uniform(-1, 1, (400, 3)),
        "ties": random.integers(-3, 4, (400, 2)).astype(float),
        "equal": np.zeros((50, 4)),
        "line": np.stack([np.linspace(-1, 1, 200), np.zeros(200)], 1),
    }[case]
    radius = 0.11 if case != "ties" else 1.01
    found = [pair for i, j in search._close(points, radius, p=p) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    distance = np.linalg.norm(points[:, None] - points[None], ord=p, axis=2)
    wanted = [(i, j) for i, j in zip(*np.nonzero(distance <= radius), strict=True) if i < j]
    assert sorted(found) == wanted


def test_alike_pairs_against_all_differences():
    random = np.random.default_rng(3)
    base = random.uniform(0, 255, (150, 144))
    near = base[:80] + random.uniform(-1, 1, (80, 144)) * np.linspace(0, 4, 80)[:, None]
    averages = np.concatenate([base, near, np.full((2, 144), 9)]).astype(np.float32)
    difference = np.abs(averages[:, None].astype(float) - averages[None]).mean(2)
    found = {pair for i, j in alike_pairs(averages, tolerance=1) for pair in zip(i.tolist(), j.tolist(), strict=True)}
    wanted = {(int(i), int(j)) for i, j in zip(*np.nonzero(difference <= 1), strict=True) if i < j}
    assert 20 < len(wanted) < 80
    assert wanted <= found
    assert all(difference[pair] < 1.02 for pair in found)


def test_joined_groups_against_a_disjoint_set():
    random = np.random.default_rng(4)
    first, second = random.integers(0, 500, (2, 300))
    theirs = DisjointSet(range(500))
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        theirs.merge(i, j)
    mine = join_groups(np.arange(500), first, second)
    assert {frozenset(np.flatnonzero(mine == k).tolist()) for k in range(mine.max() + 1)} == set(
        map(frozenset, theirs.subsets())
    )
    assert (np.diff(np.unique(mine, return_index=True)[1]) > 0).all()  # in order of first appearance
    in_parts = join_groups(join_groups(np.arange(500), first[:90], second[:90]), first[90:], second[90:])
    assert np.array_equal(in_parts, mine)


def test_groups_are_the_pairs_joined():
    images = np.concatenate([faces(30), faces(30)[5:12, :, ::-1], faces(30)[8:10] // 2])
    groups = groups_within(images)
    wanted = DisjointSet(range(len(images)))
    for i, j in brute_force.pairs(block_averages(images)):
        wanted.merge(i, j)
    assert {frozenset(np.flatnonzero(groups == k).tolist()) for k in range(30)} == set(map(frozenset, wanted.subsets()))


def test_thousands_of_copies_and_blank_pictures_cost_little():
    """Copies are searched once, and of the others no more pairs are in memory than ``_PAIRS`` at a time."""
    averages = block_averages(faces(300))
    many = np.concatenate([averages, averages[[7]].repeat(4000, 0), np.full((4000, 144), 9, np.float32)])
    groups = near_groups(many, np.arange(len(many)))
    assert (groups[300:4300] == groups[7]).all()
    assert len(np.unique(groups[4300:])) == 4000  # blank: nobody's near-duplicate
    assert search.near_duplicates(many, np.arange(len(many)) == 7).sum() == 4001
    noisy = averages[[7]] + np.random.default_rng(0).normal(0, 0.3, (1500, 144)).astype(np.float32)
    sizes = [len(pairs.first) for pairs in near_pairs(noisy)]
    assert sum(sizes) == 1500 * 1499 // 2
    assert max(sizes) <= search._PAIRS + len(noisy)


def test_nothing_to_search():
    nothing = np.zeros((0, 144), np.float32)
    assert list(near_pairs(nothing)) == list(alike_pairs(nothing, tolerance=1)) == []
    assert list(near_pairs(np.zeros((5, 144), np.float32))) == []  # blank
    with pytest.raises(UsageError, match="expected a threshold of 0 up to 1"):
        list(near_pairs(nothing, threshold=1.0))


def test_few_pairs_are_compared_in_full(monkeypatch):
    compared = []
    whole = search._correlations

    def counting(averages, first, second, *, mirrored):
        compared.append(len(first))
        return whole(averages, first, second, mirrored=mirrored)

    monkeypatch.setattr(search, "_correlations", counting)
    list(near_pairs(block_averages(faces(6000, seed=6000, side=24))))
    assert sum(compared) < 0.001 * 6000**2 / 2


@pytest.mark.fer2013
@pytest.mark.long
def test_fer2013_gives_the_same_pairs_as_brute_force(fer2013_splits):
    averages = block_averages(np.concatenate([split.images for split in fer2013_splits.values()]))
    found = searched(averages)
    assert found == brute_force.pairs(averages)
    assert len(found) == 3248
