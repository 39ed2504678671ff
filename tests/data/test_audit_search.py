"""The search for copies against brute force, and against what must make it fail."""

import io

import numpy as np
import pytest
from audit_stores import faces
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mien.data.audit import search
from mien.data.audit.search import alike_pairs, components, near_pairs, numbered
from mien.data.near_duplicates import _close_pairs, block_averages, groups_within
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


def brute_force(averages: np.ndarray, *, threshold: float, mirrored: bool) -> set[tuple[int, int]]:
    found = set()
    for i, j in _close_pairs(averages, averages, threshold=threshold, mirrored=mirrored):
        found |= {(min(a, b), max(a, b)) for a, b in zip(i.tolist(), j.tolist(), strict=True) if a != b}
    return found


def searched(averages: np.ndarray, **options) -> set[tuple[int, int]]:
    """The pairs that were found; each must come once, and the right way round."""
    batches = list(near_pairs(averages, **options))
    pairs = [pair for p in batches for pair in zip(p.first.tolist(), p.second.tolist(), strict=True)]
    assert len(set(pairs)) == len(pairs)
    assert all(i < j for i, j in pairs)
    return set(pairs)


@pytest.mark.parametrize("bucket", [4, 128])
@pytest.mark.parametrize("threshold", [0.7, 0.99, 0.9999])
@pytest.mark.parametrize("mirrored", [True, False])
def test_the_same_pairs_as_brute_force(averages, bucket, threshold, mirrored, monkeypatch):
    monkeypatch.setattr(search, "_BUCKET", bucket)
    wanted = brute_force(averages, threshold=threshold, mirrored=mirrored)
    assert len(wanted) > 20
    assert searched(averages, threshold=threshold, mirrored=mirrored) == wanted


def test_a_reach_that_is_too_short_loses_pairs(averages, monkeypatch):
    """Negative control: with buckets that overlap by less than the distance of a pair, pairs are lost."""
    monkeypatch.setattr(search, "_BUCKET", 4)
    radius = float(np.sqrt(2 - 2 * 0.99))
    monkeypatch.setattr(search, "_SLACK", -0.8 * radius)
    lost = brute_force(averages, threshold=0.99, mirrored=True) - searched(averages, threshold=0.99)
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
    wanted = {(i, j) for i, j in brute_force(averages, threshold=0.99, mirrored=True) if i % 2 == 0 and j % 2 == 0}
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


@pytest.mark.parametrize("case", ["even", "ties", "equal", "line"])
def test_the_join_of_points_against_all_distances(case, monkeypatch):
    monkeypatch.setattr(search, "_BUCKET", 3)
    random = np.random.default_rng(2)
    points = {
        "even": random.uniform(-1, 1, (400, 3)),
        "ties": random.integers(-3, 4, (400, 2)).astype(float),
        "equal": np.zeros((50, 4)),
        "line": np.stack([np.linspace(-1, 1, 200), np.zeros(200)], 1),
    }[case].astype(np.float32)
    radius = 0.11 if case != "ties" else 1.0
    found = [
        tuple(sorted(pair))
        for i, j in search._join(points, radius=radius, reach=radius)
        for pair in zip(i.tolist(), j.tolist(), strict=True)
    ]
    distance = np.linalg.norm(points[:, None].astype(float) - points[None], axis=2)
    wanted = {(i, j) for i, j in zip(*np.nonzero(distance <= radius), strict=True) if i < j}
    assert len(found) == len(set(found))
    assert wanted <= set(found)
    assert all(distance[pair] <= radius * 1.01 for pair in found)


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


def test_components_against_scipy():
    random = np.random.default_rng(4)
    first, second = random.integers(0, 500, (2, 300))
    mine = numbered(components(np.arange(500), first, second))
    count, theirs = connected_components(coo_array((np.ones(300), (first, second)), shape=(500, 500)), directed=False)
    assert mine.max() + 1 == count
    assert len({(a, b) for a, b in zip(mine.tolist(), theirs.tolist(), strict=True)}) == count
    in_parts = components(components(np.arange(500), first[:90], second[:90]), first[90:], second[90:])
    assert np.array_equal(numbered(in_parts), mine)


def test_groups_are_those_of_duplicates():
    images = np.concatenate([faces(30), faces(30)[5:12, :, ::-1], faces(30)[8:10] // 2])
    averages = block_averages(images)
    roots = np.arange(len(images))
    for pairs in near_pairs(averages):
        roots = components(roots, pairs.first, pairs.second)
    assert np.array_equal(numbered(roots), groups_within(images))
    assert len(np.unique(roots)) == 30


def test_nothing_to_search():
    nothing = np.zeros((0, 144), np.float32)
    assert list(near_pairs(nothing)) == list(alike_pairs(nothing, tolerance=1)) == []
    assert list(near_pairs(np.zeros((5, 144), np.float32))) == []  # blank
    with pytest.raises(UsageError, match="expected a threshold of 0 up to 1"):
        list(near_pairs(nothing, threshold=1.0))


def test_most_pairs_are_never_looked_at(monkeypatch):
    """Four times the images: far from sixteen times the comparisons, and a small part of all pairs."""
    compared = []
    whole = search._compared

    def counting(left, right, own, others, limit):
        compared.append(len(own) * (len(own) / 2 + len(others)))
        yield from whole(left, right, own, others, limit)

    monkeypatch.setattr(search, "_compared", counting)
    monkeypatch.setattr(search, "_BUCKET", 32)
    cost = {}
    for n in (1500, 6000):
        compared.clear()
        list(near_pairs(block_averages(faces(n, seed=n, side=24))))
        cost[n] = sum(compared)
    assert cost[6000] < 0.1 * 6000**2 / 2
    assert cost[6000] < 9 * cost[1500]


@pytest.mark.fer2013
@pytest.mark.slow
def test_fer2013_gives_the_same_pairs_as_brute_force(fer2013_dir):
    import pyarrow.parquet as pq
    from PIL import Image

    images = []
    for name in ("training", "public_test", "private_test"):
        column = pq.read_table(fer2013_dir / f"{name}.parquet", columns=["image"])["image"].combine_chunks()
        images += [np.asarray(Image.open(io.BytesIO(data))) for data in column.field("bytes").to_pylist()]
    averages = block_averages(np.stack(images))
    found = searched(averages)
    assert found == brute_force(averages, threshold=0.99, mirrored=True)
    assert len(found) == 3248
