"""Reads tensors out of a forward pass, at hook points that a network declares (``models/hook_points.py``) or we find.

Found, where nothing is declared: the vector that is classified is the input of the last linear layer that gives one
number a class; the last map is the input of the last module that turns a map into a vector (the global pool), or else
the last map that any module gives; of timm's transformers with a class token, the tokens before the last attention.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import UsageError
from mien.models.hook_points import HasSELayer, HasTargetLayer, HookPoint


@contextmanager
def reading(network: nn.Module, points: Sequence[HookPoint]) -> Iterator[list[Tensor]]:
    """A list that holds, after each forward pass inside the context, one tensor for each hook point, in their order.

    A module that runs more than once in a pass leaves its last. Gradients flow through what is read.
    """
    found: list[Any] = [None] * len(points)

    def keep(number: int, _: nn.Module, inputs: Any, output: Any) -> None:
        found[number] = inputs[0] if points[number].side == "input" else output

    modules = [network.get_submodule(point.module) for point in points]
    with _hooked(modules, [partial(keep, number) for number in range(len(points))]):
        yield found


@contextmanager
def _hooked(modules: Sequence[nn.Module], hooks: Sequence[Callable[..., None]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in zip(modules, hooks, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def se_layer(network: nn.Module) -> HookPoint | None:
    """The output of the network's SE block, None where it has none."""
    return network.se_layer() if isinstance(network, HasSELayer) else None


def other_side(point: HookPoint) -> HookPoint:
    """The input of the module whose output a hook point is, or the other way round."""
    return HookPoint(point.module, "input" if point.side == "output" else "output", point.layout, point.leading_tokens)


def penultimate(network: nn.Module, example: Tensor, *, classes: int) -> HookPoint:
    """The vector N×D that the classifier takes. example: a batch. Raises UsageError where there is none."""
    events = _trace(network, example)
    for name, module, inputs, _ in reversed(events):
        if isinstance(module, nn.Linear) and module.out_features == classes and inputs[0].dim() == 2:
            return HookPoint(name, "input", "vector")
    raise UsageError(
        f"expected a network whose last layer is linear on a vector, got {type(network).__name__}",
        hint="features can be read of every network of mien models",
    )


def target_layer(network: nn.Module, example: Tensor) -> HookPoint:
    """The last map with positions. example: a batch. Raises UsageError where the network has none."""
    if isinstance(network, HasTargetLayer):
        return network.target_layer()
    blocks: Any = getattr(network, "blocks", None)
    leading = getattr(network, "num_prefix_tokens", None)
    if isinstance(blocks, nn.Sequential) and isinstance(leading, int) and hasattr(blocks[-1], "norm1"):
        return HookPoint(f"blocks.{len(blocks) - 1}.norm1", "output", "tokens", leading)
    last = getattr(network, "output_fmt", None) == "NHWC"  # timm's word for channels at the end
    layout: Any = "channels_last" if last else "channels_first"
    events = [event for event in _trace(network, example) if not any(event[1].children())]
    for name, _, inputs, output in reversed(events):
        if _is_map(inputs[0], layout) and not _is_map(output, layout):
            return HookPoint(name, "input", layout)
    for name, _, _, output in reversed(events):
        if _is_map(output, layout):
            return HookPoint(name, "output", layout)
    raise UsageError(
        f"expected a network with a feature map, got {type(network).__name__}",
        hint="a network of your own names one by target_layer(); see models/hook_points.py",
    )


def as_map(tensor: Tensor, point: HookPoint) -> Tensor:
    """A tensor that was read at a hook point → N×C×H×W. Raises UsageError for tokens that make no square."""
    if point.layout == "channels_first":
        return tensor
    if point.layout == "channels_last":
        return tensor.permute(0, 3, 1, 2)
    if point.layout == "tokens":
        tokens = tensor[:, point.leading_tokens :]  # N×L×C
        n, length, channels = tokens.shape
        side = round(length**0.5)
        if side * side != length:
            raise UsageError(f"expected a square grid of tokens at {point.module}, got {length}")
        return tokens.transpose(1, 2).reshape(n, channels, side, side)
    raise UsageError(f"expected a map at {point.module}, got a vector")


def as_vector(tensor: Tensor, point: HookPoint) -> Tensor:
    """A tensor that was read at a hook point → N×D: a map's mean over its positions, a vector as it is."""
    return tensor if point.layout == "vector" else as_map(tensor, point).mean(dim=(2, 3))


def _is_map(tensor: Any, layout: str) -> bool:
    if not isinstance(tensor, Tensor) or tensor.dim() != 4:
        return False
    height, width = tensor.shape[1:3] if layout == "channels_last" else tensor.shape[2:4]
    return height * width > 1


def _trace(network: nn.Module, example: Tensor) -> list[tuple[str, nn.Module, Any, Any]]:
    """Every module with its inputs and output, in the order in which they end."""
    events: list[tuple[str, nn.Module, Any, Any]] = []

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if inputs:
            events.append((name, module, inputs, output))

    modules = {name: module for name, module in network.named_modules() if name}
    with torch.no_grad(), _hooked(list(modules.values()), [partial(keep, name) for name in modules]):
        network(example)
    return events
