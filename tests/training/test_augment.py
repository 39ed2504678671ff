"""Augmentation: closed forms for the geometry, and the same draws for the same (seed, step)."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from mien.preprocess import Preprocess
from mien.training.augment import AugmentSettings, affine_matrices, augment, erase, jitter, mixup, step_generator, warp

OFF = AugmentSettings(
    flip=0, rotate=0, scale=(1, 1), shift=0, brightness=0, contrast=0, erase=0, mixup=0
)  # the identity


def pictures(n: int = 4, size: int = 48) -> torch.Tensor:
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).random((n, size, size)), (0, 3, 3))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy(smooth[:, None].astype(np.float32))


def test_everything_off_is_the_identity() -> None:
    x = pictures()
    torch.testing.assert_close(augment(x, OFF, step_generator(0, 0)), x, atol=1e-5, rtol=0)


def test_flip_is_a_mirror() -> None:
    x = pictures()
    flipped = augment(x, dataclasses.replace(OFF, flip=1), step_generator(0, 0))
    torch.testing.assert_close(flipped, x.flip(-1), atol=1e-5, rtol=0)
    assert not torch.allclose(flipped, x, atol=1e-2)


def test_the_warp_equals_scipys_affine_transform() -> None:
    """Foreign implementation: scipy, with the matrix translated from [-1, 1] coordinates to pixels."""
    x, size = pictures(1), 48
    settings = dataclasses.replace(OFF, rotate=30, scale=(0.8, 1.25), shift=0.1, flip=0.5)
    matrix = affine_matrices(1, settings, step_generator(5, 9))
    got = warp(x, matrix)[0, 0].numpy()
    linear, offset = matrix[0, :, :2].double().numpy(), matrix[0, :, 2].double().numpy()
    linear, offset = linear[::-1, ::-1], offset[::-1]  # (x, y) → (row, column)
    centre = (size - 1) / 2
    pixels = centre + offset * size / 2 - linear @ np.array([centre, centre])
    expected = ndimage.affine_transform(x[0, 0].numpy(), linear, pixels, order=1, mode="reflect")
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_rotation_scale_and_shift_stay_in_their_ranges() -> None:
    settings = dataclasses.replace(OFF, rotate=12, scale=(0.9, 1.2), shift=0.06)
    matrices = affine_matrices(2000, settings, step_generator(0, 1))
    zoom = 1 / torch.linalg.vector_norm(matrices[:, 0, :2], dim=1)
    angle = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    assert 0.9 <= zoom.min() < 0.91
    assert 1.19 < zoom.max() <= 1.2001
    assert 11 < angle.abs().max() <= 12.001
    assert 0.11 < matrices[:, :, 2].abs().max() <= 0.1201


def test_a_step_draws_the_same_twice_and_another_step_differs() -> None:
    x, settings = pictures(), AugmentSettings()
    once, again = (augment(x, settings, step_generator(3, 17)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, augment(x, settings, step_generator(3, 18)))
    assert not torch.equal(once, augment(x, settings, step_generator(4, 17)))


def test_jitter_keeps_the_range_and_scales_contrast_about_the_mean() -> None:
    x = pictures() * 0.4 + 0.3
    y = jitter(x, dataclasses.replace(OFF, contrast=0.5), step_generator(0, 2))
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-3, rtol=0)
    ratio = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert ((ratio > 0.5) & (ratio < 1.5)).all()
    assert (ratio - 1).abs().max() > 0.02


def test_erasing_covers_the_stated_share() -> None:
    x = torch.full((400, 1, 48, 48), 2.0)  # a value that noise in 0-1 cannot have
    y = erase(x, dataclasses.replace(OFF, erase=0.5, erase_area=(0.1, 0.2)), step_generator(0, 3))
    share = (y != 2).float().mean((1, 2, 3))
    touched = share > 0
    assert 0.4 < touched.float().mean() < 0.6
    assert share[touched].min() > 0.05
    assert share[touched].max() < 0.23


def test_mixup_is_one_convex_mixture_of_images_and_targets() -> None:
    x = torch.eye(8).reshape(8, 1, 2, 4)
    mixed = mixup({"images": x, "targets": torch.eye(8)}, 1.0, step_generator(0, 4))
    images, targets = mixed["images"], mixed["targets"]
    assert torch.equal(images.reshape(8, 8), targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert (targets.max(1).values >= 0.5).all()
    assert (targets.max(1).values < 1).any()  # a row may meet itself


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_mixup_zero_changes_nothing(alpha: float) -> None:
    x, t = pictures(), torch.eye(4)
    mixed = mixup({"images": x, "targets": t}, alpha, step_generator(0, 4))
    assert torch.equal(mixed["images"], x) == (alpha == 0)
    assert torch.equal(mixed["targets"], t) == (alpha == 0)


def test_a_target_that_is_missing_stays_missing_in_a_mixture() -> None:
    affect = torch.full((4, 2), float("nan"))
    mixed = mixup({"images": pictures(), "affect": affect}, 0.5, step_generator(0, 4))
    assert mixed["affect"].isnan().all()


def test_resizing_in_the_warp_is_the_preprocess() -> None:
    """Training pictures grow on the device; validation pictures grow in ``Preprocess``. Both are bilinear."""
    small = (pictures(3) * 255).round()
    grown = augment(small / 255, OFF, step_generator(0, 0), size=112)[:, 0] * 255
    expected = Preprocess(size=112).stack(small[:, 0].to(torch.uint8).numpy())[:, 0]
    assert (grown - torch.from_numpy(expected)).abs().max() < 1.01  # the preprocess rounds twice to whole grey levels
    off_by_one = augment((small / 255).roll(1, -1), OFF, step_generator(0, 0), size=112)[:, 0] * 255
    assert (off_by_one - torch.from_numpy(expected)).abs().max() > 2


def test_a_window_is_a_part_of_the_picture_at_a_random_place() -> None:
    ramp = torch.linspace(0, 1, 48).repeat(200, 1, 48, 1)  # each row rises from 0 to 1
    seen = augment(ramp, OFF, step_generator(0, 6), size=40, window=40 / 48)
    assert seen.shape == (200, 1, 40, 40)
    torch.testing.assert_close(seen[..., -1] - seen[..., 0], torch.full((200, 1, 40), 39 / 47), atol=1e-4, rtol=0)
    left = seen[:, 0, 0, 0] * 47  # where each window begins, in pixels
    assert 0 <= left.min() < 0.3
    assert 7.7 < left.max() <= 8
    assert abs(float(left.mean()) - 4) < 0.5
