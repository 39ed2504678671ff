"""The registry of networks by name: description, source, arguments.

A network is a plain ``torch.nn.Module``: ``forward(images: float32 N×C×S×S) -> logits float32 N×K``. One with losses
of its own declares them as ``models/auxiliary.py`` says.
A module registers a builder, a class or a function with keyword-only arguments:

    @register("vggnet", source="…", summary="…", color="grey", input_sizes=(40, 48))
    class VggNet(nn.Module):
        def __init__(self, *, num_classes: int = 7, in_channels: int = 1, …) -> None: …

Two arguments have a meaning here: ``image_size`` (for networks that depend on the side; filled from the recipe's
``data.size``) and ``pretrained`` (for networks with ImageNet weights in timm; set by ``model.init: imagenet``).
Adding a network means one new file here or in ``baselines/``; any of timm's is there as ``timm/<name>``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from textwrap import shorten
from typing import Any, TypeVar

import torch
from torch import nn

from mien.errors import MienError, RecipeError
from mien.models.backbones import timm_knowing, timm_network

#: Where networks lie. Every module in these two packages is imported, so that a new file needs no other line.
_PACKAGES = ("mien.models", "mien.models.baselines")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the registry knows of a network.

    source: paper with arXiv id, or "ours". color: "grey" or "rgb". input_sizes: sides in pixels at which the
    contract suite runs it, the default first. unused_parameters: parameter name → why it gets no gradient (such a
    network cannot be trained by several processes).
    reduced: builder arguments of a small network with every part of the whole one, for slow tests and smoke runs.
    fixed: arguments of a builder of several networks that make it this one; recipes cannot set them.
    """

    name: str
    build: Callable[..., nn.Module]
    source: str
    summary: str
    color: str
    input_sizes: tuple[int, ...]
    unused_parameters: Mapping[str, str] = field(default_factory=dict)
    reduced: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """The builder's keywords."""
        return [name for name in inspect.signature(self.build).parameters if name not in self.fixed]

    def takes(self, argument: str) -> bool:
        """Whether the builder has a keyword of that name."""
        return argument in self.arguments

    @property
    def channels(self) -> int:
        return 1 if self.color == "grey" else 3


Build = TypeVar("Build", bound=Callable[..., nn.Module])
_REGISTRY: dict[str, ModelSpec] = {}


def register(
    name: str,
    *,
    source: str,
    summary: str,
    color: str,
    input_sizes: tuple[int, ...],
    unused_parameters: Mapping[str, str] | None = None,
    reduced: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Build], Build]:
    """Decorator that puts a builder under ``name``; a name that is taken is a programming error.

    defaults: of this network, in place of the builder's own. The others: see :class:`ModelSpec`.
    """

    def wrap(build: Build) -> Build:
        if name in _REGISTRY:
            raise ValueError(f"two networks are called {name!r}")
        own = {**(defaults or {}), **(fixed or {})}
        called = partial(build, **own) if own else build
        _REGISTRY[name] = ModelSpec(
            name, called, source, summary, color, input_sizes, unused_parameters or {}, reduced or {}, fixed or {}
        )
        return build

    return wrap


def all_specs() -> list[ModelSpec]:
    """Every registered network, by name."""
    for package in _PACKAGES:
        for module in iter_modules(import_module(package).__path__, f"{package}."):
            if not module.ispkg:
                import_module(module.name)
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]


def spec(name: str) -> ModelSpec:
    """The entry of one network, ``timm/<name>`` included. Raises RecipeError for an unknown name."""
    if name.startswith("timm/"):
        return _timm_spec(name)
    names = [entry.name for entry in all_specs()]
    if name not in names:
        raise RecipeError(
            f"model.name: expected one of {', '.join(names)} or timm/<name>; got {name!r}", hint="see: mien models"
        )
    return _REGISTRY[name]


def _timm_spec(name: str) -> ModelSpec:
    timm_name = name.removeprefix("timm/")
    config = timm_knowing(timm_name).get_pretrained_cfg(timm_name)
    side = config.input_size[1] if config is not None else 224
    build = partial(timm_network, timm_name)
    return ModelSpec(name, build, "timm (Wightman 2019)", f"timm's {timm_name}", color="rgb", input_sizes=(side,))


def build(
    name: str,
    args: Mapping[str, Any] | None = None,
    *,
    num_classes: int = 7,
    image_size: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    """A network (in train mode) with ``num_classes`` logits, freshly initialised or with ImageNet weights.

    image_size: side in pixels, for networks that depend on it (their own default where None); the others ignore it.
    Raises RecipeError for an unknown network, an argument that its builder does not have, or ImageNet weights that it
    does not have; WeightsError where they cannot be fetched.
    """
    entry = spec(name)
    own = ("num_classes", "in_channels", "image_size", "pretrained")
    known = [argument for argument in entry.arguments if argument not in own]
    for key in args or {}:
        if key not in known:
            raise RecipeError(
                f"model.args.{key}: {name} takes {', '.join(known) or 'no arguments'}", hint="check the spelling"
            )
    filled: dict[str, Any] = dict(args or {})
    if pretrained:
        if not entry.takes("pretrained"):
            raise RecipeError(
                f"model.init: there are no ImageNet weights for {name}", hint="use model.init: scratch instead"
            )
        filled["pretrained"] = True
    if image_size is not None and entry.takes("image_size"):
        filled["image_size"] = image_size
    try:
        return entry.build(num_classes=num_classes, **filled)
    except MienError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError, AssertionError) as error:
        reason = shorten(str(error), 200, placeholder=" …")
        if isinstance(error, ValueError) and "expected " in reason:  # the network's own words
            raise RecipeError(f"model.args: {name}: {reason}") from error
        given = shorten(", ".join(f"{key}: {value}" for key, value in filled.items()), 80, placeholder=" …")
        raise RecipeError(
            f"model.args: expected values that {name} can be built with, got {given or 'none'}: {reason}"
        ) from error


def measure(entry: ModelSpec, args: Mapping[str, Any] | None = None, *, size: int | None = None) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of a forward pass of one image; on the meta device, nothing is computed.

    args: the builder's, where not its defaults. size: side in pixels, the default input size where None.
    """
    import_module("torch._dynamo")  # torch 2.7 and 2.8 import it when first needed, which fails on the meta device
    from torch.utils.flop_counter import FlopCounterMode

    side = size or entry.input_sizes[0]
    filled = dict(args or {}) | ({"image_size": side} if entry.takes("image_size") else {})
    with torch.device("meta"):
        network = entry.build(**filled).eval()
        example = torch.empty(1, entry.channels, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(example)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2
