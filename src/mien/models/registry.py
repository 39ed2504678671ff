"""Every network by name: what it is, where it comes from, what it takes.

A network is a plain ``torch.nn.Module``: ``forward(images: float32 N×C×S×S) -> logits float32 N×K``.
A module registers a builder with keyword-only arguments:

    @register("compact", source="ours", summary="…", color="grey", input_sizes=(48,))
    def compact(*, num_classes: int = 7, in_channels: int = 1, …) -> nn.Module: …

Adding a network means one new file and its import in ``_MODULES``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import nn

from mien.errors import RecipeError

_MODULES = ("mien.models.compact",)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the registry knows of a network.

    source: paper with arXiv id, or "ours". color: "grey" or "rgb". input_sizes: sides in pixels at which the
    contract suite runs it, the default first. unused_parameters: parameter name → why it gets no gradient.
    """

    name: str
    build: Callable[..., nn.Module]
    source: str
    summary: str
    color: str
    input_sizes: tuple[int, ...]
    unused_parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3


_REGISTRY: dict[str, ModelSpec] = {}


def register(
    name: str,
    *,
    source: str,
    summary: str,
    color: str,
    input_sizes: tuple[int, ...],
    unused_parameters: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorator that puts a builder under ``name``; a name that is taken is a programming error."""

    def wrap(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        if name in _REGISTRY:
            raise ValueError(f"two networks are called {name!r}")
        _REGISTRY[name] = ModelSpec(name, build, source, summary, color, input_sizes, unused_parameters or {})
        return build

    return wrap


def all_specs() -> list[ModelSpec]:
    """Every registered network, by name."""
    for module in _MODULES:
        import_module(module)
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]


def spec(name: str) -> ModelSpec:
    """The entry of one network. Raises RecipeError for an unknown name."""
    names = [entry.name for entry in all_specs()]
    if name not in names:
        raise RecipeError(f"model.name: expected one of {', '.join(names)}; got {name!r}", hint="see: mien models")
    return _REGISTRY[name]


def build(name: str, args: Mapping[str, Any] | None = None, *, num_classes: int = 7) -> nn.Module:
    """A freshly initialised network (in train mode) with ``num_classes`` logits.

    Raises RecipeError for an unknown network or an argument that its builder does not have.
    """
    entry = spec(name)
    known = [p for p in inspect.signature(entry.build).parameters if p not in ("num_classes", "in_channels")]
    for key in args or {}:
        if key not in known:
            raise RecipeError(f"model.args.{key}: {name} takes {', '.join(known)}", hint="check the spelling")
    try:
        return entry.build(num_classes=num_classes, **(args or {}))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise RecipeError(
            f"model.args: expected values that {name} can be built with, got {dict(args or {})}: {error}"
        ) from error


def measure(entry: ModelSpec) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of a forward pass at the default input size; on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    size = entry.input_sizes[0]
    with torch.device("meta"):
        network = entry.build().eval()
        example = torch.empty(1, entry.channels, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(example)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2
