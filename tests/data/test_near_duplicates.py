"""Near-duplicates: closed forms, negative controls, and the known figures of the real data."""

import brute_force
import numpy as np
import pytest
from brute_force import exact_duplicates

from mien.data import near_duplicates as duplicates
from mien.data.near_duplicates import block_averages, groups_within, luma


def near_duplicates(query: np.ndarray, reference: np.ndarray, **options) -> np.ndarray:
    """bool N: which pictures have a near-duplicate in ``reference``; the sizes may differ."""
    averages = np.concatenate([block_averages(query), block_averages(reference)])
    return duplicates.near_duplicates(averages, np.arange(len(averages)) >= len(query), **options)[: len(query)]


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 200, (30, 48, 48), dtype=np.uint8)


def test_block_averages_in_closed_form():
    image = np.arange(48 * 48, dtype=np.int64).reshape(48, 48) % 251
    blocks = block_averages(image.astype(np.uint8)[None]).reshape(12, 12)
    assert blocks[2, 5] == image[8:12, 20:24].mean()
    ones = block_averages(np.full((1, 50, 61), 7, np.uint8))  # 12 divides neither side: shares of pixels
    assert np.allclose(ones, 7)
    ramp = np.tile(np.arange(18, dtype=np.uint8) * 2, (24, 1))[None]
    assert np.allclose(block_averages(ramp).reshape(12, 12)[0, :2], [(0 * 1 + 2 * 0.5) / 1.5, (2 * 0.5 + 4) / 1.5])


def test_contrast_brightness_and_mirror_do_not_hide_a_copy(faces):
    reference = faces[:10]
    query = np.stack([faces[3] // 2 + 20, faces[4] + 55, faces[5][:, ::-1], faces[6]]).astype(np.uint8)
    assert near_duplicates(query, reference).tolist() == [True] * 4
    assert near_duplicates(query, reference, mirrored=False).tolist() == [True, True, False, True]


def test_negative_control(faces):
    """Other images are none, nor is one turned upside down; a check that cannot fail would say True."""
    assert not near_duplicates(faces[10:], faces[:10]).any()
    assert not near_duplicates(faces[:10, ::-1], faces[:10]).any()


def test_threshold_is_the_correlation():
    """Two images built so that their correlation is c exactly: found just below c, not found at c."""
    a = np.zeros((12, 12))
    b = np.zeros((12, 12))
    a[:6], a[6:] = 1, -1
    b[:, :6], b[:, 6:] = 1, -1  # orthogonal to a, both of mean 0
    first, second = 100 + 50 * a, 100 + 40 * a + 30 * b  # correlation 0.8, and again after mirroring
    images = np.stack([first, second]).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    assert near_duplicates(images[:1], images[1:], threshold=0.7999999).all()
    assert not near_duplicates(images[:1], images[1:], threshold=0.8000001).any()


def test_blank_images_are_nobodys_near_duplicate_but_can_be_exact(faces):
    blank = np.zeros((2, 48, 48), np.uint8)
    blank[1] = 255
    assert not near_duplicates(blank, np.concatenate([blank, faces])).any()
    assert exact_duplicates(blank, np.concatenate([blank[:1], faces])).tolist() == [True, False]
    assert exact_duplicates(blank + np.uint8(1), blank[:1], tolerance=1).tolist() == [True, True]


def test_tolerance_is_a_mean_absolute_difference(faces):
    plus = faces[:3].astype(np.int16)
    plus[0] += 1
    plus[1] += 2
    query = plus.astype(np.uint8)
    assert exact_duplicates(query, faces).tolist() == [False, False, True]
    assert exact_duplicates(query, faces, tolerance=1).tolist() == [True, False, True]


def test_groups_join_through_others_and_keep_strangers_apart(faces):
    chain = np.stack([faces[0], faces[1], faces[0][:, ::-1], faces[2], faces[0] // 2, faces[1]])
    assert groups_within(chain).tolist() == [0, 1, 0, 2, 0, 1]
    blanks = np.zeros((3, 48, 48), np.uint8)
    blanks[1] = 9
    assert groups_within(blanks).tolist() == [0, 1, 0]
    assert groups_within(faces).tolist() == list(range(len(faces)))
    assert groups_within(faces[:0]).shape == (0,)


def test_against_a_slow_independent_formula(faces):
    """np.corrcoef over block means, pair by pair, on images that are close to each other."""
    rng = np.random.default_rng(0)
    reference = faces[:8]
    noise = rng.integers(-60, 61, (40, 12, 12)).repeat(4, 1).repeat(4, 2) * np.linspace(0, 1, 40)[:, None, None]
    query = np.clip(faces[rng.integers(0, 8, 40)] + noise, 0, 255).astype(np.uint8)

    def correlated(a, b):
        means = [x.reshape(12, 4, 12, 4).mean((1, 3)).ravel() for x in (a, b)]
        return np.corrcoef(*means)[0, 1] > 0.9

    wanted = [any(correlated(q, r) or correlated(q[:, ::-1], r) for r in reference) for q in query]
    assert near_duplicates(query, reference, threshold=0.9).tolist() == wanted
    assert brute_force.near_duplicates(query, reference, threshold=0.9).tolist() == wanted
    assert 0 < sum(wanted) < 40


def test_rgb_luma_is_pillows():
    from PIL import Image

    rgb = np.random.default_rng(1).integers(0, 256, (1, 30, 30, 3), dtype=np.uint8)
    assert np.array_equal(luma(rgb)[0], np.asarray(Image.fromarray(rgb[0]).convert("L")))


def test_chunks_do_not_matter(faces, monkeypatch):
    query = np.concatenate([faces[:5], faces[20:]])
    whole = near_duplicates(query, faces[:12])
    monkeypatch.setattr(duplicates, "_ROWS", 4)
    assert np.array_equal(near_duplicates(query, faces[:12]), whole)
    assert whole.sum() == 5


@pytest.mark.fer2013
@pytest.mark.long
def test_the_leak_of_fer2013_is_the_known_one(fer2013_splits):
    training = fer2013_splits["training"].images
    for name, near in (("private_test", 365), ("public_test", 332)):  # identical ones: test_audit_report.py
        assert near_duplicates(fer2013_splits[name].images, training).sum() == near
