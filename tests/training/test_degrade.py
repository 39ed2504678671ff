"""Degradation against foreign implementations (scipy, Pillow), and its draws."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from mien.training import degrade as d
from mien.training.augment import step_generator


def pictures(n: int = 6, size: int = 48, channels: int = 1) -> torch.Tensor:
    """Smooth fields with some grain, in whole grey levels."""
    field = ndimage.gaussian_filter(np.random.default_rng(1).random((n, channels, size, size)), (0, 0, 2, 2))
    field = (field - field.min()) / (field.max() - field.min()) + np.random.default_rng(2).normal(0, 0.02, field.shape)
    return torch.from_numpy((field * 255).round().clip(0, 255).astype(np.float32) / 255)


def strengths(values: np.ndarray, mild: float, strong: float) -> torch.Tensor:
    """What ``between`` turns into these values."""
    return torch.from_numpy((values - mild) / (strong - mild)).float()


@pytest.mark.parametrize("size", [48, 70])
def test_blur_is_scipys(size: int) -> None:
    x, sigmas = pictures(3, size), np.array([0.4, 1.3, 2.5])
    got = d.blur(x, strengths(sigmas, 0.4, 2.5)).numpy()
    for picture, sigma, blurred in zip(x[:, 0].numpy(), sigmas * size / 48, got[:, 0], strict=True):
        np.testing.assert_allclose(
            blurred, ndimage.gaussian_filter(picture, sigma, mode="reflect", truncate=8), atol=1e-5
        )
        assert np.abs(blurred - ndimage.gaussian_filter(picture, 1.2 * sigma, mode="reflect")).max() > 1e-3


def test_a_lower_resolution_is_pillows() -> None:
    x, sides = pictures(3), np.array([38, 21, 10])
    got = d.resolution(x, strengths(sides, 38, 10)) * 255
    for picture, side, shrunk in zip(x[:, 0], sides, got[:, 0], strict=True):
        image = Image.fromarray((picture * 255).round().byte().numpy())

        def there_and_back(side: int, image: Image.Image = image) -> torch.Tensor:
            small = image.resize((side, side), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.asarray(small.resize((48, 48), Image.Resampling.BILINEAR)).astype(np.float32))

        assert (shrunk - there_and_back(side)).abs().max() < 1.6  # Pillow rounds twice
        assert (shrunk - there_and_back(side - 2)).abs().max() > 3


@pytest.mark.parametrize("size", [48, 45])
@pytest.mark.parametrize("quality", [6, 20, 50, 80])
def test_a_jpeg_is_pillows(size: int, quality: int) -> None:
    picture = pictures(1, size)

    def pillow(quality: int) -> torch.Tensor:
        data = io.BytesIO()
        Image.fromarray((picture[0, 0] * 255).round().byte().numpy()).save(data, format="JPEG", quality=quality)
        return torch.from_numpy(np.asarray(Image.open(data)).astype(np.float32))

    away = (d.jpeg(picture, torch.tensor([float(quality)]))[0, 0] * 255 - pillow(quality)).abs()
    assert (away <= 1).float().mean() > 0.93  # a coefficient near a half is rounded either way, and moves its block
    other = (d.jpeg(picture, torch.tensor([quality * 0.8]))[0, 0] * 255 - pillow(quality)).abs()
    assert other.mean() > 8 * away.mean()


def test_noise_has_its_standard_deviation() -> None:
    grey = torch.full((2, 1, 200, 200), 0.5)
    corrupted = d.noise(grey, torch.tensor([0.0, 1.0]), seed=3)
    torch.testing.assert_close(corrupted.std((1, 2, 3)) * 255, torch.tensor([4.0, 40.0]), rtol=0.02, atol=0)
    assert torch.equal(corrupted, d.noise(grey, torch.tensor([0.0, 1.0]), seed=3))
    assert not torch.equal(corrupted, d.noise(grey, torch.tensor([0.0, 1.0]), seed=4))


def test_light_darkens_and_brightens_and_contrast_shrinks_about_the_mean() -> None:
    x = torch.full((4, 1, 8, 8), 64 / 255)
    factors = d.light(x, torch.tensor([0.0, 0.4999, 0.5, 1.0])).mean((1, 2, 3)) * 255 / 64
    torch.testing.assert_close(factors, torch.tensor([2 / 3, 1 / 8, 1.25, 3.5]), rtol=0.01, atol=0)
    y = pictures(2)
    flat = d.contrast(y, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(flat.mean((1, 2, 3)), y.mean((1, 2, 3)), atol=2e-3, rtol=0)
    torch.testing.assert_close(flat.std((1, 2, 3)) / y.std((1, 2, 3)), torch.tensor([0.7, 0.12]), atol=5e-3, rtol=0)


@pytest.mark.parametrize("kind", d.KINDS)
@pytest.mark.parametrize(("size", "channels"), [(48, 1), (45, 3)])
def test_every_kind_keeps_shape_and_range_and_is_stronger_where_it_says_so(kind: str, size: int, channels: int) -> None:
    x = pictures(2, size, channels)
    corrupted = d.KINDS[kind](x, torch.tensor([0.0, 1.0]), 5)
    assert corrupted.shape == x.shape
    assert corrupted.dtype == x.dtype
    assert corrupted.min() >= -1e-6
    assert corrupted.max() <= 1 + 1e-6
    mild, strong = (corrupted - x).abs().mean((1, 2, 3)).tolist()
    assert 0 < mild < strong


def test_the_share_and_the_kinds_are_drawn_evenly() -> None:
    x = pictures(1).expand(3000, 1, 48, 48)
    corrupted = d.degrade(x, 0.3, step_generator(0, 1))
    assert abs(float((corrupted != x).any(3).any(2).any(1).float().mean()) - 0.3) < 0.03
    seen: dict[str, int] = {}

    def spy(name: str) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
        def count(images: torch.Tensor, strength: torch.Tensor, seed: int) -> torch.Tensor:
            seen[name] = len(images)
            return images

        return count

    with pytest.MonkeyPatch.context() as patch:
        for name in d.KINDS:
            patch.setitem(d.KINDS, name, spy(name))
        d.degrade(x, 0.3, step_generator(0, 1))
    assert all(110 < seen[name] < 190 for name in d.KINDS)


def test_a_step_draws_the_same_twice_and_a_share_of_nothing_draws_nothing() -> None:
    x = pictures(32)
    once, again = (d.degrade(x, 0.8, step_generator(3, 17)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, d.degrade(x, 0.8, step_generator(3, 18)))
    generator = step_generator(0, 0)
    before = generator.get_state()
    assert d.degrade(x, 0.0, generator) is x
    assert torch.equal(generator.get_state(), before)
