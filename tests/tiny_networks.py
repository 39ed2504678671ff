"""Networks small enough for a training step in a millisecond, under names that a recipe can use in tests alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mien.models import registry
from mien.models.auxiliary import Targets
from mien.models.registry import ModelSpec
from mien.training.recipe import Recipe
from small_run import small_recipe

#: Augmentation that changes nothing.
STILL = {
    "flip": 0, "rotate": 0, "scale": [1, 1], "shift": 0, "brightness": 0, "contrast": 0, "erase": 0, "mixup": 0,
}  # fmt: skip


class Tiny(nn.Module):
    """Means of 8×8 cells, one hidden layer; with a batch norm or dropout where wanted."""

    def __init__(self, *, num_classes: int = 7, norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(8)
        self.first = nn.Linear(36, 16)
        self.norm = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.cells(images).flatten(1)  # N×1×48×48 → N×36
        return self.last(self.dropout(torch.tanh(self.norm(self.first(cells)))))


class TinyWithTerms(Tiny):
    """Adds two losses of its own; see ``own_terms``."""

    def forward_with_losses(self, images: Tensor, targets: Targets) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self(images)
        return logits, own_terms(logits, targets["expression"])


def own_terms(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Two terms with gradients of their own, one of which looks at the targets."""
    return {"size": 0.3 * logits.square().mean(), "pull": 0.2 * (logits.tanh() - targets).abs().mean()}


class TinyMasked(nn.Module):
    """A network that can be pretrained on masked images: one linear embedding of 8×8 patches."""

    image_size, embedding_stride, embedding_channels = 48, 8, 12
    feature_stride, feature_channels = 8, 12
    head_parameters, optional_parameters = ("head.",), ()

    def __init__(self, *, num_classes: int = 7) -> None:
        super().__init__()
        self.embed, self.mix = nn.Conv2d(1, 12, 8, stride=8), nn.Conv2d(12, 12, 3, padding=1)
        self.head = nn.Linear(12, num_classes)

    def masked_features(self, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
        tokens = torch.where(mask[:, None], mask_token.view(1, -1, 1, 1), self.embed(images))  # N×12×6×6
        return self.mix(tokens)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.mix(self.embed(images)).mean((2, 3)))


def _entry(name: str, build: Callable[..., nn.Module]) -> ModelSpec:
    return ModelSpec(name, build, source="a test", summary="tiny", color="grey", input_sizes=(48,))


_NETWORKS: dict[str, Callable[..., nn.Module]] = {"tiny": Tiny, "tiny_terms": TinyWithTerms, "tiny_m": TinyMasked}
_ENTRIES = {name: _entry(name, build) for name, build in _NETWORKS.items()}


@contextmanager
def known_to_recipes() -> Iterator[None]:
    """Within, the registry knows these networks when asked for them by name; it does not list them."""
    original = registry.spec
    registry.spec = lambda name: _ENTRIES.get(name) or original(name)  # type: ignore[assignment]
    try:
        yield
    finally:
        registry.spec = original  # type: ignore[assignment]


def tiny_recipe(**changes: Any) -> Recipe:
    """One step of plain SGD over all 140 pictures, unchanged, at a constant rate; ``args`` are the network's."""
    model = {"name": changes.pop("model", "tiny"), "args": changes.pop("args", {})}
    raw: dict[str, Any] = {
        "model": model,
        "augment": STILL,
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0, "nesterov": False, "weight_decay": 0},
        "schedule": {"name": "constant", "warmup": 0},
        "ema": None,
        "epochs": 1,
        "batch_size": 140,
    }
    raw["optimizer"] |= changes.pop("optimizer", {})
    return small_recipe(**(raw | changes))
