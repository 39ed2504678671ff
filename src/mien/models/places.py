"""Where a network can be looked into: the names of the modules that an analysis reads from.

A network says so by methods, as it does for losses (``auxiliary.py``) and masks; an analysis asks for these and knows
no network. Both are optional: without ``excitation_place`` a network has no squeeze-and-excitation whose two sides can
be compared; without ``map_place`` the last map is searched for (``evaluation/analysis/places.py``).
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Layout = Literal["vector", "channels_first", "channels_last", "tokens"]


@dataclass(frozen=True, slots=True)
class Place:
    """One tensor of a forward pass: what goes into a module (``side="input"``) or what comes out of it.

    module: its dotted name in the network. layout: vector N×D, channels_first N×C×H×W, channels_last N×H×W×C, or
    tokens N×(leading + H·W)×C, row by row. leading_tokens: class tokens and the like in front of the grid.
    """

    module: str
    side: Literal["input", "output"]
    layout: Layout
    leading_tokens: int = 0


@runtime_checkable
class HasExcitation(Protocol):
    """A network with one squeeze-and-excitation block whose input and output have the same shape."""

    def excitation_place(self) -> Place | None:
        """The block's output (its input has the same layout); None where this one was built without."""
        ...


@runtime_checkable
class HasMap(Protocol):
    """A network that names its last feature map with positions, before they are pooled or mixed into one vector."""

    def map_place(self) -> Place: ...
