"""Corruptions: nothing at severity 0, worse at every step, and each one what its name says by another's formula."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio

from mien.evaluation.analysis import common_corruptions as corruptions
from mien.evaluation.analysis.common_corruptions import EYES, KINDS, MOUTH, PARAMETERS, SEVERITIES, corrupt, noise


@pytest.fixture
def faces(astronaut) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A real face and its mirror image, 48×48 grey."""
    picture = Image.open(astronaut).convert("L").crop((160, 30, 290, 160)).resize((48, 48))
    grey = np.asarray(picture)
    return np.stack([grey, grey[:, ::-1]])


@pytest.mark.parametrize("kind", KINDS)
def test_worse_at_every_severity(kind: str, faces: np.ndarray) -> None:
    """Peak signal-to-noise by scikit-image, against the clean picture, and type and shape kept, in colour as well."""
    found = [corrupt(faces, kind, severity, seed=1) for severity in SEVERITIES]
    ratios = [peak_signal_noise_ratio(faces, corrupted) for corrupted in found]
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == 5
    assert 50 > ratios[0] > ratios[-1] > 5
    colour = np.repeat(faces[..., None], 3, 3)
    corrupted = corrupt(colour, kind, 3)
    assert (corrupted.dtype, corrupted.shape) == (np.uint8, colour.shape)
    large = corrupt(np.repeat(np.repeat(faces, 2, 1), 2, 2), kind, 3)
    assert large.shape == (2, 96, 96)


@pytest.mark.parametrize("kind", KINDS)
def test_severity_0_is_the_picture_and_nothing_is_changed_in_place(kind: str, faces: np.ndarray) -> None:
    before = faces.copy()
    assert (corrupt(faces, kind, 0) == before).all()
    corrupt(faces, kind, 5)
    assert (faces == before).all()
    with pytest.raises(ValueError, match="severity of 0-5"):
        corrupt(faces, kind, 6)
    with pytest.raises(ValueError, match="expected a kind"):
        corrupt(faces, "fog", 1)


def test_noise_is_a_function_of_seed_and_number(faces: np.ndarray) -> None:
    first = corrupt(faces, "noise", 3, seed=4)
    assert (first == corrupt(faces, "noise", 3, seed=4)).all()
    sigma = PARAMETERS["noise"][2]
    assert all((first[i] == noise(face, sigma, seed=4, number=i)).all() for i, face in enumerate(faces))
    assert (first != corrupt(faces, "noise", 3, seed=5)).any()
    assert (first[0] - faces[0] != first[1] - faces[1]).any()
    grey = np.full((200, 48, 48), 128, np.uint8)
    for severity, sigma in zip(SEVERITIES, PARAMETERS["noise"], strict=True):
        assert corrupt(grey, "noise", severity).std() == pytest.approx(sigma, rel=0.02)


def test_blur_is_scikit_images_and_its_variance_is_sigma_squared(faces: np.ndarray) -> None:
    expected = gaussian(faces[0].astype(float), 2, mode="nearest", preserve_range=True)
    inner = (slice(9, -9), slice(9, -9))
    assert np.abs(corruptions.blur(faces[0], 2)[inner] - expected[inner]).max() <= 0.51
    dot = np.zeros((48, 48), np.uint8)
    dot[24, 24] = 255
    spread = corruptions.blur(dot, 1).astype(float)
    rows = np.arange(48)[:, None] - 24
    assert (spread * rows**2).sum() / spread.sum() == pytest.approx(1, rel=0.1)


def test_closed_forms(faces: np.ndarray) -> None:
    face = faces[0].astype(float)
    assert (corruptions.brightness(faces[0], 0.5) == np.rint(face * 0.5)).all()
    assert (corruptions.brightness(faces[0], 2.0) == np.minimum(face * 2, 255)).all()
    assert corruptions.contrast(faces[0], 0.2).std() == pytest.approx(0.2 * face.std(), rel=0.02)
    assert corruptions.contrast(faces[0], 0.2).mean() == pytest.approx(face.mean(), abs=0.5)
    data = io.BytesIO()
    Image.fromarray(faces[0]).save(data, format="JPEG", quality=15)
    assert (corruptions.jpeg(faces[0], 15) == np.asarray(Image.open(data))).all()
    assert len(np.unique(corruptions.low_resolution(np.tile(np.arange(48, dtype=np.uint8) * 5, (48, 1)), 8))) < 48


@pytest.mark.parametrize(("kind", "band"), [("eyes", EYES), ("mouth", MOUTH)])
def test_a_band_covers_its_rows_alone(kind: str, band: tuple[float, float], faces: np.ndarray) -> None:
    marked = np.arange(48, dtype=np.uint8)[None, :, None] + np.zeros((1, 48, 48), np.uint8)
    for severity, rows in zip(SEVERITIES, PARAMETERS[kind], strict=True):
        changed = np.flatnonzero((corrupt(marked, kind, severity) != marked).any((0, 2)))
        assert len(changed) in (rows, rows - 1)  # one row may hold the mean already
        assert changed.mean() == pytest.approx(24 * sum(band) - 0.5, abs=1)
    assert changed.min() >= round(band[0] * 48)
    assert changed.max() < round(band[1] * 48) + 1
    corrupted = corrupt(faces, kind, 5)
    assert abs(corrupted[0].astype(float).mean() - faces[0].mean()) < 12
