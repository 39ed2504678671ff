"""Soft targets: closed forms, and what the votes are allowed to do."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from mien.errors import DataError
from mien.preprocess import Preprocess
from mien.training.objectives import build_objective
from mien.training.targets import inverse_weights, label_given_votes, one_hot, soft_targets
from small_run import small_recipe

LABELS = np.array([0, 3, 6, 3], np.int64)


def test_one_hot_and_smoothing() -> None:
    assert (one_hot(LABELS, 7).argmax(1) == LABELS).all()
    smooth = soft_targets(LABELS, None, classes=7, smoothing=0.1, votes_weight=0)
    np.testing.assert_allclose(smooth[np.arange(4), LABELS], 0.9 + 0.1 / 7, rtol=1e-6)
    np.testing.assert_allclose(smooth.sum(1), 1, rtol=1e-6)


def test_inverse_weights_are_sklearns_balanced_ones_and_weigh_the_cross_entropy() -> None:
    labels = np.array([0] * 6 + [3] * 3 + [6], np.int64)
    weights = inverse_weights(labels, 7)
    theirs = compute_class_weight("balanced", classes=np.array([0, 3, 6]), y=labels)
    np.testing.assert_allclose(weights[[0, 3, 6]], theirs, rtol=1e-6)
    assert weights[1] == 1
    recipe = small_recipe(augment={"mixup": 0})
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48 * 48, 7))
    batch = {"images": torch.randint(0, 256, (10, 1, 48, 48), dtype=torch.uint8)}
    batch["expression"] = torch.from_numpy(one_hot(labels, 7))
    weighted, plain = (build_objective(recipe, Preprocess(), network, class_weights=w) for w in (weights, None))
    drawn = weighted.draw(batch, step=0)
    logits = network(drawn["images"])
    expected = F.cross_entropy(logits, torch.from_numpy(labels), weight=weights, reduction="sum") / 10
    torch.testing.assert_close(weighted.loss(network, drawn)[0], expected)
    assert not torch.allclose(plain.loss(network, drawn)[0], expected)
    assert torch.equal(
        weighted.loss(network, drawn)[1]["train_accuracy"], plain.loss(network, drawn)[1]["train_accuracy"]
    )


def test_held_back_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected labels 0-6 to learn from, got -1"):
        one_hot(np.array([1, -1]), 7)


def test_votes_give_the_labels_distribution_not_their_own() -> None:
    """Two groups with the same votes but labels 70/30: the posterior is 70/30, whatever the votes favour."""
    votes = np.tile(np.array([[10, 0, 0, 0, 0, 0, 0, 0, 0, 0]], np.float32), (1000, 1))
    votes[500:] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0]
    labels = np.concatenate([np.repeat([4, 6], [350, 150]), np.full(500, 3)])
    posterior = label_given_votes(labels, votes, classes=7)
    np.testing.assert_allclose(posterior[0, [4, 6]], [0.7, 0.3], atol=0.02)
    np.testing.assert_allclose(posterior[-1, 3], 1, atol=0.02)
    mixed = soft_targets(labels, votes, classes=7, smoothing=0, votes_weight=0.5)
    np.testing.assert_allclose(mixed[0, 4], 0.5 * (labels[0] == 4) + 0.5 * posterior[0, 4], atol=1e-6)


def test_rows_without_votes_keep_their_label() -> None:
    votes = np.full((40, 10), np.nan, np.float32)
    labels = np.arange(40) % 7
    votes[:30] = np.eye(10, dtype=np.float32)[labels[:30]] * 10
    targets = soft_targets(labels, votes, classes=7, smoothing=0, votes_weight=0.5)
    np.testing.assert_array_equal(targets[30:], one_hot(labels[30:], 7))
    assert (targets[:30].max(1) < 1).all()


def test_one_class_alone_needs_no_regression() -> None:
    labels = np.full(5, 3, np.int64)
    votes = np.ones((5, 10), np.float32)
    targets = soft_targets(labels, votes, classes=7, smoothing=0, votes_weight=0.5)
    np.testing.assert_array_equal(targets, one_hot(labels, 7))


def test_votes_asked_for_but_absent() -> None:
    with pytest.raises(DataError, match=r"none of these 4 pictures has FER\+ votes; say --set targets"):
        soft_targets(LABELS, np.full((4, 10), np.nan, np.float32), classes=7, smoothing=0, votes_weight=0.5)
