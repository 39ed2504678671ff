"""What a run does with its device, as far as that shows without one.

The meta device computes nothing and has no values to give: whatever would read one back (and so hold the host up on a
GPU) raises there. What it cannot show: uploads that wait.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien.models.masked_image import MaskedImageModel
from mien.preprocess import Preprocess
from mien.training import augment
from mien.training.device import place, seed_dropout, tf32
from mien.training.loader import CropDataset, make_loader
from mien.training.networks import build_network, recipe_preprocess
from mien.training.objectives import build_objective
from mien.training.optimizers import build_optimizer
from mien.training.recipe import Recipe
from mien.training.sam import frozen_statistics
from mien.training.teachers import Teacher
from small_run import small_recipe
from tiny_networks import TinyMasked

META = torch.device("meta")
GREY = Preprocess()


def dataset(n: int = 40) -> CropDataset:
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 48, 48), dtype=np.uint8)
    return CropDataset(images, np.eye(7, dtype=np.float32)[np.arange(n) % 7], np.arange(n) % 7)


def test_data_go_where_they_fit_and_are_taken_from_there(caplog: pytest.LogCaptureFixture) -> None:
    small, other = dataset(), dataset(3)
    place([small, other], META, free=4 * (small.nbytes + other.nbytes))
    assert (small.device, other.device) == (META, META)
    loader = make_loader(small, 8, train=True, seed=1)
    assert {row.device for row in loader.sampler} == {META}  # type: ignore[union-attr]
    assert {column.device for batch in loader for column in batch.values()} == {META}
    assert caplog.messages == []


def test_data_that_would_crowd_the_device_stay(caplog: pytest.LogCaptureFixture) -> None:
    data = dataset()
    place([data], META, free=4 * data.nbytes - 4)
    assert data.device.type == "cpu"
    (said,) = caplog.messages
    assert "\n" not in said
    assert "stay in the host's memory" in said


def _batch(recipe: Recipe) -> dict[str, Tensor]:
    data = dataset(recipe.batch_size)
    data.move(META)
    return data[list(range(recipe.batch_size))]


def _step(recipe: Recipe, network: nn.Module, **options: Any) -> None:
    """One step, drawn and taken on the meta device."""
    network = network.to(META)
    objective = build_objective(recipe, recipe_preprocess(recipe), network, **options)
    drawn = objective.draw(_batch(recipe), step=3)
    assert {value.device for value in drawn.values()} == {META}
    optimizer = build_optimizer(
        recipe.optimizer,
        network,
        ascent_pass=lambda: frozen_statistics(nn.Module()),
        descent_pass=lambda: frozen_statistics(network),
    )

    def gradients() -> Tensor:
        seed_dropout(1, META)
        optimizer.zero_grad()
        loss, figures = objective.loss(network, drawn)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        assert {value.device for value in figures.values()} == {META}
        return loss

    optimizer.step(gradients)


@pytest.fixture
def drawn_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """That device has neither generators nor autocast; its noise is any."""
    monkeypatch.setattr(augment, "noise", lambda seed, shape, device: torch.empty(shape, device=device))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


BUSY: dict[str, Any] = {"augment": {"erase": 0.5, "mixup": 0.2}, "optimizer": {"sam": {"rho": 0.1}}, "batch_size": 16}


@pytest.mark.usefixtures("drawn_on_meta")
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_reads_nothing_back(name: str) -> None:
    sam = {"rho": 0.1, "adaptive": name == "adamw"}
    recipe = small_recipe(**(BUSY | {"optimizer": {"name": name, "sam": sam}, "distill": {"runs": ["a"]}}))
    larger = Teacher(build_network(recipe), Preprocess(size=64, mean=(0.4,)), seen=GREY)
    _step(recipe, build_network(recipe), teachers=[larger, build_network(recipe)])


@pytest.mark.usefixtures("drawn_on_meta")
def test_nor_does_one_of_masked_images() -> None:
    recipe = small_recipe(**(BUSY | {"task": "masked_image", "masking": {"patch": 8}}))
    _step(recipe, MaskedImageModel(TinyMasked(), in_channels=1, patch=8))


class _Curious(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits if float(logits.mean()) > 0 else -logits


@pytest.mark.usefixtures("drawn_on_meta")
def test_the_control_one_that_does_is_found() -> None:
    recipe = small_recipe(**BUSY)
    with pytest.raises(RuntimeError, match="meta"):
        _step(recipe, _Curious(build_network(recipe)))


def test_away_from_cuda_rounding_is_left_alone() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    for allowed in (True, False):
        with tf32(allowed, torch.device("cpu")):
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("fails", [False, True])
def test_on_cuda_it_is_changed_and_put_back(fails: bool) -> None:
    """The flags exist without a device."""

    def now() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = now()
    seen: list[tuple[bool, bool]] = []

    def inside() -> None:
        for allowed in (True, False):
            with tf32(allowed, torch.device("cuda")):
                seen.append(now())
                if fails and not allowed:
                    raise ValueError("a step that failed")

    if fails:
        with pytest.raises(ValueError, match="a step"):
            inside()
    else:
        inside()
    assert seen == [(True, True), (False, False)]
    assert now() == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_dropout_is_seeded_as_torch_does_it() -> None:
    draw: Callable[[], Tensor] = lambda: nn.functional.dropout(torch.ones(100))  # noqa: E731
    torch.manual_seed(7)
    expected = draw()
    assert not torch.equal(draw(), expected)
    seed_dropout(7, torch.device("cpu"))
    assert torch.equal(draw(), expected)
