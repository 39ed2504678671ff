"""Logits adjusted for the classes' proportions: against Bayes' rule, and in a run without a step of training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mien.data.store import Store
from mien.errors import DataError, RecipeError
from mien.models.registry import build
from mien.training.logit_adjustment import adjust_logits, class_proportions
from mien.training.networks import load_network, starting_network
from mien.training.run import train
from small_run import small_recipe

MEANS = np.array([[-1.0, 0.3], [0.8, 1.1], [0.2, -1.4]])


class Posterior(nn.Module):
    """Logits of p(class | x) for three Gaussians of unit variance that are met in these proportions."""

    def __init__(self, proportions: np.ndarray) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 3, dtype=torch.float64)
        with torch.no_grad():
            self.classifier.weight.copy_(torch.from_numpy(MEANS))
            self.classifier.bias.copy_(torch.from_numpy(np.log(proportions) - (MEANS**2).sum(1) / 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(x)


def test_full_strength_is_the_posterior_among_equally_frequent_classes() -> None:
    proportions, equal = np.array([0.7, 0.25, 0.05]), np.full(3, 1 / 3)
    network, x = Posterior(proportions), torch.randn(50, 2, dtype=torch.float64)
    density = np.exp(-((x.numpy()[:, None] - MEANS) ** 2).sum(-1) / 2)
    expected = density / density.sum(1, keepdims=True)
    assert np.abs(network(x).softmax(1).detach().numpy() - expected).max() > 0.1  # control: not so before
    adjust_logits(network, torch.from_numpy(proportions), 1.0)
    np.testing.assert_allclose(network(x).softmax(1).detach(), expected, atol=1e-12)
    np.testing.assert_allclose(network(x).softmax(1).detach(), Posterior(equal)(x).softmax(1).detach(), atol=1e-12)


def test_proportions_are_those_of_the_labels_without_smoothing() -> None:
    labels = torch.tensor([0] * 7 + [1] * 2 + [2])
    targets = 0.9 * torch.nn.functional.one_hot(labels, 3).float() + 0.1 / 3
    np.testing.assert_allclose(class_proportions(targets, 0.1), [0.7, 0.2, 0.1], atol=1e-7)


def test_a_run_without_training_shifts_every_logit_by_its_class(
    trained_run: Path, small_store: Path, tmp_path: Path
) -> None:
    model = {"name": "nano", "args": {"stem": [8], "widths": [16, 32], "depths": [1, 1], "dropout": 0.2}}
    model |= {"init": f"run:{trained_run}", "logit_adjustment": 0.5}
    store = Store.open(small_store)
    train(small_recipe(model=model, epochs=0), store, tmp_path / "run", accelerator="cpu", threads=1)
    (before, *_), (after, *_) = load_network(trained_run), load_network(tmp_path / "run")
    again = small_recipe(model=model | {"init": f"run:{tmp_path / 'run'}"}, epochs=0)
    with pytest.raises(RecipeError, match=r"expected a run without data\.balance, .* and logit_adjustment, got .*run"):
        starting_network(again)
    pictures = torch.rand(9, 1, 48, 48)
    labels = store.read("training").labels
    shares = np.bincount(labels, minlength=7) / len(labels)
    with torch.no_grad():
        shift = (after(pictures) - before(pictures)).numpy()
    np.testing.assert_allclose(shift, np.tile(-0.5 * np.log(shares), (9, 1)), atol=2e-5)


def test_what_cannot_be_adjusted_is_said() -> None:
    model = {"name": "nano", "init": "run:x", "logit_adjustment": 0.3}
    for changes, message in (
        ({}, "with epochs: 0"),
        ({"epochs": 0, "data": {"balance": "online"}}, r"without data\.balance"),
    ):
        with pytest.raises(RecipeError, match=message):
            small_recipe(model=model, **changes)
    with pytest.raises(DataError, match=r"pictures of every class in training, got shares of 0\.5, 0\.5, 0"):
        adjust_logits(build("nano", num_classes=3), torch.tensor([0.5, 0.5, 0.0]), 0.3)
    with pytest.raises(RecipeError, match="one linear layer"):
        adjust_logits(nn.Flatten(), torch.full((3,), 1 / 3), 0.3)
