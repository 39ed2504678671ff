"""Rare classes predicted more often: the classifier's bias shifted by the classes' proportions in training.

A network learns p(class | picture) for pictures among which classes are as frequent as in training: 1.5 % of FER2013
are *disgust*. Where they are met more often, subtracting τ·log(proportion) from the logits corrects for it (Menon et
al. 2021, arXiv 2007.07314, post-hoc logit adjustment): τ = 1 assumes that all classes are equally frequent, τ = 0 that
they are as frequent as in training.
"""

import torch
from torch import Tensor, nn

from mien.errors import DataError, RecipeError


def class_proportions(targets: Tensor, smoothing: float) -> Tensor:
    """float64 K, sum 1: how much of training each class is, from its soft targets (float32 N×K, smoothed)."""
    mean = targets.double().mean(0)
    return (mean - smoothing / len(mean)) / (1 - smoothing)


@torch.no_grad()
def adjust_logits(network: nn.Module, proportions: Tensor, strength: float) -> None:
    """Subtract ``strength``·log(proportion) from every logit, by the bias of the network's linear classifier.

    Raises RecipeError for a network without one, DataError where a class does not occur.
    """
    classifier = getattr(network, "classifier", None)
    if not isinstance(classifier, nn.Linear) or classifier.bias is None:
        raise RecipeError(
            "model.logit_adjustment: expected a network whose classifier is one linear layer",
            hint="leave it out, or choose another network",
        )
    if len(classifier.bias) != len(proportions) or not bool((proportions > 1e-6).all()):
        counts = ", ".join(f"{p:.2g}" for p in proportions.tolist())
        raise DataError(f"model.logit_adjustment: expected pictures of every class in training, got shares of {counts}")
    classifier.bias.sub_(strength * proportions.log().to(classifier.bias))
