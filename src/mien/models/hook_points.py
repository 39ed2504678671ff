"""Hook points of a network: the names of the modules whose tensors an analysis reads.

A network says so by methods, as it does for losses (``auxiliary.py``) and masks; an analysis asks for these and knows
no network. Both are optional: without ``se_layer`` a network has no squeeze-and-excitation whose two sides can
be compared; without ``target_layer`` the last map is searched for (``evaluation/analysis/hook_points.py``).
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Layout = Literal["vector", "channels_first", "channels_last", "tokens"]


@dataclass(frozen=True, slots=True)
class HookPoint:
    """One tensor of a forward pass: what goes into a module (``side="input"``) or what comes out of it.

    module: its dotted name in the network. layout: vector N×D, channels_first N×C×H×W, channels_last N×H×W×C, or
    tokens N×(leading + H·W)×C, row by row. leading_tokens: class tokens and the like in front of the grid.
    """

    module: str
    side: Literal["input", "output"]
    layout: Layout
    leading_tokens: int = 0


@runtime_checkable
class HasSELayer(Protocol):
    """A network with one squeeze-and-excitation block whose input and output have the same shape."""

    def se_layer(self) -> HookPoint | None:
        """The block's output (its input has the same layout); None where this one was built without."""
        ...


@runtime_checkable
class HasTargetLayer(Protocol):
    """A network that names its last feature map with positions, before they are pooled or mixed into one vector."""

    def target_layer(self) -> HookPoint: ...
